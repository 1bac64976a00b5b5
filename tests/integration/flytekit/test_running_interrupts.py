"""Ctrl-C while a task of flytekit waits, a run that was killed and is gone on with, and a service instead of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flytekit import kwtypes
from flytekit.core.context_manager import FlyteContextManager

from integration.flytekit.running_tasks import LedgerTask
from outboard.agent import Registry
from outboard.engine.journal import Journal, PlannedTask
from outboard.engine.plain import Interrupted
from outboard.flytekit.running.failures import AgentTaskFailed
from outboard.flytekit.running.settings import read_settings
from outboard.flytekit.running.shared_engine import close_engine
from outboard.host.host import Host
from outboard.service import Service, ServiceSettings
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerPlatform

# flytekit leaves temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
FOR_EVER = {"running_s": None, "outputs": {"n": 1}}
QUICK = {"running_s": 0.05, "outputs": {"n": 1}}


@contextmanager
def once_started(ledger: Ledger, count: int, act: Any) -> Iterator[None]:
    """Do something, in a thread, as soon as the ledger has started so many jobs."""

    async def wait() -> None:
        await asyncio.wait_for(ledger.effects.reaches("started", count), 20)

    thread = threading.Thread(target=lambda: (asyncio.run(wait()), act()))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def press(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_ctrl_c_cancels_and_confirms_and_the_next_task_runs(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    job = LedgerTask("job", FOR_EVER, outputs=kwtypes(n=int))
    with once_started(ledger, 1, press), pytest.raises(Interrupted) as caught:
        job()
    assert caught.value.left_running == []
    assert ledger.live() == []
    assert "job-0 is cancelled: nothing is left running" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert LedgerTask("next", QUICK, outputs=kwtypes(n=int))() == 1


def test_sigterm_counts_like_ctrl_c_and_says_so_by_the_exit_code(ledger: Ledger) -> None:
    job = LedgerTask("job", FOR_EVER)
    with once_started(ledger, 1, lambda: press(signal.SIGTERM)), pytest.raises(SystemExit) as caught:
        job()
    assert caught.value.code == 143
    assert ledger.live() == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_ctrl_c_stops_waiting_and_names_what_is_left(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    async def cancelled() -> None:
        await asyncio.wait_for(ledger.effects.reaches("cancelled", 1), 20)

    def press_twice() -> None:
        press()
        asyncio.run(cancelled())
        press()

    job = LedgerTask("deaf", {**FOR_EVER, "deaf_to": 99})
    with once_started(ledger, 1, press_twice), pytest.raises(Interrupted) as caught:
        job()
    assert [each.task_id for each in caught.value.left_running] == ["deaf-0"]
    assert "cancel it later: outboard cancel " in capsys.readouterr().err
    assert len(ledger.live()) == 1


def test_ctrl_c_reaches_jobs_of_other_threads_by_flytekits_handler(ledger: Ledger) -> None:
    """The main thread is flytekit's then; it calls the handlers that it was given, and ends the process."""
    job = LedgerTask("job", FOR_EVER)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(job) for _ in range(2)]
        with once_started(ledger, 2, lambda: None):
            pass
        for handler in FlyteContextManager.signal_handlers:
            handler(signal.SIGINT, None)
        assert ledger.live() == []
        for each in waiting:
            with pytest.raises(AgentTaskFailed, match="cancelled"):
                each.result()


def test_a_run_is_gone_on_with_where_the_user_says_so_and_each_result_is_taken_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = LedgerTask("job", QUICK, inputs=kwtypes(q=int), outputs=kwtypes(n=int))
    broken = LedgerTask("broken", {"running_s": 0.05, "outcome": "FAILED"})
    job(q=1)
    with pytest.raises(AgentTaskFailed):
        broken()
    close_engine()
    monkeypatch.setenv("OUTBOARD_RESUME", "last")
    assert job(q=1) == 1
    assert len(ledger.jobs) == 2
    assert "job-0: done already, not started again" in capsys.readouterr().err
    job(q=1)  # once more in this workflow than in the one before
    job(q=2)
    with pytest.raises(AgentTaskFailed):
        broken()
    assert len(ledger.jobs) == 5
    assert ledger.second_jobs() == []


def test_a_run_that_is_started_again_is_a_new_one_unless_the_user_says_otherwise(ledger: Ledger) -> None:
    job = LedgerTask("job", QUICK, outputs=kwtypes(n=int))
    job()
    close_engine()
    job()
    assert len(ledger.jobs) == 2


def test_a_new_run_tells_of_one_that_was_left_open(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    async def leave_one() -> str:
        """Record what a process that was killed before it sent anything leaves."""
        settings = read_settings()
        async with Journal.open(settings.journal) as journal:
            owned = await journal.begin_run(settings.title)
            await owned.plan([PlannedTask(task_id="job-0", spec=b"")])
            await owned.release()
            return owned.run_id

    run_id = asyncio.run(leave_one())
    LedgerTask("job", QUICK, outputs=kwtypes(n=int))()
    assert f"OUTBOARD_RESUME={run_id} goes on with it" in capsys.readouterr().err


def test_a_run_to_go_on_with_that_is_not_there_is_an_error(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOARD_RESUME", "nothing")
    with pytest.raises(AgentTaskFailed, match="there is no one run 'nothing' in the journal"):
        LedgerTask("job", QUICK)()
    assert len(ledger.jobs) == 0


def test_a_task_is_sent_to_a_service_where_one_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(ledger) as address:
        monkeypatch.setenv("OUTBOARD_ENDPOINT", address)
        assert LedgerTask("job", QUICK, outputs=kwtypes(n=int))() == 1
        with once_started(ledger, 2, press), pytest.raises(Interrupted):
            LedgerTask("held", FOR_EVER)()
        assert ledger.live() == []
        with pytest.raises(Exception, match="Cannot find connector"):  # not listed there: flytekit's own way
            LedgerTask("other", QUICK, kind="unheard_of")()
        close_engine()


@contextmanager
def service(ledger: Ledger) -> Iterator[str]:
    """A service in a thread of its own."""
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()
    started = threading.Event()
    found: list[str] = []

    async def serve() -> None:
        registry = Registry([LedgerPlatform(ledger)])
        async with Host(registry) as host, Service(host, ServiceSettings(port=0)) as served:
            found.append(served.address)
            started.set()
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()
