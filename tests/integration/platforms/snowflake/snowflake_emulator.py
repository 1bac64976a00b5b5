"""fakesnow and its translator as a process of their own, and Snowflake's connector as a witness."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SETUP: Final = (
    "CREATE TABLE orders (id INT, region VARCHAR, amount NUMBER(10,2), weight DOUBLE, paid BOOLEAN, day TIMESTAMP_NTZ)",
    "INSERT INTO orders VALUES (1, 'EU', 10.50, 0.5, TRUE, '2026-01-01 12:00:00')",
    "INSERT INTO orders VALUES (2, 'US', 7.25, NULL, FALSE, '2026-01-02 00:00:00')",
    "INSERT INTO orders VALUES (3, 'EU', NULL, 1.25, NULL, '2026-01-03 00:00:00')",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """Where the two are served.

    Attributes:
        python: The interpreter of their environment.
        url: The SQL API.
        port: fakesnow's.
    """

    python: Path
    url: str
    port: int

    def ask(self, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return what Snowflake's connector sees, question by question."""
        asked = {"port": self.port, "database": "SALES", "schema": "PUBLIC", "questions": questions}
        done = subprocess.run(
            [str(self.python), str(HERE / "snowflake_witness.py")],
            input=json.dumps(asked),
            env={**os.environ, "PYTHONPATH": str(HERE.parents[2])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        answers: list[Any] = json.loads(done.stdout)
        return answers


@contextlib.contextmanager
def emulator(python: Path) -> Iterator[Emulator]:
    """Start both with a table of orders.

    Args:
        python: The interpreter of the environment that holds them.
    """
    with (
        tempfile.TemporaryDirectory(prefix="outboard-snowflake-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [str(python), str(HERE / "snowflake_translator.py")],
            env={**os.environ, "TMPDIR": folder},  # fakesnow leaves a folder there
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            served = Emulator(python=python, url=f"http://127.0.0.1:{ports['sql_api']}", port=ports["fakesnow"])
            served.ask([{"setup": SETUP}])
            yield served
        finally:
            process.terminate()
