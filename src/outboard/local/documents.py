"""Documents that people write: YAML or JSON, read into pydantic models, with errors that name the place and the remedy.

A text that begins like JSON and is JSON is read as such. YAML 1.1 nearly contains it, but refuses tabs, takes `1e5` for a
text and the two halves of an escaped emoji for two characters. All else is YAML. Dates stay text: without a declared type
nobody could tell whether `2024-01-31` is meant as a text or as a moment, and under a declared one they are read by that.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from outboard.errors import InvalidSettings, InvalidTask

ModelT = TypeVar("ModelT", bound=BaseModel)
STDIN: Final = "-"
_SHOWN_PROBLEMS: Final = 5
_SHOWN_CHARACTERS: Final = 60


def read_document(source: str, error: type[InvalidTask | InvalidSettings]) -> object:
    """Return what a YAML or JSON file holds; `-` is standard input.

    Raises:
        error: It cannot be read, or is no YAML; the message names the place.
    """
    return parse_yaml(read_text(source, error), called(source), error)


def called(source: str) -> str:
    """Return what messages call a file; `-` is standard input."""
    return "standard input" if source == STDIN else source


def read_text(source: str, error: type[InvalidTask | InvalidSettings]) -> str:
    """Return the text of a file, or of standard input; raise `error` where it cannot be read."""
    try:
        return sys.stdin.read() if source == STDIN else Path(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"there is no file {source}: check the path") from None
    except (OSError, UnicodeDecodeError) as problem:
        reason = (problem.strerror or "unreadable").lower() if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise error(f"{called(source)} cannot be read ({reason}): give the path of a YAML or JSON file") from None


def parse_yaml(text: str, where: str, error: type[InvalidTask | InvalidSettings]) -> object:
    """Return what a YAML or JSON text holds; raise `error` where it is neither."""
    import yaml  # noqa: PLC0415 - `serve` without a settings file needs none

    try:
        if text.lstrip().startswith(("{", "[")):
            with suppress(ValueError):  # flow YAML begins like this too, and its errors tell more
                return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once_each)
        return yaml.load(text, Loader=_loader())  # noqa: S506 - a SafeLoader
    except _Unclear as problem:
        place = f" (line {problem.line})" if problem.line else ""
        raise error(f"{where} {problem}{place}") from None
    except (yaml.YAMLError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise error(f"{where} is neither YAML nor JSON: correct it{place}") from None
    except RecursionError:
        raise error(f"{where} is nested too deeply: flatten it") from None


def read_model(
    kind: type[ModelT], value: object, error: type[InvalidTask | InvalidSettings], *, where: str, path: str = ""
) -> ModelT:
    """Return a model of plain data.

    Args:
        kind: The model.
        value: The data.
        error: What to raise.
        where: What the data is, for the message: a file's name, say.
        path: Where in it the data stands.

    Raises:
        error: Something does not fit; the message lists it by path, `field` is the first one's.
    """
    if not isinstance(value, Mapping):
        at = f"{path} in {where}" if path else where
        raise error(f"{at} must be a mapping of names to values, and is {_kind(value)}", field=path or None)
    try:
        return kind.model_validate(dict(value))
    except ValidationError as invalid:
        found = invalid.errors(include_input=False, include_url=False)
        found.sort(key=lambda problem: problem["type"] != "extra_forbidden")  # a typo explains what is missing
        problems = [_explain(kind, problem, path) for problem in found]
        listed = "; ".join(f"{place}: {text}" for place, text in problems[:_SHOWN_PROBLEMS])
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise error(f"{where} is wrong: {listed}{more}", field=problems[0][0]) from None


def unknown_name(name: str, known: Sequence[str], what: str = "key") -> str:
    """Return the words about a name that is not among those known.

    >>> unknown_name("retires", ["retries", "timeout"])
    "there is no such key; did you mean 'retries'?"
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"
    return f"there is no such {what}; {hint}"


def _explain(kind: type[BaseModel], problem: Any, path: str) -> tuple[str, str]:
    location = [str(part) for part in problem["loc"]]
    place = _join(path, location)
    if problem["type"] == "extra_forbidden":
        return place, unknown_name(location[-1], list(_names_at(kind, problem["loc"][:-1])))
    if problem["type"] == "missing":
        return place, "this is missing; add it"
    return place, problem["msg"].removeprefix("Value error, ").replace("Input should be", "this must be")


def _join(path: str, location: Sequence[str]) -> str:
    text = path
    for part in location:
        text = f"{text}[{part}]" if part.isdigit() else f"{text}.{part}" if text else part
    return text or "it"


def _names_at(kind: type[BaseModel], location: Sequence[int | str]) -> Iterator[str]:
    """Give the names that a model knows at a place inside it."""
    for part in location:
        models = [kind_of(field) for name, field in kind.model_fields.items() if part in (name, field.alias)]
        nested = next((found for model in models for found in models_in(model)), None)
        if nested is not None:
            kind = nested
    return (field.alias or name for name, field in kind.model_fields.items())


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Give the models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def kind_of(field: FieldInfo) -> Any:
    """Return a field's type; where its model is imported late, that model."""
    late = next((model for each in field.metadata if (model := getattr(each, "late_model", None)) is not None), None)
    return field.annotation if late is None else late


def _kind(value: object) -> str:
    words = {type(None): "empty", list: "a list", str: "a text"}
    return words.get(type(value), f"a {type(value).__name__}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class _Unclear(Exception):
    """A text that YAML or JSON allow and that does not say what is meant: what is wrong with it, and in which line."""

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words)
        self.line = line


def _twice(key: str, line: int | None = None) -> _Unclear:
    """Return the error of a name that has two values; parsers take the last one and do not say so."""
    return _Unclear(
        f"gives {key[:_SHOWN_CHARACTERS]!r} twice in one mapping, and only the last would count: keep one", line
    )


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _twice(key)
        found[key] = value
    return found


def _loader() -> Any:
    """Return a SafeLoader to which timestamps are plain texts, a name has one value, and nothing contains itself."""
    import yaml  # noqa: PLC0415 - see `parse_yaml`

    class Plain(yaml.SafeLoader):
        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self._open: list[str | None] = []

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
                raise _Unclear(f"contains *{event.anchor} inside itself: write out what is meant", _line(event))
            return super().compose_node(parent, index)

        def compose_sequence_node(self, anchor: Any) -> Any:
            self._open.append(anchor)
            node = super().compose_sequence_node(anchor)
            self._open.pop()
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            self._open.append(anchor)
            node = super().compose_mapping_node(anchor)
            self._open.pop()
            seen = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in seen:
                    raise _twice(key.value, _line(key))
                seen.update([name] if name else [])
            return node

    timestamp = "tag:yaml.org,2002:timestamp"
    Plain.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != timestamp]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Plain


def _line(marked: Any) -> int:
    return int(marked.start_mark.line) + 1
