"""Spans by OpenTelemetry's SDK: what `tracing` is where it is on.

Which traces are kept is decided where they begin and kept to from there on: a caller's decision (the flag in `traceparent`) is
ours too, the ratio counts for traces that begin here, and a span that only links to others is kept where one of these is.

A span is the parent of what begins while it lasts. What begins later, in work that a call left behind, is a trace of its own that
links to the call: a cancel that is pursued for half an hour, a lane that asks about a thousand jobs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from outboard._version import __version__
from outboard.agent.platform_calls import Fact
from outboard.agent.spending import STATUS_QUESTIONS, current_call
from outboard.errors import OutboardError
from outboard.host.settings import TracingSettings
from outboard.host.tracing import Facts, Metadata, text_facts

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_CARRIED: Final = ("traceparent", "tracestate")
_CHARACTERS: Final = 256
_READ_CHARACTERS: Final = 16_384
_MOST_CAUSES: Final = 10_000
_MOST_LINKS: Final = 32
_OURS_TO_MEND: Final = frozenset({2, 4, 12, 13, 14, 15})
"""gRPC's codes that are a server's error by OpenTelemetry's conventions: the others are the caller's."""
_CANCELLED: Final = 1


class Spans:
    """Makes spans; an `outboard.host.tracing.Tracing`.

    Args:
        settings: What the operator decided.
        protocol: `grpc` or `http/protobuf`.
        redact: Removes secrets from a text.
        exporter: Where spans go; by the settings when left out.
    """

    def __init__(
        self,
        settings: TracingSettings,
        protocol: str,
        redact: Callable[[str], str],
        exporter: SpanExporter | None = None,
    ) -> None:
        self._redact = redact
        self._tells_platforms = settings.tell_platforms
        self._flush_s = settings.flush.total_seconds()
        named = {} if settings.service_name is None else {"service.name": settings.service_name}
        resource = Resource.create({"service.name": "outboard", "service.version": __version__})
        environment = Resource.create()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        if not str(environment.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
            resource = resource.merge(environment)
        sampler = None if settings.sample_ratio is None else _sampler(settings.sample_ratio)
        self._provider = TracerProvider(
            sampler=sampler, resource=resource.merge(Resource(named)), shutdown_on_exit=False
        )
        self._provider.sampler = _OrLinked(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(settings, protocol)))
        self._tracer = self._provider.get_tracer("outboard", __version__)
        self._causes: dict[tuple[str, str], SpanContext] = {}

    @contextmanager
    def received(self, method: str, metadata: Metadata | None) -> Iterator[None]:
        """Return the block in which a call is answered."""
        carried = {name: value for name, value in metadata or () if name in _CARRIED and isinstance(value, str)}
        context = _PROPAGATOR.extract(carried, context=Context())
        service, _, name = method.lstrip("/").partition("/")
        facts = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracer.start_span(
            method.lstrip("/"), context, kind=SpanKind.SERVER, attributes=facts, record_exception=False
        )
        token = attach(set_span_in_context(span, context))
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute("rpc.grpc.status_code", _CANCELLED)
            raise
        finally:
            detach(token)
            span.end()

    def note(self, facts: Facts, /, *, code: int = 0, error_id: str = "") -> None:
        """Add to the call's span what it was about, and how it was answered."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attributes(self._clean(text_facts(facts())))
        span.set_attribute("rpc.grpc.status_code", code)
        if error_id:
            span.set_attribute("outboard.error_id", error_id)
        if code in _OURS_TO_MEND:
            span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def agent_call(self, agent: str, method: str, facts: Facts, jobs: Sequence[str] = ()) -> Iterator[_AgentSpan]:
        """Return the block of a call of an agent's method."""
        context, links = self._place(agent, method, jobs)
        span = self._tracer.start_span(f"{agent}.{method}", context, links=links, record_exception=False)
        if span.is_recording():
            told = {**text_facts(facts()), "outboard.agent": agent, "outboard.method": method}
            span.set_attributes(self._clean({**told, "outboard.jobs": len(jobs)} if jobs else told))
        made = _AgentSpan(self, span)
        token = attach(set_span_in_context(span, context))
        error: BaseException | None = None
        try:
            yield made
        except BaseException as raised:
            error = raised
            raise
        finally:
            detach(token)
            made.end(error)

    def asked(self, agent: str, job: str) -> None:
        """Remember the present call as the cause of the next status question about a job."""
        cause = trace.get_current_span().get_span_context()
        if cause.is_valid:
            self._causes[agent, job] = cause
            if len(self._causes) > _MOST_CAUSES:
                del self._causes[next(iter(self._causes))]

    def carrier(self) -> Sequence[tuple[str, str]]:
        """Return the metadata by which another process of ours goes on with the present trace."""
        carried: dict[str, str] = {}
        _PROPAGATOR.inject(carried)
        return tuple(carried.items())

    def fields(self) -> Mapping[str, str]:
        """Return the trace's and span's ids for a log line; empty outside of a span."""
        call = current_call()  # in a thread of a blocking agent, only this is known
        made = call.trace if call is not None else None
        span = made.span if isinstance(made, _AgentSpan) else trace.get_current_span()
        context = span.get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    async def close(self) -> None:
        """Export what is left, as far as that can be done in time; a thread that hangs is left behind."""
        ended = threading.Event()
        threading.Thread(target=self._shut_down, args=(ended,), name="outboard-traces", daemon=True).start()
        give_up = asyncio.get_running_loop().time() + self._flush_s
        while not ended.is_set() and asyncio.get_running_loop().time() < give_up:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.01)

    def _shut_down(self, ended: threading.Event) -> None:
        try:
            self._provider.shutdown()
        finally:
            ended.set()

    def _place(self, agent: str, method: str, jobs: Sequence[str]) -> tuple[Context, Sequence[Link]]:
        """Return under what a span stands, and what it links to."""
        current = trace.get_current_span()
        if method in STATUS_QUESTIONS:
            causes = [cause for job in jobs if (cause := self._causes.pop((agent, job), None)) is not None]
            return Context(), [Link(cause) for cause in causes[:_MOST_LINKS]]
        if isinstance(current, Span) and not current.is_recording():  # it has ended: this is work that it left behind
            return Context(), [Link(current.get_span_context())]
        return set_span_in_context(current, Context()), ()

    def _clean(self, facts: Mapping[str, Fact]) -> dict[str, Fact]:
        return {name: self._text(value) if isinstance(value, str) else value for name, value in facts.items()}

    def _text(self, text: str) -> str:
        return self._redact(text[:_READ_CHARACTERS])[:_CHARACTERS]

    def platform_call(self, parent: trace.Span, method: str, waited_s: float) -> _PlatformSpan:
        """Begin the span of a platform call."""
        facts: dict[str, Fact] = {"outboard.platform_method": method}
        if waited_s > 0.001:
            facts["outboard.budget_wait_s"] = round(waited_s, 3)
        context = set_span_in_context(parent, Context())
        name = self._text(method)
        span = self._tracer.start_span(name, context, kind=SpanKind.CLIENT, record_exception=False)
        made = _PlatformSpan(self, span, name)
        made.note(facts)
        return made

    @property
    def tells_platforms(self) -> bool:
        """Whether platforms are told which trace a call belongs to."""
        return self._tells_platforms


