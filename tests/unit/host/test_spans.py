"""Spans: names without secrets, causes and links within bounds, a trace of its own for what a call left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from outboard.host.secrets import Redactor
from outboard.host.settings import TracingSettings
from outboard.host.spans import Spans
from outboard.host.tracing import open_tracing

HIDDEN = "value-of-a-secret"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exported: InMemorySpanExporter) -> Iterator[Spans]:
    redact = Redactor()
    redact.learn(HIDDEN)
    made = Spans(TracingSettings(), "grpc", redact, exported)
    yield made
    made._provider.shutdown()


def _ended(spans: Spans, exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans._provider.force_flush()
    return {span.name: span for span in exported.get_finished_spans()}


def test_a_method_that_a_platform_names_after_a_secret_names_no_span(
    spans: Spans, exported: InMemorySpanExporter
) -> None:
    with spans.agent_call("agent", "get", dict) as call:
        span = call.platform_call(f"login/{HIDDEN}", 0.0)
        span.note({"http.request.method": "GET"})
        span.end("answered", None)
    found = _ended(spans, exported)
    assert set(found) == {"agent.get", "GET login/[redacted]"}


def test_polls_that_nobody_answers_are_forgotten_and_one_question_links_to_some(
    spans: Spans, exported: InMemorySpanExporter
) -> None:
    jobs = [f"job-{number}" for number in range(10_100)]
    with spans.received("/flyteidl.service.AsyncAgentService/GetTask", ()):
        for job in jobs:
            spans.asked("agent", job)
    assert len(spans._causes) == 10_000
    with spans.agent_call("agent", "get_many", dict, jobs[-100:]):
        pass
    assert len(_ended(spans, exported)["agent.get_many"].links) == 32


def test_work_that_a_call_left_behind_is_a_trace_of_its_own_that_links_to_it(
    spans: Spans, exported: InMemorySpanExporter
) -> None:
    def cancel() -> None:
        with spans.agent_call("agent", "cancel", dict):
            pass

    with spans.received("/flyteidl.service.AsyncAgentService/DeleteTask", ()):
        behind = copy_context()
        with spans.agent_call("agent", "find", dict):
            pass
    behind.run(cancel)
    found = _ended(spans, exported)
    call = found["flyteidl.service.AsyncAgentService/DeleteTask"].context
    assert found["agent.find"].parent == call
    assert found["agent.cancel"].parent is None
    assert [link.context for link in found["agent.cancel"].links] == [call]


async def test_what_a_collector_is_logged_in_to_with_is_a_secret() -> None:
    learned: list[str] = []
    headers = {"x-api-key": SecretStr("login-at-the-collector")}
    settings = TracingSettings(enabled=True, endpoint="http://127.0.0.1:1", protocol="http/protobuf", headers=headers)
    tracing = open_tracing(settings, learned.append, str)
    assert tracing is not None
    await tracing.close()
    assert learned == ["login-at-the-collector"]
