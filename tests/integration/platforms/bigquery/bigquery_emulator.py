"""The real part: bqemulator in a process of its own, and Google's own client as the second witness.

Both live in a virtual environment apart from the tests', since bqemulator's pytest plugin breaks a pytest that lacks its further
needs. `OUTBOARD_BIGQUERY_VENV` names it; without it `.interop/bigquery` is looked for. It is made by

    python -m venv .interop/bigquery
    .interop/bigquery/bin/pip install bqemulator==1.4.0 duckdb==1.5.5 duckdb-extensions==1.5.5
    .interop/bigquery/bin/pip install duckdb-extension-spatial==1.5.5 'numpy>=2' google-cloud-bigquery==3.47.0
    .interop/bigquery/bin/python -c "from duckdb_extensions import import_extension; import_extension('spatial')"
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]
VENV = Path(os.environ.get("OUTBOARD_BIGQUERY_VENV", ROOT / ".interop" / "bigquery"))
WITNESS = Path(__file__).parent / "bigquery_witness.py"
REASON = f"bqemulator is not installed in {VENV}; set OUTBOARD_BIGQUERY_VENV, see bigquery_emulator.py"


def is_installed() -> bool:
    """Tell whether the emulator is there."""
    return (VENV / "bin" / "bqemulator").exists()


@contextlib.contextmanager
def emulator() -> Iterator[str]:
    """Start the emulator and give its address; it is ended afterwards."""
    command = [
        str(VENV / "bin" / "bqemulator"),
        "start",
        "--rest-port",
        "0",
        "--grpc-port",
        "0",
        "--log-format",
        "json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield f"http://127.0.0.1:{_port_of(process)}"
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


def ask_witness(url: str, **question: Any) -> Any:
    """Return what Google's client says: `query` with `parameters`, `table`, or `job`."""
    asked = json.dumps({"url": url, **question})
    command = [str(VENV / "bin" / "python"), str(WITNESS)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def _port_of(process: subprocess.Popen[str]) -> int:
    for line in process.stdout or ():
        if '"rest.listen"' in line:
            port: int = json.loads(line)["port"]
            return port
    raise RuntimeError("bqemulator ended before it listened")