class _AgentSpan:
    def __init__(self, spans: Spans, span: trace.Span) -> None:
        self._spans = spans
        self.span = span

    def platform_call(self, method: str, waited_s: float) -> _PlatformSpan:
        return self._spans.platform_call(self.span, method, waited_s)

    @contextmanager
    def attached(self) -> Iterator[None]:
        token = attach(set_span_in_context(self.span, Context()))
        try:
            yield
        finally:
            detach(token)

    def end(self, error: BaseException | None) -> None:
        if error is not None and self.span.is_recording():
            self.span.set_attribute(
                "error.type", error.code if isinstance(error, OutboardError) else type(error).__name__
            )
            if isinstance(error, OutboardError):
                self.span.set_attribute("outboard.error_id", error.error_id)
            if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
                self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


class _PlatformSpan:
    def __init__(self, spans: Spans, span: trace.Span, method: str) -> None:
        self._spans = spans
        self._span = span
        self._method = method

    def note(self, facts: Mapping[str, Fact]) -> None:
        if self._span.is_recording():
            self._span.set_attributes(self._spans._clean(facts))  # noqa: SLF001 - same module
            if (verb := facts.get("http.request.method")) is not None:
                self._span.update_name(f"{verb} {self._method}")

    def headers(self) -> Mapping[str, str]:
        if not self._spans.tells_platforms:
            return {}
        carried: dict[str, str] = {}
        _PROPAGATOR.inject(carried, context=set_span_in_context(self._span, Context()))
        return carried

    def end(self, outcome: str, error: BaseException | None) -> None:
        self._span.set_attribute("outboard.outcome", outcome)
        if error is not None:
            self._span.set_attribute(
                "error.type", error.code if isinstance(error, OutboardError) else type(error).__name__
            )
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class _OrLinked(Sampler):
    """Decides as another one does, but for traces that begin with links: these are kept where what they link to is."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner
        self._kept = ParentBased(TraceIdRatioBased(1.0))
        self._dropped = ParentBased(TraceIdRatioBased(0.0))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        chosen = self._inner
        if links:
            is_kept = any(link.context.trace_flags.sampled for link in links)
            chosen = self._kept if is_kept else self._dropped
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"OrLinked{{{self._inner.get_description()}}}"


def _sampler(ratio: float) -> Sampler:
    return ParentBased(TraceIdRatioBased(ratio))


def _exporter(settings: TracingSettings, protocol: str) -> SpanExporter:
    headers = {name.lower(): value.get_secret_value() for name, value in settings.headers.items()} or None
    timeout_s = settings.export_limit.total_seconds()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - one of two

        return OTLPSpanExporter(endpoint=settings.endpoint, headers=headers, timeout=timeout_s)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp  # noqa: PLC0415 - same

    endpoint = settings.endpoint
    if endpoint is not None and "/v1/" not in endpoint:
        endpoint = f"{endpoint.rstrip('/')}/v1/traces"
    return OverHttp(endpoint=endpoint, headers=headers, timeout=timeout_s)
