"""Rules: what a caller may do. Pure; a refusal is a reason of one word, and words for people.

A task is judged by what its request says: whoever sends the request also says whose execution it is, so a caller with rules may
only name executions that are its own. A job is judged by what its sealed handle binds, which nobody can change; the request's
own words count for nothing there.

Patterns are no regular expressions: with several `*` those try for seconds what a name of kilobytes fits, and callers send
megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from outboard.service.access.settings import RuleSettings

_SHOWN: Final = 100
_REMEMBERED: Final = 4096
_LONGEST_PREFIX: Final = 8192
"""More than any store or file system takes."""
_DOTS: Final = frozenset({".", ".."})


class Subject(NamedTuple):
    """What a call is about, as far as rules go."""

    task_type: str
    project: str
    domain: str
    namespace: str


class Verdict(NamedTuple):
    """Why something is refused: a word for metrics, and a sentence with the remedy."""

    reason: str
    message: str


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a text fits one of these patterns, in which `*` stands for anything.

    >>> fits = matcher(["flyte*", "ray"])
    >>> fits("flytesnacks"), fits("ray"), fits("array")
    (True, True, False)
    """
    split = tuple(tuple(pattern.split("*")) for pattern in patterns)
    return lambda text: any(_is_of(parts, text) for parts in split)


class Rules:
    """The rules of one caller.

    Args:
        caller: Its name, for words.
        settings: What the operator decided.
    """

    __slots__ = ("_caller", "_checks", "_prefixes", "_verdicts", "is_binding", "is_scoped")

    def __init__(self, caller: str, settings: RuleSettings) -> None:
        self._caller = caller
        self._checks = tuple(
            (index, field, matcher(patterns))
            for index, field, patterns in (
                (0, "task type", settings.task_types),
                (1, "project", settings.projects),
                (2, "domain", settings.domains),
                (3, "namespace", settings.namespaces),
            )
            if patterns
        )
        self._prefixes = settings.output_prefixes
        self.is_binding = settings.is_binding
        self.is_scoped = settings.is_scoped
        self._verdicts: dict[Subject, Verdict | None] = {}

    def judge(self, subject: Subject) -> Verdict | None:
        """Return why a subject is refused; None where it is not."""
        for index, field, fits in self._checks:
            value = subject[index]
            if not fits(value):
                return self._refusal(field, value)
        return None

    def judge_again(self, subject: Subject) -> Verdict | None:
        """Return what `judge` does, from memory where it can; for subjects out of sealed handles, of which there are few."""
        try:
            return self._verdicts[subject]
        except KeyError:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[subject] = self.judge(subject)
            return verdict

    def judge_prefix(self, subject: Subject, output_prefix: str) -> Verdict | None:
        """Return why outputs may not go somewhere; None where they may. Without a prefix nothing is written."""
        if not self._prefixes or not output_prefix:
            return None
        is_place = len(output_prefix) <= _LONGEST_PREFIX and "\0" not in output_prefix
        names = output_prefix.split("/") if is_place else []
        if _DOTS.isdisjoint(names) and any(_is_under(_filled(pattern, subject), names) for pattern in self._prefixes):
            return None
        return Verdict(
            "output_prefix",
            f"caller {self._caller} may not have outputs written to {output_prefix[:_SHOWN]!r}; "
            "the operator lists where in access.callers.*.output_prefixes",
        )

    def _refusal(self, field: str, value: str) -> Verdict:
        reason = field.replace(" ", "_")
        if not value:
            words = (
                f"the request does not say its {field}, and caller {self._caller} may only act for some; "
                "send the execution's identity"
            )
            return Verdict("no_identity", words)
        words = f"caller {self._caller} may not act for {field} {value[:_SHOWN]!r}; the operator lists them in access.callers"
        return Verdict(reason, words)


def _filled(pattern: str, subject: Subject) -> str:
    return pattern.replace("{project}", _plain(subject.project)).replace("{domain}", _plain(subject.domain))


def _plain(name: str) -> str:
    """Return a name that fills a placeholder: one that could be a pattern or a path itself fits nothing."""
    return name if name and not set(name) & set("*/{}") else "\0"


def _is_under(pattern: str, names: Sequence[str]) -> bool:
    """Tell whether a path, given as its names, begins with what fits a pattern, in which `*` is anything without a `/`."""
    wanted = [name.split("*") for name in pattern.rstrip("/").split("/")]
    return len(names) >= len(wanted) and all(map(_is_of, wanted, names))


def _is_of(parts: Sequence[str], text: str) -> bool:
    """Tell whether a text is these parts in their order, with anything between them; reads it once."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
