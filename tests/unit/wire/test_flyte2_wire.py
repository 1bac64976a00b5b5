"""Flyte 2's messages to ours and back: the same as Flyte 1's, and what only Flyte 2 has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl2.connector import connector_pb2
from flyteidl2.core import execution_pb2, interface_pb2, literals_pb2, security_pb2, types_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.endpoints import AgentInfo
from outboard.domain.phases import Phase
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import Failure, Link, LogLine, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, Task, TaskType
from outboard.domain.types import Interface, SimpleType, ValueType
from outboard.errors import InvalidInputs, InvalidOutputs, InvalidTask
from outboard.wire.flyte2.connections import decode_connection, without_connection
from outboard.wire.flyte2.listings import encode_connectors
from outboard.wire.flyte2.statuses import encode_status
from outboard.wire.flyte2.tasks import decode_create_request
from outboard.wire.logs import encode_lines, encode_token
from outboard.wire.metrics import encode_metrics
from outboard.wire.statuses import decode_status, with_types
from outboard.wire.tasks import decode_create_bytes, encode_create_bytes
from strategies import is_same, names, typed_values, value_types, values_of
from unit.wire.test_tasks import tasks

distinct = st.lists(names, max_size=4, unique=True)


def read(request: connector_pb2.CreateTaskRequest) -> RawTask:
    data = request.SerializeToString()
    return decode_create_request(connector_pb2.CreateTaskRequest.FromString(data), data)


def request_of(task: RawTask) -> connector_pb2.CreateTaskRequest:
    return connector_pb2.CreateTaskRequest.FromString(encode_create_bytes(task))


def simple(declared: Any) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(simple=declared)


def declare(variables: interface_pb2.VariableMap, order: list[str]) -> None:
    for name in order:
        variables.variables.add(key=name).value.type.CopyFrom(simple(types_pb2.INTEGER))


def put(request: connector_pb2.CreateTaskRequest, name: str, number: int) -> None:
    request.inputs.literals.add(name=name).value.scalar.primitive.integer = number


@given(tasks())
def test_a_task_says_in_flyte_2_what_it_says_in_flyte_1(task: RawTask) -> None:
    seen = read(request_of(task))
    assert replace(seen, inputs=task.inputs, interface=task.interface) == task
    assert dict(seen.interface.inputs) == task.interface.inputs
    assert seen.interface.outputs == task.interface.outputs
    assert seen.provided is NOTHING


@given(distinct, distinct, st.randoms(use_true_random=False))
def test_an_interface_keeps_its_order_and_inputs_come_in_it(inputs: list[str], outputs: list[str], random: Any) -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    declare(request.template.interface.inputs, inputs)
    declare(request.template.interface.outputs, outputs)
    for name in random.sample(inputs, len(inputs)):
        put(request, name, inputs.index(name))
    task = read(request)
    assert list(task.interface.outputs) == outputs
    assert list(task.interface.inputs) == inputs
    assert list(task.inputs.items()) == [(name, number) for number, name in enumerate(inputs)]


@given(distinct)
def test_inputs_that_nobody_declared_keep_the_requests_order(order: list[str]) -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    for number, name in enumerate(order):
        put(request, name, number)
    assert list(read(request).inputs.items()) == [(name, number) for number, name in enumerate(order)]


@given(typed_values())
def test_an_input_is_read_by_its_declared_type(typed: tuple[ValueType, object]) -> None:
    value_type, value = typed
    task: RawTask = Task(type="t", config={}, interface=Interface({"x": value_type}, {}))
    assert is_same(read(request_of(replace(task, inputs={"x": value}))).inputs["x"], value)  # type: ignore[arg-type]  # any mapping is written


def test_of_two_entries_by_one_name_the_last_counts_as_in_a_map() -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    put(request, "x", 1)
    put(request, "x", 2)
    assert dict(read(request).inputs) == {"x": 2}


def test_fields_of_a_later_release_in_entries_of_lists_lose_nothing() -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    interface = request.template.interface
    declare(interface.inputs, ["x", "y"])
    declare(interface.outputs, ["b", "a"])
    put(request, "x", 1)
    put(request, "y", 2)
    for entry in (*interface.inputs.variables, *interface.outputs.variables, *request.inputs.literals):
        entry.MergeFromString(b"\x78\x01")  # field 15
    task = read(request)
    assert (list(task.interface.inputs), list(task.interface.outputs)) == (["x", "y"], ["b", "a"])
    assert dict(task.inputs) == {"x": 1, "y": 2}
    assert dict(decode_create_bytes(encode_create_bytes(task)).inputs) == {"x": 1, "y": 2}


def test_an_unknown_type_harms_only_who_reads_it() -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    request.template.interface.inputs.variables.add(key="x")
    put(request, "x", 1)
    task = read(request)
    assert request_of(task).inputs.literals[0].name == "x"
    with pytest.raises((InvalidTask, InvalidInputs), match=r"interface\.inputs\.x"):
        task.inputs["x"]
    request.template.interface.outputs.variables.add(key="o0")
    with pytest.raises(InvalidTask, match=r"interface\.outputs\.o0"):
        read(request)


def test_what_an_engine_provides_comes_with_the_task() -> None:
    request = connector_pb2.CreateTaskRequest(
        connection=security_pb2.Connection(task_type="t", secrets={"token": "t0p"}, configs={"region": "eu"})
    )
    request.template.type = "t"
    assert read(request).provided == Provided(secrets={"token": "t0p"}, configs={"region": "eu"})


@pytest.mark.parametrize("empty", [security_pb2.Connection(), security_pb2.Connection(task_type="t")])
def test_a_connection_that_holds_nothing_provides_nothing(empty: security_pb2.Connection) -> None:
    assert decode_connection(empty) is NOTHING


def test_what_is_written_down_of_a_task_holds_what_only_flyte_2_knows_and_no_secret() -> None:
    request = connector_pb2.CreateTaskRequest(connection=security_pb2.Connection(secrets={"token": "t0p"}))
    request.template.type = "t"
    request.template.metadata.debuggable = True
    data = encode_create_bytes(read(request))
    assert connector_pb2.CreateTaskRequest.FromString(data).template.metadata.debuggable
    assert b"t0p" not in data


def test_what_the_engine_reads_in_custom_is_taken_out_of_the_configuration() -> None:
    custom = {"secrets": {"token": "name"}, "configs": {}, "task_type": "t", "conf": {"secrets": {"a": "b"}}}
    assert without_connection(custom) == {"conf": {"secrets": {"a": "b"}}}


def test_what_is_no_connection_by_its_shape_is_configuration() -> None:
    custom = {"secrets": [{"key": "a"}], "configs": {"workers": 2}, "task_type": 1}
    assert without_connection(custom) == custom


@st.composite
def successes(draw: st.DrawFn) -> TaskStatus:
    types = draw(st.dictionaries(names, value_types, max_size=3))
    outputs = {name: draw(values_of(types[name])) for name in draw(st.permutations(list(types)))}
    return TaskStatus(phase=Phase.SUCCEEDED, outputs=outputs, output_types=types)


@given(successes())
def test_outputs_stand_in_their_declared_order_and_come_back_as_they_went(status: TaskStatus) -> None:
    assert status.outputs is not None
    assert status.output_types is not None
    resource = connector_pb2.Resource.FromString(encode_status(status).SerializeToString())
    assert [each.name for each in resource.outputs.literals] == list(status.output_types)
    back = decode_status(agent_resource(resource))
    assert back.outputs is not None
    outputs = with_types(back.outputs, status.output_types)
    assert all(is_same(outputs[name], status.outputs[name]) for name in status.outputs)


def agent_resource(resource: connector_pb2.Resource) -> Any:
    return agent_pb2.Resource.FromString(resource.SerializeToString())


def test_outputs_that_nobody_declared_follow_those_that_are() -> None:
    outputs = {"z": 1, "b": 2, "a": 3}
    status = TaskStatus(phase=Phase.SUCCEEDED, outputs=outputs, output_types={"a": SimpleType.INTEGER})
    assert [each.name for each in encode_status(status).outputs.literals] == ["a", "z", "b"]


@pytest.mark.parametrize("outputs", [None, {}])
def test_no_outputs_and_empty_ones_differ(outputs: dict[str, Any] | None) -> None:
    resource = encode_status(TaskStatus(phase=Phase.SUCCEEDED, outputs=outputs))
    assert resource.HasField("outputs") is (outputs is not None)


def test_an_output_that_does_not_fit_is_refused() -> None:
    status = TaskStatus(phase=Phase.SUCCEEDED, outputs={"a": "x"}, output_types={"a": SimpleType.INTEGER})
    with pytest.raises(InvalidOutputs, match=r"outputs\.a"):
        encode_status(status)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_its_own_and_nothing_of_flyte_1_is_left(phase: Phase) -> None:
    failure = Failure(code="E1", message="words") if phase in {Phase.FAILED, Phase.RETRYABLE_FAILED} else None
    resource = encode_status(TaskStatus(phase=phase, error=failure))
    assert execution_pb2.TaskExecution.Phase.Name(resource.phase) == phase.value
    assert len(UnknownFieldSet(connector_pb2.Resource.FromString(resource.SerializeToString()))) == 0


@pytest.mark.parametrize(
    ("message", "code", "words", "shown"),
    [
        ("", "E42", "it broke", "E42: it broke"),
        ("row 3 is bad", "E42", "it broke", "E42: row 3 is bad"),
        ("E42 in row 3", "E42", "", "E42 in row 3"),
        ("", "E42", "", "E42"),
    ],
)
def test_a_failures_code_and_words_stand_in_the_message(message: str, code: str, words: str, shown: str) -> None:
    failure = Failure(code=code, message=words)
    assert encode_status(TaskStatus(phase=Phase.FAILED, message=message, error=failure)).message == shown


def test_a_live_message_stays_as_it_is_and_links_are_ready() -> None:
    link = Link(name="Console", url="https://x")
    resource = encode_status(TaskStatus(phase=Phase.RUNNING, message="working", links=(link,)))
    assert resource.message == "working"
    assert [(each.name, each.uri, each.ready, each.ShowWhilePending) for each in resource.log_links] == [
        ("Console", "https://x", True, True)
    ]


@given(st.lists(st.tuples(st.text(max_size=8), st.datetimes()), min_size=1, max_size=4))
def test_log_lines_are_read_by_flyte_2_as_they_were_written(lines: list[tuple[str, Any]]) -> None:
    written = [LogLine(message=text, at=at, originator="system") for text, at in lines]
    (message,) = encode_lines(written)
    body = connector_pb2.GetTaskLogsResponse.FromString(message.SerializeToString()).body
    seen = [(line.message, line.timestamp.ToDatetime(), line.originator) for line in body.lines]
    assert seen == [(text, at, 2) for text, at in lines]


def test_the_token_and_metrics_are_read_by_flyte_2() -> None:
    header = connector_pb2.GetTaskLogsResponse.FromString(encode_token("next").SerializeToString()).header
    assert header.token == "next"  # noqa: S105 - a cursor
    (result,) = encode_metrics([MetricSeries(name="memory", points=(), unit="GiB")])
    answer = connector_pb2.GetTaskMetricsResponse()
    answer.results.add().MergeFromString(result.SerializeToString())
    assert answer.results[0].metric == "memory"
    assert answer.results[0].data["resultType"] == "matrix"


def test_listings_have_every_version_and_no_word_about_sync() -> None:
    agents = [
        AgentInfo(name="new", task_types=(TaskType("t", 2),)),
        AgentInfo(name="old", task_types=(TaskType("t", 1), TaskType("s")), is_sync=True),
    ]
    connectors = encode_connectors(agents)
    assert [
        (each.name, [(one.name, one.version) for one in each.supported_task_categories]) for each in connectors
    ] == [("old", [("s", 0), ("t", 1)]), ("new", [("t", 2)])]
    assert all(len(UnknownFieldSet(each)) == 0 for each in connectors)


def test_what_flyte_2_adds_to_a_literal_costs_nothing() -> None:
    request = connector_pb2.CreateTaskRequest()
    request.template.type = "t"
    request.inputs.context.append(literals_pb2.KeyValuePair(key="trace", value="1"))
    request.template.metadata.debuggable = True
    put(request, "x", 1)
    request.inputs.literals[0].value.artifact_id.version = "v1"
    assert dict(read(request).inputs) == {"x": 1}
