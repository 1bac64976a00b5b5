"""Tasks through the engine and a real host in this process."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from integration.engine.ledger_platform import Ledger, seconds, task, until
from integration.engine.ledger_service import LedgerService
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure
from outboard.domain.tasks import Container, Inputs
from outboard.domain.types import Interface, SimpleType
from outboard.engine import Engine, EngineSettings, Journal, TaskEvent, TaskOutcome
from outboard.engine.journal_records import Step
from outboard.errors import InvalidTask, JournalUnwritable, Retry, TaskFailed
from outboard.host.host import Host
from outboard.testing.virtual_time import virtually
from outboard.wire.files import encode_error_file, encode_outputs_file

ANSWER = Interface(outputs={"answer": SimpleType.INTEGER})


async def test_a_task_becomes_one_job_and_its_outputs_come_back_typed(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    seen: list[TaskEvent] = []
    async with Engine.in_process(host, settings=settings, on_event=seen.append) as engine:
        outcome = await engine.run(replace(task(polls=2, outputs={"answer": 42}), interface=ANSWER))
    assert outcome.phase is Phase.SUCCEEDED
    assert outcome.require() == {"answer": 42}
    assert len(ledger.keys("started")) == 1
    assert ledger.keys("cancelled") == []
    assert seen[0].phase in (None, Phase.RUNNING)
    assert next(event.phase for event in seen if event.links) is Phase.RUNNING
    assert seen[-1].is_final
    assert seen[-1].phase is Phase.SUCCEEDED


async def test_the_execution_identity_and_prefix_are_filled_in_as_flyte_does(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task())
    assert outcome.output_prefix == f"{settings.output_base}/{outcome.run_id}/n0/0"
    assert ledger.keys("started")[0].startswith(f"ob-{outcome.run_id}-n0-0-")


async def test_a_retryable_failure_leads_to_another_attempt_after_a_delete(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task(retries=2, attempts=["LOST", "LOST", "DONE"]))
    assert outcome.is_success
    assert outcome.attempts == 3
    assert outcome.output_prefix.endswith("/n0/2")
    assert len(set(ledger.keys("started"))) == 3


async def test_retries_are_used_up_and_then_the_failure_is_told(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task(retries=1, attempts=["LOST"]))
    assert (outcome.phase, outcome.attempts) == (Phase.FAILED, 2)
    assert outcome.error is not None
    assert outcome.error.code == "LOST"
    with pytest.raises(TaskFailed, match="the node went away"):
        outcome.require()


async def test_a_permanent_failure_spends_no_retry(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task(retries=5, attempts=["BROKEN"]))
    assert (outcome.phase, outcome.attempts) == (Phase.FAILED, 1)


async def test_a_create_that_fails_for_now_is_sent_again_under_the_same_key(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task(create_errors=3))
    assert outcome.is_success
    assert outcome.attempts == 1
    assert len(ledger.keys("asked")) == 4
    assert len(set(ledger.keys("asked"))) == 1


@virtually
async def test_a_create_that_goes_on_failing_is_given_up_in_bounded_time() -> None:
    service = LedgerService(down_until=math.inf)
    began = time.monotonic()
    async with Engine({"svc": service}, settings=EngineSettings(output_base="memory://runs")) as engine:
        outcome = await engine.run(task(retries=3))
    assert outcome.phase is Phase.FAILED
    assert outcome.attempts == 1
    assert "down" in outcome.message
    assert not outcome.is_final
    assert outcome.left_running is not None
    assert time.monotonic() - began < 150


async def test_a_task_that_cannot_run_fails_at_once(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        wrong, unknown = await engine.run_many([task(polls="many"), task("nothing_like_it")])
    assert wrong.phase is unknown.phase is Phase.FAILED
    assert wrong.error is not None
    assert unknown.error is not None
    assert (wrong.error.code, unknown.error.code) == ("InvalidTask", "UnknownTaskType")
    assert "ledger" in unknown.message
    assert ledger.keys("asked") == []


async def test_a_timeout_deletes_the_job_and_counts_as_retryable(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(task(polls=-1, retries=1, timeout_s=0.15))
    assert outcome.phase is Phase.FAILED
    assert outcome.attempts == 2
    assert outcome.error is not None
    assert outcome.error.code == "TimedOut"
    assert ledger.keys("cancelled") == ledger.keys("started")
    assert len(ledger.keys("started")) == 2


async def test_a_cancel_is_confirmed_before_it_is_told(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        live = await engine.submit(task(polls=-1), task_id="mine")
        await until(lambda: ledger.keys("started"))
        outcome = await engine.cancel("mine")
        assert outcome is not None
        assert await live.outcome() is outcome
    assert outcome.phase is Phase.ABORTED
    assert outcome.left_running is None
    assert ledger.alive() == set()


async def test_a_cancel_during_create_waits_for_the_handle_and_deletes(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        live = await engine.submit(task(polls=-1, slow_create_s=0.2))
        await until(lambda: ledger.keys("asked"))
        assert ledger.keys("started") == []
        outcome = await live.cancel()
    assert outcome.phase is Phase.ABORTED
    assert ledger.keys("started") == ledger.keys("cancelled")
    assert len(ledger.keys("started")) == 1


async def test_an_event_loop_that_cancels_everything_at_its_end_forgets_no_job(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    """As `asyncio.run` does after a KeyboardInterrupt: it cancels the engine's own tasks too."""
    async with Engine.in_process(host, settings=settings) as engine:
        live = await engine.submit(task(polls=-1, slow_create_s=0.1))
        await until(lambda: ledger.keys("asked"))
        assert live.driver is not None
        live.driver.cancel()
        outcome = await live.cancel()
    assert outcome.phase is Phase.ABORTED
    assert len(ledger.keys("started")) == 1
    assert ledger.alive() == set()


