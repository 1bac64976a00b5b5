"""Several processes race for the same objects, in files and on a real S3 server; some die with the lock in hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from integration.stores import racer
from outboard.host.stores import Stores, join_uri

RACERS = 4
Start = Callable[[str, str, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(shared_root: str) -> Iterator[Start]:
    """Start a racer that waits for its line."""
    with ExitStack() as racers:

        def started(mode: str, uri: str, name: str) -> subprocess.Popen[str]:
            command = [sys.executable, racer.__file__, mode, uri, name]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(os.environ))
            racers.enter_context(process)
            racers.callback(process.kill)
            return process

        yield started


def raced(racers: list[subprocess.Popen[str]]) -> list[str]:
    for each in racers:
        assert said(each) == "ready"
    for each in racers:
        go(each)
    return [said(each) for each in racers]


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def names_in(folder: str) -> list[str]:
    return sorted(each.name for each in Path(folder).iterdir())


async def test_no_update_of_a_counter_is_lost_between_processes(start: Start, shared_root: str) -> None:
    stores = Stores()
    await stores.create(join_uri(shared_root, "counter"), b"0 nobody")

    answers = raced([start("count", shared_root, f"racer-{each}") for each in range(RACERS)])

    found = await stores.read(join_uri(shared_root, "counter"))
    assert all(each.isdigit() for each in answers)
    assert found is not None
    assert int(found.split()[0]) == RACERS * racer.ROUNDS


async def test_of_several_processes_exactly_one_creates(start: Start, shared_root: str) -> None:
    answers = raced([start("create", shared_root, f"racer-{each}") for each in range(RACERS)])

    won = [(int(each), f"racer-{name}") for name, answer in enumerate(answers) for each in answer.split()]
    assert sorted(each for each, _ in won) == list(range(racer.ROUNDS))
    stores = Stores()
    for each, name in won:
        assert await stores.read(join_uri(shared_root, f"claim-{each}")) == name.encode()


@pytest.mark.parametrize("shared_root", ["path"], indirect=True)
async def test_a_lock_ends_with_the_process_that_was_killed_with_it(start: Start, shared_root: str) -> None:
    holder = start("hold", shared_root, "holder")
    assert raced([holder]) == ["held"]

    holder.kill()
    holder.wait()

    assert await Stores().create(join_uri(shared_root, "claim"), b"ours")
    assert names_in(shared_root) == ["claim"]
