"""An inquiry tells what a handle binds, what its record says, and why the platform's answer means what it means.

Nothing follows from it: what an inquiry may not do is counted at the platform and in the store.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from integration.platforms.snowflake.snowflake_hosts import Site, site
from outboard.domain.handles import Handle
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record, RecordCodec, Stage
from outboard.domain.statuses import Cause, Status
from outboard.errors import ForeignHandle, Retry, Unauthorized, Unavailable, UnreadableHandle
from outboard.host.inquiries import Inquiry, Judge
from outboard.testing.cases.snowflake import statement_task
from outboard.testing.platforms.snowflake import failing
from outboard.testing.virtual_time import virtually

pytest.importorskip("cryptography")
LIMIT_S = 10.0
TOLD_TO_NOBODY = "SELECT 'do not tell' FROM t"


async def asked(at: Site, handle: bytes, **more: Any) -> Inquiry:
    return await at.host.examination.inquire(handle, timeout_s=LIMIT_S, **more)


@virtually
async def test_a_running_job_is_told_with_the_rule_that_decided() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        found = await asked(at, handle)
        assert found.handle.agent == "snowflake"
        assert found.answer is not None
        assert found.answer.phase is Phase.RUNNING
        assert found.answer.rule.startswith("the table has ")
        assert found.answer.source.startswith("https://")
        assert found.answer.failure is None
        assert [link.name for link in found.links] == ["Snowflake Query Details"]


@virtually
@pytest.mark.parametrize(
    ("code", "phase", "retry"),
    [("001003", Phase.FAILED, Retry.NEVER), ("000625", Phase.RETRYABLE_FAILED, Retry.YES)],
)
async def test_the_verdict_on_a_failure_is_that_of_a_poll(code: str, phase: Phase, retry: Retry) -> None:
    sql = "SELECT doomed"
    async with site({sql: failing(code, "42000", "words of the platform")}) as at:
        handle = await at.start(statement_task(sql))
        polled = await at.end(handle)
        found = (await asked(at, handle)).answer
        assert found is not None
        assert found.failure is not None
        assert (found.phase, found.failure.retry, found.failure.code) == (phase, retry, code)
        assert found.judge is Judge.AGENT
        assert polled.error is not None
        assert (polled.phase, polled.error.code) == (found.phase, found.failure.code), "as the engine was told"


@virtually
async def test_asking_starts_nothing_ends_nothing_and_is_no_poll() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        before = dict(at.server.calls)
        await asked(at, handle)
        assert sum(at.server.calls.values()) - sum(before.values()) == 1, "one look"
        assert at.host.recall_task(handle) is None, "what engines are told is not touched"
        await at.host.delete_task(handle)


@virtually
async def test_nobody_is_asked_who_need_not_be() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        before = dict(at.server.calls)
        found = await asked(at, handle, asks=False)
        assert found.answer is None
        assert dict(at.server.calls) == before
        await at.host.delete_task(handle)


@virtually
async def test_a_platform_that_refuses_us_is_told_as_it_is() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        at.server.access.keys.clear()
        found = (await asked(at, handle)).answer
        assert found is not None
        assert isinstance(found.error, Unauthorized)
        assert found.phase is None


@virtually
async def test_a_platform_that_is_away_is_told_as_it_is() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        async with at.server.outage():
            found = (await asked(at, handle)).answer
        assert found is not None
        assert isinstance(found.error, Unavailable)


@virtually
async def test_a_job_that_is_gone_is_told_and_not_ended() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        (job,) = at.server.ledger.jobs
        at.server.ledger.forget(job)
        for _ in range(5):
            found = (await asked(at, handle)).answer
            assert found is not None
            assert found.is_missing
        assert not (await at.host.get_task(handle)).phase.is_terminal


@virtually
async def test_an_unfinished_submission_is_read_and_never_taken_over() -> None:
    async with site() as at:
        started = at.host.codec.decode(await at.start(statement_task("SELECT quick")))
        key = Key("ob-f-n0-0-" + "a" * 26)
        intent = replace(started, key=key, job={}, is_intent=True, output_prefix="memory://out/late/0")
        place = f"memory://out/late/0/.outboard/{key.text}"
        old = int(time.time()) - 3600
        record = Record(key=key, stage=Stage.CLAIMED, claim="c0ffee", turn=2, created_at=old, release="0.2.0")
        await at.host.stores.write(place, RecordCodec().encode(record))
        creates = dict(at.server.calls)
        found = await asked(at, at.host.codec.encode(intent))
        assert found.record == record
        assert found.record_place == place
        assert found.answer is None, "a poll could bring this process to go on with it"
        assert dict(at.server.calls) == creates
        assert await at.host.stores.read(place) == RecordCodec().encode(record), "nobody took it over"


@virtually
async def test_an_intent_whose_record_names_a_job_is_followed_to_it() -> None:
    async with site() as at:
        handle = await at.start(statement_task("SELECT long"))
        job = at.host.codec.decode(handle)
        intent = replace(job, job={}, is_intent=True)
        place = f"{job.output_prefix}/.outboard/{job.key.text}"
        submitted = Record(key=job.key, stage=Stage.SUBMITTED, handle=handle)
        await at.host.stores.write(place, RecordCodec().encode(submitted))
        found = await asked(at, at.host.codec.encode(intent))
        assert found.handle.is_intent
        assert found.job == job
        assert found.answer is not None
        assert found.answer.phase is Phase.RUNNING
        assert await at.host.examination.recorded_handle(job.key, job.output_prefix, timeout_s=LIMIT_S) == handle
        await at.host.delete_task(handle)


@virtually
async def test_bytes_that_are_no_handle_are_refused() -> None:
    async with site() as at:
        with pytest.raises(ForeignHandle):
            await asked(at, b"nonsense")


@virtually
async def test_a_handle_whose_agent_is_not_here_is_told_as_far_as_it_goes() -> None:
    async with site() as at:
        handle = at.host.codec.encode(
            Handle(agent="another", task_type="another", key=Key("ob-f-n0-0-" + "a" * 26), job={"id": "7"})
        )
        found = await asked(at, handle)
        assert found.job.job == {"id": "7"}
        assert isinstance(found.error, UnreadableHandle)


@virtually
async def test_an_agent_that_cannot_judge_leaves_it_to_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Status) -> Any:
        raise RuntimeError("x")

    sql = "SELECT doomed"
    async with site({sql: failing("001003", "42000", "words")}) as at:
        handle = await at.start(statement_task(sql))
        await at.end(handle)
        (agent,) = at.host.registry
        monkeypatch.setattr(agent, "judge", broken)
        found = (await asked(at, handle)).answer
        assert found is not None
        assert found.judge is not Judge.AGENT
        assert found.failure is not None
        assert found.failure.cause in Cause


@virtually
async def test_no_sql_is_told() -> None:
    async with site({TOLD_TO_NOBODY: failing("001003", "42000", "syntax error")}) as at:
        handle = await at.start(statement_task(TOLD_TO_NOBODY))
        await at.end(handle)
        assert "do not tell" not in repr(await asked(at, handle))
