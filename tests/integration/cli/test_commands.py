from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.cli.shells import Shell, lines_until, wait_for_line

Gate = Callable[..., list[str]]
_FOR_SOME_TASKS = {
    "aiohttp",
    "obstore",
    "duckdb",
    "pyarrow",
    "cryptography",
    "requests",
    "flyteidl2",
    "flytekit",
    "botocore",
}
"""Libraries that no service needs before its first task."""
_OWN_MODULES = 190
"""How many modules of ours a service starts with, with a few to spare: whoever adds more thinks twice."""


def test_a_sync_task_gives_its_outputs_on_standard_output_and_progress_beside_it(shell: Shell) -> None:
    done = shell.run("run", "echo", "-i", "n=3", "-i", "s=hello", "-o", "n=int", "-o", "s=str")
    assert (done.code, done.out) == (0, "n=3\ns=hello\n")
    assert "echo succeeded" in done.err


def test_json_is_one_document_with_typed_outputs(shell: Shell, gate: Gate, gates: Path) -> None:
    (gates / "open").touch()
    done = shell.run(*gate("--json", "--quiet"))
    (task,) = json.loads(done.out)["tasks"]
    assert (done.code, done.err, task["phase"]) == (0, "", "SUCCEEDED")
    assert task["outputs"] == {"rows": 3, "table": {"uri": f"file://{gates}/rows", "format": "parquet", "columns": {}}}
    assert task["links"][0]["url"].startswith("https://gates.example/ob-")


