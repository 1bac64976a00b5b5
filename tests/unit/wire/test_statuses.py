"""Statuses to flyteidl's Resource and back."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, Link, LogLine, MetricSeries, TaskStatus
from outboard.domain.types import SimpleType
from outboard.errors import InvalidOutputs, Retry, Unavailable
from outboard.wire.listings import decode_agents, encode_agents
from outboard.wire.logs import decode_lines, encode_lines
from outboard.wire.metrics import decode_metrics, encode_metrics
from outboard.wire.statuses import decode_status, encode_status, with_types

LIVE = [phase for phase in Phase if not phase.is_terminal]
FAILED = [Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED]


@pytest.mark.parametrize("phase", Phase)
def test_phase_and_older_state_agree_and_none_is_undefined(phase: Phase) -> None:
    resource = encode_status(TaskStatus(phase=phase))
    assert execution_pb2.TaskExecution.Phase.Name(resource.phase) == phase.value
    assert resource.phase != execution_pb2.TaskExecution.UNDEFINED
    assert agent_pb2.State.Name(resource.state) == {
        Phase.RUNNING: "RUNNING",
        Phase.SUCCEEDED: "SUCCEEDED",
        Phase.FAILED: "PERMANENT_FAILURE",
        Phase.ABORTED: "PERMANENT_FAILURE",
        Phase.RETRYABLE_FAILED: "RETRYABLE_FAILURE",
    }.get(phase, "PENDING")
    assert decode_status(resource).phase is phase


@given(
    phase=st.sampled_from(LIVE),
    message=st.text(max_size=20),
    links=st.lists(st.builds(Link, name=st.text(min_size=1, max_size=5), url=st.text(max_size=9)), max_size=3),
    custom_info=st.none() | st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5), min_size=1),
)
def test_a_live_status_comes_back_as_it_went(
    phase: Phase, message: str, links: list[Link], custom_info: dict[str, object] | None
) -> None:
    status = TaskStatus(phase=phase, message=message, links=tuple(links), custom_info=custom_info)
    data = encode_status(status).SerializeToString()
    assert decode_status(agent_pb2.Resource.FromString(data)) == status


@pytest.mark.parametrize("phase", FAILED)
@pytest.mark.parametrize("cause", [Cause.USER, Cause.PLATFORM])
def test_a_failure_comes_back_with_code_words_verdict_and_whose_doing_it_was(phase: Phase, cause: Cause) -> None:
    retry = Retry.YES if phase is Phase.RETRYABLE_FAILED else Retry.NEVER
    failure = Failure(code="E42", message="it broke", retry=retry, cause=cause)
    resource = encode_status(TaskStatus(phase=phase, error=failure))
    assert resource.agent_error.kind == (
        agent_pb2.AgentError.RECOVERABLE if retry is Retry.YES else agent_pb2.AgentError.NON_RECOVERABLE
    )
    assert resource.message == "it broke"
    assert decode_status(resource).error == failure


@pytest.mark.parametrize("phase", FAILED)
def test_a_failure_without_a_word_still_says_something(phase: Phase) -> None:
    resource = encode_status(TaskStatus(phase=phase, state="NODE_FAIL"))
    assert resource.agent_error.code == "NODE_FAIL"
    assert resource.message


def test_no_outputs_and_outputs_in_a_file_are_not_the_same() -> None:
    assert decode_status(encode_status(TaskStatus(phase=Phase.SUCCEEDED, outputs={}))).outputs == {}
    assert decode_status(encode_status(TaskStatus(phase=Phase.SUCCEEDED))).outputs is None


def test_outputs_are_written_by_their_types_and_read_by_them() -> None:
    types = {"o0": SimpleType.FLOAT}
    resource = encode_status(TaskStatus(phase=Phase.SUCCEEDED, outputs={"o0": 3}, output_types=types))
    assert resource.outputs.literals["o0"].scalar.primitive.float_value == 3.0
    read = decode_status(resource)
    assert read.outputs is not None
    assert with_types(read.outputs, types)["o0"] == 3.0


def test_an_output_that_does_not_fit_is_named() -> None:
    status = TaskStatus(phase=Phase.SUCCEEDED, outputs={"o0": "three"}, output_types={"o0": SimpleType.INTEGER})
    with pytest.raises(InvalidOutputs, match=r"outputs\.o0"):
        encode_status(status)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", Phase.INITIALIZING),
        ("RUNNING", Phase.RUNNING),
        ("SUCCEEDED", Phase.SUCCEEDED),
        ("PERMANENT_FAILURE", Phase.FAILED),
    ],
)
def test_an_answer_of_an_old_service_is_read_by_its_state(state: str, phase: Phase) -> None:
    assert decode_status(agent_pb2.Resource(state=state)).phase is phase


def test_an_empty_resource_is_no_reason_to_run_a_job_again() -> None:
    with pytest.raises(Unavailable):
        decode_status(agent_pb2.Resource())


def test_words_that_are_no_unicode_and_info_that_is_no_json_never_cost_the_answer() -> None:
    status = TaskStatus(
        phase=Phase.RUNNING, message="\ud800", custom_info={"when": datetime.now(timezone.utc), "n": 2**60}
    )
    read = decode_status(encode_status(status))
    assert read.message == "?"
    assert read.custom_info is not None
    assert read.custom_info["n"] == str(2**60)


@given(st.lists(st.text(max_size=30), max_size=20))
def test_log_lines_come_back_in_order(texts: list[str]) -> None:
    at = datetime(2024, 1, 31, tzinfo=timezone.utc)
    lines = [LogLine(message=text, at=at, originator="system") for text in texts]
    assert [line for body in encode_lines(lines) for line in decode_lines(body).lines] == lines


def test_no_part_of_a_log_is_larger_than_clients_take() -> None:
    lines = [LogLine(message="é" * 300_000) for _ in range(8)] + [LogLine(message="x" * 5_000_000)]
    bodies = list(encode_lines(lines))
    assert len(bodies) >= 8
    assert max(body.ByteSize() for body in bodies) <= 1_100_000
    assert bodies[-1].body.structured_lines[0].message.endswith("[cut]")


def test_metric_series_come_back() -> None:
    at = datetime(2024, 1, 31, 12, 0, 0, 250_000, tzinfo=timezone.utc)
    series = MetricSeries(name="memory", points=[(at, 1.5), (at, float("inf"))], unit="GiB")
    assert decode_metrics(encode_metrics([series])) == (series,)


def test_results_that_are_no_matrix_are_left_out() -> None:
    (result,) = encode_metrics([MetricSeries(name="m", points=())])
    result.data.Clear()
    result.data["result"] = [1, {"metric": {}, "values": [[1], "x", ["a", "b"], [1e300, "2"]]}]
    assert [list(series.points) for series in decode_metrics([result])] == [[]]


def test_old_clients_keep_the_newest_version_of_a_type_that_two_agents_serve() -> None:
    """FlytePropeller 1.16 overwrites its entry for a type with every version it reads."""
    from outboard.domain.endpoints import AgentInfo
    from outboard.domain.tasks import TaskType

    new = AgentInfo(name="new", task_types=(TaskType("t", 3),), is_sync=True)
    old = AgentInfo(name="old", task_types=(TaskType("t", 1), TaskType("t", 0)))
    messages = encode_agents([new, old])
    kept = {}
    for message in messages:
        for name in message.supported_task_types:
            kept[name] = 0
        for category in message.supported_task_categories:
            kept[category.name] = category.version
    assert kept == {"t": 3}
    assert list(messages[0].supported_task_types) == ["t"]
    assert {agent.name: set(agent.task_types) for agent in decode_agents(messages)} == {
        "new": {TaskType("t", 3)},
        "old": {TaskType("t", 0), TaskType("t", 1)},
    }
