"""Templates render as FlytePropeller renders them: expected texts were printed by Go 1.26 or are facts of Flyte's tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.templates import TemplateValues, render_args
from outboard.domain.values import Blob, Schema, StructuredDataset
from outboard.errors import InvalidTask

VALUES = TemplateValues(
    input_uri="input/blah/inputs.pb",
    input_prefix="input/blah",
    output_prefix="output/blah",
    raw_output_data_prefix="s3://custom-bucket",
    checkpoint_output_prefix="s3://new-checkpoint/prefix",
    prev_checkpoint_prefix="s3://prev-checkpoint/prefix",
    generated_name="per-retry-unique-key",
    namespace="test-namespace",
    task_template_path="s3://task-path",
)


class Colour(Enum):
    RED = "red"


def render(arg: str, **inputs: object) -> str:
    return render_args([arg], replace(VALUES, inputs=inputs))[0]


def test_no_arguments_render_to_none() -> None:
    assert render_args([], VALUES) == []


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        ("hello", "hello"),
        ("${HOME} {input} }}", "${HOME} {input} }}"),
        ("{{.input}}", "input/blah/inputs.pb"),
        ("{{ .inputPrefix }}", "input/blah"),
        ("--switch {{ .rawOutputDataPrefix }}", "--switch s3://custom-bucket"),
        ("--to={{.OutputPrefix}}/x", "--to=output/blah/x"),
        ("{{ .CheckpointOutputPrefix }}", "s3://new-checkpoint/prefix"),
        ("{{ .PrevCheckpointPrefix }}", "s3://prev-checkpoint/prefix"),
        ("{{ .perRetryUniqueKey }}", "per_retry_unique_key"),
        ("{{ .taskTemplatePath }}", "s3://task-path"),
        ("{{ .namespace }}", "test-namespace"),
        ("{{.input}} {{.input}} {{.namespace}}", "input/blah/inputs.pb input/blah/inputs.pb test-namespace"),
    ],
)
def test_every_placeholder_is_replaced_by_its_value(arg: str, expected: str) -> None:
    assert render(arg) == expected


@pytest.mark.parametrize(
    "arg",
    [
        "{{$input}}",
        "{{ $Input }}",
        "{{.input}}",
        "{{       .Input }}",
        "{{ .Input}}",
        "{{.INPUT }}",
        "{{\n\t.iNpUt\r\f}}",
    ],
)
def test_spacing_case_and_dollar_do_not_matter(arg: str) -> None:
    assert render(arg) == "input/blah/inputs.pb"


@pytest.mark.parametrize(
    "arg",
    [
        "{{input}}",
        "{{ .wrongOutputDataPrefix }}",
        "{{ .Inputs.blah blah }}",
        "{{\v.input}}",
        "{{\u00a0.input}}",
        "x {{",
    ],
)
def test_what_stays_a_placeholder_is_rejected_with_the_argument_named(arg: str) -> None:
    with pytest.raises(InvalidTask, match=r"container\.args\[1\]") as caught:
        render_args(["fine", arg], replace(VALUES, inputs={"blah": 1}))
    assert caught.value.field == "container.args[1]"


def test_a_first_attempt_gets_two_quotes_as_its_previous_checkpoint() -> None:
    assert render_args(["--prev={{ .prevcheckpointprefix }}"], replace(VALUES, prev_checkpoint_prefix="")) == [
        '--prev=""'
    ]


def test_a_namespace_inside_a_location_is_rendered_too() -> None:
    values = replace(VALUES, raw_output_data_prefix="s3://raw/{{ .Namespace }}")
    assert render_args(["{{.rawOutputDataPrefix}}"], values) == ["s3://raw/test-namespace"]


def test_the_order_of_replacement_is_flytes() -> None:
    """The input file is put in before the output prefix, hence only it may hold the other's placeholder."""
    assert render_args(["{{.input}}"], replace(VALUES, input_uri="{{.outputPrefix}}/i")) == ["output/blah/i"]
    with pytest.raises(InvalidTask):
        render_args(["{{.outputPrefix}}"], replace(VALUES, output_prefix="{{.input}}"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("per_retry_unique_key", "per_retry_unique_key"),
        ("33 per retry-unique-key", "aper_retry_unique_key"),
        ("f0a1-n0-0", "f0a1_n0_0"),
        ("--", "a"),
        ("", ""),
    ],
)
def test_the_key_of_an_attempt_is_an_identifier(name: str, key: str) -> None:
    assert render_args(["{{ .PerretryuNIqueKey }}"], replace(VALUES, generated_name=name)) == [key]


@pytest.mark.parametrize("path", ["/a$b/c", "/a$$", "/a${x}", "/$1"])
def test_a_location_that_go_would_mangle_is_refused(path: str) -> None:
    with pytest.raises(InvalidTask, match="'\\$'"):
        render_args(["{{.outputPrefix}}"], replace(VALUES, output_prefix=path))


