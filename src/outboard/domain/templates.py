"""Command templates: the placeholders in a container's arguments, rendered as FlytePropeller renders them.

A task that works locally must work on Flyte, so the rules are those of FlytePropeller's Go code, quirks included
(flyteorg/flyte, release 1.16, `flyteplugins/go/tasks/pluginmachinery/core/template/template.go`):

* A placeholder is `{{`, white space, `.` or `$`, a name in any case, white space, `}}`. White space is tab, newline,
  form feed, carriage return and space only.
* Locations are put in first, in a fixed order with the namespace last, so a location may itself hold a placeholder
  that comes later in that order (a raw-output prefix with `{{ .namespace }}`). Inputs are put in last and are never
  rendered again.
* Input names keep their case. A list is `[a,b]`; a datetime RFC 3339 in UTC without trailing zeros; a duration the
  text form of the protobuf message (`seconds:5400`); a float Go's `%v`; a blob or schema its URI. A structured dataset,
  an empty value and raw bytes have no text.
* A previous checkpoint that does not exist is two double quotes, as a shell needs it.

Stricter than Go in two ways. Go leaves an unknown placeholder standing, and the job then runs with `{{` in its command;
here that is `InvalidTask`, as an input is that is missing or has no text form. And Go reads `$name` inside a location
as a reference to a group of its pattern and drops it; such a location is refused rather than mangled.

Native values do not tell a map that came as a literal map (Go refuses it) from one that came as MessagePack (Go prints
it): both are printed, as Go prints a map.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Final

from outboard.domain.values import Blob, Schema
from outboard.errors import InvalidTask

_GO_SPACE: Final = r"[\t\n\f\r ]*"
_FORBIDDEN_IN_GO: Final = re.compile(r"\$(?:\$|\w+|\{\w+\})")
_INPUT: Final = re.compile(rf"\{{\{{{_GO_SPACE}[.$]Inputs\.([^}}\t\n\f\r ]+){_GO_SPACE}\}}\}}", re.IGNORECASE)
_SHOWN_CHARACTERS: Final = 60
_GO_EXPONENTS_WITHOUT_E: Final = range(-4, 6)  # Go's `%v` of a float, as printed by go 1.26


def _placeholder(name: str) -> re.Pattern[str]:
    return re.compile(rf"\{{\{{{_GO_SPACE}[.$]{name}{_GO_SPACE}\}}\}}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateValues:
    """What the placeholders of one attempt of one task stand for.

    Attributes:
        input_uri: `{{.input}}`, the file with the inputs.
        input_prefix: `{{.inputPrefix}}`, the folder of that file.
        output_prefix: `{{.outputPrefix}}`.
        raw_output_data_prefix: `{{.rawOutputDataPrefix}}`, unique per attempt.
        checkpoint_output_prefix: `{{.checkpointOutputPrefix}}`.
        prev_checkpoint_prefix: `{{.prevCheckpointPrefix}}`; empty on a first attempt.
        generated_name: The attempt's name; `{{.perRetryUniqueKey}}` is derived from it.
        namespace: `{{.namespace}}`.
        task_template_path: `{{.taskTemplatePath}}`, where the task template is stored; None when it is stored nowhere.
        inputs: `{{.inputs.x}}` by name, as native values; only those that a template names are read.
    """

    input_uri: str = ""
    input_prefix: str = ""
    output_prefix: str = ""
    raw_output_data_prefix: str = ""
    checkpoint_output_prefix: str = ""
    prev_checkpoint_prefix: str = ""
    generated_name: str = ""
    namespace: str = ""
    task_template_path: str | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def per_retry_unique_key(self) -> str:
        """The attempt's name as an identifier: letters, digits and underscores, not starting with a digit."""
        return re.sub(r"[^a-zA-Z0-9_]+", "_", re.sub(r"\A[^a-zA-Z_]+", "a", self.generated_name))


# The order is FlytePropeller's; it decides which placeholder may stand inside another one's value.
_LOCATIONS: Final[tuple[tuple[re.Pattern[str], Callable[[TemplateValues], str | None]], ...]] = (
    (_placeholder("Input"), lambda values: values.input_uri),
    (_placeholder("OutputPrefix"), lambda values: values.output_prefix),
    (_placeholder("InputPrefix"), lambda values: values.input_prefix),
    (_placeholder("RawOutputDataPrefix"), lambda values: values.raw_output_data_prefix),
    (_placeholder("PrevCheckpointPrefix"), lambda values: values.prev_checkpoint_prefix or '""'),
    (_placeholder("CheckpointOutputPrefix"), lambda values: values.checkpoint_output_prefix),
    (_placeholder("PerRetryUniqueKey"), lambda values: values.per_retry_unique_key),
    (_placeholder("TaskTemplatePath"), lambda values: values.task_template_path),
    (_placeholder("Namespace"), lambda values: values.namespace),
)


def render_args(args: Sequence[str], values: TemplateValues) -> list[str]:
    """Return a container's arguments with every placeholder replaced.

    Args:
        args: The arguments as the task template holds them.
        values: What the placeholders stand for.

    Raises:
        InvalidTask: An argument holds a placeholder that FlytePropeller does not know, names an input that is missing
            or has no text form, or a location that FlytePropeller would mangle. `field` is `container.args[<index>]`.

    >>> render_args(["--to={{ .OutputPrefix }}", "{{.inputs.n}}"], TemplateValues(output_prefix="/o", inputs={"n": 3}))
    ['--to=/o', '3']
    """
    return [_render(arg, values, f"container.args[{index}]") for index, arg in enumerate(args)]


