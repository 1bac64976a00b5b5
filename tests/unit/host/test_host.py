"""The host: one job per key, truthful statuses, confirmed cancels, terminal answers."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ledgers import (
    BatchingAgent,
    BlockingGreeter,
    BlockingLedgerAgent,
    Greeter,
    Ledger,
    LedgerAgent,
    LedgerConnection,
    LedgerPlatform,
    Lookout,
    until,
)
from outboard.agent import FILES, LogPage, Registry, SecretRef, StructuredDataset, Task, TaskType
from outboard.agent.config import TaskConfig
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure
from outboard.domain.tasks import Container, Inputs
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.errors import (
    AgentError,
    AgentFault,
    DrainingError,
    ForeignHandle,
    InvalidTask,
    MissingSecret,
    OutboardError,
    Rejected,
    Retry,
    Sent,
    Throttled,
    Unauthorized,
    Unavailable,
    UnknownTaskType,
    UnreadableHandle,
    Unsupported,
)
from outboard.host import Host, HostSettings, SecretSettings
from outboard.testing.virtual_time import virtually
from outboard.wire.files import decode_outputs_file, encode_error_file, encode_outputs_file

QUICK = HostSettings(cancel_wait=timedelta(seconds=0.2), status_limit=timedelta(seconds=0.2))
TEXT = Interface(inputs={"name": SimpleType.STRING}, outputs={"text": SimpleType.STRING})


def task(kind: str = "ledger", *, node: str = "n0", config: dict[str, Any] | None = None, **fields: Any) -> Task[Any]:
    identity = ExecutionIdentity(project="p", domain="d", execution="exec", node=node)
    fields = {"identity": identity, "output_prefix": f"memory://out/exec/{node}/0", **fields}
    return Task(type=kind, config=config or {}, **fields)


def greeting(**fields: Any) -> Task[Any]:
    return task("greeter", inputs=Inputs({"name": "you"}), interface=TEXT, **fields)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def host(ledger: Ledger) -> AsyncIterator[Host]:
    platform = LedgerPlatform(
        ledger, LedgerAgent, BatchingAgent, BlockingLedgerAgent, Greeter, BlockingGreeter, Lookout
    )
    async with Host(Registry([platform]), QUICK) as served:
        yield served


async def test_a_task_becomes_a_job_and_is_followed_to_its_outputs(host: Host, ledger: Ledger) -> None:
    ledger.outputs = {"rows": [1, 2]}
    handle = await host.create_task(task(interface=Interface(outputs={"rows": ListType(SimpleType.INTEGER)})))
    running = await host.get_task(handle)
    assert running.phase is Phase.RUNNING
    assert running.links[0].url.startswith("https://ledger.example/ob-exec-n0-0-")
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    ended = await host.get_task(handle)
    assert (ended.phase, ended.outputs) == (Phase.SUCCEEDED, {"rows": [1, 2]})
    assert await host.get_task(handle) is ended
    assert ledger.fetches == 1


async def test_the_same_request_again_gets_the_same_handle_and_no_second_job(host: Host, ledger: Ledger) -> None:
    handles = await asyncio.gather(*(host.create_task(task()) for _ in range(20)))
    assert len(set(handles)) == 1
    assert await host.create_task(task()) == handles[0]
    assert list(ledger.starts.values()) == [1]


async def test_a_caller_that_gives_up_does_not_stop_the_submission(host: Host, ledger: Ledger) -> None:
    proceed = asyncio.Event()
    ledger.after["create"] = proceed.wait
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(host.create_task(task()), 0.01)
    again = asyncio.ensure_future(host.create_task(task()))
    proceed.set()
    assert (await host.get_task(await again)).phase is Phase.RUNNING
    assert list(ledger.starts.values()) == [1]


async def test_another_task_under_the_same_identity_and_prefix_is_refused(host: Host) -> None:
    await host.create_task(task(config={"seconds": 1}))
    with pytest.raises(InvalidTask, match="give each task its own"):
        await host.create_task(task(config={"seconds": 2}))


async def test_tasks_without_any_identity_are_never_taken_for_one_another(host: Host, ledger: Ledger) -> None:
    nameless = Task[Any](type="ledger", config={})
    assert await host.create_task(nameless) != await host.create_task(nameless)
    assert len(ledger.jobs) == 2


async def test_a_create_that_was_lost_is_sent_again_behind_an_intent(host: Host, ledger: Ledger) -> None:
    ledger.faults["create"] = ConnectionResetError()
    intent = await host.create_task(task(), timeout_s=0.1)
    assert (await host.get_task(intent)).phase is Phase.INITIALIZING
    ledger.faults.clear()

    async def runs() -> bool:
        return (await host.get_task(intent)).phase is Phase.RUNNING

    await until(runs)
    assert await host.create_task(task()) != intent
    assert list(ledger.starts.values()) == [1]


async def test_refused_credentials_open_the_client_anew_once(host: Host, ledger: Ledger) -> None:
    def once() -> None:
        ledger.faults.clear()
        raise Unauthorized("expired", sent=Sent.NO)

    ledger.faults["create"] = once
    await host.create_task(task())
    assert (ledger.opened, ledger.closed) == (2, 1)
    assert len(ledger.jobs) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_an_agent_that_exits_ends_only_its_call(host: Host, ledger: Ledger, error: BaseException) -> None:
    ledger.faults["create"] = error
    status = await host.get_task(await host.create_task(task()))
    assert status.phase is Phase.FAILED
    assert "would end the process" in status.message

    def leave() -> None:
        raise error

    ledger.faults["create"] = leave
    status = await host.get_task(await host.create_task(task("blocking", node="n1")))
    assert "would end the process" in status.message
    ledger.faults.clear()
    handle = await host.create_task(task("blocking", node="other"))
    assert (await host.get_task(handle)).phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (task("nope"), UnknownTaskType, "no agent here serves task type 'nope'"),
        (task(version=7), UnknownTaskType, "version 0, 2, not in version 7"),
        (task(config={"seconds": "soon"}), InvalidTask, "custom.seconds"),
        (task(container=Container(args=["--x", "{{.input}}"])), InvalidTask, r"container.args\[1\]"),
        (task(output_prefix="s3://b/" + hashlib.shake_256(b"x").hexdigest(400)), InvalidTask, "output_prefix"),
    ],
)
async def test_a_task_that_cannot_run_is_refused_before_anything_is_sent(
    host: Host, ledger: Ledger, wrong: Task[Any], error: type[OutboardError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await host.create_task(wrong)
    assert not ledger.jobs
    assert ledger.opened == 0


@pytest.mark.parametrize("kind", ["ledger", "batching"])
@pytest.mark.parametrize(
    "fault",
    [ConnectionResetError(), ValueError("nonsense"), TypeError("bug"), SystemExit(1), KeyError("x")],
)
async def test_a_platform_that_cannot_be_asked_ends_nothing(
    host: Host, ledger: Ledger, kind: str, fault: BaseException
) -> None:
    handle = await host.create_task(task(kind))
    ledger.faults["get"] = fault
    assert (await host.get_task(handle)).phase is Phase.RUNNING
    ledger.faults.clear()
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


@virtually
async def test_a_platform_that_throttles_ends_nothing_and_is_asked_again_after_a_while() -> None:
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger)]), QUICK) as host:
        handle = await host.create_task(task())
        ledger.faults["get"] = Throttled("slow")
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        ledger.faults.clear()
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        await asyncio.sleep(15)
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


async def test_a_platform_that_hangs_is_answered_for_from_memory(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.faults["get"] = lambda: asyncio.sleep(60)
    assert (await host.get_task(handle)).phase is Phase.RUNNING


async def test_long_silence_shows_once_as_waiting_for_resources_and_ends_with_the_platforms_answer(
    ledger: Ledger,
) -> None:
    settings = HostSettings(unreachable_after=timedelta(0), unauthorized_after=timedelta(0))
    async with Host(Registry([LedgerPlatform(ledger)]), settings) as host:
        handle = await host.create_task(task())
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        ledger.faults["get"] = ConnectionResetError()
        silent = await host.get_task(handle)
        assert silent.phase is Phase.WAITING_FOR_RESOURCES
        assert silent.message.startswith("cannot reach ledger")
        assert await host.get_task(handle) is silent
        ledger.faults.clear()
        assert (await host.get_task(handle)).phase is Phase.RUNNING


async def test_an_unknown_state_is_still_running_and_flagged(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.jobs = dict.fromkeys(ledger.jobs, "PONDERING")
    status = await host.get_task(handle)
    assert (status.phase, status.is_flagged, status.state) == (Phase.RUNNING, True, "PONDERING")


async def test_a_phase_never_goes_backwards(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    await host.get_task(handle)
    ledger.jobs = dict.fromkeys(ledger.jobs, "QUEUED")
    assert (await host.get_task(handle)).phase is Phase.RUNNING


async def test_a_failed_job_says_why_in_the_platforms_words(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.jobs = dict.fromkeys(ledger.jobs, "BROKEN")
    status = await host.get_task(handle)
    assert (status.phase, status.message) == (Phase.FAILED, "it broke")
    assert status.error is not None
    assert status.error.code == "Broken"


async def test_one_answer_that_a_job_is_missing_ends_nothing(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.jobs.clear()
    assert (await host.get_task(handle)).phase is Phase.RUNNING
    assert (await host.get_task(handle)).phase is Phase.RUNNING


async def test_a_job_that_stays_missing_ends_as_retryable(
    host: Host, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outboard.host.statuses.verdicts._GONE_AFTER_S", 0.0)
    monkeypatch.setattr("ledgers.LedgerAgent.visibility", timedelta(0))
    handle = await host.create_task(task())
    ledger.jobs.clear()
    phases = [(await host.get_task(handle)).phase for _ in range(2)]
    assert set(phases) == {Phase.RUNNING}
    status = await host.get_task(handle)
    assert status.phase is Phase.RETRYABLE_FAILED
    assert "record gone" in status.message


@pytest.mark.parametrize(
    ("outputs", "words"),
    [({"rows": "many"}, "rows"), ({}, "rows"), ({"rows": 1, "more": 2}, "more"), (None, "returned no outputs")],
)
async def test_outputs_that_do_not_match_the_interface_fail_the_task_with_the_agent_to_blame(
    host: Host, ledger: Ledger, outputs: dict[str, Any] | None, words: str
) -> None:
    ledger.outputs = outputs
    handle = await host.create_task(task(interface=Interface(outputs={"rows": SimpleType.INTEGER})))
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    status = await host.get_task(handle)
    assert status.phase is Phase.FAILED
    assert words in status.message


async def test_outputs_that_cannot_be_fetched_now_are_fetched_later(host: Host, ledger: Ledger) -> None:
    ledger.outputs = {"rows": 3}
    ledger.faults["fetch"] = ConnectionResetError()
    handle = await host.create_task(task(interface=Interface(outputs={"rows": SimpleType.INTEGER})))
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    assert (await host.get_task(handle)).phase is Phase.RUNNING
    ledger.faults.clear()
    assert (await host.get_task(handle)).outputs == {"rows": 3}


async def test_large_outputs_are_written_beside_the_others(host: Host, ledger: Ledger) -> None:
    ledger.outputs = {"text": "x" * 4_000_000}
    types = {"text": SimpleType.STRING}
    handle = await host.create_task(task(interface=Interface(outputs=types)))
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    status = await host.get_task(handle)
    assert (status.phase, status.outputs) == (Phase.SUCCEEDED, None)
    written = await host.stores.read("memory://out/exec/n0/0/outputs.pb")
    assert written is not None
    assert decode_outputs_file(written, types)["text"] == ledger.outputs["text"]


class FilesAgent(LedgerAgent):
    name = "files"
    outputs = FILES
    task_types = (TaskType("files"),)


@pytest.mark.parametrize(
    ("files", "phase"),
    [
        ({"outputs.pb": encode_outputs_file({"rows": 1}, {"rows": SimpleType.INTEGER})}, Phase.SUCCEEDED),
        ({}, Phase.RETRYABLE_FAILED),
        ({"error.pb": encode_error_file(Failure(code="Boom", message="no"))}, Phase.FAILED),
        (
            {
                "outputs.pb": b"",
                "error.pb": encode_error_file(Failure(code="Boom", message="no", retry=Retry.YES)),
            },
            Phase.RETRYABLE_FAILED,
        ),
    ],
)
async def test_file_outputs_are_checked_and_error_pb_is_read_first(files: dict[str, bytes], phase: Phase) -> None:
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger, FilesAgent)]), QUICK) as host:
        handle = await host.create_task(task("files", interface=Interface(outputs={"rows": SimpleType.INTEGER})))
        for name, data in files.items():
            await host.stores.write(f"memory://out/exec/n0/0/{name}", data)
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        assert (await host.get_task(handle)).phase is phase


async def test_a_cancel_reaches_the_job_and_is_confirmed(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    await host.delete_task(handle)
    assert list(ledger.jobs.values()) == ["STOPPED"]
    assert (await host.get_task(handle)).phase is Phase.FAILED
    await host.delete_task(handle)
    assert len(ledger.cancels) == 1


async def test_finished_work_is_never_cancelled(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    await host.delete_task(handle)
    assert not ledger.cancels


async def test_a_cancel_that_the_platform_refuses_to_take_is_an_error(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    ledger.faults["cancel"] = ConnectionResetError()
    with pytest.raises(Unavailable):
        await host.delete_task(handle)


async def test_an_accepted_cancel_is_asked_again_until_the_job_is_over(
    host: Host, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outboard.host.cancellations.cancellations._FIRST_REPEAT_S", 0.01)
    handle = await host.create_task(task())
    stopped = asyncio.Event()

    def ignored() -> None:
        if len(ledger.cancels) < 3:
            ledger.jobs.update(dict.fromkeys(ledger.jobs, "RUNNING"))
        else:
            stopped.set()

    ledger.after["cancel"] = ignored
    await host.delete_task(handle, timeout_s=0.1)
    await stopped.wait()
    assert list(ledger.jobs.values()) == ["STOPPED"]
    assert len(ledger.cancels) == 3


async def test_foreign_bytes_are_refused_when_asked_about_and_accepted_when_cancelled(host: Host) -> None:
    with pytest.raises(ForeignHandle):
        await host.get_task(b"{}")
    await host.delete_task(b"{}")


async def test_a_handle_of_an_agent_that_is_not_loaded_is_parked(ledger: Ledger) -> None:
    async with Host(Registry([LedgerPlatform(ledger)]), QUICK) as host:
        handle = await host.create_task(task())
    async with Host(Registry(), QUICK) as bare:
        assert (await bare.get_task(handle)).phase is Phase.RUNNING
        with pytest.raises(UnreadableHandle):
            await bare.delete_task(handle)


async def test_another_replica_follows_and_cancels_a_job_that_it_never_saw(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    async with Host(Registry([LedgerPlatform(ledger)]), QUICK) as other:
        assert (await other.get_task(handle)).phase is Phase.RUNNING
        await other.delete_task(handle)
    assert list(ledger.jobs.values()) == ["STOPPED"]


async def test_a_sync_agent_answers_once_per_key(host: Host, ledger: Ledger) -> None:
    answers = await asyncio.gather(*(host.execute_task(greeting()) for _ in range(10)))
    assert {(answer.phase, answer.outputs["text"]) for answer in answers if answer.outputs} == {
        (Phase.SUCCEEDED, "hello you")
    }
    assert ledger.starts["do"] == 1


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        (Rejected("no"), Phase.FAILED),
        (Throttled("later", sent=Sent.MAYBE), Phase.FAILED),
        (ConnectionResetError(), Phase.FAILED),
        (Unauthorized("who?"), Phase.RETRYABLE_FAILED),
        (AgentError("odd", sent=Sent.NO), Phase.RETRYABLE_FAILED),
    ],
)
async def test_a_sync_agents_error_is_a_terminal_answer_that_never_risks_a_second_effect(
    host: Host, ledger: Ledger, fault: BaseException, phase: Phase
) -> None:
    ledger.faults["do"] = fault
    answer = await host.execute_task(greeting())
    assert answer.phase is phase
    assert answer.error is not None


async def test_a_sync_agent_that_takes_too_long_is_answered_for_before_the_deadline(host: Host, ledger: Ledger) -> None:
    ledger.faults["do"] = lambda: asyncio.sleep(0.3)
    answer = await host.execute_task(greeting(), timeout_s=0.1)
    assert (answer.phase, answer.error and answer.error.code) == (Phase.FAILED, "DeadlineExceeded")
    again = await host.execute_task(greeting(), timeout_s=30)
    assert again.phase is Phase.SUCCEEDED
    assert ledger.starts["do"] == 1


async def test_outputs_of_a_sync_agent_are_checked_too(host: Host) -> None:
    wrong = Interface(inputs={"name": SimpleType.STRING}, outputs={"text": SimpleType.INTEGER})
    answer = await host.execute_task(task("greeter", inputs=Inputs({"name": "x"}), interface=wrong))
    assert answer.phase is Phase.FAILED


async def test_an_agent_with_jobs_is_refused_on_the_road_of_sync_agents(host: Host) -> None:
    with pytest.raises(InvalidTask, match="CreateTask"):
        await host.execute_task(task())


@virtually
async def test_a_sensor_pokes_with_the_task_it_was_given() -> None:
    ledger = Ledger()
    interface = Interface(inputs={"path": SimpleType.STRING})
    async with Host(Registry([LedgerPlatform(ledger, Lookout)]), QUICK) as host:
        handle = await host.create_task(task("lookout", inputs=Inputs({"path": "/a"}), interface=interface))
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        ledger.jobs["/a"] = "there"
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


@virtually
async def test_a_sensors_large_inputs_are_kept_beside_the_outputs() -> None:
    path = "".join(chr(33 + n * 7 % 90) for n in range(3000))
    interface = Interface(inputs={"path": SimpleType.STRING})
    given = task("lookout", inputs=Inputs({"path": path}), interface=interface, output_prefix="memory://s/0")
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger, Lookout)]), QUICK) as host:
        handle = await host.create_task(given)
        assert len(handle) <= 512
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        ledger.jobs[path] = "there"
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


async def test_a_sensor_that_says_when_is_not_poked_before(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task("lookout", config={"seconds": 60}))
    first = await host.get_task(handle)
    assert first.poll_after == timedelta(seconds=60)
    assert await host.get_task(handle) is first
    assert ledger.polls == 1


async def test_a_blocking_agent_does_not_stop_the_others(host: Host, ledger: Ledger) -> None:
    blocked = await host.create_task(task("blocking", node="b"))
    quick = await host.create_task(task(node="q"))
    ledger.faults["get_seconds"] = 0.5
    slow = asyncio.ensure_future(host.get_task(blocked))
    await asyncio.sleep(0)
    assert (await host.get_task(quick)).phase is Phase.RUNNING
    assert not slow.done()
    assert (await slow).phase is Phase.RUNNING


async def test_logs_are_streamed_in_pages_and_redacted(host: Host) -> None:
    handle = await host.create_task(task())
    host.redact.learn("line 3")
    pages: list[LogPage] = [page async for page in host.task_logs(handle)]
    lines = [line.message for page in pages for line in page.lines]
    assert len(lines) == 5
    assert lines[3].startswith("[redacted]")
    assert pages[-1].ended
    first = [page async for page in host.task_logs(handle, limit=2)]
    rest = [page async for page in host.task_logs(handle, cursor=first[-1].next_cursor)]
    assert [line.message for page in (*first, *rest) for line in page.lines] == lines


async def test_what_an_agent_does_not_offer_is_unsupported(host: Host) -> None:
    handle = await host.create_task(task())
    with pytest.raises(Unsupported, match="no metrics"):
        await host.task_metrics(handle)
    sensor = await host.create_task(task("lookout", node="s"))
    with pytest.raises(Unsupported, match="is a sensor"):
        await host.task_metrics(sensor)


async def test_a_draining_host_takes_no_work_and_finishes_what_it_has(host: Host, ledger: Ledger) -> None:
    proceed = asyncio.Event()
    ledger.after["create"] = proceed.wait
    running = asyncio.ensure_future(host.create_task(task()))
    await until(lambda: ledger.jobs)
    drain = asyncio.ensure_future(host.drain())
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await host.create_task(task(node="late"))
    assert not drain.done()
    proceed.set()
    handle = await running
    await drain
    assert (await host.get_task(handle)).phase is Phase.RUNNING


class SecretiveAgent(LedgerAgent):
    name = "secretive"
    task_types = (TaskType("secretive"),)
    secrets = (SecretRef("declared-key"),)

    def connection(self, task: Task[TaskConfig]) -> LedgerConnection:
        return LedgerConnection(region="there", login=SecretRef("login-key", group="db"))


async def test_declared_secrets_reach_the_agent_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "login-key").write_text(" from-file \n")
    monkeypatch.setenv("_FSEC_DECLARED-KEY", "from-environment")
    ledger = Ledger()
    settings = HostSettings(secrets=SecretSettings(directory=tmp_path))
    async with Host(Registry([LedgerPlatform(ledger, SecretiveAgent)]), settings) as host:
        handle = await host.create_task(task("secretive"))
        secrets = ledger.contexts[0].secrets
        assert secrets[SecretRef("declared-key")].get_secret_value() == "from-environment"
        assert secrets[SecretRef("login-key", group="db")].get_secret_value() == "from-file"
        with pytest.raises(AgentFault, match="not declared"):
            secrets[SecretRef("other")]
        assert b"from-file" not in handle
        assert host.redact("it was from-file!") == "it was [redacted]!"


async def test_a_missing_secret_is_found_before_anything_is_sent() -> None:
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger, SecretiveAgent)]), QUICK) as host:
        with pytest.raises(MissingSecret, match="_FSEC_"):
            await host.create_task(task("secretive"))
    assert ledger.opened == 0


async def test_sealed_handles_work_end_to_end() -> None:
    import base64

    ledger = Ledger()
    settings = HostSettings(service_keys=(SecretStr(base64.b64encode(b"k" * 32).decode()),))
    async with Host(Registry([LedgerPlatform(ledger)]), settings) as host:
        handle = await host.create_task(task())
        assert b"exec" not in handle
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        with pytest.raises(ForeignHandle):
            await host.get_task(handle[:-1] + bytes([handle[-1] ^ 1]))


async def test_datasets_of_any_columns_pass_the_outputs_check(host: Host, ledger: Ledger) -> None:
    ledger.outputs = {"results": StructuredDataset("bq://p:d.t", "bigquery")}
    interface = Interface(outputs={"results": StructuredDatasetType()})
    handle = await host.create_task(task(interface=interface))
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


class PatientAgent(LedgerAgent):
    name = "patient"
    task_types = (TaskType("patient"),)
    poll_interval = timedelta(minutes=1)


async def test_polls_that_come_too_soon_are_answered_from_memory() -> None:
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger, PatientAgent)]), QUICK) as host:
        handle = await host.create_task(task("patient"))
        statuses = [await host.get_task(handle) for _ in range(5)]
        assert ledger.polls == 1
        assert all(status is statuses[0] for status in statuses)


async def test_an_answer_that_comes_late_does_not_take_an_end_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, proceed = asyncio.Event(), asyncio.Event()

    async def hold(*_: Any) -> bool:
        asked.set()
        await proceed.wait()
        return True

    monkeypatch.setattr(Lookout, "poke", hold)
    interface = Interface(inputs={"path": SimpleType.STRING})
    handle = await host.create_task(task("lookout", inputs=Inputs({"path": "/a"}), interface=interface))
    late = asyncio.ensure_future(host.get_task(handle))
    await asked.wait()
    await host.delete_task(handle)
    ended = await host.get_task(handle)
    assert ended.phase is Phase.ABORTED
    proceed.set()
    assert await late is ended
    assert await host.get_task(handle) is ended


async def test_what_needs_no_question_is_recalled_and_nothing_else(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(task())
    assert host.recall_task(b"{}") is None
    assert host.recall_task(handle) is None
    await host.get_task(handle)
    assert host.recall_task(handle) is None
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    ended = await host.get_task(handle)
    assert host.recall_task(handle) is ended


async def test_a_host_in_somebodys_program_writes_nothing_to_standard_output(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Host(Registry([LedgerPlatform(ledger)]), QUICK) as host:
        await host.create_task(task())
    assert capsys.readouterr().out == ""
