"""A gallery of agents, each wrong in exactly one way; the suite must find every one of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from outboard.agent import (
    AccountContext,
    AsyncAgent,
    Connection,
    Context,
    ErrorMap,
    JobRef,
    Key,
    Missing,
    Named,
    Phase,
    SecretRef,
    StateMap,
    Status,
    Submission,
    Task,
    TaskConfig,
    TaskType,
    Token,
    Verdict,
    failed,
    succeeded,
)
from outboard.domain.states import Reading
from outboard.errors import AgentError, Rejected, Sent, Unavailable
from outboard.testing.job_agents import (
    STATE_MAP,
    BatchingAgent,
    FindableTokenAgent,
    JobConfig,
    LedgerJobRef,
    LookupAgent,
    NamedAgent,
    request_fields,
    status_of,
)
from outboard.testing.ledger_agents import LedgerPlatform
from outboard.testing.ledger_client import JobApi

WRONG = (TaskType("wrong"),)
SECRET = SecretRef("password")


class CreatesTwice(NamedAgent):
    name = "creates_twice"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        with contextlib.suppress(AgentError):
            await ctx.client.create(name=f"{ctx.key.name()}-warm-up", **request_fields(task, ctx))
        return await super().create(task, ctx)


class IgnoresTheKey(FindableTokenAgent):
    name = "ignores_the_key"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        view = await ctx.client.create(token=secrets.token_hex(16), **request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class RetriesByItself(LookupAgent):
    name = "retries_by_itself"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        try:
            return await super().create(task, ctx)
        except (EOFError, ConnectionError):
            return await super().create(task, ctx)


class HasOneJobForAll(NamedAgent):
    name = "has_one_job_for_all"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        with contextlib.suppress(AgentError):
            await ctx.client.create(name="the-job", **request_fields(task, ctx))
        return LedgerJobRef(id="the-job")


class RefusesItsOwnName(NamedAgent):
    name = "refuses_its_own_name"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        await ctx.client.create(name=ctx.key.name(), **request_fields(task, ctx))
        return LedgerJobRef(id=ctx.key.name())


class ChangesItsTask(NamedAgent):
    name = "changes_its_task"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        task.config.outputs["seen"] = 1  # type: ignore[index]  # that is what is wrong
        return await super().create(task, ctx)


class RemembersJobs(NamedAgent):
    """Its jobs are known to the replica that started them only."""

    name = "remembers_jobs"
    task_types = WRONG

    def __init__(self, platform: Any) -> None:
        super().__init__(platform)
        self._names: dict[str, str] = {}

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        job = await super().create(task, ctx)
        self._names["1"] = job.id
        return LedgerJobRef(id="1")

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        return await super().get(LedgerJobRef(id=self._names[job.id]), ctx)


class FindsEverything(NamedAgent):
    name = "finds_everything"
    task_types = WRONG

    async def find(self, task: Task[JobConfig], key: Key, ctx: Context[JobApi]) -> Sequence[LedgerJobRef]:
        ledger = ctx.client.ledger  # type: ignore[attr-defined]  # the client in process has it
        return [LedgerJobRef(id=job_id) for job_id in ledger.jobs] or [LedgerJobRef(id="job-0")]


class FindsNothing(NamedAgent):
    name = "finds_nothing"
    task_types = WRONG

    async def find(self, task: Task[JobConfig], key: Key, ctx: Context[JobApi]) -> Sequence[LedgerJobRef]:
        return []


class WaitsForTheEnd(NamedAgent):
    name = "waits_for_the_end"
    task_types = WRONG

    async def cancel(self, job: LedgerJobRef, ctx: Context[JobApi]) -> None:
        await super().cancel(job, ctx)
        while (view := await ctx.client.get(job.id)) is not None and view.state == "CANCELLING":  # noqa: ASYNC110 - that is what is wrong
            await asyncio.sleep(1)


class CancelsNothing(NamedAgent):
    name = "cancels_nothing"
    task_types = WRONG

    async def cancel(self, job: LedgerJobRef, ctx: Context[JobApi]) -> None:
        pass


class DeletesFinishedJobs(NamedAgent):
    name = "deletes_finished_jobs"
    task_types = WRONG

    async def cancel(self, job: LedgerJobRef, ctx: Context[JobApi]) -> None:
        await super().cancel(job, ctx)
        ctx.client.ledger.forget(job.id)  # type: ignore[attr-defined]  # the client in process has it


class AnswersDicts(NamedAgent):
    name = "answers_dicts"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        return {"state": "RUNNING"}  # type: ignore[return-value]  # that is what is wrong


class AnswersStates(NamedAgent):
    """It answers states as nobody documents them."""

    name = "answers_states"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        status = await super().get(job, ctx)
        return Status(state=f"JOB_STATE_{status.state}") if isinstance(status, Status) else status


class RaisesForMissing(NamedAgent):
    name = "raises_for_missing"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        view = await ctx.client.get(job.id)
        if view is None:
            raise Rejected("no such job")
        return status_of(view)


class AnswersForStrangers(BatchingAgent):
    name = "answers_for_strangers"
    task_types = WRONG

    async def get_many(
        self, jobs: Sequence[LedgerJobRef], ctx: AccountContext[JobApi]
    ) -> Mapping[str, Status | Missing | AgentError]:
        return {f"jobs/{name}": status for name, status in (await super().get_many(jobs, ctx)).items()}


class GuessesSuccess(NamedAgent):
    """What it cannot reach must be over."""

    name = "guesses_success"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        try:
            return await super().get(job, ctx)
        except Exception:  # noqa: BLE001 - that is what is wrong
            return Status(state="FAILED", message="gone")


class AnswersFromMemory(NamedAgent):
    name = "answers_from_memory"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        try:
            return await super().get(job, ctx)
        except Exception:  # noqa: BLE001 - that is what is wrong
            return Status(state="RUNNING")


class LacksAState(NamedAgent):
    """Its table knows nothing of LOST, the state of the failing task."""

    name = "lacks_a_state"
    task_types = WRONG
    states = StateMap(
        {
            "QUEUED": Phase.QUEUED,
            "RUNNING": Phase.RUNNING,
            "CANCELLING": Phase.RUNNING,
            "CANCELLED": failed(),
            "SUCCEEDED": succeeded(),
            "FAILED": failed(),
        },
        documented=frozenset({"SUCCEEDED", "FAILED"}),
        source="memory",
    )


class NeverSucceeds(NamedAgent):
    name = "never_succeeds"
    task_types = WRONG
    states = StateMap({"FAILED": failed()}, documented=frozenset({"FAILED"}), source="memory")


class _Hopeful(StateMap):
    def read(self, state: Any) -> Reading:
        found = super().read(state)
        return Reading(Phase.SUCCEEDED, is_flagged=True) if found.is_flagged else found


class HopesForTheBest(NamedAgent):
    name = "hopes_for_the_best"
    task_types = WRONG
    states = _Hopeful(
        {"SUCCEEDED": succeeded(), "FAILED": failed()},
        documented=frozenset({"SUCCEEDED", "FAILED"}),
        source="memory",
    )


class SucceedsWhenCancelled(NamedAgent):
    name = "succeeds_when_cancelled"
    task_types = WRONG
    states = StateMap(
        {
            "QUEUED": Phase.QUEUED,
            "RUNNING": Phase.RUNNING,
            "CANCELLING": Phase.RUNNING,
            "CANCELLED": succeeded(),
            "SUCCEEDED": succeeded(),
            "FAILED": failed(),
            "LOST": failed(),
        },
        documented=STATE_MAP.documented,
        source="memory",
    )

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        status = await super().get(job, ctx)
        return Status(state=status.state, outputs={"answer": 1}) if isinstance(status, Status) else status


def _nap() -> None:
    time.sleep(2)


class Blocks(NamedAgent):
    """It blocks where a look at its methods does not show it."""

    name = "blocks"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        _nap()
        return await super().get(job, ctx)


class BlocksForEver(NamedAgent):
    name = "blocks_for_ever"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        threading.Event().wait()
        return await super().create(task, ctx)


class CallsWhatBlocks(NamedAgent):
    name = "calls_what_blocks"
    task_types = WRONG

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        time.sleep(0)  # noqa: ASYNC251 - that is what is wrong
        return await super().get(job, ctx)


class OutlivesItsDeadline(NamedAgent):
    name = "outlives_its_deadline"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        while True:
            try:
                return await super().create(task, ctx)
            except asyncio.CancelledError:
                await asyncio.sleep(1_000)


class NotedJob(JobRef):
    note: str = ""


class _Noting(AsyncAgent[JobConfig, NotedJob, JobApi], abstract=True):
    submission = Named()
    states = STATE_MAP
    poll_interval = timedelta(0)
    secrets = (SECRET,)

    async def get(self, job: NotedJob, ctx: Context[JobApi]) -> Status | Missing:
        view = await ctx.client.get(job.id)
        return Missing() if view is None else status_of(view)

    async def cancel(self, job: NotedJob, ctx: Context[JobApi]) -> None:
        await ctx.client.cancel(job.id)

    async def fetch_outputs(self, job: NotedJob, ctx: Context[JobApi]) -> Mapping[str, Any]:
        return await ctx.client.fetch(job.id)

    async def started(self, task: Task[JobConfig], ctx: Context[JobApi], note: str) -> NotedJob:
        with contextlib.suppress(AgentError):
            await ctx.client.create(name=ctx.key.name(), **request_fields(task, ctx))
        return NotedJob(id=ctx.key.name(), note=note)


class KeepsItsSecret(_Noting):
    """Its job holds the value of a secret."""

    name = "keeps_its_secret"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> NotedJob:
        return await self.started(task, ctx, ctx.secrets[SECRET].get_secret_value())


class LogsItsSecret(_Noting):
    name = "logs_its_secret"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> NotedJob:
        logging.getLogger("some.sdk").warning("login with %s", ctx.secrets[SECRET].get_secret_value())
        return await self.started(task, ctx, "")


class GivesItsSecret(_Noting):
    """Its outputs hold the value of a secret, in a text that is too long for the host to look through."""

    name = "gives_its_secret"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> NotedJob:
        return await self.started(task, ctx, "")

    async def fetch_outputs(self, job: NotedJob, ctx: Context[JobApi]) -> Mapping[str, Any]:
        return {"text": "." * 300_000 + ctx.secrets[SECRET].get_secret_value()}


class KeepsTooMuch(_Noting):
    name = "keeps_too_much"
    task_types = WRONG

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> NotedJob:
        return await self.started(task, ctx, "x" * 200)


class LooksAround(NamedAgent):
    """Its connection depends on a file."""

    name = "looks_around"
    task_types = WRONG

    def connection(self, task: Task[JobConfig]) -> Connection:
        Path(__file__).read_text()
        return super().connection(task)


class MovesAround(NamedAgent):
    """Its connection is another one each time."""

    name = "moves_around"
    task_types = WRONG
    _numbers = itertools.count()

    def connection(self, task: Task[JobConfig]) -> Connection:
        return super().connection(task).model_copy(update={"region": f"zone-{next(self._numbers)}"})


class ForgetfulToken(FindableTokenAgent):
    name = "forgetful_token"
    task_types = WRONG
    submission = Token(valid_for=timedelta(seconds=10))


class BatchesNothing(NamedAgent):
    name = "batches_nothing"
    task_types = WRONG
    batch_size = 50


class DropsTypos(TaskConfig):
    model_config: ClassVar[Any] = {**TaskConfig.model_config, "extra": "ignore"}


class TakesASecret(TaskConfig):
    api_key: str = ""


class _Idle:
    """The methods of an agent that starts nothing."""

    submission: ClassVar[Submission] = Named()
    states: ClassVar[StateMap] = STATE_MAP
    task_types: ClassVar[Sequence[TaskType]] = WRONG

    async def create(self, task: Task[Any], ctx: Context[None]) -> Any:
        return NewJob(id=ctx.key.name(), zone="a")

    async def get(self, job: JobRef, ctx: Context[None]) -> Status | Missing:
        return Status(state="RUNNING")

    async def cancel(self, job: JobRef, ctx: Context[None]) -> None:
        pass


class DropsTyposAgent(_Idle, AsyncAgent[DropsTypos, JobRef, None]):
    name = "drops_typos"


class TakesASecretAgent(_Idle, AsyncAgent[TakesASecret, JobRef, None]):
    name = "takes_a_secret"


class Careful(NamedAgent):
    """Nothing is wrong with it; its platform's error map is."""

    name = "careful"
    task_types = WRONG


class CarefulLookup(LookupAgent):
    """Nothing is wrong with it; its platform's error map is."""

    name = "careful_lookup"
    task_types = WRONG


class NotSentPlatform(LedgerPlatform):
    """Its error map calls a lost reply "not sent"."""

    errors = ErrorMap({EOFError: Verdict(Unavailable, Sent.NO), ConnectionResetError: Verdict(Unavailable, Sent.NO)})


class FinalPlatform(LedgerPlatform):
    """Its error map calls an expired login final."""

    errors = ErrorMap({401: Rejected})


class NewJob(JobRef):
    handle_version = 2
    zone: str


class Upgraded(_Idle, AsyncAgent[JobConfig, NewJob, None]):
    """Its jobs were raised to version 2, with a field that older ones lack."""

    name = "upgraded"
