from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from outboard.cli.specs import NamedTask, TaskSpec, build_task, read_specs
from outboard.cli.task_options import TaskOptions
from outboard.domain.secret_refs import SecretRef
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.domain.values import StructuredDataset
from outboard.errors import InvalidInputs, InvalidTask

DATASET = StructuredDatasetType(format="parquet")


def write(folder: Path, text: str) -> str:
    file = folder / "task.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def tasks_in(file: str) -> list[NamedTask]:
    return [build_task(spec, path) for spec, path in read_specs(file)]


def test_a_file_says_everything_about_a_task(tmp_path: Path) -> None:
    (named,) = tasks_in(
        write(
            tmp_path,
            """
            name: daily
            type: duckdb
            version: 2
            config: {threads: 2, nested: {a: [1, 2.5]}}
            sql: select * from flights where day = $day
            inputs:
              flights: s3://bucket/flights.parquet
              day: 2024-01-31
              limits: [1, 2]
              free: text
            interface:
              inputs: {flights: dataset(parquet), day: datetime, limits: "list[float]"}
            outputs: {result: structured dataset (parquet)}
            container: {image: busybox, args: [--n, 3], env: {DEBUG: true}}
            retries: 2
            timeout: 1m30s
            labels: {team: 7}
            namespace: flights-development
            secrets: [plain, {key: k, group: g}]
            """,
        )
    )
    task = named.task
    assert (named.name, task.type, task.version) == ("daily", "duckdb", 2)
    assert task.config == {"threads": 2, "nested": {"a": [1, 2.5]}}
    assert task.sql is not None
    assert task.sql.statement.startswith("select")
    assert dict(task.inputs) == {
        "flights": StructuredDataset("s3://bucket/flights.parquet", "parquet"),
        "day": datetime(2024, 1, 31, tzinfo=timezone.utc),
        "limits": [1.0, 2.0],
        "free": "text",
    }
    assert task.interface == Interface(
        inputs={
            "flights": DATASET,
            "day": SimpleType.DATETIME,
            "limits": ListType(SimpleType.FLOAT),
            "free": SimpleType.STRING,
        },
        outputs={"result": DATASET},
    )
    assert task.container is not None
    assert (list(task.container.args), dict(task.container.env)) == (["--n", "3"], {"DEBUG": "true"})
    assert (task.retries, task.timeout) == (2, timedelta(seconds=90))
    assert (task.labels, task.namespace) == ({"team": "7"}, "flights-development")
    assert list(task.secrets) == [SecretRef("plain"), SecretRef("k", "g")]


def test_a_date_without_a_declared_type_stays_the_text_that_was_written(tmp_path: Path) -> None:
    (named,) = tasks_in(write(tmp_path, "{type: t, inputs: {day: 2024-01-31}}"))
    assert dict(named.task.inputs) == {"day": "2024-01-31"}


@pytest.mark.parametrize(
    "text",
    [
        "tasks: {one: {type: a}, two: {type: b}}",
        "[{name: one, type: a}, {name: two, type: b}]",
        '{"tasks": [{"name": "one", "type": "a"}, {"name": "two", "type": "b"}]}',
    ],
)
def test_a_file_holds_several_tasks_with_names(tmp_path: Path, text: str) -> None:
    assert [(each.name, each.task.type) for each in tasks_in(write(tmp_path, text))] == [("one", "a"), ("two", "b")]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("{tpye: a}", "tpye", "did you mean 'type'?"),
        ("{type: a, container: {imgae: x}}", "container.imgae", "did you mean 'image'?"),
        ("{config: {}}", "type", "this is missing; add it"),
        ("{type: a, retries: -1}", "retries", "this must be greater than or equal to 0"),
        ("{type: a, timeout: soon}", "timeout", "'soon' is no duration"),
        ("{type: a, outputs: {x: lst}}", "outputs.x", "did you mean 'list'?"),
        ("{type: a, outputs: {x: int}, interface: {outputs: {x: int}}}", "outputs", "drop one of them"),
        ("tasks: {one: {type: a, sql: {dialect: x}}}", "tasks.one.sql.statement", "this is missing"),
        ("[{type: a}, {name: b, type: b}]", "name", "task 1 of"),
        ("[{name: b, type: a}, {name: b, type: b}]", "name", "two tasks"),
        ("{tasks: {one: {type: a}}, retries: 1}", "retries", "beside 'tasks'"),
        ("[]", None, "holds no task"),
        ("just text", None, "must be a mapping of names to values, and is a text"),
        ("{type: a, config: [}", None, "neither YAML nor JSON: correct it at line 1, column 20"),
        ("{type: !!python/object:os.system a}", None, "neither YAML nor JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_its_path_and_with_the_remedy(
    tmp_path: Path, text: str, field: str | None, words: str
) -> None:
    with pytest.raises(InvalidTask) as refusal:
        tasks_in(write(tmp_path, text))
    assert refusal.value.field == field
    assert words in refusal.value.message


