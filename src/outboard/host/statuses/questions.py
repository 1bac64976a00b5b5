"""Questions: asking agents about their jobs, a page of them at a time.

Nothing is raised here: whatever goes wrong is the answer about every job of the page. But one job that its platform or its
agent stumbles over must not silence ninety-nine others for ever: a page that is refused, or that an agent's code breaks on,
is asked again in halves. Where both fail it is no single job's fault.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outboard.agent.agents import After, JobAgent, WatchingAgent
from outboard.domain.phases import Phase
from outboard.domain.statuses import Missing, Status, TaskStatus
from outboard.errors import (
    AgentFault,
    Forbidden,
    OperatorError,
    OutboardError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob
from outboard.host.sensors import SensorMemos
from outboard.host.statuses.lanes import Answer
from outboard.host.statuses.verdicts import pause_of, unexpected

_OF_ALL: Final = (Unavailable, Throttled, Unauthorized, Forbidden, OperatorError)
"""Errors that are no single job's."""


class Questions:
    """Asks agents where their jobs stand.

    Args:
        limit_s: How long one question may take.
    """

    def __init__(self, calls: Calls, memos: SensorMemos, limit_s: float) -> None:
        self._calls = calls
        self._memos = memos
        self._limit_s = limit_s

    async def ask(self, page: Sequence[LiveJob]) -> Mapping[LiveJob, Answer]:
        """Return what is said about jobs of one agent on one connection; never raises."""
        give_up = time.monotonic() + self._limit_s
        answers: dict[LiveJob, Answer] = {}
        found = await self._try(page)
        while isinstance(found, OutboardError):
            answers.update(dict.fromkeys(page, found))
            if len(page) == 1 or isinstance(found, _OF_ALL) or time.monotonic() > give_up:
                return answers
            halves = page[: len(page) // 2], page[len(page) // 2 :]
            tried = [(half, await self._try(half)) for half in halves]
            for _, said in tried:
                answers.update({} if isinstance(said, OutboardError) else said)
            failed = [(half, said) for half, said in tried if isinstance(said, OutboardError)]
            if len(failed) != 1:
                return answers
            page, found = failed[0]
        return {**answers, **found}

    async def _try(self, page: Sequence[LiveJob]) -> Mapping[LiveJob, Answer] | OutboardError:
        agent = page[0].agent
        try:
            if isinstance(agent, WatchingAgent):
                return {live: await self._poke(live) for live in page}
            if not isinstance(agent, JobAgent):
                return AgentFault(f"agent {agent.name} answers at once and has no jobs to report on")
            if not agent.is_batching:
                return {live: await self._get(live, agent) for live in page}
            return await self._get_many(page, agent)
        except OutboardError as error:
            return error
        except Exception as error:  # noqa: BLE001 - an engine counts failed polls over a job's life: there are none
            return unexpected(error)

    async def _get(self, live: LiveJob, agent: JobAgent[Any, Any, Any]) -> Answer:
        answer = await self._calls.about_job(live, "get", live.job, timeout_s=self._limit_s)
        if not isinstance(answer, (Status, Missing)):
            raise AgentFault(f"agent {agent.name} answered {type(answer).__name__} instead of a Status")
        return answer

    async def _get_many(self, page: Sequence[LiveJob], agent: JobAgent[Any, Any, Any]) -> Mapping[LiveJob, Answer]:
        jobs = {live.job.id: live.job for live in page if live.job is not None}
        answers = await self._calls.about_account(page[0], "get_many", list(jobs.values()), timeout_s=self._limit_s)
        if not isinstance(answers, Mapping):
            raise AgentFault(f"agent {agent.name} answered {type(answers).__name__} instead of statuses by job id")
        return {live: _checked(answers.get(live.job.id), agent) for live in page if live.job is not None}

    async def _poke(self, live: LiveJob) -> TaskStatus:
        if live.task is None:
            live.task = await self._memos.recall(live, self._limit_s)
        answer = await self._calls.about_job(live, "poke", live.task, timeout_s=self._limit_s)
        if answer is True:
            return TaskStatus(phase=Phase.SUCCEEDED, outputs={})
        pause = pause_of(answer.delay) if isinstance(answer, After) else None
        if pause is not None:
            live.rest_until = time.monotonic() + pause.total_seconds()
        elif answer is not False:
            kind = type(answer).__name__
            raise AgentFault(f"sensor {live.agent.name} answered {kind}; answer True, False or After(timedelta)")
        return TaskStatus(phase=Phase.RUNNING, message="not there yet", poll_after=pause)


def _checked(answer: object, agent: JobAgent[Any, Any, Any]) -> Answer:
    """Return the answer about one job of a batch; that there is none is no news."""
    if isinstance(answer, (Status, Missing, OutboardError)):
        return answer
    if answer is None:
        return Unavailable(f"{agent.platform.name} tells nothing of this job")
    return AgentFault(f"agent {agent.name} answered {type(answer).__name__} instead of a Status")
