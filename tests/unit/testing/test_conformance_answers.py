"""Sync agents and sensors: right ones pass, and each wrong one is found."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from outboard.agent import Agent, Connection, Context, Platform, Sensor, SyncAgent, Task, TaskConfig, TaskType
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.errors import Rejected
from outboard.testing.conformance import Case, Outcome, Site, StandIn, check_case
from unit.testing.conformance_cases import failed

ANSWER = Interface(outputs={"answer": SimpleType.INTEGER})


class Asked(TaskConfig):
    is_there: bool = True


class Answering(SyncAgent[Asked, None]):
    name = "answering"
    task_types = (TaskType("answering"),)

    async def do(self, task: Task[Asked], ctx: Context[None]) -> Mapping[str, Any]:
        if not task.config.is_there:
            raise Rejected("there is no answer to this")
        return {"answer": 42}


class AnswersNonsense(Answering):
    name = "answers_nonsense"

    async def do(self, task: Task[Asked], ctx: Context[None]) -> Mapping[str, Any]:
        return {"other": "text"}


class NeverGivesUp(Answering):
    name = "never_gives_up"

    async def do(self, task: Task[Asked], ctx: Context[None]) -> Mapping[str, Any]:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3_600)


class Looking(Sensor[Asked, None]):
    name = "looking"
    task_types = (TaskType("looking"),)

    async def poke(self, task: Task[Asked], ctx: Context[None]) -> bool:
        return task.config.is_there


class SeesNothing(Looking):
    name = "sees_nothing"

    async def poke(self, task: Task[Asked], ctx: Context[None]) -> bool:
        return False


class SeesGhosts(Looking):
    name = "sees_ghosts"

    async def poke(self, task: Task[Asked], ctx: Context[None]) -> bool:
        return True


def case_of(agent: type[Agent], *checks: str) -> Case:
    class One(Platform[Connection, None]):
        name = "one"

        def agents(self) -> list[Agent]:
            return [agent(self)]

    kind = agent.task_types[0].name
    interface = ANSWER if agent.is_sync else Interface()

    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        absent: RawTask = Task(type=kind, config={"is_there": False}, interface=interface)
        yield StandIn(platform=One, quick=Task(type=kind, config={}, interface=interface), long=absent, failing=absent)

    return Case(agent, stand_in, checks=checks)


@pytest.mark.parametrize("agent", [Answering, Looking])
def test_agents_without_jobs_pass(agent: type[Agent]) -> None:
    report = check_case(case_of(agent))
    assert failed(report) == {}
    assert report.having(Outcome.NOT_RUN) == []


@pytest.mark.parametrize(
    ("agent", "check", "words"),
    [
        (AnswersNonsense, "runs/succeeds", "ended as FAILED"),
        (NeverGivesUp, "deadlines/kept", ""),
        (SeesNothing, "runs/succeeds", "the task did not end"),
        (SeesGhosts, "unreachable/waits", "although nothing is there"),
    ],
)
def test_what_is_wrong_with_them_is_found(agent: type[Agent], check: str, words: str) -> None:
    assert words in failed(check_case(case_of(agent, check)))[check].message
