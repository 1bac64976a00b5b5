"""A section of settings whose models are imported when somebody gives it.

Models take time to build, those of `access` 25 ms, which a service without the section need not wait for. What is wrong in the
section is told at its own place in it, as if the models had been there all the time; variables, the listing and the schema
find them by `late_model`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic_core import core_schema


class WhenGiven:
    """Reads a section, or None, by a model that is imported with the first; the annotation of a field.

    Args:
        model: Which, as `module:Model`.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    @property
    def late_model(self) -> type[BaseModel]:
        """The model."""
        module, _, name = self._model.partition(":")
        found: type[BaseModel] = getattr(import_module(module), name)
        return found

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_write, info_arg=True)
        return core_schema.no_info_plain_validator_function(self._read, serialization=written)

    def __get_pydantic_json_schema__(self, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(core_schema.nullable_schema(self.late_model.__pydantic_core_schema__))

    def _read(self, value: Any) -> BaseModel | None:
        return None if value is None else self.late_model.model_validate(value)


def _write(value: BaseModel | None, info: SerializationInfo) -> Any:
    return None if value is None else value.model_dump(mode=info.mode)