def _render(arg: str, values: TemplateValues, place: str) -> str:
    if "{{" not in arg:
        return arg
    for pattern, read in _LOCATIONS:
        found = pattern.search(arg)
        if found is None:
            continue
        location = _checked_location(read(values), found.group(), place)
        arg = _replaced(pattern, location, arg)
    return _with_inputs(arg, values.inputs, place)


def _replaced(pattern: re.Pattern[str], text: str, arg: str) -> str:
    return pattern.sub(lambda _: text, arg)  # a function, since `sub` would read backslashes in a string


def _checked_location(location: str | None, placeholder: str, place: str) -> str:
    if location is None:
        message = f"{place} asks for {placeholder}, and nothing is stored there: remove the placeholder"
        raise InvalidTask(message, field=place)
    if _FORBIDDEN_IN_GO.search(location):
        message = (
            f"the value of {placeholder} in {place} holds a '$' that FlytePropeller would drop: choose another path"
        )
        raise InvalidTask(message, field=place)
    return location


def _with_inputs(arg: str, inputs: Mapping[str, object], place: str) -> str:
    """Put the inputs in; what stands between them was written by the author and may hold no further `{{`."""
    pieces: list[str] = []
    end = 0
    for found in _INPUT.finditer(arg):
        pieces.append(_without_placeholder(arg[end : found.start()], place))
        pieces.append(_input_text(found.group(1), inputs, place))
        end = found.end()
    pieces.append(_without_placeholder(arg[end:], place))
    return "".join(pieces)


def _without_placeholder(text: str, place: str) -> str:
    start = text.find("{{")
    if start >= 0:
        shown = text[start : start + _SHOWN_CHARACTERS]
        message = f"{place} holds '{shown}', which is no placeholder that Flyte knows: correct its spelling"
        raise InvalidTask(message, field=place)
    return text


def _input_text(name: str, inputs: Mapping[str, object], place: str) -> str:
    if name not in inputs:
        given = ", ".join(sorted(inputs)) or "none"
        message = f"{place} asks for the input '{name}', which was not given (given: {given})"
        raise InvalidTask(message, field=place)
    try:
        return _text(inputs[name])
    except _NoTextError as error:
        message = f"{place} asks for the input '{name}', and Flyte has no text for {error}: pass it another way"
        raise InvalidTask(message, field=place) from None


class _NoTextError(Exception):
    """A value without a text form; says which kind."""


def _text(value: object) -> str:
    """Return the text of an input as Go serialises its literal."""
    if isinstance(value, Mapping):
        return _go_value(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_text(item) for item in value)}]"
    if value is None:
        raise _NoTextError("an empty value (none)")
    if isinstance(value, (Blob, Schema)):
        return value.uri
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, Enum):
        return _scalar(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, float):
        return _go_float(value)
    if isinstance(value, datetime):
        return _rfc3339(value)
    if isinstance(value, timedelta):
        return _protobuf_duration(value)
    raise _NoTextError(f"a value of type {type(value).__name__}")


def _go_value(value: object) -> str:
    """Return what Go's `%v` prints for a value that was decoded from MessagePack."""
    if value is None:
        return "<nil>"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{_go_value(key)}:{_go_value(value[key])}' for key in _go_sorted(value))}]"
    if isinstance(value, (bytes, bytearray)):
        return f"[{' '.join(str(byte) for byte in value)}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(_go_value(item) for item in value)}]"
    return _scalar(value)


def _go_sorted(mapping: Mapping[object, object]) -> list[object]:
    """Sort keys as Go's fmt does: within one kind by value (strings by their UTF-8 bytes)."""

    def order(key: object) -> tuple[str, bytes, float]:
        if isinstance(key, (bool, int, float)):
            return type(key).__name__, b"", float(key)
        return type(key).__name__, str(key).encode("utf-8", "surrogatepass"), 0.0

    return sorted(mapping, key=order)


def _go_float(value: float) -> str:
    """Return the shortest text that reads back as `value`, with an exponent below 1e-4 and from 1e6 upwards."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign = "-" if value < 0 else ""
    digits, point = _shortest_digits(abs(value))
    scientific = point - 1
    if scientific not in _GO_EXPONENTS_WITHOUT_E:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if scientific < 0 else '+'}{abs(scientific):02d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _shortest_digits(value: float) -> tuple[str, int]:
    """Return the shortest decimal digits and the position of the point: 0.0012 is `("12", -2)`."""
    mantissa, _, power = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = f"{whole}{fraction}"
    point = len(whole) + int(power or 0)
    stripped = digits.lstrip("0")
    return stripped.rstrip("0") or "0", point - (len(digits) - len(stripped))


def _rfc3339(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    utc = aware.astimezone(timezone.utc)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc.replace(microsecond=0, tzinfo=None).isoformat()}{fraction}Z"


def _protobuf_duration(value: timedelta) -> str:
    """Return the text form of a protobuf Duration: both fields carry the sign, and zero fields are left out."""
    micros = value // timedelta(microseconds=1)
    sign = -1 if micros < 0 else 1
    seconds, rest = divmod(abs(micros), 1_000_000)
    fields = (("seconds", sign * seconds), ("nanos", sign * rest * 1_000))
    return " ".join(f"{name}:{number}" for name, number in fields if number)
