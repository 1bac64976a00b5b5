"""Rules: what a caller may do. Pure; a refusal is a reason of one word, and words for people.

A task is judged by what its request says: whoever sends the request also says whose execution it is, so a caller with rules may
only name executions that are its own. A job is judged by what its sealed handle binds, which nobody can change; the request's
own words count for nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from outboard.service.access.settings import RuleSettings

_SHOWN: Final = 100
_REMEMBERED: Final = 4096
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
    found = re.compile("|".join(_translated(pattern, ".*") for pattern in patterns) or r"(?!)", re.DOTALL)
    return lambda text: found.fullmatch(text) is not None


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
        if _DOTS.isdisjoint(output_prefix.split("/")) and "\0" not in output_prefix:
            for pattern in self._prefixes:
                filled = pattern.replace("{project}", _plain(subject.project)).replace(
                    "{domain}", _plain(subject.domain)
                )
                if re.fullmatch(_translated(filled.rstrip("/"), "[^/]*") + "(?:/.*)?", output_prefix, re.DOTALL):
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


def _plain(name: str) -> str:
    """Return a name that fills a placeholder: one that could be a pattern or a path itself fits nothing."""
    return name if name and not set(name) & set("*/{}") else "\0"


def _translated(pattern: str, anything: str) -> str:
    return anything.join(re.escape(part) for part in pattern.split("*"))
