"""Jobs as real processes: started once, found again after every crash, read, cancelled, forgotten."""

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest

from embedded_jobs import members_of, runner_of, wait_for_end, wait_until
from outboard.detached import boot, job_directory, job_files, processes
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSpec
from outboard.detached.states import JobState
from outboard.errors import Rejected, Sent, Unavailable

SLEEP = JobSpec(command=("sleep", "300"))


def shell(script: str, *, grace_s: float = 5.0, **variables: str) -> JobSpec:
    return JobSpec(command=("sh", "-c", script), env=variables, grace_s=grace_s)


def started(jobs: JobDirectory, name: str, spec: JobSpec) -> None:
    """Create a job and wait until its command runs."""
    jobs.create(name, spec)
    wait_until((jobs.root / name / job_files.COMMAND).exists)


def open_gate(jobs: JobDirectory) -> None:
    """Let the job `a` go on that waits for a line from the pipe `gate`."""
    gate = jobs.root / "a" / "work" / "gate"
    wait_until(gate.exists)
    gate.write_text("go\n")


def state_of(jobs: JobDirectory, name: str) -> JobState:
    snapshot = jobs.snapshot(name)
    assert snapshot is not None
    return snapshot.state


def test_a_job_runs_and_its_end_is_recorded(jobs: JobDirectory) -> None:
    before = datetime.now(timezone.utc)
    created = jobs.create("a", shell("echo out; echo err >&2; exit 0"))
    assert created.state in {JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED}
    ended = wait_for_end(jobs, "a")
    assert (ended.state, ended.exit_code, ended.signal) == (JobState.SUCCEEDED, 0, None)
    assert ended.created_at is not None
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert before <= ended.created_at <= ended.started_at <= ended.ended_at
    assert ended.peak_rss_bytes
    assert jobs.read_log("a", "stdout").lines == ("out",)
    assert jobs.read_log("a", "stderr").lines == ("err",)


@pytest.mark.parametrize(
    ("script", "state", "code", "number"),
    [
        ("exit 7", JobState.FAILED, 7, None),
        ("kill -KILL $$", JobState.KILLED, None, signal.SIGKILL),
    ],
)
def test_a_job_that_does_not_succeed_says_how(
    jobs: JobDirectory, script: str, state: JobState, code: int | None, number: int | None
) -> None:
    jobs.create("a", shell(script))
    ended = wait_for_end(jobs, "a")
    assert (ended.state, ended.exit_code, ended.signal) == (state, code, number)


@pytest.mark.parametrize(
    ("spec", "code", "named"),
    [
        (JobSpec(command=("/nowhere/to/be/found",)), 127, "'/nowhere/to/be/found'"),
        (JobSpec(command=("no-such-program", "argument")), 127, "'no-such-program'"),
        (JobSpec(command=("/",)), 126, "'/'"),
        (JobSpec(command=("true",), cwd="/nowhere/to/be/found"), 127, "'/nowhere/to/be/found'"),
    ],
)
def test_a_command_that_cannot_start_fails_as_in_a_shell_and_says_why(
    jobs: JobDirectory, spec: JobSpec, code: int, named: str
) -> None:
    jobs.create("a", spec)
    ended = wait_for_end(jobs, "a")
    assert (ended.state, ended.exit_code) == (JobState.FAILED, code)
    line = jobs.read_log("a", "stderr").lines[0]
    assert "cannot start the command" in line
    assert line.endswith(f": {named}")


