"""Values and keys that Flyte refuses, ignores or misreads, found by the models of `sections`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from outboard.engine.propeller.findings import Finding, error, warning
from outboard.engine.propeller.sections import SECTIONS, AgentSection, alias
from outboard.engine.propeller.situation import Written
from outboard.engine.propeller.trees import Place, Tree

_RANGES: Final = ("greater_than_equal", "less_than_equal")
_VALIDATED: Final = frozenset({"caching", "readRateLimiter", "writeRateLimiter"})


def read_section(kind: type[AgentSection], tree: Tree, findings: list[Finding]) -> Written:
    """Return a section as Flyte takes it; what it refuses goes to `findings`, and counts as not written."""
    plain = tree.plain()
    refused: set[tuple[str | int, ...]] = set()
    while True:
        try:
            return Written(tree=tree, section=kind.model_validate(plain))
        except ValidationError as invalid:
            for problem in invalid.errors(include_input=False, include_url=False):
                location = tuple(problem["loc"])
                if location not in refused:
                    refused.add(location)
                    findings.append(_refused(tree, location, problem))
                plain = _without(plain, location)


def check_keys(written: Written, *, is_flyte_2: bool) -> Iterator[Finding]:
    """Yield keys that Flyte does not know, or that the other plugin or the other Flyte knows."""
    for path, known in written.section.unknown_keys():
        yield _unknown(written, path, known)
    if not is_flyte_2:
        for place, key in _keys_of_flyte_2(written):
            yield warning(
                "unknown-key",
                place,
                f"Flyte 1 knows no `{key}`",
                "it is ignored in silence",
                "remove it, or say --flyte 2 if this is for Flyte 2",
            )


def _keys_of_flyte_2(written: Written) -> Iterator[tuple[Place, str]]:
    for name in ("apps", "logs"):
        if name in written.section.model_fields_set:
            yield written.place_of(alias(written.section, name)), alias(written.section, name)
    for entry in written.entries():
        for name in sorted({"project", "domain"} & entry.deployment.model_fields_set):
            yield entry.place_of(name), name


def _unknown(written: Written, path: str, known: Sequence[str]) -> Finding:
    keys = path.split(".")
    place = written.place_of(*keys)
    others = [kind for kind in SECTIONS if kind.section != written.plugin]
    for kind in others:
        if len(keys) == 1 and keys[0].lower() in {each.lower() for each in kind.known_keys()}:
            return error(
                "other-plugins-key",
                place,
                f"`{keys[0]}` is a key of plugins.{kind.section}, and this is plugins.{written.plugin}",
                "it is ignored in silence, as if nothing stood here",
                f"write `{_counterpart(written, kind, keys[0])}`",
            )
    near = difflib.get_close_matches(keys[-1], known, n=1)
    remedy = f"write `{near[0]}`" if near else f"remove it; known here are {', '.join(known)}"
    return warning("unknown-key", place, f"Flyte knows no key `{keys[-1]}` here", "it is ignored in silence", remedy)


def _counterpart(written: Written, other: type[AgentSection], key: str) -> str:
    fields = type(written.section).model_fields
    for name, field in other.model_fields.items():
        if (field.alias or name).lower() == key.lower() and name in fields:
            return fields[name].alias or name
    return key


def _refused(tree: Tree, location: tuple[str | int, ...], problem: Any) -> Finding:
    found = tree.nearest(location)
    words = str(problem["msg"]).removeprefix("Value error, ")
    wrong, _, remedy = words.partition(": ")
    if problem["type"] in _RANGES and _VALIDATED & set(map(str, location)):
        return error(
            "out-of-range",
            found.place,
            f"{_shown(found)} is outside of what Flyte accepts",
            "the engine does not start (`config validation failed`)",
            f"write a value {words.removeprefix('Input should be ')}",
        )
    if "nanoseconds" in words:
        return error(
            "bare-duration",
            found.place,
            wrong,
            "calls end before they begin, or limits are violated and the engine does not start",
            remedy,
        )
    if problem["type"] in ("greater_than", *_RANGES):
        return error(
            "out-of-range",
            found.place,
            f"{_shown(found)} makes no sense here",
            "the engine asks without a pause, or every call ends at once",
            f"write a value {words.removeprefix('Input should be ')}",
        )
    if location and location[-1] in ("endpoint", "defaultServiceConfig"):
        name = "bad-address" if location[-1] == "endpoint" else "bad-service-config"
        effect = "no connection is made, and every task that goes there fails"
        return error(name, found.place, wrong if remedy else "this cannot be used", effect, remedy or words)
    if "negative" in words:
        return error("out-of-range", found.place, wrong, "every such call ends at once", remedy)
    return error(
        "refused-value",
        found.place,
        wrong if remedy else f"{_shown(found)} does not fit here",
        "the loader refuses the file and the engine does not start",
        remedy or words[:1].lower() + words[1:].replace("Input should be", "write"),
    )


def _shown(tree: Tree) -> str:
    if tree.entries is not None:
        return "a map"
    return "a list" if tree.items is not None else f"`{tree.scalar}`"


def _without(value: Any, location: Sequence[str | int]) -> Any:
    """Return plain values without what stands at a place, whatever the case of the keys."""
    if not location:
        return {}
    first, rest = location[0], location[1:]
    if isinstance(value, dict):
        return {
            key: _without(item, rest) if str(key).lower() == str(first).lower() and rest else item
            for key, item in value.items()
            if rest or str(key).lower() != str(first).lower()
        }
    if isinstance(value, list) and isinstance(first, int):
        return [item for position, item in enumerate(value) if position != first]
    if isinstance(value, list):  # a list of maps
        kept = [_without(item, location) for item in value if isinstance(item, dict)]
        return [item for item in kept if item]
    return {}