@pytest.mark.parametrize("path", ["/a$/b", "/a$", "/${x-y}", "C:\\1\\g<0>"])
def test_a_location_that_go_leaves_alone_is_taken_as_it_is(path: str) -> None:
    assert render_args(["{{.outputPrefix}}"], replace(VALUES, output_prefix=path)) == [path]


def test_a_task_template_that_is_stored_nowhere_is_an_error_only_where_it_is_asked_for() -> None:
    values = replace(VALUES, task_template_path=None)
    assert render_args(["{{.input}}"], values) == ["input/blah/inputs.pb"]
    with pytest.raises(InvalidTask, match="taskTemplatePath"):
        render_args(["{{.taskTemplatePath}}"], values)


MOMENT = datetime(1900, 1, 1, 1, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("my table", "my table"),
        ("", ""),
        (15, "15"),
        (-(2**63), "-9223372036854775808"),
        (True, "true"),
        (False, "false"),
        (Colour.RED, "red"),
        (["a", "b"], "[a,b]"),
        ([["a", "b"], [1, 2]], "[[a,b],[1,2]]"),
        ([], "[]"),
        (Schema("s3://some-bucket/x.parquet"), "s3://some-bucket/x.parquet"),
        ([Blob("a"), Blob("b b")], "[a,b b]"),
        (MOMENT, "1900-01-01T01:01:01Z"),
        (MOMENT.replace(microsecond=120_000), "1900-01-01T01:01:01.12Z"),
        (MOMENT.replace(microsecond=1), "1900-01-01T01:01:01.000001Z"),
        (MOMENT.replace(year=5), "0005-01-01T01:01:01Z"),
        (MOMENT.astimezone(timezone(timedelta(hours=2))), "1900-01-01T01:01:01Z"),
        (timedelta(0), ""),
        (timedelta(minutes=90), "seconds:5400"),
        (timedelta(seconds=1.5), "seconds:1 nanos:500000000"),
        (timedelta(seconds=-1.5), "seconds:-1 nanos:-500000000"),
        (timedelta(microseconds=1), "nanos:1000"),
        ({"b": True, "a": 1, "d": "string", "c": 1.1}, "map[a:1 b:true c:1.1 d:string]"),
        ({"b": [1, "x", None, True, {"z": 1.0}], "a": b"\x01\x02"}, "map[a:[1 2] b:[1 x <nil> true map[z:1]]]"),
    ],
)
def test_an_input_has_the_text_that_go_gives_it(value: object, expected: str) -> None:
    assert render("--x={{ .Inputs.value }}", value=value) == f"--x={expected}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (23.1, "23.1"),
        (99600.0, "99600"),
        (100000.0, "100000"),
        (1e6, "1e+06"),
        (39984059.0, "3.9984059e+07"),
        (123456789.0, "1.23456789e+08"),
        (5.4e19, "5.4e+19"),
        (1.5e21, "1.5e+21"),
        (0.0001234, "0.0001234"),
        (1e-5, "1e-05"),
        (2.5e-7, "2.5e-07"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (29.200000000000003, "29.200000000000003"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_a_float_is_written_as_go_writes_it(value: float, expected: str) -> None:
    assert render("{{.inputs.x}}", x=value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_rendered_float_reads_back_as_itself(value: float) -> None:
    assert struct.pack("d", float(render("{{.inputs.x}}", x=value))) == struct.pack("d", value)


@pytest.mark.parametrize("value", [None, [None], b"raw", object(), StructuredDataset("raw")])
def test_an_input_without_a_text_form_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(InvalidTask, match="input 'secret'") as caught:
        render("{{.inputs.secret}}", secret=value)
    assert "raw" not in caught.value.message


def test_a_missing_input_is_named_together_with_those_given() -> None:
    with pytest.raises(InvalidTask, match="'blah', which was not given \\(given: a, b\\)"):
        render("--someArg {{ .Inputs.blah }}", a=1, b=2)


def test_input_names_keep_their_case() -> None:
    assert render("{{ .INPUTS.Table }}", Table="T", table="t") == "T"


@given(st.text())
def test_an_inputs_value_is_never_rendered_again(value: str) -> None:
    """A value may hold a placeholder, braces or anything else; it is data."""
    assert render("<{{.inputs.v}}>", v=value) == f"<{value}>"
    assert render("{{.inputs.v}}", v="{{.namespace}}{{ jinja }}") == "{{.namespace}}{{ jinja }}"


def test_an_input_that_no_template_names_is_never_read() -> None:
    class Lazy(Mapping[str, object]):
        def __getitem__(self, name: str) -> object:
            assert name == "wanted"
            return 1

        def __iter__(self) -> Iterator[str]:
            return iter(("wanted", "broken"))

        def __len__(self) -> int:
            return 2

    assert render_args(["{{.inputs.wanted}}"], replace(VALUES, inputs=Lazy())) == ["1"]