def test_creating_again_finds_the_job_in_every_state_and_starts_no_process(
    jobs: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = shell("echo ran; mkfifo gate; read line < gate")
    started(jobs, "a", spec)
    monkeypatch.setattr(sys, "executable", "/nowhere/to/be/found")
    assert jobs.create("a", spec).state is JobState.RUNNING
    open_gate(jobs)
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED
    assert jobs.create("a", spec).state is JobState.SUCCEEDED
    assert jobs.read_log("a", "stdout").lines == ("ran",)


def test_only_few_variables_and_the_jobs_own_reach_it(jobs: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_FSEC_TOKEN", "of the service")
    jobs.create("a", JobSpec(command=(sys.executable, "-c", "import os; print(dict(os.environ))"), env={"OWN": "1"}))
    wait_for_end(jobs, "a")
    (line,) = jobs.read_log("a", "stdout").lines
    assert "'OWN': '1'" in line
    assert "_FSEC_" not in line
    written = [path.read_bytes() for path in (jobs.root / "a").glob("*.json")]
    assert not any(b"of the service" in content for content in written)
    spec = job_files.read_document(str(jobs.root / "a"), job_files.SPEC)
    assert spec is not None
    assert spec["env_names"] == ["OWN"]


def test_racing_creators_in_threads_start_one_process(jobs: JobDirectory) -> None:
    barrier = Barrier(6)

    def create(_: int) -> None:
        barrier.wait()
        JobDirectory(jobs.root).create("a", shell("echo ran"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(create, range(6)))
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED
    assert jobs.read_log("a", "stdout").lines == ("ran",)


CREATOR = """
import sys
from pathlib import Path
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSpec
jobs = JobDirectory(Path(sys.argv[1]))
sys.stdin.readline()
jobs.create("a", JobSpec(command=("sh", "-c", "echo ran; " + sys.argv[2])))
print("created", flush=True)
sys.stdin.readline()
"""


def creator(jobs: JobDirectory, script: str = "true") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(jobs.root), script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_racing_creators_in_processes_start_one_process(jobs: JobDirectory) -> None:
    creators = [creator(jobs) for _ in range(3)]
    for each in creators:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in creators:
        assert "created" in each.communicate("end\n")[0]
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED
    assert jobs.read_log("a", "stdout").lines == ("ran",)


def test_a_job_outlives_its_creator(jobs: JobDirectory) -> None:
    with creator(jobs, "mkfifo gate; read line < gate; exit 4") as service:
        assert service.stdin is not None
        assert service.stdout is not None
        service.stdin.write("go\n")
        service.stdin.flush()
        assert service.stdout.readline() == "created\n"
        service.kill()
    wait_until((jobs.root / "a" / "work" / "gate").exists)
    assert state_of(jobs, "a") is JobState.RUNNING
    open_gate(jobs)
    assert wait_for_end(jobs, "a").exit_code == 4


def test_a_directory_without_a_spec_is_claimed_and_creating_again_starts_it(jobs: JobDirectory) -> None:
    (jobs.root / "a").mkdir(parents=True)
    assert state_of(jobs, "a") is JobState.CLAIMED
    jobs.create("a", shell("echo ran"))
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED


def test_a_spec_without_a_runner_is_claimed_and_creating_again_starts_what_it_says(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", shell("echo first"))
    assert state_of(jobs, "a") is JobState.CLAIMED
    jobs.create("a", shell("echo second"))
    wait_for_end(jobs, "a")
    assert jobs.read_log("a", "stdout").lines == ("first",)


def test_a_runner_that_died_before_its_command_leaves_a_vanished_job_that_never_starts(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", shell("echo ran"))
    mark = processes.ProcessMark(pid=os.getpid(), started="1", machine=processes.machine_name())
    job_files.write_once(str(jobs.root / "a"), job_files.RUNNER, mark.to_document())
    assert jobs.create("a", SLEEP).state is JobState.VANISHED
    assert not (jobs.root / "a" / job_files.STDOUT).exists()


def test_a_claim_from_before_a_restart_of_the_machine_is_vanished(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", SLEEP)
    mark = {**processes.ProcessMark.of_this_process().to_document(), "machine": "an earlier boot"}
    job_files.write_once(str(jobs.root / "a"), job_files.RUNNER, mark)
    assert state_of(jobs, "a") is JobState.VANISHED


def test_a_claim_that_was_damaged_is_vanished_and_never_started_again(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", SLEEP)
    (jobs.root / "a" / job_files.RUNNER).write_bytes(b"")
    assert jobs.create("a", SLEEP).state is JobState.VANISHED


def test_a_job_without_its_runner_runs_until_its_last_process_ends(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("(mkfifo gate; read line < gate) & wait"))
    wait_until((jobs.root / "a" / "work" / "gate").exists)
    assert runner_of(jobs, "a").send(signal.SIGKILL)
    wait_until(lambda: not runner_of(jobs, "a").is_alive())
    assert state_of(jobs, "a") is JobState.RUNNING
    open_gate(jobs)
    assert wait_for_end(jobs, "a").state is JobState.VANISHED


def test_a_job_killed_with_its_runner_is_vanished_for_good(jobs: JobDirectory) -> None:
    started(jobs, "a", SLEEP)
    for pid in members_of(jobs, "a"):
        os.kill(pid, signal.SIGKILL)
    assert wait_for_end(jobs, "a").state is JobState.VANISHED
    cancelled = jobs.cancel("a")
    assert cancelled is not None
    assert (cancelled.state, cancelled.is_cancel_asked) == (JobState.VANISHED, False)
    assert jobs.create("a", SLEEP).state is JobState.VANISHED


def test_cancelling_ends_the_whole_tree(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("sh -c 'sleep 300 & touch ready; wait' & wait"))
    wait_until((jobs.root / "a" / "work" / "ready").exists)
    assert len(members_of(jobs, "a")) == 4
    asked = jobs.cancel("a")
    assert asked is not None
    assert asked.is_cancel_asked
    assert wait_for_end(jobs, "a").state is JobState.CANCELLED
    assert set(members_of(jobs, "a")) <= {runner_of(jobs, "a").pid}


def test_a_job_that_ignores_the_request_is_killed_after_the_grace(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("trap '' TERM; touch ready; while :; do sleep 300; done", grace_s=0.2))
    wait_until((jobs.root / "a" / "work" / "ready").exists)
    jobs.cancel("a")
    wait_until((jobs.root / "a" / job_files.EXIT).exists)  # nobody presses on: the runner does it alone
    ended = wait_for_end(jobs, "a")
    assert (ended.state, ended.signal) == (JobState.CANCELLED, signal.SIGKILL)


def test_a_job_without_its_runner_is_cancelled_by_the_client(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("trap '' TERM; touch ready; while :; do sleep 300; done", grace_s=0.1))
    wait_until((jobs.root / "a" / "work" / "ready").exists)
    runner_of(jobs, "a").send(signal.SIGKILL)
    wait_until(lambda: not runner_of(jobs, "a").is_alive())
    asked = jobs.cancel("a")
    assert asked is not None
    assert asked.state is JobState.CANCELLING
    assert wait_for_end(jobs, "a").state is JobState.CANCELLED


def test_a_mark_alone_is_enough_for_a_living_runner(jobs: JobDirectory) -> None:
    started(jobs, "a", SLEEP)
    job_files.write_once(str(jobs.root / "a"), job_files.CANCEL, {"monotonic_s": time.monotonic()})
    wait_until((jobs.root / "a" / job_files.EXIT).exists)  # nobody presses on: the runner does it alone
    assert wait_for_end(jobs, "a").state is JobState.CANCELLED


def test_a_job_cancelled_before_its_start_never_starts(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", shell("echo ran"))
    cancelled = jobs.cancel("a")
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED
    assert jobs.create("a", shell("echo ran")).state is JobState.CANCELLED
    assert not (jobs.root / "a" / job_files.STDOUT).exists()


def test_a_runner_that_claims_after_the_mark_does_not_start_the_command(jobs: JobDirectory) -> None:
    job_directory._prepare(jobs.root / "a", shell("echo ran"))
    job_files.write_once(str(jobs.root / "a"), job_files.CANCEL, {"monotonic_s": time.monotonic()})
    jobs._start_runner(jobs.root / "a", {})
    assert wait_for_end(jobs, "a").state is JobState.CANCELLED
    assert not (jobs.root / "a" / job_files.STDOUT).exists()


def test_cancelling_finished_work_changes_nothing(jobs: JobDirectory) -> None:
    jobs.create("a", shell("exit 0"))
    wait_for_end(jobs, "a")
    before = {path.name: path.read_bytes() for path in (jobs.root / "a").iterdir() if path.is_file()}
    after = jobs.cancel("a")
    assert after is not None
    assert (after.state, after.is_cancel_asked) == (JobState.SUCCEEDED, False)
    assert {path.name: path.read_bytes() for path in (jobs.root / "a").iterdir() if path.is_file()} == before


def test_a_mark_that_comes_after_the_end_does_not_change_it(jobs: JobDirectory) -> None:
    jobs.create("a", shell("exit 0"))
    wait_for_end(jobs, "a")
    job_files.write_once(str(jobs.root / "a"), job_files.CANCEL, {"monotonic_s": time.monotonic()})
    assert state_of(jobs, "a") is JobState.SUCCEEDED


def test_a_runner_ended_by_someone_else_ends_its_job_as_killed(jobs: JobDirectory) -> None:
    started(jobs, "a", SLEEP)
    runner_of(jobs, "a").send(signal.SIGTERM)
    ended = wait_for_end(jobs, "a")
    assert (ended.state, ended.signal) == (JobState.KILLED, signal.SIGTERM)


def test_a_hangup_ends_no_runner(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("mkfifo gate; read line < gate"))
    runner_of(jobs, "a").send(signal.SIGHUP)
    open_gate(jobs)
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED


@pytest.mark.skipif(not processes.IS_LINUX, reason="limits of another process are set on Linux only")
def test_an_end_that_cannot_be_written_is_written_once_there_is_space(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("mkfifo gate; read line < gate"))
    wait_until(lambda: jobs.metrics("a"))
    runner, folder = runner_of(jobs, "a"), jobs.root / "a"
    _, hard = resource.prlimit(runner.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (0, hard))
    before = folder.stat().st_mtime_ns
    open_gate(jobs)
    wait_until(lambda: folder.stat().st_mtime_ns != before and not list(folder.glob(f".{job_files.EXIT}.*")))
    assert not (folder / job_files.EXIT).exists()
    resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED


SAMPLER = """
import os, sys
from outboard.detached.runner import Runner
runner = Runner(sys.argv[1])
before = os.listdir("/dev/fd")
runner._sample(os.getpid())
assert len(os.listdir("/dev/fd")) == len(before)
"""


@pytest.mark.skipif(not processes.IS_LINUX, reason="only Linux has a device that is always full")
def test_samples_that_a_full_disk_refuses_cost_no_descriptors(tmp_path: Path) -> None:
    (tmp_path / job_files.METRICS).symlink_to("/dev/full")
    subprocess.run([sys.executable, "-c", SAMPLER, str(tmp_path)], check=True)


def test_what_a_command_leaves_behind_ends_with_it(jobs: JobDirectory) -> None:
    jobs.create("a", shell("sleep 300 & exit 0", grace_s=1))
    assert wait_for_end(jobs, "a").state is JobState.SUCCEEDED
    assert set(members_of(jobs, "a")) <= {runner_of(jobs, "a").pid}


def test_a_log_is_followed_in_whole_lines_to_its_end(jobs: JobDirectory) -> None:
    started(jobs, "a", shell("printf 'one\\ntw'; mkfifo gate; read line < gate; printf 'o\\nthree'"))
    wait_until((jobs.root / "a" / "work" / "gate").exists)
    page = jobs.read_log("a", "stdout")
    assert (page.lines, page.ended) == (("one",), False)
    open_gate(jobs)
    wait_for_end(jobs, "a")
    page = jobs.read_log("a", "stdout", page.next_offset)
    assert (page.lines, page.ended) == (("two", "three"), True)


def test_memory_and_time_are_sampled(jobs: JobDirectory) -> None:
    started(jobs, "a", SLEEP)
    wait_until(lambda: jobs.metrics("a"))
    (sample, *_) = jobs.metrics("a")
    assert sample.rss_bytes > 0
    assert jobs.metrics("a", since=datetime.now(timezone.utc) + timedelta(hours=1)) == []


def test_what_a_command_says_of_itself_is_seen(jobs: JobDirectory) -> None:
    script = """printf '{"percent": 40, "rows": 7, "message": "half"}' > $OUTBOARD_JOB_DIR/progress.json"""
    jobs.create("a", shell(script))
    progress = wait_for_end(jobs, "a").progress
    assert progress is not None
    assert (progress.percent, progress.rows, progress.message) == (40, 7, "half")


def test_files_of_a_job_are_there_before_it_starts(jobs: JobDirectory) -> None:
    spec = JobSpec(command=("sh", "-c", "cat $OUTBOARD_JOB_DIR/input.json"), files={"input.json": "[1]"})
    jobs.create("a", spec)
    wait_for_end(jobs, "a")
    assert jobs.read_log("a", "stdout").lines == ("[1]",)


def test_jobs_are_listed_and_forgotten_once_they_have_ended(jobs: JobDirectory) -> None:
    started(jobs, "lives", SLEEP)
    jobs.create("ended", shell("exit 0"))
    wait_for_end(jobs, "ended")
    assert [job.name for job in jobs.jobs()] == ["lives", "ended"]
    assert set(jobs.snapshots(["lives", "nowhere"])) == {"lives"}
    with pytest.raises(Rejected, match="cancel it first"):
        jobs.remove("lives")
    assert jobs.purge(timedelta(hours=1)) == 0
    assert jobs.purge(timedelta()) == 1
    assert [path.name for path in jobs.root.iterdir()] == ["lives"]
    assert not jobs.remove("ended")


def test_what_is_not_there_is_none(jobs: JobDirectory) -> None:
    assert jobs.snapshot("a") is None
    assert jobs.cancel("a") is None
    assert jobs.jobs() == []
    assert jobs.read_log("a", "stdout").ended
    assert jobs.metrics("a") == []
    assert jobs.read_document("a", job_files.RESULT) is None
    assert not jobs.root.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/etc", ".hidden", "a\0b", "a b", "x" * 129, "a\n"])
def test_a_name_that_could_leave_the_root_is_refused(jobs: JobDirectory, name: str) -> None:
    with pytest.raises(Rejected):
        jobs.create(name, SLEEP)
    with pytest.raises(Rejected):
        jobs.cancel(name)
    with pytest.raises(Rejected):
        jobs.read_document("a", f"{name}.json/../x")


@pytest.mark.parametrize(
    "spec",
    [
        JobSpec(command=()),
        JobSpec(command=("",)),
        JobSpec(command=("a\0b",)),
        JobSpec(command=("a",), env={"A=B": ""}),
        JobSpec(command=("a",), grace_s=-1),
        JobSpec(command=("a",), files={"../x.json": ""}),
        JobSpec(command=("a",), files={"exit.json": ""}),
    ],
)
def test_a_spec_that_cannot_be_a_jobs_is_refused_and_leaves_nothing(jobs: JobDirectory, spec: JobSpec) -> None:
    with pytest.raises(Rejected):
        jobs.create("a", spec)
    assert jobs.snapshot("a") is None


def test_a_root_that_cannot_be_written_is_unavailable_and_nothing_started(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="check the space and the permissions") as caught:
        JobDirectory(tmp_path / "file" / "jobs").create("a", SLEEP)
    assert caught.value.sent is Sent.NO


def test_the_runner_imports_none_of_the_package_but_this_folder(jobs: JobDirectory) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", boot.PATH, "outboard.detached.runner", str(jobs.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    ours = {name for name in imported if name.startswith("outboard")}
    assert ours == {"outboard.detached"} | {
        f"outboard.detached.{name}" for name in ("runner", "job_files", "processes")
    }
    assert not imported & {"pathlib", "subprocess", "dataclasses", "typing", "inspect", "site"}