async def test_cancelling_the_caller_cancels_all_jobs_and_waits(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        work = engine.run_many([task(polls=-1) for _ in range(5)])
        running = asyncio.create_task(work)
        await until(lambda: len(ledger.keys("started")) == 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert engine.left_running == []
    assert ledger.alive() == set()


async def test_a_second_interrupt_stops_waiting_and_says_what_is_left(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        running = asyncio.ensure_future(engine.run(task(polls=-1, ignores_cancel=True)))
        await until(lambda: ledger.keys("started"))
        engine.interrupt()
        await until(lambda: ledger.keys("cancelled"))
        engine.interrupt()
        outcome = await running
        (left,) = engine.left_running
    assert outcome.phase is Phase.ABORTED
    assert not outcome.is_final
    assert left.job == ledger.keys("started")[0]
    assert left.handle_text
    assert left.handle_text in str(left)


async def test_an_unconfirmed_cancel_is_told_after_its_time(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    short = settings.model_copy(update={"cancel_wait": seconds(0.2)})
    async with Engine.in_process(host, settings=short) as engine:
        live = await engine.submit(task(polls=-1, ignores_cancel=True))
        await until(lambda: ledger.keys("started"))
        outcome = await live.cancel()
    assert outcome.phase is Phase.ABORTED
    assert outcome.left_running is not None
    assert "not confirmed" in outcome.left_running.reason


async def test_fail_fast_cancels_the_others_and_without_it_they_go_on(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        calm = await engine.run_many([task(attempts=["BROKEN"]), task(polls=3)])
        assert [each.phase for each in calm] == [Phase.FAILED, Phase.SUCCEEDED]
        hasty = await engine.run_many(
            [task(attempts=["BROKEN"], polls=3), task(polls=-1), task(polls=-1)], fail_fast=True
        )
    assert [each.phase for each in hasty] == [Phase.FAILED, Phase.ABORTED, Phase.ABORTED]
    assert ledger.alive() == set()


async def test_a_sync_task_is_answered(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    asked = replace(
        task("ask"),
        inputs=Inputs({"question": 21}),
        interface=Interface(inputs={"question": SimpleType.INTEGER}, outputs={"answer": SimpleType.INTEGER}),
    )
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(asked)
    assert outcome.require() == {"answer": 42}
    assert outcome.handle is None
    assert (Path(settings.output_base) / outcome.run_id / "n0" / "inputs.pb").exists()


async def test_a_sync_task_can_be_cancelled(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    asked = replace(task("ask", slow_s=0.3), inputs=Inputs({"question": 21}))
    async with Engine.in_process(host, settings=settings) as engine:
        live = await engine.submit(asked)
        await until(lambda: ledger.keys("done"))
        outcome = await live.cancel()
    assert outcome.phase is Phase.ABORTED
    assert outcome.left_running is None


async def run_files(
    host: Host, settings: EngineSettings, gate: Path, name: str, data: bytes, **more: int
) -> TaskOutcome:
    """Run a task whose job writes one file at its output prefix, in each attempt."""
    async with Engine.in_process(host, settings=settings) as engine:
        live = await engine.submit(replace(task("ledger_files", gate=str(gate), **more), interface=ANSWER), task_id="f")
        if name:
            await host.stores.write(f"{live.spec.output_prefix(0)}/{name}", data)
        await host.stores.write(str(gate), b"")
        return await live.outcome()


async def test_outputs_come_from_files_where_the_job_writes_them(
    host: Host, settings: EngineSettings, tmp_path: Path
) -> None:
    data = encode_outputs_file({"answer": 42}, ANSWER.outputs)
    outcome = await run_files(host, settings, tmp_path / "gate", "outputs.pb", data)
    assert outcome.require() == {"answer": 42}


async def test_an_error_file_comes_first(host: Host, settings: EngineSettings, tmp_path: Path) -> None:
    data = encode_error_file(Failure(code="Boom", message="it broke", retry=Retry.NEVER))
    outcome = await run_files(host, settings, tmp_path / "gate", "error.pb", data, retries=1)
    assert outcome.phase is Phase.FAILED
    assert outcome.error is not None
    assert (outcome.error.code, outcome.attempts) == ("Boom", 1)


async def test_missing_outputs_are_worth_another_attempt(host: Host, settings: EngineSettings, tmp_path: Path) -> None:
    outcome = await run_files(host, settings, tmp_path / "gate", "", b"", retries=1)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.attempts) == ("OutputsNotFound", 2)


async def test_outputs_that_do_not_fit_the_interface_fail_the_task(host: Host, settings: EngineSettings) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(replace(task(outputs={"answer": "forty-two"}), interface=ANSWER))
    assert outcome.phase is Phase.FAILED
    assert outcome.error is not None
    assert outcome.error.code == "InvalidOutputs"


async def test_memory_uris_are_shared_with_the_host(host: Host, settings: EngineSettings) -> None:
    in_memory = settings.model_copy(update={"output_base": "memory://runs"})
    with_input = replace(task(), inputs=Inputs({"x": 1}), interface=Interface(inputs={"x": SimpleType.INTEGER}))
    async with Engine.in_process(host, settings=in_memory) as engine:
        outcome = await engine.run(with_input)
        assert outcome.is_success
        assert await host.stores.exists(f"memory://runs/{outcome.run_id}/n0/inputs.pb")


async def test_container_arguments_are_rendered_for_each_attempt(
    host: Host, ledger: Ledger, settings: EngineSettings
) -> None:
    container = Container(
        args=["--in={{.input}}", "--out={{ $OUTPUTPREFIX }}", "{{.inputs.x}}", "{{.taskTemplatePath}}"]
    )
    with_args = replace(task(), container=container, inputs=Inputs({"x": 7}))
    async with Engine.in_process(host, settings=settings) as engine:
        run = await engine.begin()
        async with run:
            live = await run.submit(with_args)
            folder = Path(settings.output_base) / run.run_id / "n0"
            prepared = live.spec.prepare(1).task.container
        assert (await live.outcome()).is_success
    assert prepared is not None
    assert list(prepared.args) == [f"--in={folder}/inputs.pb", f"--out={folder}/1", "7", f"{folder}/task.pb"]
    assert (folder / "task.pb").exists()


async def test_an_unwritable_output_base_fails_the_task_with_the_place(host: Host, settings: EngineSettings) -> None:
    nowhere = settings.model_copy(update={"output_base": "/proc/nowhere"})
    async with Engine.in_process(host, settings=nowhere) as engine:
        outcome = await engine.run(replace(task(), inputs=Inputs({"x": 7})))
    assert outcome.phase is Phase.FAILED
    assert "/proc/nowhere" in outcome.message


async def test_no_more_than_max_live_tasks_are_under_way(host: Host, ledger: Ledger, settings: EngineSettings) -> None:
    highest = 0

    def count(_: TaskEvent) -> None:
        nonlocal highest
        highest = max(highest, len(ledger.alive()))

    async with Engine.in_process(host, settings=settings, on_event=count) as engine:
        outcomes = await engine.run_many([task(polls=1) for _ in range(12)], max_live=3)
    assert all(each.is_success for each in outcomes)
    assert 1 <= highest <= 3


async def test_two_tasks_of_one_run_need_two_ids(host: Host, settings: EngineSettings) -> None:
    async with Engine.in_process(host, settings=settings) as engine:
        with pytest.raises(InvalidTask, match="same"):
            await engine.run_many([task(), task()], task_ids=["same", "same"])


async def test_an_own_identity_and_prefix_stay(
    host: Host, ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    given = replace(
        task(retries=1, attempts=["LOST", "DONE"]),
        identity=ExecutionIdentity(project="p", domain="d", execution="mine", node="step"),
        output_prefix=str(tmp_path / "out" / "0"),
    )
    async with Engine.in_process(host, settings=settings) as engine:
        outcome = await engine.run(given)
    assert outcome.task_id == "step"
    assert outcome.output_prefix == str(tmp_path / "out" / "1")
    assert ledger.keys("started")[1].startswith("ob-mine-step-1-")


async def test_a_finished_run_resumed_does_nothing_and_returns_the_outcomes(
    host: Host, ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    tasks = [replace(task(outputs={"answer": 42}), interface=ANSWER), task(attempts=["BROKEN"])]
    async with Engine.in_process(host, settings=settings, journal=tmp_path / "journal.db") as engine:
        before = await engine.run_many(tasks, run_id="once")
    async with Engine.in_process(host, settings=settings, journal=tmp_path / "journal.db") as engine:
        after = await engine.resume("once")
    assert [each.phase for each in after] == [Phase.SUCCEEDED, Phase.FAILED]
    assert after[0].require() == {"answer": 42}
    assert [each.error for each in after] == [each.error for each in before]
    assert [each.output_prefix for each in after] == [each.output_prefix for each in before]
    assert len(ledger.keys("asked")) == 2


async def test_another_process_can_ask_for_a_cancel_through_the_journal(
    host: Host, ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    async with (
        Engine.in_process(host, settings=settings, journal=tmp_path / "journal.db") as mine,
        Engine.in_process(host, settings=settings, journal=tmp_path / "journal.db") as other,
    ):
        live = await mine.submit(task(polls=-1), task_id="wanted")
        assert await other.cancel("wanted") is None
        outcome = await live.outcome()
    assert outcome.phase is Phase.ABORTED
    assert ledger.alive() == set()


async def test_what_an_abandoned_run_left_is_cancelled_when_it_is_resumed(
    host: Host, ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    async with Engine.in_process(host, settings=settings, journal=path) as engine:
        running = asyncio.ensure_future(engine.run_many([task(polls=-1, ignores_cancel=True)], run_id="left"))
        await until(lambda: ledger.keys("started"))
        engine.interrupt()
        await until(lambda: ledger.keys("cancelled"))
        engine.interrupt()
        assert (await running)[0].left_running is not None
    (job,) = (ledger.root / "jobs").glob("ob-*-?*[!d]")
    job.write_text(job.read_text().replace('"ignores_cancel": true', '"ignores_cancel": false'))
    async with Engine.in_process(host, settings=settings, journal=path) as engine:
        (outcome,) = await engine.resume("left")
        assert engine.journal is not None
        (record,) = await engine.journal.tasks("left")
    assert outcome.phase is Phase.ABORTED
    assert outcome.left_running is None
    assert record.step is Step.ENDED
    assert len(ledger.keys("started")) == 1


async def test_an_unwritable_journal_is_said_before_anything_is_sent(
    host: Host, ledger: Ledger, settings: EngineSettings, tmp_path: Path
) -> None:
    with pytest.raises(JournalUnwritable, match="folder"):
        async with Engine.in_process(host, settings=settings, journal=tmp_path):
            pass
    journal = Journal.open(tmp_path / "journal.db")
    async with Engine.in_process(host, settings=settings, journal=journal) as engine:
        journal.close()
        with pytest.raises(JournalUnwritable):
            await engine.run(task())
    assert ledger.keys("asked") == []


async def test_a_view_that_fails_costs_no_job(host: Host, settings: EngineSettings) -> None:
    def broken(event: TaskEvent) -> None:
        raise ValueError(event.task_id)

    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    async with Engine.in_process(host, settings=settings, on_event=broken) as engine:
        assert (await engine.run(task())).is_success
    assert complaints
