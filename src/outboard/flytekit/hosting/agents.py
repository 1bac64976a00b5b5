"""Agents made of connectors: what the host asks an agent for, asked of a connector that knows nothing of it.

All run as blocking agents, in a bounded pool of threads for each connector; what is `async def` runs on a loop of the connector's
own (`loops`), with such a thread waiting for it. So whatever a connector does, it does it to itself alone. A create is never
cut short: nobody could tell whether it took effect.

A connector answers phases. They are taken as its platform's states: one that is no phase (UNDEFINED, None), and a state that
flytekit's `convert_to_flyte_phase` refuses to convert, is a state that nobody knows: the job is still running, and flagged.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from flyteidl.core import execution_pb2

from outboard.agent.agents import BlockingAgent, BlockingSyncAgent, OutputSource
from outboard.agent.config import TaskConfig
from outboard.agent.context import Context
from outboard.agent.jobs import Connection
from outboard.agent.submission import Nothing
from outboard.domain.phases import Phase
from outboard.domain.states import StateMap, failed, succeeded
from outboard.domain.statuses import Cause, Failure, Link, LogPage, MetricSeries, Status
from outboard.domain.tasks import Task, TaskType
from outboard.errors import AgentFault, Forbidden, OutboardError, Rejected, Retry, Sent, Unsupported
from outboard.flytekit.hosting.dialects import Dialect
from outboard.flytekit.hosting.loops import ConnectorLoop
from outboard.flytekit.hosting.natives import HostedJob, Metas
from outboard.flytekit.hosting.pages import make_page, read_cursor
from outboard.flytekit.hosting.settings import HostingSettings
from outboard.wire.metrics import decode_metrics

if TYPE_CHECKING:
    from outboard.flytekit.hosting.platforms import HostedPlatform

_PHASES: Final = StateMap(
    {
        "QUEUED": Phase.QUEUED,
        "WAITING_FOR_RESOURCES": Phase.WAITING_FOR_RESOURCES,
        "INITIALIZING": Phase.INITIALIZING,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDED": succeeded(),
        "FAILED": failed(),
        "RETRYABLE_FAILED": failed(),
        "ABORTED": failed(),
    },
    documented=frozenset(execution_pb2.TaskExecution.Phase.keys()) - {"UNDEFINED"},
    source="flyteidl/core/execution.proto",
)
_ENDS: Final = {
    "FAILED": Failure(code="FAILED"),
    "RETRYABLE_FAILED": Failure(code="RETRYABLE_FAILED", retry=Retry.YES, cause=Cause.PLATFORM),
    "ABORTED": Failure(code="ABORTED", cause=Cause.CANCELLED_OUTSIDE),
}
_CONVERTER: Final = "convert_to_flyte_phase"
_UNKNOWN: Final = "UNDEFINED"
_MARGIN: Final = 0.95
"""Of a call's time: its thread gives up before the host does, and is not counted as hanging."""


class HostedConfig(TaskConfig):
    """A task's configuration, of which nothing is known here."""

    def unknown_fields(self, limit: int | None = None) -> dict[str, str | None]:  # noqa: ARG002 - nothing is known
        """Return nothing: the connector reads what it knows."""
        return {}


