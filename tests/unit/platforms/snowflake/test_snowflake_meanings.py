"""What Snowflake's words and codes mean, and what a statement that is over gives."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outboard.agent import Cause, Phase, Retry, StructuredDataset, TaskType
from outboard.errors import AgentError, Forbidden, InvalidTask, Rejected, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms.snowflake.agent import SnowflakeAgent
from outboard.platforms.snowflake.connections import SnowflakeConnection
from outboard.platforms.snowflake.errors import (
    CODES,
    ERRORS,
    NoSuchStatement,
    StatementFailed,
    StatementTimedOut,
    failure_of,
    refusal_of,
)
from outboard.platforms.snowflake.platform import Snowflake
from outboard.platforms.snowflake.results import SnowflakeQuery, facts_of, result_of, told
from outboard.platforms.snowflake.settings import AccountSettings, SnowflakeSettings
from outboard.platforms.snowflake.states import ABORTED, FAILED, INCIDENT, STATES

PLATFORM = Path(__file__).parents[4] / "src/outboard/platforms/snowflake"
README = (PLATFORM / "README.md").read_text("utf-8")
HANDLES = Path(__file__).parents[3] / "migration/handles/flytekit-1.16.31/handles.json"
WORDS = {Cause.USER: "user", Cause.PLATFORM: "platform", Cause.CANCELLED_OUTSIDE: "cancelled outside"}


def rows_of(heading: str) -> dict[str, list[str]]:
    table = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {match.group(1): row[1:] for row in cells if (match := re.fullmatch(r"`([^`]+)`", row[0]))}


def test_the_readme_shows_every_state_as_the_code_has_it() -> None:
    shown = rows_of("States")
    assert set(shown) == {str(state) for state in STATES.documented}
    for state, (phase, *_) in shown.items():
        reading = STATES.read(state)
        expected = Phase.RETRYABLE_FAILED if reading.failure and reading.failure.retry is Retry.YES else reading.phase
        assert (state, phase) == (state, expected.value)


def test_the_readme_shows_every_code_of_a_statement_as_the_code_has_it() -> None:
    shown = rows_of("Codes of statements")
    assert set(shown) == set(CODES)
    for code, (_, word, cause, retry) in shown.items():
        meaning = CODES[code]
        assert (code, word, cause, retry) == (code, f"`{meaning.word}`", WORDS[meaning.cause], meaning.retry.value)


def test_the_documents_tell_every_setting() -> None:
    page = (Path(__file__).parents[4] / "docs/platforms/snowflake.md").read_text("utf-8")
    names = [*SnowflakeSettings.model_fields, *(f"accounts.<account>.{name}" for name in AccountSettings.model_fields)]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_all_thirteen_words_are_mapped_and_only_success_succeeds() -> None:
    assert len(STATES.documented) == 13
    assert [state for state in STATES.documented if STATES.read(state).phase is Phase.SUCCEEDED] == ["SUCCESS"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "retry", "sent"),
    [
        (401, "390144", Unauthorized, Retry.YES, Sent.NO),
        (401, "390318", Unauthorized, Retry.YES, Sent.NO),
        (401, "394304", Unauthorized, Retry.YES, Sent.NO),
        (401, None, Unauthorized, Retry.YES, Sent.NO),
        (403, "390422", Forbidden, Retry.YES, Sent.NO),
        (403, None, Forbidden, Retry.YES, Sent.NO),
        (422, "390189", Rejected, Retry.NEVER, Sent.NO),
        (422, "390201", Rejected, Retry.NEVER, Sent.NO),
        (400, "390400", Rejected, Retry.NEVER, Sent.NO),
        (404, "000709", NoSuchStatement, Retry.YES, Sent.NO),
        (405, None, Rejected, Retry.NEVER, Sent.NO),
        (408, "000630", StatementTimedOut, Retry.YES, Sent.MAYBE),
        (422, "002003", StatementFailed, Retry.NEVER, Sent.NO),
        (429, None, Throttled, Retry.YES, Sent.NO),
        (500, None, Unavailable, Retry.YES, Sent.MAYBE),
        (503, None, Unavailable, Retry.YES, Sent.MAYBE),
        (504, None, Unavailable, Retry.YES, Sent.MAYBE),
    ],
)
def test_a_refused_call_says_who_must_act(
    status: int, code: str | None, kind: type[AgentError], retry: Retry, sent: Sent
) -> None:
    error = ERRORS.classify(status=status, code=code, words="no")
    assert isinstance(error, AgentError)
    assert (type(error), error.retry, error.sent) == (kind, retry, sent)


QUEUED = "Statement reached its statement or warehouse queued timeout of 5 second(s) and was canceled."


@pytest.mark.parametrize(
    ("error", "word", "cause", "retry", "words"),
    [
        (StatementFailed("no table", code="002003"), FAILED, Cause.USER, Retry.NEVER, "no table"),
        (StatementFailed("x", code="000606"), FAILED, Cause.USER, Retry.NEVER, "name a warehouse"),
        (StatementFailed("x", code="003001"), FAILED, Cause.USER, Retry.NEVER, "grant"),
        (StatementFailed("SQL execution canceled", code="000604"), ABORTED, Cause.CANCELLED_OUTSIDE, Retry.NEVER, "canceled"),
        (StatementTimedOut("too long", code="000630"), ABORTED, Cause.USER, Retry.NEVER, "STATEMENT_TIMEOUT"),
        (StatementFailed(QUEUED, code="000630"), ABORTED, Cause.PLATFORM, Retry.YES, "too busy"),
        (StatementFailed("x", code="000603"), INCIDENT, Cause.PLATFORM, Retry.YES, "x"),
        (StatementFailed("Processing aborted by error 370; incident 12", code="370"), INCIDENT, Cause.PLATFORM, Retry.YES, ""),
        (StatementFailed("a deadlock", code="123456"), FAILED, Cause.PLATFORM, Retry.YES, ""),
        (StatementFailed("quota", code="090073"), FAILED, Cause.PLATFORM, Retry.YES, "resource monitor"),
        (StatementFailed("what", code="999999"), FAILED, Cause.USER, Retry.NEVER, "what"),
    ],
)  # fmt: skip
def test_a_failed_statement_has_its_word_its_cause_and_its_verdict(
    error: AgentError, word: str, cause: Cause, retry: Retry, words: str
) -> None:
    state, failure = failure_of(error)
    assert (state, failure.cause, failure.retry) == (word, cause, retry)
    assert words in failure.message
    refusal = refusal_of(error)
    assert (refusal.retry, refusal.sent) == (retry, Sent.NO)


def test_a_resource_monitor_that_is_used_up_is_waited_for() -> None:
    refusal = refusal_of(StatementFailed("quota", code="090073"))
    assert (type(refusal), refusal.retry_after) == (Throttled, timedelta(minutes=10))


WHERE = SnowflakeConnection(account="MYORG-PROD", user="FLYTE")
JOB = SnowflakeQuery(id="01b", output="results", warehouse="WH", database="DB", schema_name="S")


@pytest.mark.parametrize(
    ("job", "answer", "uri"),
    [
        (JOB, {}, "snowflake://FLYTE:MYORG-PROD/WH/DB/S/01b"),
        (JOB.model_copy(update={"is_flyte2": True}), {}, "snowflake://FLYTE/MYORG-PROD/WH/DB/S/01b"),
        (JOB, {"statementHandles": ["1", "2"]}, "snowflake://FLYTE:MYORG-PROD/WH/DB/S/2"),
    ],
)
def test_a_result_has_the_address_that_its_sdk_reads(job: SnowflakeQuery, answer: dict[str, Any], uri: str) -> None:
    assert result_of(job, WHERE, answer) == StructuredDataset(uri)
    parts = re.split(r"\/|://|:", uri)  # as the readers of both SDKs take it apart
    assert parts[1:6] == ["FLYTE", "MYORG-PROD", "WH", "DB", "S"]


def test_a_statement_tells_its_rows_and_its_changes() -> None:
    partitions = [{"rowCount": 2, "uncompressedSize": 100}, {"rowCount": 1, "uncompressedSize": 50}]
    answer = {"resultSetMetaData": {"numRows": 3, "partitionInfo": partitions}, "stats": {"numRowsInserted": 3}}
    facts = facts_of("01b", answer)
    assert facts == {"query_id": "01b", "rows": 3, "result_partitions": 2, "result_bytes": 150, "rows_inserted": 3}
    assert (told(facts), told({"rows": 1_000}), told({})) == ("3 rows inserted", "1,000 rows", "")


def agent(**settings: Any) -> SnowflakeAgent:
    (found,) = Snowflake(SnowflakeSettings(**settings)).agents()
    assert isinstance(found, SnowflakeAgent)
    return found


def test_handles_of_flytekits_own_connector_are_read() -> None:
    handles = json.loads(HANDLES.read_text("utf-8"))
    (case,) = [each for each in handles if each["task_type"] == "snowflake"]
    meta = json.loads(base64.b64decode(case["handle"]))
    found = agent().read_flytekit(meta, TaskType("snowflake"))
    assert found is not None
    connection, job = found
    assert (connection.account, connection.user, job.id) == (meta["account"], meta["user"], meta["query_id"])
    uri = "snowflake://{user}:{account}/{warehouse}/{database}/{schema}/{query_id}".format(**meta)
    assert result_of(job, connection, {}).uri == uri
    second = agent().read_flytekit({**meta, "connection_kwargs": {"password": "x"}}, TaskType("snowflake"))
    assert second is not None
    assert second[1].is_flyte2
    assert "password" not in second[0].model_dump_json()


@pytest.mark.parametrize(
    "meta", [{}, {"query_id": 5}, {"account": "a", "user": "u"}, {"account": "a", "user": "u", "query_id": ""}]
)
def test_what_is_no_handle_is_read_as_none(meta: dict[str, Any]) -> None:
    assert agent().read_flytekit(meta, TaskType("snowflake")) is None


def test_a_made_up_handle_leads_to_no_other_account() -> None:
    meta = {"account": "evil-x", "user": "u", "query_id": "q"}
    with pytest.raises(InvalidTask, match="no credentials"):
        agent(account="myorg-prod").read_flytekit(meta, TaskType("snowflake"))


def test_the_link_is_the_querys_page_in_snowsight() -> None:
    (link,) = agent().links(JOB, WHERE)
    assert link.url == "https://app.snowflake.com/myorg/prod/#/compute/history/queries/01b/detail"
    (private,) = agent(accounts={"myorg-prod": {"console": "https://snow.example"}}).links(JOB, WHERE)
    assert private.url.startswith("https://snow.example/#/compute")


def test_a_handle_has_room_for_the_longest_place() -> None:
    job = JOB.model_copy(update={"id": "0" * 36, "database": "D" * 190, "is_flyte2": True})
    assert len(json.dumps(job.to_json())) < 400
