"""What travels with a handle: the agent's `JobRef` and its `Connection`.

Both end up in the engine's database in clear text (unless the service seals its handles) and come back on another
replica days later. So they are frozen, hashable, small, and hold no secrets; a class that could is refused when it is
created.
"""

from __future__ import annotations

import types
import typing
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr

from outboard.domain.secret_refs import SecretRef, is_secret_name
from outboard.errors import ContractViolation

_PLAIN: typing.Final = (
    str,
    int,
    float,
    bool,
    bytes,
    type(None),
    date,
    datetime,
    timedelta,
    Decimal,
    UUID,
    Enum,
    SecretRef,
)


def _check_field(where: str, name: str, annotation: Any) -> None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, (SecretStr, SecretBytes)):
            raise ContractViolation(f"{where} holds a secret, which would travel in clear text; make it a SecretRef")
        if isinstance(part, type) and issubclass(part, (list, dict, set, bytearray)):
            raise ContractViolation(
                f"{where} is not hashable; use tuple, frozenset or plain values instead of {part.__name__}"
            )
        is_known = isinstance(part, type) and (issubclass(part, (*_PLAIN, tuple, frozenset)) or _is_frozen_model(part))
        if not is_known and not isinstance(part, (str, int, bool, bytes)) and part is not Ellipsis:
            raise ContractViolation(
                f"{where} has the type {part!r}; a handle holds plain values, enums, tuples and SecretRefs"
            )
    if is_secret_name(name) and SecretRef not in set(_parts(annotation)):
        raise ContractViolation(f"{where} is named like a secret; make it a SecretRef, or rename it if it is none")


def _is_frozen_model(part: type) -> bool:
    return issubclass(part, BaseModel) and bool(part.model_config.get("frozen"))


def _parts(annotation: Any) -> typing.Iterator[Any]:
    origin = get_origin(annotation)
    if origin is None:
        yield annotation if annotation is not None else type(None)
    elif origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin is typing.Literal:
        yield from get_args(annotation)
    else:
        if origin not in (typing.Union, types.UnionType):
            yield origin
        for argument in get_args(annotation):
            yield from _parts(argument)


class _Travelling(BaseModel):
    """A frozen, hashable record without secrets."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.model_config.get("frozen") or cls.model_config.get("extra") == "allow":
            raise ContractViolation(
                f"{cls.__name__} must stay frozen and without extra fields; remove its model_config"
            )
        for name, info in cls.model_fields.items():
            _check_field(f"{cls.__name__}.{name}", name, info.annotation)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; fields at their defaults are left out to save space."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Connection(_Travelling):
    """Where and as whom an agent talks to its platform: endpoint, region, account, secrets by `SecretRef`.

    It is resolved once, at submission, and travels with the handle, so a job is followed and cancelled where it was
    started even when the configuration changes meanwhile.
    """


class JobRef(_Travelling):
    """What finds a job again: small (at most 160 bytes packed), hashable, with an `id` that is unique in its account.

    Attributes:
        id: The platform's identifier; `get_many` answers by it.
        handle_version: Raised when fields change their meaning; `upgrade` then reads the older ones.
    """

    handle_version: ClassVar[int] = 1
    id: str

    def native(self) -> bytes | None:
        """Return the bytes that engines keep for this job in place of a handle of ours; None where it is ours.

        See `JobAgent.native_handles`.
        """
        return None

    @classmethod
    def upgrade(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - subclasses need it
        """Return `data`, written under an older `handle_version`, in today's form."""
        return data