class Caller:
    """Calls one connector's methods from a thread of its pool.

    Args:
        connector: The connector.
        dialect: Its SDK's.
        settings: The operator's.
    """

    def __init__(self, connector: Any, dialect: Dialect, settings: HostingSettings) -> None:
        self.connector = connector
        self.name = str(connector.name)
        self.dialect = dialect
        self.loop = ConnectorLoop(self.name)
        self.is_sync = not hasattr(connector, "create")
        self.metas: Metas | None = None
        if not self.is_sync:
            accepts = settings.accept_pickled_handles
            self.metas = Metas(self.name, connector.metadata_type, dialect.plain_meta, accepts_pickles=accepts)

    def call(self, method: str, timeout_s: float | None, arguments: dict[str, Any]) -> Any:
        """Return what a method comes to, however it is written: plain, `async def`, or plain and returning a coroutine.

        Of one that yields it is a list.
        """
        function: Callable[..., Any] = getattr(self.connector, method)
        made = function(**arguments)
        if inspect.isasyncgen(made):
            made = _collected(made)
        return self.loop.run(made, timeout_s) if inspect.isawaitable(made) else made

    def wait(self, work: Awaitable[Any], timeout_s: float | None) -> Any:
        """Return what a coroutine of ours comes to, on the connector's loop."""
        return self.loop.run(work, timeout_s)

    def status(self, resource: Any, timeout_s: float) -> Status:
        """Return what a connector's Resource says."""
        if not hasattr(resource, "phase"):
            raise AgentFault(f"connector {self.name} answered {type(resource).__name__} instead of a Resource")
        state, message = _state(resource.phase), str(resource.message or "")
        failure = _ENDS.get(state)
        if failure is not None:
            failure = replace(failure, message=message)
        outputs = None
        if state == "SUCCEEDED":
            try:
                outputs = self.wait(self.dialect.outputs(resource.outputs), timeout_s)
            except (TypeError, ValueError, AssertionError) as error:
                # The job is over, and asking again would find the same values.
                state, message = "FAILED", f"connector {self.name} returned outputs that are no literals: {error}"
                failure = Failure(code="InvalidOutputs", message=message, cause=Cause.PLATFORM)
        return Status(
            state=state,
            message=message,
            links=[Link(name=each.name or each.uri, url=each.uri) for each in resource.log_links or ()],
            outputs=outputs,
            failure=failure,
            custom_info=resource.custom_info or None,
        )


class HostedAgent(BlockingAgent[HostedConfig, HostedJob, None], abstract=True):
    """An agent made of a connector that starts jobs."""

    submission = Nothing()
    outputs = OutputSource.EITHER
    states = _PHASES
    native_handles = True

    def __init__(self, platform: HostedPlatform, caller: Caller) -> None:
        super().__init__(platform)
        self.caller = caller

    @property
    def metas(self) -> Metas:
        """Reads the connector's handles."""
        if self.caller.metas is None:
            raise AgentFault(f"connector {self.name} answers at once and has no jobs")
        return self.caller.metas

    def connection(self, task: Task[Any]) -> Connection:
        """Return the one connection there is; refuses tasks whose job nobody could follow."""
        if self.metas.is_refused:
            raise Forbidden(self.metas.remedy, sent=Sent.NO)
        return super().connection(task)

    def read_native(self, encoded: bytes) -> HostedJob | None:
        """See `JobAgent.read_native`."""
        return HostedJob.of(encoded) if self.metas.reads(encoded) else None

    def create(self, task: Task[HostedConfig], ctx: Context[None]) -> HostedJob:
        """Start the job, and return it by the connector's own bytes."""
        arguments = self.caller.wait(self.caller.dialect.arguments(task, ctx.provided), ctx.timeout_s * _MARGIN)
        meta = self.caller.call("create", None, arguments)
        try:
            return HostedJob.of(self.metas.encode(meta))
        except OutboardError as error:
            # The job runs, but nobody could ever follow it: stop it rather than forget it.
            self._delete(meta, ctx)
            raise Rejected(error.message) from error

    def get(self, job: HostedJob, ctx: Context[None]) -> Status:
        """Return what the connector says of the job."""
        timeout_s = ctx.timeout_s * _MARGIN
        try:
            resource = self.caller.call("get", timeout_s, self._about(job, ctx))
        except ValueError as error:
            state = _unrecognized(error)
            if state is None:
                raise
            return Status(state=state, message=f"connector {self.name} does not know this state")
        return self.caller.status(resource, max(1.0, ctx.timeout_s * _MARGIN))

    def cancel(self, job: HostedJob, ctx: Context[None]) -> None:
        """Have the connector delete the job."""
        self.caller.call("delete", ctx.timeout_s * _MARGIN, self._about(job, ctx))

    def logs(self, job: HostedJob, ctx: Context[None], *, cursor: str | None, limit: int) -> LogPage:
        """Return lines of what the connector's `get_logs` returns or yields."""
        skipped, token = read_cursor(cursor)
        arguments = {"resource_meta": self.metas.decode(job.native()), **self.caller.dialect.log_arguments(token)}
        try:
            messages = self.caller.call("get_logs", ctx.timeout_s * _MARGIN, arguments)
        except NotImplementedError:
            raise Unsupported(f"connector {self.name} offers no logs") from None
        return make_page(messages if isinstance(messages, list) else [messages], skipped, token, limit)

    def metrics(
        self,
        job: HostedJob,
        ctx: Context[None],
        *,
        names: Sequence[str],
        start: datetime | None,  # noqa: ARG002 - connectors are not told
        end: datetime | None,  # noqa: ARG002 - same
    ) -> Sequence[MetricSeries]:
        """Return what the connector's `get_metrics` returns, which is asked for neither names nor times."""
        from flyteidl.admin import agent_pb2  # noqa: PLC0415 - with its use

        try:
            arguments = {"resource_meta": self.metas.decode(job.native())}
            answer = self.caller.call("get_metrics", ctx.timeout_s * _MARGIN, arguments)
        except NotImplementedError:
            raise Unsupported(f"connector {self.name} offers no metrics") from None
        read = agent_pb2.GetTaskMetricsResponse.FromString(answer.SerializeToString())
        return [each for each in decode_metrics(read.results) if not names or each.name in names]

    def _about(self, job: HostedJob, ctx: Context[None]) -> dict[str, Any]:
        return {
            **self.caller.dialect.provided_arguments(ctx.provided),
            "resource_meta": self.metas.decode(job.native()),
        }

    def _delete(self, meta: Any, ctx: Context[None]) -> None:
        try:
            arguments = {**self.caller.dialect.provided_arguments(ctx.provided), "resource_meta": meta}
            self.caller.call("delete", max(1.0, ctx.timeout_s), arguments)
        except Exception as error:  # noqa: BLE001 - why the job cannot be followed is what counts
            ctx.log.error("job left running that nobody follows", error=type(error).__name__)  # noqa: TRY400 - no tracebacks