def test_a_failed_job_ends_with_1_and_its_own_words(shell: Shell, gate: Gate, gates: Path) -> None:
    (gates / "open").touch()
    done = shell.run(*gate("-c", "fails=true"))
    assert (done.code, done.out) == (1, "")
    assert "error: task 'job' failed: the gate fell down" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nosuch"], 2, "nobody serves nosuch"),
        (["run", "bad.yaml"], 2, "bad.yaml is neither YAML nor JSON: correct it at line 1, column 12"),
        (["run", "echo", "-i", "n=x", "--input-type", "n=int"], 2, "inputs.n must be int"),
        (["run", "gate", "-c", "folder=.", "-c", "is_stubborn=perhaps"], 2, "custom.is_stubborn"),
        (["run", "echo", "--endpoint", "127.0.0.1:1"], 3, "127.0.0.1:1 cannot be reached"),
        (["run", "echo", "--journal", "taken/journal.db"], 4, "cannot be made"),
        (["serve", "--port", "70000"], 2, "service.port: this must be less than or equal to 65535"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_with_the_remedy_and_a_code_of_its_own(
    shell: Shell, arguments: list[str], code: int, words: str
) -> None:
    (shell.folder / "bad.yaml").write_text("{type: echo", encoding="utf-8")
    (shell.folder / "taken").touch()
    done = shell.run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1
    assert "Traceback" not in done.err


def test_ctrl_c_cancels_the_job_waits_for_the_confirmation_and_ends_with_130(
    shell: Shell, gate: Gate, gates: Path
) -> None:
    process = shell.start(*gate())
    wait_for_line(process, "waiting for the gate")
    process.send_signal(signal.SIGINT)
    assert shell.end(process).code == 130
    assert len(list(gates.glob("*.cancelled"))) == 1


def test_a_second_ctrl_c_says_what_is_left_running_and_the_printed_command_cancels_it(
    shell: Shell, gate: Gate, gates: Path
) -> None:
    _, address = shell.serve()
    process = shell.start(*gate("-c", "is_stubborn=true", "--endpoint", address))
    wait_for_line(process, "waiting for the gate")
    process.send_signal(signal.SIGINT)
    wait_for_line(process, "Ctrl-C again")
    process.send_signal(signal.SIGINT)
    done = shell.end(process)
    (job,) = gates.glob("*.job")
    assert done.code == 131
    assert f"left running: job (gate at {address}) job {job.stem}" in done.err

    (gates / "open").touch()  # the job ends by itself, which is the only way a stubborn one does
    by_handle = done.err.split("or without the journal: outboard ")[1].split()
    cancelled = shell.run(*by_handle)
    assert (cancelled.code, "the job is over: SUCCEEDED" in cancelled.err) == (0, True)


def test_a_killed_run_is_listed_resumed_and_starts_no_second_job(shell: Shell, gate: Gate, gates: Path) -> None:
    _, address = shell.serve()
    process = shell.start(*gate("--endpoint", address))
    wait_for_line(process, "waiting for the gate")
    process.kill()
    process.wait()

    listed = shell.run("jobs", "--json")
    (run,) = json.loads(listed.out)["runs"]
    assert (run["owner_life"], run["unfinished"], run["tasks"][0]["step"]) == ("dead", 1, "created")

    (gates / "open").touch()
    resumed = shell.run("resume")
    assert (resumed.code, resumed.out.splitlines()[0]) == (0, "rows=3")
    assert len((gates / "starts").read_text().splitlines()) == 1
    assert shell.run("resume").err == "nothing to resume\n"
    assert shell.run("logs", "job").out == "first line\nsecond line\nthe gate is open\n"


def test_a_resumed_run_goes_where_it_was_begun_also_with_tasks_that_were_never_sent(shell: Shell, gates: Path) -> None:
    """In process, with agents and settings of its own, from another folder, and without a word about any of it."""
    outputs = {"rows": "int", "table": "dataset"}
    tasks = {name: {"type": "gate", "config": {"folder": str(gates)}, "outputs": outputs} for name in ("one", "two")}
    (shell.folder / "two.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
    (shell.folder / "s.yaml").write_text("host: {installation: mine}", encoding="utf-8")
    agents = shell.environment.pop("OUTBOARD_AGENTS")
    process = shell.start("run", "two.json", "--agents", agents, "--settings", "s.yaml", "--max-live", "1")
    wait_for_line(process, "one Gate")
    process.kill()
    process.wait()
    (gates / "open").touch()
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    resumed = Shell(elsewhere, shell.environment, shell.started).run("resume", "--json")
    assert (resumed.code, [task["phase"] for task in json.loads(resumed.out)["tasks"]]) == (0, ["SUCCEEDED"] * 2)
    assert f"in this process (all installed platforms and {agents}, settings {shell.folder / 's.yaml'})" in resumed.err
    starts = (gates / "starts").read_text().splitlines()
    assert len(starts) == len(set(starts)) == 2


def test_runs_of_several_services_are_resumed_together_each_at_its_own(shell: Shell, gate: Gate, gates: Path) -> None:
    addresses = [shell.serve()[1] for _ in range(2)]
    for number, address in enumerate(addresses):
        process = shell.start(*gate("--endpoint", address, name=f"job{number}"))
        wait_for_line(process, "waiting for the gate")
        process.kill()
        process.wait()
    (gates / "open").touch()
    resumed = shell.run("resume", "--json")
    tasks = json.loads(resumed.out)["tasks"]
    assert resumed.code == 0
    assert sorted((task["endpoint"], task["phase"]) for task in tasks) == sorted((a, "SUCCEEDED") for a in addresses)
    assert all(f" at {address}\n" in resumed.err for address in addresses)


def test_prune_forgets_ended_runs_and_keeps_the_others(shell: Shell, gate: Gate) -> None:
    assert shell.run("jobs", "--prune", "0").err == "nothing to forget\n"
    assert shell.run("run", "echo", "-i", "n=3", "-o", "n=int").code == 0
    process = shell.start(*gate())
    wait_for_line(process, "waiting for the gate")
    assert shell.run("jobs", "--prune", "1").err == "nothing to forget\n"
    assert shell.run("jobs", "--prune", "0").err.startswith("forgotten: a")
    (run,) = json.loads(shell.run("jobs", "--json").out)["runs"]
    assert run["tasks"][0]["task"] == "job"
    assert shell.run("jobs", run["run"], "--prune", "0").code == 2


def test_cancel_reaches_the_process_that_drives_the_task(shell: Shell, gate: Gate, gates: Path) -> None:
    process = shell.start(*gate())
    wait_for_line(process, "waiting for the gate")
    cancelled = shell.run("cancel", "job")
    assert (cancelled.code, cancelled.err) == (0, "task job ended as ABORTED\n")
    assert shell.end(process).code == 1
    assert shell.run("cancel", "job").err == "job has ended already\n"


def test_cancel_of_a_run_whose_engine_is_gone_cancels_its_jobs_and_records_it(shell: Shell, gates: Path) -> None:
    outputs = {"rows": "int", "table": "dataset"}
    tasks = {name: {"type": "gate", "config": {"folder": str(gates)}, "outputs": outputs} for name in ("one", "two")}
    (shell.folder / "two.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
    process = shell.start("run", "two.json")
    for _ in tasks:  # in whichever order
        wait_for_line(process, " Gate: ")
    process.kill()
    process.wait()
    (run,) = json.loads(shell.run("jobs", "--json").out)["runs"]
    cancelled = shell.run("cancel", run["run"])
    assert (cancelled.code, cancelled.err) == (0, "task one ended as ABORTED\ntask two ended as ABORTED\n")
    assert len(list(gates.glob("*.cancelled"))) == 2


def test_logs_follow_the_job_to_its_end(shell: Shell, gate: Gate, gates: Path) -> None:
    _, address = shell.serve()
    process = shell.start(*gate("--endpoint", address))
    wait_for_line(process, "waiting for the gate")
    logs = shell.start("logs", "job", "--follow")
    assert logs.stdout is not None
    assert logs.stdout.readline() == "first line\n"
    (gates / "open").touch()
    assert logs.stdout.read() == "second line\nthe gate is open\n"
    assert shell.end(logs).code == 0
    assert shell.end(process).code == 0


def test_serve_says_where_it_is_ready_and_sigterm_ends_it_with_0(shell: Shell) -> None:
    process, address = shell.serve()
    listed = shell.run("agents", "--endpoint", address, "--json")
    gate = [agent for agent in json.loads(listed.out)["agents"] if agent["name"] == "gate"]
    assert gate == [
        {
            "endpoint": address,
            "name": "gate",
            "is_sync": False,
            "task_types": [{"name": "gate", "version": 0}, {"name": "gate", "version": 1}],
        }
    ]
    process.send_signal(signal.SIGTERM)
    done = shell.end(process)
    assert done.code == 0
    assert [json.loads(line)["event"] for line in done.err.splitlines()] == ["draining"]


def test_what_agents_code_prints_is_no_part_of_the_results(shell: Shell) -> None:
    noisy = """
from outboard.agent import Connection, Platform, SyncAgent, TaskConfig, TaskType
print("password=hunter2000")
class NoisyAgent(SyncAgent[TaskConfig, None]):
    name = "noisy"
    task_types = (TaskType("noisy"),)
    async def do(self, task, ctx):
        print("as it is called")
        return {"n": 3}
class Noisy(Platform[Connection, None]):
    name = "noisy"
    def agents(self):
        return [NoisyAgent(self)]
"""
    (shell.folder / "noisy.py").write_text(noisy)
    listed = shell.run("agents", "--json", "--agents", "noisy:Noisy")
    assert {"noisy"} <= {each["name"] for each in json.loads(listed.out)["agents"]}
    assert "password=[redacted]" in listed.err
    examined = shell.run("doctor", "--json", "--only", "agents", "--agents", "noisy:Noisy")
    assert {each["check"] for each in json.loads(examined.out)["findings"]} == {"agents"}
    assert "password=[redacted]" in examined.err
    done = shell.run("run", "noisy", "-o", "n=int", "--agents", "noisy:Noisy")
    assert (done.code, done.out) == (0, "n=3\n")
    assert "as it is called" in done.err


def test_agents_names_what_could_not_be_loaded_and_lists_the_others(shell: Shell) -> None:
    done = shell.run("agents", OUTBOARD_AGENTS="folder_platform:Folders,nowhere:Platform")
    assert done.code == 2
    assert ["gate", "gate", "0,", "1"] in [line.split() for line in done.out.splitlines()]
    assert "not loaded: nowhere:Platform: nowhere cannot be imported" in done.err


def test_options_come_before_the_environment_and_that_before_the_file(shell: Shell) -> None:
    (shell.folder / "s.yaml").write_text("{service: {port: 70001}, engine: {max_live: 0}}", encoding="utf-8")
    settings = ("--settings", "s.yaml")
    assert "service.port" in shell.run("serve", *settings).err
    assert "--port" in shell.run("serve", *settings, OUTBOARD_LISTEN_PORT="tcp://10.0.0.1:8000").err
    assert "engine.max_live" in shell.run("run", "echo", *settings).err
    assert shell.run("run", "echo", "--max-live", "1", *settings).code == 0


def test_a_reader_that_goes_away_ends_the_command_quietly(shell: Shell) -> None:
    process = shell.start("agents", "--json")
    assert process.stdout is not None
    os.close(os.dup(process.stdout.fileno()))
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait()) == ("", 141)


def test_serve_imports_neither_rich_nor_the_engine_nor_any_platform_but_those_with_settings(shell: Shell) -> None:
    (shell.folder / "with.yaml").write_text("platforms: {files: {roots: [/data]}}")
    del shell.environment["OUTBOARD_AGENTS"]
    for settings, loaded in (((), set()), (("--settings", "with.yaml"), {"files"})):
        process = shell.start("serve", "--port", "0", *settings, interpreter=("-X", "importtime"))
        imported = {line.rpartition("|")[2].strip() for line in lines_until(process, "outboard serves")}
        assert "outboard.service" in imported
        assert not imported & {"rich.console", "sqlite3", "outboard.engine", "outboard.cli.run"}
        assert not imported & _FOR_SOME_TASKS
        platforms = {name for name in imported if name.startswith("outboard.platforms.") and name.count(".") == 3}
        assert {name.split(".")[2] for name in platforms if not name.endswith(".declared")} == loaded
        assert len({name for name in imported if name.partition(".")[0] == "outboard"} - platforms) <= _OWN_MODULES
