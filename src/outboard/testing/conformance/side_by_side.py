"""Side by side: several cases at once, each in a process that has no other at the time.

A case in virtual time sets its process's clocks, and every case takes its signals and log lines, so none can have a
neighbour in its process. The workers are new interpreters, which select the same subjects again by the same words:
neither a class made in a test nor a stand-in need travel. Reports do, and come out in the order of the selection.

Cases in real time mostly wait, so they begin first, and there is one worker more than processors where there are any.
What a worker lost to its neighbours counts for nobody: steps are judged without the time for which the kernel gave
their thread no processor (`watching`).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, Final

from outboard.errors import OutboardError
from outboard.testing.conformance.findings import AgentReport
from outboard.testing.conformance.selection import Selection, Subject, select
from outboard.testing.conformance.suite import check_case, check_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be checked, in words.

    Attributes:
        specs: What was named.
        cases: Cases that were named.
        settings: Of the platforms.
        is_all: Everything installed, too.
        only: Starts of names of checks; empty means all.
    """

    specs: Sequence[str]
    cases: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]
    is_all: bool
    only: tuple[str, ...] = ()

    def select(self) -> Selection:
        """Return the subjects, the same in every process."""
        return select(self.specs, self.cases, self.settings, is_all=self.is_all)


def jobs_for(selection: Selection) -> int:
    """Return how many cases run best at once on this machine."""
    live = [subject for subject in selection.subjects if subject.case is not None]
    waits = any(not subject.case.is_virtual for subject in live if subject.case is not None)
    return max(1, min(len(live), (os.cpu_count() or 1) + waits))


def check_each(wanted: Wanted, selection: Selection, *, jobs: int) -> Iterator[AgentReport]:
    """Check every subject of a selection; yield the reports in its order, each as soon as it is there.

    Raises:
        OutboardError: A worker died.
    """
    if jobs == 1:
        for subject in selection.subjects:
            yield check_subject(subject, wanted.only)
        return
    context = multiprocessing.get_context("spawn")  # a copy of this process would begin with its threads' locks held
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(wanted,)) as workers:
        numbers = sorted(range(len(selection.subjects)), key=lambda number: _is_quick(selection.subjects[number]))
        made = {number: workers.submit(_check, number) for number in numbers}
        try:
            for number in range(len(selection.subjects)):
                yield made[number].result()
        except BrokenProcessPool:
            words = "a process that checked agents died; --jobs 1 checks one after the other in this one"
            raise OutboardError(words) from None
        finally:
            workers.shutdown(wait=False, cancel_futures=True)


def check_subject(subject: Subject, only: tuple[str, ...] = ()) -> AgentReport:
    """Check one agent, by its case where it has one."""
    if subject.case is None:
        return check_class(subject.agent, subject.instance)
    return check_case(replace(subject.case, checks=only) if only else subject.case)


def _is_quick(subject: Subject) -> bool:
    return subject.case is None or subject.case.is_virtual


_PRESENT: Final[dict[str, tuple[Wanted, Selection]]] = {}
"""In a worker: what it was begun with."""


def _begin(wanted: Wanted) -> None:
    _PRESENT["run"] = wanted, wanted.select()


def _check(number: int) -> AgentReport:
    wanted, selection = _PRESENT["run"]
    return check_subject(selection.subjects[number], wanted.only)
