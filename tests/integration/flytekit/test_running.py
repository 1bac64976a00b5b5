"""Tasks of flytekit, called as a script or a notebook calls them, on our engine in this process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import TaskMetadata, eager, kwtypes, task, workflow
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.extend.backend.base_agent import AsyncAgentExecutorMixin
from flytekit.extend.backend.base_connector import (
    AsyncConnectorExecutorMixin,
    ConnectorRegistry,
    Resource,
    SyncConnectorBase,
    SyncConnectorExecutorMixin,
)
from flytekit.sensor.base_sensor import BaseSensor
from flytekit.sensor.file_sensor import FileSensor

from integration.flytekit.running_tasks import Forgiving, LedgerTask, MirrorTask
from outboard.domain.phases import Phase
from outboard.engine.journal import Journal
from outboard.engine.specs import TaskSpec
from outboard.flytekit.running.failures import AgentTaskFailed
from outboard.flytekit.running.tasks import task_of
from outboard.testing.ledger import Ledger

# flytekit leaves temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
QUICK = {"running_s": 0.05}


def recorded(tmp_path: Path) -> dict[str, list[tuple[str, Phase | None]]]:
    """What the journal knows: by run, the tasks' ids and phases."""

    async def read() -> dict[str, list[tuple[str, Phase | None]]]:
        async with Journal.open(tmp_path / "home" / "journal.db") as journal:
            return {
                run.run_id: [(each.task_id, each.phase) for each in await journal.tasks(run.run_id)]
                for run in await journal.runs()
            }

    return asyncio.run(read())


def test_outputs_are_typed_by_the_tasks_interface(ledger: Ledger) -> None:
    job = LedgerTask(
        "typed",
        {**QUICK, "outputs": {"n": 2, "ratio": 2.0, "words": ["a"]}},
        outputs=kwtypes(n=int, ratio=float, words=list[str]),
    )
    found = job()
    assert (found.n, found.ratio, found.words) == (2, 2.0, ["a"])
    assert type(found.ratio) is float
    assert len(ledger.jobs) == 1


def test_outputs_that_a_job_wrote_as_a_file_are_read(ledger: Ledger) -> None:
    job = LedgerTask("files", {**QUICK, "outputs": {"n": 7}}, kind="ledger_files", outputs=kwtypes(n=int))
    assert job() == 7


def test_an_error_file_is_the_failure_although_the_job_succeeded(ledger: Ledger) -> None:
    job = LedgerTask("broken", {**QUICK, "error": "division by zero"}, kind="ledger_files", outputs=kwtypes(n=int))
    with pytest.raises(AgentTaskFailed, match="division by zero"):
        job()


def test_the_platforms_words_reach_the_user_without_a_chain_of_causes(ledger: Ledger) -> None:
    job = LedgerTask("sorry", {**QUICK, "outcome": "FAILED", "message": "no such table: flights"})
    with pytest.raises(AgentTaskFailed) as caught:
        job()
    assert str(caught.value) == (
        "Error encountered while executing 'sorry':\n  task 'sorry' failed: no such table: flights (Failed)"
    )
    assert caught.value.__cause__ is None
    assert caught.value.outcome is not None
    assert caught.value.outcome.attempts == 1


def test_retries_of_the_metadata_are_made_and_counted(ledger: Ledger) -> None:
    job = LedgerTask("again", {**QUICK, "outcome": "LOST"}, metadata=TaskMetadata(retries=2))
    with pytest.raises(AgentTaskFailed, match="failed after 3 attempts"):
        job()
    assert len(ledger.jobs) == 3


def test_a_job_beyond_its_timeout_is_cancelled(ledger: Ledger) -> None:
    job = LedgerTask("slow", {"running_s": None}, metadata=TaskMetadata(timeout=1))
    with pytest.raises(AgentTaskFailed, match="TimedOut"):
        job()
    assert ledger.live() == []


def test_a_sync_agent_answers_and_reads_inputs(ledger: Ledger) -> None:
    mirror = MirrorTask("mirror", inputs=kwtypes(n=int), outputs=kwtypes(said=int))

    @workflow  # type: ignore[untyped-decorator]  # flytekit has no types that mypy follows
    def wf(n: int = 2) -> int:
        return mirror(n=n)  # type: ignore[no-any-return]  # same

    assert wf() == 42
    assert wf(n=3) == 43


def test_one_run_holds_all_tasks_of_the_process_under_readable_names(ledger: Ledger, tmp_path: Path) -> None:
    job = LedgerTask("top ten/flights", QUICK)
    other = LedgerTask("other", QUICK)
    job()
    other()
    job()
    (tasks,) = recorded(tmp_path).values()
    assert [name for name, _ in tasks] == ["top-ten-flights-0", "other-0", "top-ten-flights-1"]
    assert len(ledger.jobs) == 3


