"""Task configuration: what a task's `custom` (and its template's string map) may say.

Flyte carries `custom` as a protobuf Struct, which knows only floating-point numbers: `num_workers: 2` arrives as
`2.0`. A `TaskConfig` undoes that. Typed fields do it by their type; in extra keys and in dictionaries of anything,
integral numbers below 2**53 become integers again. Keys that the model does not know are kept (platforms grow faster
than models) and named in a warning with the field that was probably meant.
"""

from __future__ import annotations

import difflib
from itertools import islice
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from outboard.domain.values import restore_integers


class TaskConfig(BaseModel):
    """Base of an agent's configuration model: frozen, aliases and names accepted, extra keys kept, integers restored.

    >>> from pydantic import Field
    >>> class Query(TaskConfig):
    ...     project: str = Field(alias="ProjectID")
    ...     conf: dict[str, object] = {}
    >>> config = Query.model_validate({"ProjectID": "p", "conf": {"workers": 2.0}, "confg": {}})
    >>> config.conf, config.unknown_fields()
    ({'workers': 2}, {'confg': 'conf'})
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, populate_by_name=True, extra="allow", arbitrary_types_allowed=False
    )

    @model_validator(mode="before")
    @classmethod
    def _restore_integers(cls, data: Any) -> Any:
        return restore_integers(data)

    def to_custom(self) -> dict[str, Any]:
        """Return the configuration as the `custom` that would bring it here, extra keys included."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def unknown_fields(self, limit: int | None = None) -> dict[str, str | None]:
        """Return the keys that the model does not know, each with the field that was probably meant.

        Args:
            limit: Of how many keys; looking for what was meant takes a while for each.
        """
        known = set(type(self).model_fields) | {
            field.alias for field in type(self).model_fields.values() if field.alias
        }
        return {
            name: next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), None)
            for name in islice(self.model_extra or {}, limit)
        }
