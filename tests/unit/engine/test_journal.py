from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outboard.domain.phases import Phase
from outboard.engine import journal_schema as schema
from outboard.engine.courses import OwedCancel
from outboard.engine.group_commit import GroupCommit
from outboard.engine.journal import Journal, OwnedRun, PlannedTask, Step, TaskRecord
from outboard.engine.leases import Life, Owner, this_process
from outboard.errors import InvalidSettings, InvalidTask, JournalUnwritable, RunOwned


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    async with Journal.open(path) as opened:
        yield opened


def tasks(*names: str) -> list[PlannedTask]:
    return [PlannedTask(task_id=name, spec=f"spec of {name}".encode(), options={"n": [1, None]}) for name in names]


async def only(journal: Journal, run: OwnedRun) -> TaskRecord:
    (record,) = await journal.tasks(run.run_id)
    return record


async def test_a_task_walks_from_planned_to_ended(journal: Journal) -> None:
    run = await journal.begin_run("nightly")
    await run.plan(tasks("a"))
    planned = await only(journal, run)
    assert (planned.step, planned.attempt, planned.started_at) == (Step.PLANNED, None, None)
    await run.creating("a", 0, endpoint="one")
    creating = await only(journal, run)
    assert (creating.step, creating.endpoint, creating.handle) == (Step.CREATING, "one", None)
    await run.created("a", 0, b"\x00handle")
    created = await only(journal, run)
    assert (created.step, created.handle) == (Step.CREATED, b"\x00handle")
    await run.ended("a", 0, Phase.SUCCEEDED, message="done", links=[{"uri": "u"}], outputs=b"out")
    ended = await only(journal, run)
    assert (ended.step, ended.phase, ended.message, list(ended.links)) == (
        Step.ENDED,
        Phase.SUCCEEDED,
        "done",
        [{"uri": "u"}],
    )
    assert ended.started_at == creating.started_at
    assert await journal.outputs(run.run_id, "a") == b"out"
    assert await journal.spec(run.run_id, "a") == tasks("a")[0]


async def test_what_a_closed_journal_held_is_there_when_it_is_opened_again(path: Path) -> None:
    async with Journal.open(path) as first:
        run = await first.begin_run("title", run_id="r1")
        await run.plan(tasks("a", "b", "c"))
        await run.creating("a", 0, endpoint="one")
        await run.creating("b", 1, endpoint="two")
        await run.created("b", 1, b"h")
        run.phase("b", 1, Phase.RUNNING, message="half", links=[{"uri": "u"}])
        await run.ended("c", None, Phase.ABORTED, error={"code": "UpstreamFailed"})
    async with Journal.open(path) as second:
        left = await second.unfinished("r1")
        assert [(each.record.task_id, each.record.step) for each in left] == [("a", Step.CREATING), ("b", Step.CREATED)]
        assert [each.plan for each in left] == tasks("a", "b")
        assert (left[1].record.phase, left[1].record.message) == (Phase.RUNNING, "half")
        assert (await only_named(second, "c")).error == {"code": "UpstreamFailed"}
        (record,) = await second.runs()
        assert (record.title, record.owner, record.unfinished, record.ended) == ("title", None, 2, {Phase.ABORTED: 1})


async def test_of_many_notes_only_the_last_counts_and_an_end_beats_them_all(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 0, endpoint="one")
    for message in ("1", "2", "3"):
        run.phase("a", 0, Phase.RUNNING, message=message)
    await run.created("a", 0, b"h")
    assert (await only(journal, run)).message == "3"
    run.phase("a", 0, Phase.RUNNING, message="late")
    await run.ended("a", 0, Phase.FAILED, message="broke")
    run.phase("a", 0, Phase.RUNNING, message="later")
    await run.release()
    record = await only(journal, run)
    assert (record.phase, record.message) == (Phase.FAILED, "broke")


async def test_a_note_of_an_earlier_attempt_changes_nothing(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 1, endpoint="one")
    run.phase("a", 0, Phase.RUNNING)
    assert (await only(journal, run)).phase is None


