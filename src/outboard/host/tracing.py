"""Tracing: where the time of a call went, as spans that an OpenTelemetry collector gets.

This is the face of it, which imports nothing of OpenTelemetry: where tracing is off there is no `Tracing`, and nobody pays. Where
it is on, `spans` does the work with OpenTelemetry's SDK (the extra `otel`). Spans:

* the call, named as its method, whose context comes from the caller's metadata (W3C `traceparent`);
* each call of an agent's method in it; what goes on after the call has ended links to it, and a question about many jobs links to
  the polls that caused it;
* each call to a platform in that, from `agent.spending`, where all of them pass.

Spans say who, what, how long and how it ended: never inputs, SQL, or secrets. Every text loses the secrets that this process
knows, as log lines do. Spans are handed to a thread that exports them; when it does not keep up they are dropped. An exporter
that is down or hangs costs no call anything, and the end of the process at most `flush` seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

from outboard.agent.platform_calls import CallTrace, Fact
from outboard.errors import InvalidSettings
from outboard.host.logs import TaskLog

if TYPE_CHECKING:
    from outboard.host.settings import TracingSettings

Facts = Callable[[], Mapping[str, Any]]
"""What identifies a task or job, as log lines have it; asked for only where a span is kept."""
Metadata = Sequence[tuple[str, str | bytes]]
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class AgentSpan(CallTrace, Protocol):
    """The span of a call of an agent's method."""

    def end(self, error: BaseException | None, /) -> None:
        """The call is over."""
        ...


class Tracing(Protocol):
    """Makes spans."""

    def received(self, method: str, metadata: Metadata | None, /) -> AbstractContextManager[None]:
        """Return the block in which a call is answered.

        Args:
            method: As gRPC has it: `/flyteidl.service.AsyncAgentService/GetTask`.
            metadata: What came with it.
        """
        ...

    def note(self, facts: Facts, /, *, code: int = 0, error_id: str = "") -> None:
        """Add to the call's span what it was about, and how it was answered."""
        ...

    def agent_call(
        self, agent: str, method: str, facts: Facts, jobs: Sequence[str] = (), /
    ) -> AbstractContextManager[AgentSpan]:
        """Return the block of a call of an agent's method.

        Args:
            agent: Whose.
            method: Which.
            facts: Whose task or job it is about.
            jobs: The ids of the jobs that a status question is about: it links to the polls that asked.
        """
        ...

    def asked(self, agent: str, job: str, /) -> None:
        """Remember the present call as the cause of the next status question about a job."""
        ...

    def carrier(self) -> Sequence[tuple[str, str]]:
        """Return the metadata by which another process of ours goes on with the present trace."""
        ...

    def fields(self) -> Mapping[str, str]:
        """Return the trace's and span's ids for a log line; empty outside of a span."""
        ...

    async def close(self) -> None:
        """Export what is left, as far as that can be done in time."""
        ...


def open_tracing(
    settings: TracingSettings, learn: Callable[[str], None], redact: Callable[[str], str]
) -> Tracing | None:
    """Return what makes spans; None where tracing is off.

    Args:
        settings: What the operator decided. Left undecided, it is on where the environment names an endpoint by OpenTelemetry's
            own variables and its SDK is installed.
        learn: Takes secrets, never to be shown again.
        redact: Removes secrets from a text.

    Raises:
        InvalidSettings: It is asked for, and the SDK or the exporter is not installed.
    """
    if not _is_wanted(settings):
        return None
    protocol = settings.protocol or _named_protocol()
    exporter = "grpc" if protocol == "grpc" else "http"
    missing = [
        name
        for name in ("opentelemetry.sdk", f"opentelemetry.exporter.otlp.proto.{exporter}")
        if not _is_installed(name)
    ]
    if missing and settings.enabled:
        raise InvalidSettings(
            f"host setting tracing.enabled: {missing[0]} is not installed; pip install 'outboard[otel]', or set it to false",
            field="tracing.enabled",
        )
    if missing:
        TaskLog().warning("traces are not exported; install outboard[otel]", missing=missing[0])
        return None
    from outboard.host.spans import Spans  # noqa: PLC0415 - only who traces pays for it

    for value in settings.headers.values():
        learn(value.get_secret_value())
    TaskLog().info("traces are exported", protocol=protocol)
    return Spans(settings, protocol, redact)


def _is_wanted(settings: TracingSettings) -> bool:
    if settings.enabled is not None:
        return settings.enabled
    is_named = settings.endpoint is not None or any(os.environ.get(name) for name in _ENDPOINTS)
    return is_named and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def _named_protocol() -> str:
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    named = next((value for name in names if (value := os.environ.get(name))), "grpc")
    return "http/protobuf" if named.startswith("http") else "grpc"


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def text_facts(facts: Mapping[str, Any]) -> Mapping[str, Fact]:
    """Return what identifies a task or job as attributes: `outboard.execution` and so on, empty ones left out."""
    return {
        f"outboard.{name}": value if isinstance(value, (bool, int, float)) else str(value)
        for name, value in facts.items()
        if value not in ("", None)
    }