class HostedSyncAgent(BlockingSyncAgent[HostedConfig, None], abstract=True):
    """An agent made of a connector that answers at once."""

    def __init__(self, platform: HostedPlatform, caller: Caller) -> None:
        super().__init__(platform)
        self.caller = caller

    def do(self, task: Task[HostedConfig], ctx: Context[None]) -> Any:
        """Return the connector's answer as a status; one that is no end is a failure."""
        arguments = self.caller.wait(self.caller.dialect.arguments(task, ctx.provided), ctx.timeout_s * _MARGIN)
        del arguments["task_execution_metadata"]  # flytekit's service does not pass it to `do` either
        status = self.caller.status(self.caller.call("do", ctx.timeout_s * _MARGIN, arguments), ctx.timeout_s)
        if status.failure is None and status.state != "SUCCEEDED":
            raise AgentFault(f"connector {self.name} answered phase {status.state}, which is no end of a task")
        return status


async def _collected(messages: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in messages]


def _state(phase: Any) -> str:
    """Return a connector's phase by its name."""
    try:
        return str(execution_pb2.TaskExecution.Phase.Name(phase))
    except (ValueError, TypeError):
        return _UNKNOWN


def _unrecognized(error: ValueError) -> str | None:
    """Return the state that the SDK's `convert_to_flyte_phase` refused to convert; None for any other error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_name != _CONVERTER:
        return None
    return str(trace.tb_frame.f_locals.get("state") or _UNKNOWN)


def make_agent(
    caller: Caller, name: str, task_type: TaskType, platform: HostedPlatform, settings: HostingSettings
) -> HostedAgent | HostedSyncAgent:
    """Return the agent of a connector."""
    values = {"name": name, "task_types": (task_type,), "pool_size": settings.pool_size}
    base: type[HostedAgent | HostedSyncAgent] = HostedSyncAgent
    if not caller.is_sync:
        base = HostedAgent
        values["submission"] = Nothing(on_unknown=settings.on_unknown)
    made = types.new_class(f"Hosted{type(caller.connector).__name__}", (base,), {}, lambda body: body.update(values))
    agent: HostedAgent | HostedSyncAgent = made(platform, caller)
    return agent
