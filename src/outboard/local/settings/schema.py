"""The JSON schema of a settings file, for editors and for checks before a rollout.

It is made of the models, their docstrings included, so it says what they say. Times are numbers of seconds. What only code can
check (two ports that are the same, say) is not in it; `outboard config --check` checks everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from outboard.local.documents import kind_of, models_in
from outboard.local.settings.sections import ENABLED, PLATFORMS, SECTIONS, PlatformModels, model_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ENABLED: Final = {"type": "boolean", "default": True, "description": "False leaves the platform out."}
_ATTRIBUTES: Final = re.compile(r"^\s*Attributes:\n((?:[ \t]+.*\n|\s*\n)*)", re.MULTILINE)
_ATTRIBUTE: Final = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {8,}.*)*)", re.MULTILINE)


class _Seconds(GenerateJsonSchema):
    """Times are written as numbers of seconds."""

    def timedelta_schema(self, schema: Any) -> dict[str, Any]:
        del schema
        return {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^-?P", "format": "duration"}]
        }


def settings_schema(platforms: PlatformModels) -> dict[str, Any]:
    """Return the schema of a settings file, the settings of platforms that can be loaded here included."""
    definitions: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        if section == PLATFORMS:
            sections[section] = _platforms(platforms, definitions)
        else:
            sections[section] = _of(model_of(section), definitions, section)
    return {
        "$schema": DIALECT,
        "title": "Settings of Outboard",
        "description": "What `outboard` reads with --settings. Every setting has a variable too: OUTBOARD_<SECTION>__<FIELD>.",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _platforms(platforms: PlatformModels, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in platforms.names():
        model = platforms.of(name).model
        own: dict[str, Any] = {"type": "object"} if model is None else _of(model, definitions, name)
        properties[name] = {**own, "properties": {ENABLED: _ENABLED, **own.get("properties", {})}}
    return {
        "type": "object",
        "description": "By platform name: its own settings.",
        "properties": properties,
        "additionalProperties": {"type": "object"},
    }


def _of(model: type[BaseModel], definitions: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return a model's schema, with what it refers to among the definitions, under names of its own."""
    template = f"#/$defs/{prefix}.{{model}}"
    schema = model.model_json_schema(ref_template=template, schema_generator=_Seconds)
    nested = schema.pop("$defs", {})
    described = {kind.__name__: kind for kind in _models(model)}
    for name, each in nested.items():
        definitions[f"{prefix}.{name}"] = _described(each, described.get(name))
    return _described(schema, model)


def _described(schema: dict[str, Any], model: type[BaseModel] | None) -> dict[str, Any]:
    """Return a schema with the docstring's words at each field, and only its first sentence at the whole."""
    words = attributes(model) if model is not None else {}
    properties = {
        name: {**{key: value for key, value in each.items() if key != "title"}, **_words(words.get(name), each)}
        for name, each in schema.get("properties", {}).items()
    }
    kept = {name: value for name, value in schema.items() if name not in ("title", "description", "properties")}
    first = (schema.get("description") or "").split("\n\n")[0]
    told = {"description": " ".join(first.split())} if first else {}
    return {**told, **kept, **({"properties": properties} if properties else {})}


def _words(words: str | None, schema: Mapping[str, Any]) -> dict[str, str]:
    return {"description": words} if words and "description" not in schema else {}


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """Return what docstrings say of a model's fields."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        section = _ATTRIBUTES.search(_dedented(kind.__doc__ or "") + "\n")
        for names, words in _ATTRIBUTE.findall(section[1] if section else ""):
            found.update(dict.fromkeys(names.split(", "), " ".join(words.split())))
    return found


def _dedented(doc: str) -> str:
    first, _, rest = doc.partition("\n")
    indents = [len(line) - len(line.lstrip()) for line in rest.splitlines() if line.strip()]
    cut = min(indents, default=0)
    return "\n".join([first, *(line[cut:] for line in rest.splitlines())])


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and those that it is made of."""
    found, waiting = [], [model]
    while waiting:
        kind = waiting.pop()
        if kind not in found:
            found.append(kind)
            waiting.extend(each for field in kind.model_fields.values() for each in models_in(kind_of(field)))
    return found