def test_threads_share_one_run_and_never_a_job(ledger: Ledger, tmp_path: Path) -> None:
    job = LedgerTask("job", {**QUICK, "outputs": {"n": 1}}, outputs=kwtypes(n=int))
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda _: job(), range(6))) == [1] * 6
    assert len(ledger.jobs) == 6
    assert ledger.second_jobs() == []
    assert len(recorded(tmp_path)) == 1


async def test_a_notebook_whose_loop_runs_may_call_tasks(ledger: Ledger) -> None:
    assert asyncio.get_running_loop().is_running()
    job = LedgerTask("job", {**QUICK, "outputs": {"n": 1}}, outputs=kwtypes(n=int))
    assert job() == 1


CLUSTER = Forgiving()
RAN: list[int] = []


@task(task_config=CLUSTER, container_image="img")  # type: ignore[untyped-decorator]  # flytekit has no types that mypy follows
def there(n: int) -> int:
    """What would run on the cluster, and must not run here."""
    RAN.append(n)
    return n


@pytest.fixture
def cluster() -> Forgiving:
    RAN.clear()
    there._task_type = "ledger_files"
    return CLUSTER


def test_a_plugin_that_calls_the_mixin_by_name_lands_with_us(ledger: Ledger, cluster: Forgiving) -> None:
    cluster.course = {**QUICK, "outputs": {"o0": 5}}
    assert there(n=1) == 5
    assert RAN == []
    (job,) = ledger.jobs.values()
    assert (Path(job.output_prefix).parent / "inputs.pb").exists()


def test_a_functions_command_is_rendered_as_on_flyte(ledger: Ledger) -> None:
    sent = task_of(there, {"n": 1}, keeps_base=True)
    spec = TaskSpec.complete(sent, task_id="there-0", execution="run", base="/data", project="p", domain="d")
    container = spec.prepare(0).task.container
    assert container is not None
    assert "/data/run/there-0/inputs.pb" in container.args
    assert "/data/run/there-0/0" in container.args
    assert not any("{{" in each for each in container.args)


def test_a_failure_on_the_platform_is_not_turned_into_a_run_here(ledger: Ledger, cluster: Forgiving) -> None:
    cluster.course = {**QUICK, "outcome": "FAILED", "message": "cluster refused"}
    for _ in range(2):
        with pytest.raises(AgentTaskFailed, match="cluster refused"):
            there(n=1)
    cluster.course = {**QUICK, "outputs": {"o0": 5}}
    assert there(n=1) == 5
    assert RAN == []


def test_of_two_threads_that_fail_at_once_neither_runs_the_function_here(
    ledger: Ledger, cluster: Forgiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.course = {**QUICK, "outcome": "FAILED", "message": "cluster refused"}
    both_failed = threading.Barrier(2)
    monkeypatch.setattr(click, "echo", lambda _: both_failed.wait(60))  # the plugin's last step before it falls back
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(there, n=n) for n in range(2)]
        for each in answers:
            with pytest.raises(AgentTaskFailed, match="cluster refused"):
                each.result()
    assert RAN == []
    assert there._task_function.__name__ == "there"


def test_a_function_that_cannot_be_serialised_is_not_run_here_instead(
    ledger: Ledger, cluster: Forgiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "_container_image", "{{.image.unheard.of}}")
    with pytest.raises(AssertionError, match="unheard"):
        there(n=1)
    assert RAN == []


def test_a_plugins_own_fallback_is_kept_where_nobody_serves_its_type(ledger: Ledger, cluster: Forgiving) -> None:
    there._task_type = "unheard_of"
    assert there(n=3) == 3
    assert RAN == [3]


def test_a_secret_is_read_from_the_plain_environment_as_in_flytekits_local_runs(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = LedgerTask("secret", {**QUICK, "login": "warehouse_token"})
    with pytest.raises(AgentTaskFailed, match="WAREHOUSE_TOKEN"):
        job()
    monkeypatch.setenv("WAREHOUSE_TOKEN", "t0p-secret")
    job()
    assert len(ledger.jobs) == 1


class OwnConnector(SyncConnectorBase):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A connector of the user's."""

    name = "own"

    def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **_: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"said": 3})


