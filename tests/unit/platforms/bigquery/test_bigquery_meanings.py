"""What states, reasons, statements and statistics mean; the README says the same."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from outboard.agent import Cause, Phase, Retry, StructuredDataset
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms import bigquery
from outboard.platforms.bigquery.errors import ERRORS, LONG, REASONS, SHORT, failure_of
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.results import result_of
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.platforms.bigquery.states import OK, STATES, state_of
from outboard.platforms.bigquery.statistics import facts_of, usage_of
from warehouses.bigquery import DOCUMENTED_REASONS

README = (Path(bigquery.__file__).parent / "README.md").read_text("utf-8")


def job(state: str = "DONE", **parts: Any) -> dict[str, Any]:
    return {
        "jobReference": {"jobId": "j", "location": "EU"},
        "status": {"state": state, **parts.pop("status", {})},
        **parts,
    }


def test_every_reason_of_the_error_table_has_a_meaning_for_calls_and_for_ends() -> None:
    assert sorted(name for name, reason in REASONS.items() if reason.documented) == sorted(DOCUMENTED_REASONS)
    assert {("DONE", reason) for reason in DOCUMENTED_REASONS} <= STATES.documented


@pytest.mark.parametrize(
    ("reason", "kind", "sent"),
    [
        ("invalidQuery", Rejected, Sent.NO),
        ("notFound", Rejected, Sent.NO),
        ("accessDenied", Forbidden, Sent.NO),
        ("backendError", Unavailable, Sent.MAYBE),
        ("internalError", Unavailable, Sent.MAYBE),
        ("rateLimitExceeded", Throttled, Sent.NO),
        ("quotaExceeded", Throttled, Sent.NO),
        ("authError", Unauthorized, Sent.NO),
    ],
)
def test_a_refused_call_tells_who_must_act_and_whether_it_arrived(
    reason: str, kind: type[AgentError], sent: Sent
) -> None:
    error = ERRORS.classify(words="no", status=403, code=reason)
    assert isinstance(error, AgentError)
    assert (type(error), error.sent) == (kind, sent)


def test_a_rate_limit_is_short_and_a_quota_long() -> None:
    waits = {
        reason: ERRORS.classify(words="", code=reason).retry_after for reason in ("rateLimitExceeded", "quotaExceeded")
    }
    assert waits == {"rateLimitExceeded": SHORT, "quotaExceeded": LONG}
    assert timedelta(minutes=10) <= LONG
    assert timedelta(seconds=30) > SHORT


def test_a_refusal_with_a_good_status_is_one() -> None:
    body = {"error": {"code": 403, "errors": [{"reason": "rateLimitExceeded"}]}}
    assert isinstance(ERRORS.refusal_in(body), Throttled)
    assert ERRORS.refusal_in({"status": {"state": "DONE"}}) is None


@pytest.mark.parametrize(
    ("reason", "retry", "cause"),
    [
        ("invalidQuery", Retry.NEVER, Cause.USER),
        ("resourcesExceeded", Retry.NEVER, Cause.USER),
        ("accessDenied", Retry.NEVER, Cause.USER),
        ("backendError", Retry.YES, Cause.PLATFORM),
        ("quotaExceeded", Retry.YES, Cause.PLATFORM),
        ("tableUnavailable", Retry.YES, Cause.PLATFORM),
        ("stopped", Retry.NEVER, Cause.CANCELLED_OUTSIDE),
        ("aNewReason", Retry.NEVER, Cause.PLATFORM),
    ],
)
def test_an_end_tells_whether_another_attempt_is_worth_it(reason: str, retry: Retry, cause: Cause) -> None:
    failure = failure_of(reason, "words", "EU")
    assert (failure.retry, failure.cause, failure.code) == (retry, cause, reason)


def test_conflicting_changes_are_worth_another_attempt() -> None:
    words = "Could not serialize access to table p:d.t due to concurrent update"
    assert failure_of("invalidQuery", words, "EU").retry is Retry.YES


def test_data_in_another_region_are_told_as_such() -> None:
    words = "Not found: Dataset p:d was not found in location EU"
    assert "set the task's Location to where all of them are" in failure_of("notFound", words, "EU").message


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (job("PENDING"), "PENDING"),
        (job("RUNNING"), "RUNNING"),
        (job(), ("DONE", OK)),
        (job(status={"errors": [{"reason": "invalid", "message": "a bad row"}]}), ("DONE", OK)),
        (job(status={"errorResult": {"reason": "stopped"}}), ("DONE", "stopped")),
        (job(status={"errorResult": {}}), ("DONE", "unknown")),
        ({"state": "RUNNING"}, "RUNNING"),
        ({"state": "DONE", "errorResult": {"reason": "invalid"}}, ("DONE", "invalid")),
        ({}, ""),
    ],
)
def test_only_the_fatal_error_decides(shown: dict[str, Any], state: Any) -> None:
    assert state_of(shown) == state


def test_an_unknown_reason_fails_and_is_flagged_and_an_unknown_state_runs_on() -> None:
    assert (STATES.read(("DONE", "brandNew")).phase, STATES.read(("DONE", "brandNew")).is_flagged) == (
        Phase.FAILED,
        True,
    )
    assert STATES.read("PREPARING").phase is Phase.RUNNING


def test_the_readme_has_the_states_as_the_code_has_them() -> None:
    rows = re.findall(r"^\| `([A-Z]+)`(?: `(\w+)`)? \| (\w+) \| (yes|no|) ?\|", README, re.MULTILINE)
    told = {(first, second) if second else first: (phase, retry) for first, second, phase, retry in rows}
    code = {}
    for state in STATES.documented:
        reading = STATES.read(state)
        retry = "" if reading.failure is None else "yes" if reading.failure.retry is Retry.YES else "no"
        code[state] = (reading.phase.value, retry)
    assert {state: told[state] for state in told if state in code} == code
    assert set(told) - set(code) == {("DONE", "noResult"), ("DONE", "bytesBilledLimitExceeded")}


def test_the_readme_names_every_setting() -> None:
    assert [name for name in BigQuerySettings.model_fields if f"`{name}`" not in README] == []


def test_every_quota_has_its_source_and_date() -> None:
    assert all(rate.source.startswith("https://") and rate.date for _, rate in BigQuery.quotas)


TABLE = {"projectId": "p", "datasetId": "d", "tableId": "t"}


def ended(statement: str, *, destination: Any = None, created: int = 1, **query: Any) -> dict[str, Any]:
    configuration = {"query": {"destinationTable": destination} if destination else {}}
    statistics = {"creationTime": str(created), "endTime": str(created), "query": {"statementType": statement, **query}}
    return job(configuration=configuration, statistics=statistics)


@pytest.mark.parametrize(
    ("shown", "uri"),
    [
        (ended("SELECT", destination=TABLE), "bq://p:d.t"),
        (ended("CREATE_TABLE_AS_SELECT", ddlTargetTable=TABLE), "bq://p:d.t"),
        (ended("CREATE_VIEW", ddlTargetTable=TABLE), "bq://p:d.t"),
        (ended("ALTER_TABLE", ddlTargetTable=TABLE), None),
        (ended("ALTER_TABLE", ddlDestinationTable=TABLE), "bq://p:d.t"),
        (ended("DROP_TABLE", ddlTargetTable=TABLE), None),
        (ended("CREATE_FUNCTION", destination=TABLE), None),
        (ended("UPDATE"), None),
        (ended("MERGE", destination=TABLE), "bq://p:d.t"),
        (ended("INSERT", destination={**TABLE, "datasetId": "_anonymous"}), None),
        (ended("SELECT", destination={**TABLE, "datasetId": "_anonymous"}), "bq://p:_anonymous.t"),
        (ended("CREATE_TABLE", destination=TABLE), "bq://p:d.t"),
        (ended("SCRIPT", destination=TABLE), "bq://p:d.t"),
        (ended("SELECT", destination={"projectId": "p"}), None),
        (job(), None),
    ],
)
def test_the_result_is_the_table_that_the_statement_made(shown: dict[str, Any], uri: str | None) -> None:
    assert result_of(shown) == (None if uri is None else StructuredDataset(uri))


def test_the_result_of_a_script_is_that_of_its_last_statement_that_has_one() -> None:
    script = ended("SCRIPT")
    early = ended("SELECT", destination={**TABLE, "tableId": "early"}, created=1)
    late = ended("SELECT", destination=TABLE, created=5)
    expression = ended("SELECT", destination={**TABLE, "tableId": "expression"}, created=7)
    expression["statistics"]["scriptStatistics"] = {"evaluationKind": "EXPRESSION"}
    last = ended("DROP_TABLE", created=9)
    assert result_of(script, [last, expression, late, early]) == StructuredDataset("bq://p:d.t")
    assert result_of(script, [last]) is None


def spent(**query: Any) -> dict[str, Any]:
    return {"statementType": "SELECT", "totalBytesBilled": str(2**40), "totalSlotMs": "7200000", **query}


def test_the_price_is_by_bytes_on_demand_and_by_slots_in_a_reservation() -> None:
    settings = BigQuerySettings(
        price_per_tib=Decimal("6.25"),
        price_per_tib_by_location={"EU": Decimal("7.5")},
        price_per_slot_hour=Decimal("0.06"),
    )
    there = job(statistics={"query": spent()})
    here = {**there, "jobReference": {"location": "US"}}
    reserved = job(statistics={"query": spent(), "reservation_id": "p:EU.r"})
    amounts = [usage_of(each, (), settings).currency_amount for each in (there, here, reserved)]
    assert amounts == [Decimal("7.5"), Decimal("6.25"), Decimal("0.12")]
    assert usage_of(there, (), BigQuerySettings()).currency_amount is None


def test_usage_has_bytes_slots_and_duration() -> None:
    shown = job(statistics={"startTime": "1000", "endTime": "3500", "query": spent()})
    usage = usage_of(shown, (), BigQuerySettings())
    assert (usage.duration, usage.billed) == (
        timedelta(seconds=2.5),
        {"bytes_billed": Decimal(2**40), "slot_ms": Decimal(7_200_000)},
    )


def test_a_scripts_missing_totals_are_those_of_its_children() -> None:
    script = job(statistics={"numChildJobs": "2", "query": {"statementType": "SCRIPT"}})
    children = [job(statistics={"query": spent()}), job(statistics={"query": spent()})]
    facts = facts_of(script, children)
    assert (facts["bytes_billed"], facts["slot_ms"], len(facts["children"])) == (2**41, 14_400_000, 2)
