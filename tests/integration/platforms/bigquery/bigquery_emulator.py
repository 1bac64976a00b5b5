"""The real part: bqemulator in a process of its own, and Google's own client as the second witness.

Both live in the environment `bigquery` (see `real_parts`). DuckDB looks for its extensions below HOME, so the emulator's HOME is
a folder of that environment; the extension that the emulator would download is put there before its first start.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from real_parts import NotToBeHad, install, making

WITNESS = Path(__file__).parent / "bigquery_witness.py"
_EXTENSION = "from duckdb_extensions import import_extension; import_extension('spatial')"


@contextlib.contextmanager
def emulator() -> Iterator[str]:
    """Start the emulator and give its address; it is ended afterwards. Raises `NotToBeHad` where there is none."""
    python, home = prepared()
    ports = ["--rest-port", "0", "--grpc-port", "0"]
    command = [str(python.with_name("bqemulator")), "start", *ports, "--log-format", "json"]
    process = subprocess.Popen(
        command, env={**os.environ, "HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        port = _port_of(process)
        # It logs each request: a pipe that nobody empties would stop it in the middle of one.
        reader = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
        reader.start()
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        reader.join(20)
    finally:
        process.kill()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


def ask_witness(url: str = "", **question: Any) -> Any:
    """Return what Google's client says: `query` with `parameters`, `table`, `job`; or, without a server, to `spell`."""
    python, _ = prepared()
    asked = json.dumps({"url": url, **question}, default=str)
    command = [str(python), str(WITNESS)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@cache
def prepared() -> tuple[Path, Path]:
    """Return the environment's interpreter, and the HOME that holds the extension."""
    python = install("bigquery")
    home = python.parents[1] / "home"
    mark = home / ".prepared"
    if not mark.exists():
        with making("bigquery-home"):
            home.mkdir(exist_ok=True)
            variables = {**os.environ, "HOME": str(home)}
            done = subprocess.run(
                [str(python), "-c", _EXTENSION], env=variables, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise NotToBeHad(f"DuckDB's extension: {done.stderr.strip()[-300:]}")
            mark.touch()
    return python, home


def _port_of(process: subprocess.Popen[str]) -> int:
    for line in process.stdout or ():
        if '"rest.listen"' in line:
            port: int = json.loads(line)["port"]
            return port
    raise RuntimeError("bqemulator ended before it listened")