async def test_a_note_is_written_even_when_nothing_else_is(path: Path, journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 0, endpoint="one")
    run.phase("a", 0, Phase.RUNNING, message="alone")
    reader = sqlite3.connect(path)

    async def written() -> None:
        while reader.execute("SELECT message FROM task").fetchone() != ("alone",):  # noqa: ASYNC110 - no event crosses files
            await asyncio.sleep(0.01)

    await asyncio.wait_for(written(), 30)
    reader.close()


async def test_a_new_attempt_forgets_the_handle_of_the_one_before(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 0, endpoint="one")
    await run.created("a", 0, b"h0")
    await run.creating("a", 1, endpoint="two")
    record = await only(journal, run)
    assert (record.step, record.attempt, record.handle, record.endpoint) == (Step.CREATING, 1, None, "two")


async def test_a_create_may_be_announced_again_until_its_handle_is_known(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 0, endpoint="one")
    await run.creating("a", 0, endpoint="one")
    await run.created("a", 0, b"h")
    with pytest.raises(JournalUnwritable, match="attempt 0"):
        await run.creating("a", 0, endpoint="one")
    assert (await only(journal, run)).handle == b"h"


async def test_the_first_end_stands(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    await run.creating("a", 0, endpoint="one")
    await run.ended("a", 0, Phase.SUCCEEDED, outputs=b"1")
    await run.ended("a", 0, Phase.FAILED, outputs=b"2")
    assert (await only(journal, run)).phase is Phase.SUCCEEDED
    assert await journal.outputs(run.run_id, "a") == b"1"
    with pytest.raises(JournalUnwritable):
        await run.creating("a", 1, endpoint="one")


async def test_a_step_of_a_task_that_was_never_planned_is_refused_alone(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    outcomes = await asyncio.gather(
        run.creating("a", 0, endpoint="one"),
        run.creating("x", 0, endpoint="one"),
        run.ended("y", 0, Phase.FAILED),
        run.created("a", 0, b"h"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), JournalUnwritable, JournalUnwritable, type(None)]
    assert (await only(journal, run)).step is Step.CREATED


async def test_planning_is_all_or_nothing(journal: Journal) -> None:
    run = await journal.begin_run("t")
    with pytest.raises(InvalidTask, match="same id"):
        await run.plan(tasks("a", "b", "a"))
    assert await journal.tasks(run.run_id) == []
    await run.plan(tasks("a", "b"))
    assert [record.task_id for record in await journal.tasks(run.run_id)] == ["a", "b"]


async def test_another_process_may_ask_for_a_cancel_and_the_owner_sees_it(path: Path, journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a", "b"))
    await run.ended("b", None, Phase.ABORTED)
    async with Journal.open(path) as onlooker:
        assert await onlooker.request_cancel(run.run_id, "a")
        assert not await onlooker.request_cancel(run.run_id, "b")
        assert not await onlooker.request_cancel(run.run_id, "unknown")
    assert await run.cancel_requests() == ["a"]
    first = (await only_named(journal, "a")).cancel_requested_at
    assert await run.request_cancel("a")
    assert (await only_named(journal, "a")).cancel_requested_at == first


async def only_named(journal: Journal, name: str) -> TaskRecord:
    record = await journal.task(name)
    assert record is not None
    return record


async def test_tasks_are_found_by_their_id_and_ids_by_their_start_in_one_run_or_all(journal: Journal) -> None:
    for name in ("one", "two"):
        run = await journal.begin_run(name, run_id=name)
        await run.plan(tasks("etl-1", "etl-2", f"e_{name}", "\U0010fffe"))
    assert (await only_named(journal, "etl-1")).run_id == "two"
    older = await journal.task("etl-1", run_id="one")
    assert older is not None
    assert older.run_id == "one"
    assert await journal.task("etl") is None
    assert await journal.ids("etl-", limit=9) == ["etl-1", "etl-2"]
    assert await journal.ids("e_", run_id="one", limit=9) == ["e_one"]
    assert len(await journal.ids("", limit=9)) == 5
    assert len(await journal.ids("", limit=3)) == 3
    assert await journal.ids("%", limit=9) == []


async def test_a_limited_list_has_the_open_tasks_first_and_reads_no_more_than_its_limit(
    path: Path, journal: Journal
) -> None:
    run = await journal.begin_run("t", run_id="r")
    await run.plan(tasks("d", "c", "b", "a"))
    await run.ended("d", None, Phase.ABORTED)
    await run.ended("b", None, Phase.ABORTED)
    assert [record.task_id for record in await journal.open_first("r", limit=9)] == ["c", "a", "d", "b"]
    assert [record.task_id for record in await journal.open_first("r", limit=3)] == ["c", "a", "d"]
    assert [record.task_id for record in await journal.open_first("r", limit=1)] == ["c"]
    assert await journal.open_ids("r") == ["c", "a"]
    reader = sqlite3.connect(path)
    for statement in (schema.SELECT_OPEN, schema.SELECT_ENDED):
        plan = " ".join(row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}", ("r", 1)))
        assert "USING INDEX task_" in plan
        assert "B-TREE" not in plan, "it would sort all tasks first"
    reader.close()


async def test_each_attempt_has_its_own_start(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    starts = []
    for attempt in (0, 0, 1, 1):
        await run.creating("a", attempt, endpoint="one")
        starts.append((await only(journal, run)).attempt_started_at)
    assert starts[0] == starts[1]
    assert starts[2] == starts[3]
    assert starts[0] is not None
    assert starts[2] is not None
    assert starts[0] < starts[2]
    assert (await only(journal, run)).started_at == starts[0]


async def test_a_run_keeps_what_it_talks_to_and_where_its_open_tasks_were_sent(journal: Journal) -> None:
    run = await journal.begin_run("t", run_id="r", target={"endpoint": "h:1"})
    await journal.begin_run("t", run_id="bare")
    assert await journal.target("r") == {"endpoint": "h:1"}
    assert await journal.target("bare") == await journal.target("unknown") == {}
    await run.plan(tasks("a", "b", "c", "d"))
    for name in "abc":
        await run.creating(name, 0, endpoint="far" if name == "c" else "near")
    await run.ended("c", 0, Phase.SUCCEEDED)
    assert sorted(await journal.open_endpoints("r"), key=str) == [None, "near"]


async def test_pruning_forgets_ended_runs_that_are_older_and_never_an_open_one(path: Path) -> None:
    long_ago, now = datetime(2001, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc)
    async with Journal.open(path) as first:
        for name in ("ended", "open", "recent", "empty"):
            run = await first.begin_run("t", run_id=name)
            await run.plan([] if name == "empty" else tasks("a", "b"))
            await run.release()
            if name == "empty":
                continue
            await run.creating("a", 0, endpoint="one")
            await run.ended("a", 0, Phase.SUCCEEDED, outputs=b"out")
            if name != "open":
                await run.ended("b", None, Phase.ABORTED)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE task SET ended_at = ? WHERE ended_at > 0 AND run_id != 'recent'", (long_ago.timestamp(),)
        )
        connection.execute("UPDATE run SET created_at = ?", (long_ago.timestamp(),))
    connection.close()
    async with Journal.open(path) as second:
        assert await second.prune(long_ago) == []
        assert await second.prune(now - timedelta(days=1)) == ["ended", "empty"]
        assert {run.run_id for run in await second.runs()} == {"open", "recent"}
        assert await second.outputs("ended", "a") is None
        assert await second.spec("ended", "a") is None
        assert await second.tasks("ended") == []
        assert await second.outputs("open", "a") == b"out"
        assert len(await second.tasks("open")) == 2


async def test_a_run_whose_engine_lives_is_not_pruned_though_all_its_tasks_have_ended(
    path: Path, journal: Journal
) -> None:
    run = await journal.begin_run("t", run_id="r")
    future = datetime.now(timezone.utc) + timedelta(days=1)
    async with Journal.open(path) as other:
        assert await other.prune(future) == []
        plant_owner(path, replace(ME, pid=2**22 + 1))
        assert await other.prune(future) == ["r"]
    with pytest.raises(JournalUnwritable):
        await run.creating("a", 0, endpoint="one")


async def test_an_owed_cancel_is_kept_until_it_is_settled_and_its_run_is_not_pruned(path: Path) -> None:
    future = datetime.max.replace(tzinfo=timezone.utc)
    async with Journal.open(path) as first:
        run = await first.begin_run("", run_id="r", fail_fast=True)
        await run.plan(tasks("a"))
        await run.creating("a", 1, endpoint="one")
        for _ in range(2):
            await run.owe("a", OwedCancel(attempt=0, handle=b"h", is_reported_over=True), endpoint="one")
        await run.ended("a", 1, Phase.SUCCEEDED)
    async with Journal.open(path) as second:
        (owed,) = await second.owed("r")
        assert (owed.task_id, owed.attempt, owed.endpoint, owed.handle, owed.is_reported_over) == (
            "a",
            0,
            "one",
            b"h",
            True,
        )
        (record,) = await second.runs()
        assert (record.unfinished, record.owed, record.is_open) == (0, 1, True)
        assert await second.open_endpoints("r") == ["one"]
        assert await second.prune(future) == []
        run = await second.resume_run("r")
        assert run.fail_fast
        await run.settle("a", 0)
        assert await second.owed("r") == []
        await run.release()
        assert await second.prune(future) == ["r"]


async def test_cancels_noted_together_are_all_on_the_disk_or_none(journal: Journal) -> None:
    run = await journal.begin_run("")
    await run.plan(tasks("a", "b", "c"))
    run.note_cancels(["a", "c"])
    await run.creating("b", 0, endpoint="one")
    assert await run.cancel_requests() == ["a", "c"]


async def test_a_run_id_is_used_once(journal: Journal) -> None:
    await journal.begin_run("t", run_id="r")
    with pytest.raises(InvalidSettings, match="already"):
        await journal.begin_run("t", run_id="r")
    with pytest.raises(InvalidSettings, match="no run 'other'"):
        await journal.resume_run("other")


async def test_many_event_loops_share_a_journal(path: Path) -> None:
    """Waiters sit in several loops in several threads; each gets its own answer in its own loop."""
    async with Journal.open(path) as journal:
        run = await journal.begin_run("t")
        names = [f"{worker}-{number}" for worker in range(4) for number in range(25)]
        await run.plan(tasks(*names))

        async def drive(worker: int) -> None:
            await asyncio.gather(*(run.creating(f"{worker}-{n}", worker, endpoint=str(n)) for n in range(25)))

        threads = [threading.Thread(target=lambda w=worker: asyncio.run(drive(w))) for worker in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        found = {(r.task_id, r.attempt, r.endpoint) for r in await journal.tasks(run.run_id)}
        assert found == {(f"{w}-{n}", w, str(n)) for w in range(4) for n in range(25)}


async def test_a_wait_that_is_cancelled_does_not_undo_the_write(journal: Journal) -> None:
    run = await journal.begin_run("t")
    await run.plan(tasks("a"))
    waiting = asyncio.ensure_future(run.creating("a", 0, endpoint="one"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await only(journal, run)).step is Step.CREATING


async def test_a_closed_journal_says_so(path: Path) -> None:
    journal = Journal.open(path)
    run = await journal.begin_run("t")
    journal.close()
    journal.close()
    run.phase("a", 0, Phase.RUNNING)
    with pytest.raises(JournalUnwritable, match="closed"):
        await journal.runs()


async def test_a_full_disk_is_the_error_of_a_whole_batch_and_the_journal_goes_on(path: Path) -> None:
    """SQLite's own page limit stands in for a full disk. Nobody whose write was undone is told that it was done."""
    connection = schema.connect(path, "FULL")
    commits = GroupCommit(connection, farewell=lambda _: None)
    journal = Journal(commits, "token")
    run = await journal.begin_run("t")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    is_busy, gate = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        is_busy.set()
        gate.wait()

    blocked = commits.submit(hold)
    await asyncio.to_thread(is_busy.wait)
    small, big = tasks("small"), [PlannedTask(task_id="big", spec=b"x" * 1_000_000)]
    both = asyncio.gather(run.plan(small), run.plan(big), return_exceptions=True)
    await asyncio.sleep(0)
    gate.set()
    await blocked
    assert [type(outcome) for outcome in await both] == [JournalUnwritable, JournalUnwritable]
    connection.execute("PRAGMA max_page_count = 1000000")
    await run.plan([*small, *big])
    assert len(await journal.unfinished()) == 2
    await journal.aclose()


def plant_owner(path: Path, owner: Owner) -> None:
    with sqlite3.connect(path) as connection:
        row = (owner.pid, owner.started, owner.boot_id, owner.namespace, owner.host)
        connection.execute("UPDATE lease SET token='x', pid=?, started=?, boot_id=?, namespace=?, host=?", row)
    connection.close()


ME = this_process()


@pytest.mark.parametrize(
    ("owner", "life"),
    [
        (ME, Life.ALIVE),
        (replace(ME, started="1"), Life.DEAD),
        (replace(ME, pid=2**22 + 1), Life.DEAD),
        (replace(ME, boot_id="earlier"), Life.DEAD),
        (replace(ME, boot_id="other", host="elsewhere"), Life.UNKNOWN),
        (replace(ME, namespace="pid:[1]"), Life.UNKNOWN),
        (replace(ME, started=""), Life.UNKNOWN),
    ],
)  # fmt: skip
async def test_a_lease_is_taken_over_only_from_an_owner_that_is_surely_dead(
    path: Path, owner: Owner, life: Life
) -> None:
    async with Journal.open(path) as first:
        run = await first.begin_run("t", run_id="r")
        await run.plan(tasks("a"))
        plant_owner(path, owner)
        (record,) = await first.runs()
        assert (record.owner, record.owner_life) == (owner, life)
    async with Journal.open(path) as second:
        if life is not Life.DEAD:
            with pytest.raises(RunOwned, match=str(owner.pid)):
                await second.resume_run("r")
        if life is Life.ALIVE:
            with pytest.raises(RunOwned):
                await second.resume_run("r", force=True)
        else:
            await (await second.resume_run("r", force=life is Life.UNKNOWN)).creating("a", 0, endpoint="one")


async def test_two_journals_of_one_process_do_not_share_a_run_either(path: Path) -> None:
    async with Journal.open(path) as first, Journal.open(path) as second:
        run = await first.begin_run("t", run_id="r")
        with pytest.raises(RunOwned):
            await second.resume_run("r")
        with pytest.raises(RunOwned):
            await first.resume_run("r")
        await run.release()
        await second.resume_run("r")


WRITER = """
import asyncio, sys
from pathlib import Path
from outboard.domain.phases import Phase
from outboard.engine.journal import Journal, PlannedTask

async def drive(run, name):
    await run.plan([PlannedTask(task_id=name, spec=b"x" * 3000)])
    await run.creating(name, 0, endpoint="one")
    print("creating", name, flush=True)
    await run.created(name, 0, b"handle " + name.encode())
    print("created", name, flush=True)
    run.phase(name, 0, Phase.RUNNING, message="half")
    await run.ended(name, 0, Phase.SUCCEEDED, outputs=b"out " + name.encode())
    print("ended", name, flush=True)

async def main():
    journal = Journal.open(Path(sys.argv[1]))
    run = await journal.begin_run("killed", run_id=sys.argv[2])
    for batch in range(10**6):
        await asyncio.gather(*(drive(run, f"{batch}-{n}") for n in range(20)))

asyncio.run(main())
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


def killed_writer(path: Path, run_id: str, lines: int) -> list[tuple[str, str]]:
    """Start a writer, kill it with -9 after some acknowledged steps, and return all that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), run_id], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(step, name) for step, name in whole]


async def test_after_kill_9_every_acknowledged_step_is_on_the_disk(path: Path) -> None:
    for run_id, lines in (("first", 7), ("second", 150), ("third", 401)):
        acknowledged = killed_writer(path, run_id, lines)
        assert len(acknowledged) >= lines
        async with Journal.open(path) as journal:
            run = await journal.resume_run(run_id)
            found = {record.task_id: record for record in await journal.tasks(run_id)}
            for step, name in acknowledged:
                record = found[name]
                assert record.attempt == 0
                if step in ("created", "ended"):
                    assert record.handle == b"handle " + name.encode()
                if step == "ended":
                    assert record.step is Step.ENDED
                    assert await journal.outputs(run_id, name) == b"out " + name.encode()
            assert {each.record.task_id for each in await journal.unfinished(run_id)} == {
                name for name, record in found.items() if record.step is not Step.ENDED
            }
            await run.release()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_run_whose_engine_lives_in_another_process_is_refused_until_it_is_gone(path: Path) -> None:
    with python(WRITER, str(path), "r") as writer:
        try:
            assert writer.stdout
            writer.stdout.readline()
            async with Journal.open(path) as journal:
                with pytest.raises(RunOwned, match=str(writer.pid)):
                    await journal.resume_run("r")
        finally:
            writer.kill()
            writer.communicate()
    async with Journal.open(path) as journal:
        assert (await journal.resume_run("r")).run_id == "r"


async def test_several_processes_may_open_a_new_journal_at_once(path: Path) -> None:
    code = "import sys,pathlib; from outboard.engine.journal import Journal; Journal.open(pathlib.Path(sys.argv[1])).close()"
    openers = [python(code, str(path)) for _ in range(4)]
    assert [(opener.communicate()[0], opener.returncode) for opener in openers] == [("", 0)] * 4
    async with Journal.open(path) as journal:
        assert await journal.runs() == []


def test_whoever_opens_a_new_journal_at_the_same_moment_gets_it(tmp_path: Path) -> None:
    """SQLite does not wait by itself for a lock that a switch to WAL needs, and half-made files are nobody else's."""
    openers, rounds = 4, 25
    barrier = threading.Barrier(openers)
    complaints: list[str] = []

    def work(_: int) -> None:
        for number in range(rounds):
            barrier.wait()
            try:
                schema.connect(tmp_path / f"{number}.db", "FULL").close()
            except JournalUnwritable as error:
                complaints.append(error.message)

    with ThreadPoolExecutor(openers) as pool:
        list(pool.map(work, range(openers)))
    assert complaints == []


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnwritable, match=r"folder .*file/deeper cannot be made .*choose another"):
        Journal.open(tmp_path / "file" / "deeper" / "journal.db")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    Journal.open(tmp_path / "a" / "b" / "journal.db").close()
    assert (tmp_path / "a" / "b" / "journal.db").exists()


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnwritable, match="is a folder"):
        Journal.open(tmp_path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_text("my notes, " * 100)
    with pytest.raises(JournalUnwritable, match="is no journal"):
        Journal.open(path)
    assert path.read_text() == "my notes, " * 100


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x)", "PRAGMA application_id = 7"])
def test_another_programs_database_is_left_alone(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnwritable, match="another program"):
        Journal.open(path)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(JournalUnwritable, match=str(tmp_path)):
        Journal.open(tmp_path / "journal.db")


