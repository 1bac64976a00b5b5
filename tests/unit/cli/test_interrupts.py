"""Ctrl-C that comes late, in a process of its own, since signals are of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATE = """
import asyncio, atexit, os, signal, sys
from outboard.cli.interrupts import interrupts
from outboard.cli.loops import run_loop

number = getattr(signal, sys.argv[1])

def press():
    os.kill(os.getpid(), number)

async def main():
    cancelled = asyncio.Event()
    with interrupts(cancelled.set, cancelled.set) as seen:
        press()
        await cancelled.wait()
    for _ in range(int(sys.argv[2])):
        press()
        await asyncio.sleep(0)
    print("told", flush=True)
    return int(seen.exit_code)

atexit.register(press)
sys.exit(run_loop(main()))
"""


def end_of(number: str, presses: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LATE, number, str(presses)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_interrupt_that_comes_when_all_is_confirmed_changes_nothing(number: str, code: int) -> None:
    assert end_of(number, 1) == (code, "told\n")


def test_a_third_interrupt_ends_the_process_even_while_it_closes() -> None:
    assert end_of("SIGINT", 2) == (131, "")