def test_an_input_that_does_not_fit_its_type_is_refused_by_its_path(tmp_path: Path) -> None:
    text = "tasks: {one: {type: a, inputs: {n: [1, x]}, interface: {inputs: {n: 'list[int]'}}}}"
    with pytest.raises(InvalidInputs) as refusal:
        tasks_in(write(tmp_path, text))
    assert refusal.value.field == "tasks.one.inputs.n[1]"


def test_a_declared_input_without_a_value_is_refused_unless_it_may_be_none() -> None:
    spec = TaskSpec.model_validate({"type": "a", "interface": {"inputs": {"n": "int | None"}}})
    assert dict(build_task(spec).task.inputs) == {"n": None}
    with pytest.raises(InvalidInputs, match=r"inputs\.m is missing"):
        build_task(TaskSpec.model_validate({"type": "a", "interface": {"inputs": {"m": "int"}}}))


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match=r"there is no file .*nowhere\.yaml"):
        read_specs(str(tmp_path / "nowhere.yaml"))


def test_options_say_what_a_file_would() -> None:
    options = TaskOptions(
        config=["threads=2", "nested.a=[1, x]", "nested.b=true"],
        sql="select 1",
        inputs=["n=3", "s=4", "t=s3://b/t", "eq=a=b"],
        input_types=["s=str", "t=dataset(parquet)"],
        outputs=["r=dataset(parquet)"],
        timeout="5m",
        retries=1,
    )
    task = build_task(options.over(TaskSpec(type="duckdb"))).task
    assert task.config == {"threads": 2, "nested": {"a": [1, "x"], "b": True}}
    assert dict(task.inputs) == {"s": "4", "t": StructuredDataset("s3://b/t", "parquet"), "n": 3, "eq": "a=b"}
    assert task.interface.outputs == {"r": DATASET}
    assert (task.timeout, task.retries) == (timedelta(minutes=5), 1)


def test_options_go_over_what_a_file_says() -> None:
    spec = TaskSpec.model_validate(
        {
            "type": "t",
            "retries": 3,
            "inputs": {"a": 1, "b": 2},
            "interface": {"inputs": {"a": "str"}},
            "config": {"x": 1},
        }
    )
    task = build_task(TaskOptions(inputs=["a=9"], retries=0, config=["y=2"]).over(spec)).task
    assert (task.retries, dict(task.inputs), task.config) == (0, {"a": "9", "b": 2}, {"x": 1, "y": 2})


@pytest.mark.parametrize(
    "options",
    [
        TaskOptions(config=["novalue"]),
        TaskOptions(config=["a=1", "a.b=2"]),
        TaskOptions(inputs=["x=[1"]),
        TaskOptions(inputs=["x=1"], input_types=["x=nt"]),
        TaskOptions(timeout="soon"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: TaskOptions) -> None:
    with pytest.raises(InvalidTask):
        options.over(TaskSpec(type="t"))


def test_a_json_file_is_read_as_json_means_it(tmp_path: Path) -> None:
    text = '{\n\t"type": "duckdb",\n\t"config": {"sql": "select \'\\ud83c\\udf89\'", "most": 1e5, "day": "2024-01-31"}\n}\n'
    (named,) = tasks_in(write(tmp_path, text))
    assert named.task.config == {"sql": "select '\N{PARTY POPPER}'", "most": 100_000.0, "day": "2024-01-31"}


def test_yaml_that_begins_like_json_is_yaml_still(tmp_path: Path) -> None:
    (named,) = tasks_in(write(tmp_path, "{type: duckdb, config: {most: NaN, day: 2024-01-31, is_on: yes}}"))
    assert named.task.config == {"most": "NaN", "day": "2024-01-31", "is_on": True}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5", 1.5), ("1m30s", 90)])
def test_a_timeout_without_a_unit_is_in_seconds_as_in_a_file(text: str, seconds: float) -> None:
    named = build_task(TaskOptions(timeout=text).over(TaskSpec(type="duckdb")))
    assert named.task.timeout == timedelta(seconds=seconds)