def test_what_no_agent_of_ours_serves_is_flytekits_own_and_leaves_no_trace(ledger: Ledger, tmp_path: Path) -> None:
    ConnectorRegistry.register(OwnConnector(task_type_name="own_type"), override=True)
    mirror = MirrorTask("own", outputs=kwtypes(said=int))
    mirror._task_type = "own_type"
    assert mirror() == 3
    assert not (tmp_path / "home" / "journal.db").exists()


def test_switched_off_everything_is_flytekits_own(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ConnectorRegistry.register(OwnConnector(task_type_name="mirror"), override=True)
    mirror = MirrorTask("mirror", inputs=kwtypes(n=int), outputs=kwtypes(said=int))
    monkeypatch.setenv("OUTBOARD_FLYTEKIT", "off")
    assert mirror(n=2) == 3
    monkeypatch.delenv("OUTBOARD_FLYTEKIT")
    assert mirror(n=2) == 42


def test_on_a_cluster_flytekits_own_way_is_kept(ledger: Ledger) -> None:
    ConnectorRegistry.register(OwnConnector(task_type_name="mirror"), override=True)
    mirror = MirrorTask("mirror", outputs=kwtypes(said=int))
    ctx = FlyteContextManager.current_context()
    state = ctx.new_execution_state().with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
    with FlyteContextManager.with_context(ctx.new_builder().with_execution_state(state)):
        found = mirror.execute()
    assert found.literals["said"].scalar.primitive.integer == 3


class Counting(BaseSensor):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A sensor of the user's own, which an agent of ours would have to import."""

    pokes = 0

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name=name, **options)

    async def poke(self, wanted: int) -> bool:
        Counting.pokes += 1
        return Counting.pokes >= wanted


def test_a_file_sensor_is_ours_and_a_sensor_of_the_users_is_flytekits(ledger: Ledger, tmp_path: Path) -> None:
    arrival = FileSensor(name="arrival")
    arrival(path=__file__)
    assert list(recorded(tmp_path).values()) == [[("arrival-0", Phase.SUCCEEDED)]]
    Counting(name="counting")(wanted=1)
    assert Counting.pokes == 1
    assert sum(map(len, recorded(tmp_path).values())) == 1


def test_a_service_that_does_not_answer_is_an_error_and_no_change_of_ways(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ConnectorRegistry.register(OwnConnector(task_type_name="mirror"), override=True)
    monkeypatch.setenv("OUTBOARD_ENDPOINT", "127.0.0.1:1")
    with pytest.raises(AgentTaskFailed, match=r"was not started: .*127\.0\.0\.1:1.*EndpointUnreachable"):
        MirrorTask("mirror", outputs=kwtypes(said=int))()


def test_a_journal_that_cannot_be_written_keeps_the_task_from_being_sent(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOARD_JOURNAL", str(tmp_path))
    with pytest.raises(AgentTaskFailed, match="JournalUnwritable"):
        LedgerTask("job", QUICK)()
    assert len(ledger.jobs) == 0


def test_the_old_names_are_the_same_classes_and_each_is_replaced_once() -> None:
    from outboard.flytekit.running import hook

    before = AsyncConnectorExecutorMixin.execute
    hook.install()
    assert AsyncAgentExecutorMixin.execute is before is AsyncConnectorExecutorMixin.execute
    assert not hook.is_ours(before.outboard_original)
    assert hook.is_ours(SyncConnectorExecutorMixin.execute)


def test_progress_is_told_in_the_thread_that_waits(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    LedgerTask("job", QUICK)()
    told = capsys.readouterr().err
    assert "job-0 running" in told
    assert "job-0 succeeded" in told


def test_quiet_shows_nothing(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOARD_FLYTEKIT_QUIET", "on")
    LedgerTask("job", QUICK)()
    assert capsys.readouterr().err == ""


def test_agents_that_were_asked_for_and_cannot_be_loaded_are_an_error(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ConnectorRegistry.register(OwnConnector(task_type_name="mirror"), override=True)
    monkeypatch.setenv("OUTBOARD_AGENTS", "nowhere:Nothing")
    with pytest.raises(AgentTaskFailed, match="nowhere:Nothing could not be loaded"):
        MirrorTask("mirror", outputs=kwtypes(said=int))()


FOUR = LedgerTask("four", {**QUICK, "outputs": {"n": 4}}, outputs=kwtypes(n=int))


@eager  # type: ignore[untyped-decorator]  # flytekit has no types that mypy follows
async def meeting(n: int) -> int:
    """Two tasks, in flytekit's own loop."""
    return int(FOUR()) + int(FOUR()) + n


async def test_an_eager_workflow_runs_tasks_of_ours(ledger: Ledger) -> None:
    assert await meeting(n=1) == 9
    assert len(ledger.jobs) == 2
