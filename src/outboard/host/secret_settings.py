"""Where secrets are looked up, and who may read which.

The models of stores and rules (`store_settings`) take longer to build than all other settings together, and most services have
none: they are imported when there is something to read by them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema
from typing_extensions import Self

if TYPE_CHECKING:
    from outboard.host.store_settings import AnyStore, SecretRule


class _Late:
    """Reads a tuple by a model that is imported with the first."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, _schema: Any, handler: Any) -> Any:
        return handler(self._adapter().core_schema)

    def _read(self, value: Any) -> Any:
        if value in ((), []):
            return ()
        try:
            return self._adapter().validate_python(value)
        except ValidationError as error:
            raise ValidationError.from_exception_data(error.title, [_told(each) for each in error.errors()]) from None

    def _adapter(self) -> TypeAdapter[Any]:
        from outboard.host import store_settings  # noqa: PLC0415 - see above

        read: Any = tuple[getattr(store_settings, self._model), ...]  # type: ignore[misc]  # known at run time only
        return TypeAdapter(read)


def _told(error: Any) -> InitErrorDetails:
    """Return an error with words of ours: which fields a store has depends on its kind, which stands in the location."""
    from outboard.host.store_settings import KINDS, SecretRule  # noqa: PLC0415 - see above

    words, location = error["msg"].removeprefix("Value error, "), error["loc"]
    if error["type"] == "extra_forbidden":
        kind = KINDS.get(location[1], SecretRule) if len(location) > 1 else SecretRule
        near = difflib.get_close_matches(str(location[-1]), kind.model_fields, n=1)
        words = "there is no such key; " + (
            f"did you mean '{near[0]}'?" if near else f"known: {', '.join(kind.model_fields)}"
        )
    elif error["type"] == "missing":
        words = "this is missing; add it"
    elif error["type"].startswith("union_tag"):
        words = f"kind must be one of {', '.join(KINDS)}"
    return InitErrorDetails(
        type=PydanticCustomError(
            "secret_store", "{words}", {"words": words.replace("Input should be", "this must be")}
        ),
        loc=tuple(location),
        input=None,
    )


if TYPE_CHECKING:
    Stores = tuple[AnyStore, ...]
    Rules = tuple[SecretRule, ...]
else:
    Stores = Annotated[tuple, _Late("AnyStore")]
    Rules = Annotated[tuple, _Late("SecretRule")]


class SecretSettings(BaseModel):
    """Where secrets are looked up, and who may read which; the defaults are Flyte's own names.

    Attributes:
        env_prefix: Environment variables are `<prefix>[GROUP_][VERSION_]KEY`, in upper case.
        directory: Files are `<directory>/[group/][version/]<file_prefix>key`, in lower case.
        overrides: Values by key (or `group/key`), for development and tests; they win over everything.
        allow_plain_environment: Also read variables without the prefix; for local runs.
        stores: Where to look, in this order; the environment, then files, where there is none.
        rules: Which tasks may name which secrets; without any, every task may name all.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    env_prefix: str = "_FSEC_"
    directory: Path = Path("/etc/secrets")
    file_prefix: str = ""
    overrides: Mapping[str, SecretStr] = Field(default_factory=dict)
    allow_plain_environment: bool = False
    stores: Stores = ()
    rules: Rules = ()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        seen = set()
        for store in self.stores:
            name = store.name or store.kind
            if name in seen:
                raise ValueError(f"stores: two are called {name!r}; give each a name of its own")
            seen.add(name)
        return self
