"""Tasks to flyteidl's messages and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2, literals_pb2, tasks_pb2
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.identity import ExecutionIdentity, TaskId
from outboard.domain.secret_refs import SecretRef
from outboard.domain.tasks import Container, Inputs, Pod, RawTask, RunAs, Sql, Task
from outboard.domain.types import Interface, SimpleType
from outboard.errors import InvalidInputs, InvalidTask
from outboard.wire.tasks import (
    decode_create_request,
    decode_sync_request,
    encode_create_request,
    encode_header,
    encode_inputs,
)

text = st.text(max_size=8)
filled = st.text(min_size=1, max_size=8)
texts = st.dictionaries(text, text, max_size=2)
json_values = st.recursive(
    st.none() | st.booleans() | text | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=5,
)
integral_json = st.recursive(
    st.booleans() | text | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=5,
)
task_ids = st.builds(TaskId, project=text, domain=text, name=text, version=text, org=text)
identities = st.builds(
    ExecutionIdentity,
    project=text,
    domain=text,
    org=text,
    execution=text,
    node=text,
    attempt=st.integers(0, 2**32 - 1),
    task=task_ids,
)
resources = st.dictionaries(st.sampled_from(["cpu", "memory", "gpu", "ephemeral-storage"]), text, max_size=3)
containers = st.builds(
    Container,
    image=text,
    command=st.lists(text, max_size=2).map(tuple),
    args=st.lists(text, max_size=3).map(tuple),
    env=texts,
    requests=resources,
    limits=resources,
)
pods = st.builds(
    Pod,
    spec=st.dictionaries(text, integral_json, max_size=3),
    labels=texts,
    annotations=texts,
    primary_container=text,
)
sqls = st.builds(Sql, statement=text, dialect=st.sampled_from(["", "ansi", "hive", "other"]))
bodies: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    containers.map(lambda each: {"container": each}),
    pods.map(lambda each: {"pod": each}),
    sqls.map(lambda each: {"sql": each}),
)


@st.composite
def tasks(draw: st.DrawFn) -> RawTask:
    return Task(
        type=draw(filled),
        version=draw(st.integers(0, 2**31 - 1)),
        config=draw(st.dictionaries(text, json_values, max_size=3)),
        settings=draw(texts),
        identity=draw(identities),
        output_prefix=draw(text),
        interface=Interface({"x": SimpleType.INTEGER}, {"o0": SimpleType.STRING}),
        retries=draw(st.integers(0, 2**31)),
        timeout=draw(st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=3650))),
        interruptible=draw(st.booleans()),
        labels=draw(texts),
        annotations=draw(texts),
        namespace=draw(text),
        service_account=draw(text),
        environment=draw(texts),
        run_as=draw(st.builds(RunAs, iam_role=text, k8s_service_account=text, execution_identity=text)),
        secrets=draw(st.lists(st.builds(SecretRef, text, text, text), max_size=2).map(tuple)),
        max_attempts=draw(st.integers(0, 2**31 - 1)),
        **draw(bodies),
    )


@given(tasks())
def test_a_task_comes_back_from_a_create_request_as_it_went(task: RawTask) -> None:
    data = encode_create_request(task).SerializeToString()
    read = decode_create_request(agent_pb2.CreateTaskRequest.FromString(data))
    assert replace(read, inputs=task.inputs, interface=task.interface) == task
    assert dict(read.interface.inputs) == task.interface.inputs


@given(tasks())
def test_a_sync_stream_says_the_same_as_a_create_request(task: RawTask) -> None:
    header = agent_pb2.CreateRequestHeader.FromString(encode_header(task).SerializeToString())
    read = decode_sync_request(header, encode_inputs(task))
    assert replace(read, inputs=task.inputs, interface=task.interface) == task


def test_inputs_are_read_by_their_declared_types() -> None:
    task: RawTask = Task(type="t", config={}, inputs=Inputs({"x": 3}), interface=Interface({"x": SimpleType.FLOAT}))
    read = decode_create_request(encode_create_request(task))
    assert read.inputs["x"] == 3.0
    assert isinstance(read.inputs["x"], float)


def test_inputs_that_nobody_could_decode_pass_through_untouched() -> None:
    request = encode_create_request(Task(type="t", config={}, interface=Interface({"x": SimpleType.INTEGER})))
    request.inputs.literals["x"].CopyFrom(literals_pb2.Literal())
    assert encode_create_request(decode_create_request(request)).inputs == request.inputs


def test_an_empty_template_names_the_missing_type() -> None:
    with pytest.raises(InvalidTask, match=r"template\.type"):
        decode_create_request(agent_pb2.CreateTaskRequest())
    with pytest.raises(InvalidTask, match=r"header\.template\.type"):
        decode_sync_request(agent_pb2.CreateRequestHeader(), literals_pb2.LiteralMap())


@pytest.mark.parametrize("part", ["custom", "labels"])
def test_a_task_that_is_too_much_to_be_read_at_once_is_refused(part: str) -> None:
    request = agent_pb2.CreateTaskRequest(template=tasks_pb2.TaskTemplate(type="t"))
    if part == "custom":
        request.template.custom.update({f"k{number}": number for number in range(70_000)})
    else:
        request.task_execution_metadata.labels.update({f"k{number}": "v" * 50 for number in range(20_000)})
    with pytest.raises(InvalidTask, match=r"take [\d,]+ bytes of at most 1,048,576; hand data over as inputs"):
        decode_create_request(request)


def test_a_task_with_many_inputs_is_read() -> None:
    literal = literals_pb2.Literal(
        scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value="x" * 2**21))
    )
    request = agent_pb2.CreateTaskRequest(
        template=tasks_pb2.TaskTemplate(type="t"), inputs=literals_pb2.LiteralMap(literals={"x": literal})
    )
    assert decode_create_request(request).type == "t"


def test_without_metadata_the_tasks_name_comes_from_the_template() -> None:
    template = tasks_pb2.TaskTemplate(type="t", id=identifier_pb2.Identifier(project="p", name="n", version="v"))
    read = decode_create_request(agent_pb2.CreateTaskRequest(template=template))
    assert read.identity == ExecutionIdentity(task=TaskId(project="p", name="n", version="v"))


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (0, -2_000_000_000), (10**12, 0), (2**63 - 1, 0)])
def test_an_impossible_timeout_is_refused_by_its_field(seconds: int, nanos: int) -> None:
    request = encode_create_request(Task(type="t", config={}))
    request.template.metadata.timeout.seconds = seconds
    request.template.metadata.timeout.nanos = nanos
    with pytest.raises(InvalidTask, match=r"template\.metadata\.timeout"):
        decode_create_request(request)


def test_a_timeout_of_zero_is_none() -> None:
    request = encode_create_request(Task(type="t", config={}))
    request.template.metadata.timeout.SetInParent()
    assert decode_create_request(request).timeout is None


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"id": 2**53 + 1}, r"custom\.id"),
        ({"deep": {"x": [float("nan")]}}, r"custom\.deep\.x\[0\]"),
        ({"when": timedelta(1)}, r"custom\.when"),
        ({"text": "\ud800"}, r"custom\.text"),
    ],
)
def test_a_configuration_that_flyte_would_change_is_refused_by_its_path(config: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidTask, match=place):
        encode_create_request(Task(type="t", config=config))


def test_what_protobuf_cannot_hold_is_an_invalid_task_and_never_a_crash() -> None:
    for fields in ({"labels": {"k": "\ud800"}}, {"retries": -1}, {"version": 2**40}):
        with pytest.raises(InvalidTask, match="cannot be sent"):
            encode_create_request(Task(type="t", config={}, **fields))


def test_an_unknown_resource_is_refused_with_the_known_ones() -> None:
    container = Container(requests={"tpu": "1"})
    with pytest.raises(InvalidTask, match="ephemeral-storage"):
        encode_create_request(Task(type="t", config={}, container=container))


def test_an_input_of_the_wrong_type_never_leaves() -> None:
    task: RawTask = Task(
        type="t", config={}, inputs=Inputs({"x": "three"}), interface=Interface({"x": SimpleType.INTEGER})
    )
    with pytest.raises(InvalidInputs, match=r"inputs\.x"):
        encode_create_request(task)