def test_a_journal_locked_by_another_program_is_an_error_after_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal.open(path).close()
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.05)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnwritable, match="cannot be opened"):
        Journal.open(path)
    blocker.close()


NEWER: Sequence[Sequence[str]] = (*schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN colour TEXT DEFAULT 'red'",))


async def test_an_older_journal_is_brought_forward_and_a_newer_one_refused(path: Path) -> None:
    async with Journal.open(path) as journal:
        await journal.begin_run("t", run_id="kept")
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, path, NEWER)
    assert connection.execute("SELECT run_id, colour FROM run").fetchall() == [("kept", "red")]
    versions = [(number,) for number in range(1, len(NEWER) + 1)]
    assert connection.execute("SELECT version FROM schema_version").fetchall() == versions
    connection.close()
    with pytest.raises(JournalUnwritable, match=f"newer format {len(NEWER)}: upgrade"):
        Journal.open(path)


async def test_a_journal_of_the_first_version_keeps_its_tasks_and_when_first_attempts_began(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, path, schema.MIGRATIONS[:1])
    connection.execute("INSERT INTO run VALUES ('r', 't', 1.0)")
    for name, attempt in (("a", 0), ("b", 2)):
        connection.execute(schema.INSERT_TASK, ("r", name, 1.0, 1.0))
        connection.execute("UPDATE task SET attempt = ?, started_at = 2.0 WHERE task_id = ?", (attempt, name))
    connection.close()
    async with Journal.open(path) as journal:
        first, later = await journal.tasks("r")
        assert first.attempt_started_at == first.started_at == datetime.fromtimestamp(2.0, timezone.utc)
        assert later.attempt_started_at is None
        assert await journal.target("r") == {}


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    Journal.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.Error):
        schema.migrate(connection, path, (*NEWER[:-1], ("CREATE TABLE half (x)", "NOT SQL")))
    connection.close()
    Journal.open(path).close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["creating", "created", "ended", "cancel", "reopen"]), st.sampled_from("ab"), st.integers(0, 2)
    )
)


