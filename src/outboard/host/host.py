"""The host: owns agents and runs every operation on them.

The gRPC service and the local engine both enter here, so a task behaves the same in production and on a laptop. The
host itself only joins its parts; each rule of the promise has a room of its own:

===================  =======================================================
`exchange`           what calls to platforms go through
`requests`           what can be wrong with a task is found before anything is sent
`submissions`        a job is started once
`statuses`           only the platform's own word ends a job
`cancellations`      a cancel reaches the job, and is confirmed
`owed_cancels`       by another process, where this one ends before
`answers`            sync agents answer a terminal phase, always
`callbacks`          a platform may say that a job changed
`insights`           logs and metrics leave without secrets
`examination`        what an operator may ask, from `pings` of platforms to `inquiries` about a task
`outputs`            success needs proof
===================  =======================================================
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from typing_extensions import Self

from outboard.agent.registry import LoadFailure, Registry
from outboard.domain.endpoints import AgentInfo
from outboard.domain.handles import Handle
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import DrainingError, HandleError, SecretsUnavailable
from outboard.host.answers import Answers
from outboard.host.callbacks.callbacks import CallbackReceiver
from outboard.host.callbacks.hastening import Hastening
from outboard.host.cancellations.cancellations import Cancellations
from outboard.host.cancellations.owed_cancels import OwedCancels
from outboard.host.codecs import Codecs
from outboard.host.exchange import Exchange
from outboard.host.foreign import ForeignHandles
from outboard.host.insights import Insights
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.logs import TaskLog
from outboard.host.outputs import Outputs
from outboard.host.requests import Request, prepare
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.statuses.statuses import Statuses
from outboard.host.stores import Store, Stores
from outboard.host.submissions.late_answers import LateAnswers
from outboard.host.submissions.records import Records
from outboard.host.submissions.submissions import Submissions
from outboard.host.submissions.unclaimed import UnclaimedJobs
from outboard.host.tracing import open_tracing
from outboard.host.words import Words

if TYPE_CHECKING:
    from outboard.host.examination import Examination

_DRAIN_MARGIN_S: Final = 5.0
_SECRETS_S: Final = 1.0


class Host:
    """Runs the agents of a registry; an `outboard.domain.endpoints.Endpoint`.

    Args:
        registry: The agents.
        settings: What the operator decided.
        stores: The object stores; those that the environment gives access to when left out.

    >>> import asyncio
    >>> async def listed() -> int:
    ...     async with Host(Registry()) as host:
    ...         return len(await host.list_agents())
    >>> asyncio.run(listed())
    0
    """

    def __init__(
        self, registry: Registry, settings: HostSettings | None = None, *, stores: Store | None = None
    ) -> None:
        self.registry = registry
        self.settings = settings if settings is not None else HostSettings()
        self.redact = Redactor()
        for key in self.settings.service_keys:
            self.redact.learn(key.get_secret_value(), is_for_good=True)
        codecs = Codecs.of(self.settings)
        self.codec = codecs.handles
        self.stores: Store = stores if stores is not None else Stores()
        registry.each_platform(lambda platform: platform.hear_secrets(self.redact.learn))
        self._source = SecretSource(self.settings.secrets, self.redact)
        self.tracing = open_tracing(self.settings.tracing, self.redact.learn, self.redact)
        self._words = words = Words(self.redact)
        self._exchange = Exchange(self.settings, registry, self._source, words, self.tracing)
        self.accounts, calls = self._exchange.accounts, self._exchange.calls
        self._foreign = ForeignHandles(registry, self.codec, is_accepted=self.settings.accept_flytekit_handles)
        self._unclaimed = UnclaimedJobs()
        self._live_jobs = LiveJobs(
            registry, self._decode, self._source, words, self.settings.remembered, self._unclaimed
        )
        memos = SensorMemos(self.codec, self.stores)
        outputs = Outputs(calls, self.stores, words, self.settings.inline_limit_bytes)
        records = Records(self.stores, codecs.records, self.settings.records)
        self._answers = Answers(self.settings, calls, outputs, self.stores, words)
        claim = secrets.token_hex(8)
        self._owed = OwedCancels(
            self.stores, codecs.owed, claim, installation=self.settings.installation, records=self.settings.records
        )
        self._submissions = Submissions(
            self.settings,
            calls=calls,
            handles=self._foreign,
            records=records,
            stores=self.stores,
            live_jobs=self._live_jobs,
            memos=memos,
            late_answers=LateAnswers(self._answers, outputs, records, claim),
            unclaimed=self._unclaimed,
            claim=claim,
            words=words,
            prepare=self._prepare,
            look=self._look,
        )
        self._statuses = Statuses(
            self.settings, self._live_jobs, calls, outputs, memos, self._submissions, self.accounts, words
        )
        self._cancellations = Cancellations(
            self.settings, self._live_jobs, self._statuses, calls, self._submissions, self._owed
        )
        self._insights = Insights(self._live_jobs, calls, self.redact)
        self._records, self._memos = records, memos
        self._examination: Examination | None = None
        self._hastening = Hastening(self._statuses.hasten)
        self.callbacks = CallbackReceiver(registry, self._source, self.hasten)
        self._is_draining = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def failures(self) -> Sequence[LoadFailure]:
        """What could not be loaded."""
        return self.registry.failures

    async def list_agents(self) -> Sequence[AgentInfo]:
        """Return what is served here."""
        self._owed.learn()  # engines list every some seconds: a process that nobody else asks reads what is owed as well
        return self.registry.listed()

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Start the task's job and return its handle.

        Where that takes longer than a second, or a third of `timeout_s`, the handle is an intent, and the job is started
        behind it; where the platform refuses, the handle tells so. The job is started although the caller gives up:
        asking again under the same identity and output prefix, here or elsewhere, returns its handle.

        Raises:
            TaskError: The task cannot run as it was sent.
            AgentFault: The agent's own code broke before anything was sent.
            OperatorError: A secret is missing, or this process is shutting down.
        """
        self._refuse_when_draining()
        request, left_s = await self._ready(task, timeout_s)
        handle = await self._submissions.submit(request, left_s)
        self._live_jobs.provide(handle, task.provided)
        return self._foreign.native(handle)

    async def get_task(
        self,
        handle: bytes,
        *,
        task_type: TaskType | None = None,
        output_prefix: str = "",
        timeout_s: float | None = None,
        provided: Provided = NOTHING,
    ) -> TaskStatus:
        """Return where the task stands; `ForeignHandle` is the only error.

        Args:
            handle: What `create_task` returned.
            task_type: As the engine names it.
            output_prefix: As the engine names it.
            timeout_s: The caller's deadline.
            provided: What the engine provided with this request; it takes the place of what it provided before.
        """
        bound = self._foreign.bound(handle, task_type, output_prefix)
        self._live_jobs.provide(bound, provided)
        return await self._statuses.status(bound, timeout_s)

    def keeps_native(self, task_type: TaskType) -> bool:
        """Tell whether engines keep a hosted connector's own bytes for jobs of a task type; those do not say whose they are."""
        return bool(self.registry.readers(task_type))

    def reads(self, handle: bytes, task_type: TaskType) -> bool:
        """Tell whether an agent here reads a handle."""
        try:
            self._foreign.decode(self._foreign.bound(handle, task_type))
        except HandleError:
            return False
        return True

    def recall_task(self, handle: bytes) -> TaskStatus | None:
        """Return what `get_task` would answer from memory, without its price; None when it would have to ask."""
        return self._statuses.recall(handle)

    def hasten(self, agent_name: str, job_ids: Sequence[str]) -> int:
        """Ask about jobs at once, since their platform called back; return how many of them are alive here.

        Only jobs of agents that take callbacks are found by their ids.
        """
        return self._hastening.hasten(agent_name, job_ids)

    async def delete_task(
        self,
        handle: bytes,
        *,
        task_type: TaskType | None = None,
        timeout_s: float | None = None,
        provided: Provided = NOTHING,
        collects_garbage: bool = False,
    ) -> None:
        """Cancel the task's job; finished work is untouched. See `Cancellations.cancel`, and `get_task` for `provided`."""
        bound = self._foreign.bound(handle, task_type)
        self._live_jobs.provide(bound, provided)
        await self._cancellations.cancel(bound, timeout_s, collects_garbage=collects_garbage)

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Run a task of a sync agent and return its terminal status.

        Raises:
            TaskError: The task cannot run as it was sent.
        """
        self._refuse_when_draining()
        request, left_s = await self._ready(task, timeout_s)
        return await self._answers.answer(request, left_s)

    def task_logs(
        self,
        handle: bytes,
        *,
        task_type: TaskType | None = None,
        cursor: str | None = None,
        limit: int = 0,
    ) -> AsyncIterator[LogPage]:
        """Stream what the job's log holds now after `cursor`, at most `limit` lines (0: all)."""
        return self._insights.logs(self._foreign.bound(handle, task_type), cursor=cursor, limit=limit)

    async def task_metrics(
        self,
        handle: bytes,
        *,
        task_type: TaskType | None = None,
        names: Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[MetricSeries]:
        """Return metrics of the job; no names means all."""
        return await self._insights.metrics(self._foreign.bound(handle, task_type), names=names, start=start, end=end)

    @property
    def examination(self) -> Examination:
        """What an operator may ask: made when somebody does."""
        if self._examination is None:
            self._examination = self._examine()
        return self._examination

    async def drain(self) -> None:
        """Take no new work and wait for what is in flight; status, cancel and logs go on being answered."""
        self._is_draining = True
        await self._cancellations.hand_back()  # first: a process is not always given the time to end in order
        # Every flight has a limit of its own; this one is for agents that swallow their cancellation.
        patience_s = self.settings.submission_limit.total_seconds() + _DRAIN_MARGIN_S
        left = await self._submissions.drain(patience_s)
        left += await self._answers.drain(patience_s)
        await self._cancellations.drain(patience_s)
        if left:
            TaskLog().error("work did not end in time and is given up", left=left)

    async def close(self) -> None:
        """Drain, stop watching cancels, close all clients."""
        await self.drain()
        self._hastening.close()
        for room in (self._submissions, self._answers, self._cancellations, self._statuses, self._unclaimed):
            await room.close()
        await self._exchange.close()
        await self._source.close()
        if self._examination is not None:
            self._examination.close()
        if self.tracing is not None:
            await self.tracing.close()

    def _examine(self) -> Examination:
        from outboard.host.examination import Examination  # noqa: PLC0415 - nobody asks most services
        from outboard.host.inquiries import Inquiries  # noqa: PLC0415 - same
        from outboard.host.pings import Pings  # noqa: PLC0415 - same

        inquiries = Inquiries(
            self.registry, self._foreign, self._source, self._exchange.calls, self._records, self._memos, self._words
        )
        pings = Pings(self._exchange.clients, self._source, self.accounts, self._words)
        return Examination(self.registry, self._source, pings, inquiries)

    async def _look(self, live: LiveJob) -> bool:
        return await self._statuses.look(live)

    def _decode(self, encoded: bytes) -> Handle:
        handle = self._foreign.decode(encoded)
        self._owed.learn(handle.output_prefix)
        return handle

    def _prepare(self, task: RawTask) -> Request:
        self._owed.learn(task.output_prefix)
        return prepare(
            task,
            registry=self.registry,
            source=self._source,
            words=self._words,
            installation=self.settings.installation,
            codec=self.codec,
        )

    async def _ready(self, task: RawTask, timeout_s: float | None) -> tuple[Request, float | None]:
        """Return the request that a task stands for, and what its caller has left.

        That a secret is nowhere is told while somebody hears it.
        """
        began = time.monotonic()
        request = self._prepare(task)
        if request.secrets.is_remote:
            with suppress(SecretsUnavailable):  # it is asked again before the agent is called
                await request.secrets.fetch(_SECRETS_S if timeout_s is None else min(_SECRETS_S, timeout_s / 3))
        return request, None if timeout_s is None else timeout_s - (time.monotonic() - began)

    def _refuse_when_draining(self) -> None:
        if self._is_draining:
            raise DrainingError("this process is shutting down and takes no new tasks; another replica will")
