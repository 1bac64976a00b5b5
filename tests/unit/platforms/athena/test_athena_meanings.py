"""What Athena's states, errors, results and statistics mean; and that the README says the same."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import outboard.platforms.athena as package
from outboard.agent import Phase, Retry
from outboard.agent.error_facts import facts_of_answer
from outboard.domain.templates import TemplateValues
from outboard.domain.values import Schema, StructuredDataset
from outboard.errors import Forbidden, InvalidTask, Rejected, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms.athena.client import _unprocessed, is_gone
from outboard.platforms.athena.errors import CATALOG, ERRORS, failure_of
from outboard.platforms.athena.platform import Athena
from outboard.platforms.athena.regions import console_url, endpoint_of
from outboard.platforms.athena.results import result_of
from outboard.platforms.athena.settings import AthenaSettings
from outboard.platforms.athena.statement import kind_of, statement_of
from outboard.platforms.athena.states import STATES, state_of
from outboard.platforms.athena.statistics import bytes_billed, facts_of, price_of, usage_of

README = (Path(package.__file__).parent / "README.md").read_text()
MB = 2**20
DOCUMENTED_TYPES = {
    *range(9),
    100,
    *range(200, 241),
    *range(300, 304),
    *range(400, 403),
    *range(1000, 1015),
    *range(1100, 1111),
    *range(1200, 1203),
    *range(1300, 1309),
    *range(1400, 1407),
    *(1500, 1501, 1602, 1700, 1701, 9999),
}
"""Of the error catalog, https://docs.aws.amazon.com/athena/latest/ug/error-reference.html, read 2026-11-22."""