@settings(max_examples=30)
@given(STEPS)
def test_whatever_the_order_of_steps_the_journal_holds_what_it_acknowledged(steps: list[tuple[str, str, int]]) -> None:
    """The model: a handle is never lost within its attempt, attempts only grow, the first end stands."""
    asyncio.run(follow(steps))


async def follow(steps: list[tuple[str, str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j.db"
        journal = Journal.open(path, synchronous="NORMAL")
        run = await journal.begin_run("t", run_id="r")
        await run.plan(tasks("a", "b"))
        model: dict[str, tuple[int | None, bytes | None, bool]] = {"a": (None, None, False), "b": (None, None, False)}
        for step, name, attempt in steps:
            if step == "reopen":
                await journal.aclose()
                journal = Journal.open(path, synchronous="NORMAL")
                run = await journal.resume_run("r")
                continue
            await apply(run, step, name, attempt, model)
            known, handle, ended = model[name]
            record = await only_named(journal, name)
            assert (record.attempt, record.handle, record.step is Step.ENDED) == (known, handle, ended)
        await journal.aclose()


async def apply(
    run: OwnedRun, step: str, name: str, attempt: int, model: dict[str, tuple[int | None, bytes | None, bool]]
) -> None:
    known, handle, ended = model[name]
    is_current = not ended and known == attempt
    if step == "cancel":
        assert await run.request_cancel(name) is not ended
    elif step == "creating":
        if not ended and (known is None or attempt > known or (attempt == known and handle is None)):
            await run.creating(name, attempt, endpoint="one")
            model[name] = (attempt, None, False)
        else:
            with pytest.raises(JournalUnwritable):
                await run.creating(name, attempt, endpoint="one")
    elif is_current and step == "created":
        await run.created(name, attempt, b"h%d" % attempt)
        model[name] = (known, b"h%d" % attempt, False)
    elif is_current or (ended and step == "ended"):
        await run.ended(name, attempt, Phase.SUCCEEDED)
        model[name] = (known, handle, True)
    else:
        with pytest.raises(JournalUnwritable):
            await (run.created(name, attempt, b"x") if step == "created" else run.ended(name, attempt, Phase.FAILED))
