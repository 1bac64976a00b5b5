"""Checks: a name that never changes, what it is asked of, and the function that makes it.

A check passes by returning, fails by raising `Broken`, and raises `NotRun` where it does not apply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import partial
from typing import TypeAlias

from outboard.agent import Agent
from outboard.agent.agents import AnsweringAgent, JobAgent
from outboard.testing.conformance.findings import Broken, NotRun
from outboard.testing.conformance.stages import Stage
from outboard.testing.faults import FAULTS, Fault

LiveCheck: TypeAlias = Callable[[Stage], Awaitable[None]]


class Kind(Flag):
    """Kinds of agents."""

    JOBS = auto()
    ANSWERS = auto()
    SENSORS = auto()
    ALL = JOBS | ANSWERS | SENSORS


def kind_of(agent: type[Agent]) -> Kind:
    """Return of which kind an agent class is."""
    if issubclass(agent, JobAgent):
        return Kind.JOBS
    return Kind.ANSWERS if issubclass(agent, AnsweringAgent) else Kind.SENSORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One live check.

    Attributes:
        name: `group` or `group/variant`.
        run: Makes it, on a stage of its own.
        kinds: What it is asked of.
        needs_virtual_time: It would take hours otherwise, or kills replicas at every step.
        kills: A replica dies in it, and leaves open what it had open.
        parts: The same in parts that do not need each other, made in its place in real time: each on a stage of its own,
            several at once, so that what one fault leaves behind (a throttle that recovers) does not slow the next.
    """

    name: str
    run: LiveCheck
    kinds: Kind = Kind.JOBS
    needs_virtual_time: bool = False
    kills: bool = False
    parts: tuple[LiveCheck, ...] = ()


def under_faults(
    name: str,
    run: Callable[[Mapping[str, Fault], Stage], Awaitable[None]],
    *,
    in_real_time: Mapping[str, Fault] = FAULTS,
    kinds: Kind = Kind.JOBS,
) -> Check:
    """Return a check that goes through every fault of the kit, in real time each in a part of its own."""
    parts = tuple(partial(run, {each: fault}) for each, fault in in_real_time.items())
    return Check(name=name, run=partial(run, FAULTS), kinds=kinds, parts=parts)


async def sets_up(_stage: Stage) -> None:
    """The stand-in can be set up, and its platform has the agent; always made."""


def needs(value: object, what: str) -> None:
    """Raise `NotRun` where a stand-in lacks something."""
    if value is None:
        raise NotRun(f"the case's stand-in has no `{what}`; give it one")


def one_job(count: int, remedy: str, *, least: int = 1) -> None:
    """Raise `Broken` unless the platform has one job."""
    if count > 1:
        raise Broken(f"the platform has {count} jobs for one task", remedy)
    if count < least:
        raise Broken("the task was started, and the platform has no job", "let `jobs` of the case return every job")
