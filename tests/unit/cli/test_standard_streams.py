"""Standard streams that are closed or full, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import os, sys
from outboard.cli.standard_streams import open_closed_streams
open_closed_streams()
for stream in (sys.stdin, sys.stdout, sys.stderr):
    stream.fileno()
sys.stdout.write("out\\n"); sys.stdout.flush()
sys.stderr.write("err\\n"); sys.stderr.flush()
assert sys.stdin.read() == ""
with open(sys.argv[1], "w") as file:
    file.write(str(file.fileno()))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_standard_stream(tmp_path: Path, closed: str) -> None:
    note = tmp_path / "number"
    script = f'exec "$0" -c "$1" "$2" {closed if "<" in closed else closed + " </dev/null"}'
    done = subprocess.run(["/bin/sh", "-c", script, sys.executable, PROBE, str(note)], capture_output=True, check=False)
    assert done.returncode == 0
    assert int(note.read_text(encoding="utf-8")) > 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_commands_work_with_closed_standard_streams(tmp_path: Path, closed: str) -> None:
    command = f'exec "$0" -m outboard run nothing --platforms "" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        env={**os.environ, "OUTBOARD_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_results_that_cannot_be_written_are_an_error_with_its_reason() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "outboard", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written (no space left on device): write it elsewhere\n"