def execution(state: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    status = {"State": state, **more.pop("status", {})}
    return {"QueryExecutionId": "q", "Status": status, "StatementType": "DML", "SubstatementType": "SELECT", **more}


def test_the_readme_lists_every_state_with_its_phase() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| `")]
    told = {tuple(row[0].replace("`", "").split()): row[1] for row in rows}
    for state in STATES.documented:
        words = (state,) if isinstance(state, str) else state
        reading = STATES.read(state)
        assert told[words] == reading.phase.value, state


def test_the_readmes_quotas_are_the_platforms() -> None:
    for method, rate in Athena.quotas:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{method}`"))
        assert f"| {rate.per_second} |" in row
        assert str(rate.burst * 10 // 9) in row
        assert rate.source
        assert rate.date


def test_every_number_of_the_error_catalog_is_classified() -> None:
    assert set(CATALOG) == DOCUMENTED_TYPES
    assert sum(meaning.retry is Retry.YES for meaning in CATALOG.values()) > 50


def test_unknown_states_go_on_and_unknown_ends_fail() -> None:
    assert STATES.read(state_of(execution("PAUSED"))).phase is Phase.RUNNING
    assert STATES.read(state_of({"Status": {}})).is_flagged
    assert STATES.read(state_of(execution("FAILED"))).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (
            400,
            b'{"__type":"InvalidRequestException","AthenaErrorCode":"MALFORMED_QUERY","Message":"m"}',
            Rejected,
            None,
        ),
        (
            400,
            b'{"__type":"com.amazon#ThrottlingException","message":"Rate exceeded"}',
            Throttled,
            "ThrottlingException",
        ),
        (400, b'{"__type":"TooManyRequestsException","Reason":"CONCURRENT_QUERY_LIMIT_EXCEEDED"}', Throttled, None),
        (500, b'{"__type":"InternalServerException","Message":"m"}', Unavailable, "InternalServerException"),
        (400, b'{"__type":"MetadataException","Message":"m"}', Rejected, "MetadataException"),
        (400, b'{"__type":"AccessDeniedException","Message":"m"}', Forbidden, "AccessDeniedException"),
        (400, b'{"__type":"ExpiredTokenException","message":"m"}', Unauthorized, "ExpiredTokenException"),
        (400, b'{"__type":"UnrecognizedClientException","message":"m"}', Unauthorized, "UnrecognizedClientException"),
        (403, b'{"__type":"SignatureDoesNotMatch","message":"m"}', Unauthorized, "SignatureDoesNotMatch"),
        (503, b"busy", Unavailable, None),
        (429, b"", Throttled, None),
    ],
)
def test_each_exception_says_who_must_act(status: int, body: bytes, kind: Any, code: str | None) -> None:
    facts = facts_of_answer(status, {}, body)
    error: Any = ERRORS.classify(status=status, code=facts.codes, words=facts.words)
    assert type(error) is kind
    assert code is None or error.platform_code == code
    assert error.sent is (Sent.MAYBE if kind is Unavailable else Sent.NO)


def test_an_invalid_requests_own_code_is_told_where_it_is_known() -> None:
    body = b'{"__type":"InvalidRequestException","AthenaErrorCode":"IDEMPOTENT_PARAMETER_MISMATCH","Message":"m"}'
    facts = facts_of_answer(400, {}, body)
    assert facts.codes[:2] == ("IDEMPOTENT_PARAMETER_MISMATCH", "InvalidRequestException")


def test_queries_that_could_not_be_looked_at_are_not_gone() -> None:
    assert _unprocessed({"ErrorCode": "QUERY_EXECUTION_NOT_FOUND"}) is None
    assert isinstance(_unprocessed({"ErrorMessage": "You are not authorized"}), Forbidden)
    assert isinstance(_unprocessed({"ErrorCode": "INTERNAL"}), Unavailable)
    assert is_gone(None, "Query has expired. QueryExecution q")
    assert not is_gone(None, "WorkGroup is not found.")


def test_a_bucket_of_another_region_is_explained() -> None:
    words = "The S3 location provided to save your query results is invalid. PermanentRedirect"
    assert "eu-west-1" in failure_of({"ErrorCategory": 2, "ErrorType": 1501}, words, "eu-west-1").message


@pytest.mark.parametrize(
    ("scanned", "more", "billed"),
    [
        (5 * 2**30, {}, 5 * 2**30),
        (1, {}, 10 * MB),
        (10 * MB + 1, {}, 11 * MB),
        (5 * 2**30, {"StatementType": "DDL", "SubstatementType": "CREATE_TABLE"}, 0),
        (5 * 2**30, {"StatementType": "DDL", "SubstatementType": "CREATE_TABLE_AS_SELECT"}, 5 * 2**30),
        (5 * 2**30, {"state": "FAILED"}, 0),
        (0, {"state": "CANCELLED"}, 0),
        (20 * MB, {"state": "CANCELLED"}, 20 * MB),
    ],
)
def test_bytes_are_billed_as_awss_price_list_says(scanned: int, more: dict[str, Any], billed: int) -> None:
    found = execution(more.pop("state", "SUCCEEDED"), Statistics={"DataScannedInBytes": scanned}, **more)
    assert bytes_billed(found) == billed
    price = Decimal(5) * billed / 2**40
    assert price_of(found, AthenaSettings()) == price.quantize(Decimal("0.000001"))


def test_reserved_capacity_is_billed_by_time() -> None:
    numbers = {"DataScannedInBytes": 2**40, "DpuCount": 24.0, "EngineExecutionTimeInMillis": 1_800_000}
    found = execution(Statistics=numbers)
    assert bytes_billed(found) == 0
    assert price_of(found, AthenaSettings()) is None
    assert price_of(found, AthenaSettings(price_per_dpu_hour=Decimal("0.30"))) == Decimal("3.6")


@pytest.mark.parametrize(
    ("sql", "kind", "found"),
    [
        (
            "UNLOAD (\nSELECT 1\n) TO 's3://b/x/rows/' WITH (format = 'PARQUET', compression = 'SNAPPY')\n/* k=v */",
            "UNLOAD",
            StructuredDataset("s3://b/x/rows/", "parquet"),
        ),
        (
            "unload (select ')' from t) to 's3://b/y/' with (format='ORC')",
            "UNLOAD",
            StructuredDataset("s3://b/y/", "orc"),
        ),
        (
            "create table t with (format='ORC', external_location = 's3://b/t/') as\nselect 's3://no/' AS format",
            "CREATE_TABLE_AS_SELECT",
            StructuredDataset("s3://b/t/", "orc"),
        ),
        (
            "UNLOAD (SELECT ') TO') TO /* here */ 's3://b/z/' WITH (format = 'AVRO', x = ')') -- mine\n/* k=v */",
            "UNLOAD",
            StructuredDataset("s3://b/z/", "avro"),
        ),
        ("CREATE TABLE t AS SELECT 1", "CREATE_TABLE_AS_SELECT", StructuredDataset("s3://o/q.csv", "parquet")),
        ("SELECT 1", "SELECT", StructuredDataset("s3://o/q.csv", "csv")),
    ],
)
def test_a_result_is_where_the_statement_put_it(sql: str, kind: str, found: StructuredDataset) -> None:
    shown = execution(Query=sql, SubstatementType=kind, ResultConfiguration={"OutputLocation": "s3://o/q.csv"})
    assert result_of(shown, is_schema=False) == found
    assert result_of(shown, is_schema=True) == Schema(found.uri)


def test_a_text_of_any_length_is_read_in_one_go() -> None:
    """Patterns that could be read in two ways took hours for these."""
    long = " " * 100_000
    assert kind_of("/* " * 80_000 + "SELECT 1") == ""
    assert result_of(execution(Query=f"UNLOAD (SELECT 1) TO 's3://b/x'{long}x"), is_schema=False) is None
    ctas = execution(Query=f"CREATE TABLE t AS{long}x", SubstatementType="CREATE_TABLE_AS_SELECT")
    assert result_of(ctas, is_schema=False) is None
    with pytest.raises(InvalidTask):
        statement_of("SELECT " + "{{.a" * 60_000, (), (), TemplateValues())


@pytest.mark.parametrize("odd", [[1], {"a": 1}, "1", True, None, -1, float("nan"), float("inf"), 10**40, 1e300])
def test_fields_of_another_type_spoil_no_answer(odd: Any) -> None:
    settings = AthenaSettings(price_per_dpu_hour=Decimal(1))
    failed = execution("FAILED", status={"AthenaError": {"ErrorCategory": odd, "ErrorType": odd, "Retryable": odd}})
    assert not STATES.read(state_of(failed)).is_flagged
    assert failure_of(failed["Status"]["AthenaError"], "words", "eu-west-1").message.startswith("words")
    names = ("DataScannedInBytes", "TotalExecutionTimeInMillis", "EngineExecutionTimeInMillis", "DpuCount")
    ended = execution(Statistics=dict.fromkeys(names, odd), EngineVersion=odd, ResultConfiguration=odd)
    usage = usage_of(ended, settings)
    assert usage.billed["bytes_scanned"] == 0
    assert facts_of(ended, settings, "eu-west-1")["bytes_scanned"] == 0


def test_each_partition_has_its_own_addresses() -> None:
    assert endpoint_of("eu-west-1") == "https://athena.eu-west-1.amazonaws.com"
    assert endpoint_of("cn-north-1") == "https://athena.cn-north-1.amazonaws.com.cn"
    assert endpoint_of("eu-west-1", "https://vpce-1.athena.{region}.vpce.amazonaws.com").startswith(
        "https://vpce-1.athena.eu"
    )
    assert "console.amazonaws-us-gov.com" in console_url("us-gov-west-1", "q")
    assert console_url("us-iso-east-1", "q") == ""
