"""The demo runs as a newcomer runs it, and what it says is so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

TIME_LIMIT_S = 180


@pytest.mark.timeout(TIME_LIMIT_S + 10)
def test_the_demo_kills_its_service_and_loses_nothing(tmp_path: Path) -> None:
    """Three minutes is what a newcomer is promised; it takes some ten seconds."""
    folder = tmp_path / "demo"
    environment = {**os.environ, "OUTBOARD_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "outboard", "demo", "--folder", str(folder), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    evidence = json.loads(done.stdout)
    assert (evidence["is_nothing_lost"], evidence["problems"]) == (True, [])
    assert (evidence["tasks"], evidence["jobs_asked"], evidence["jobs"]) == (9, 7, 7)
    assert evidence["outage"]["kills"] == 1
    assert evidence["outage"]["alive"] >= 1
    assert len(list((folder / "jobs").iterdir())) == 7
    table = pq.read_table(evidence["report"])
    assert table.to_pylist() == evidence["rows"]
    assert pq.read_table(next((folder / "outputs").glob("*/flights/0/flights"))).num_rows == 336_776
    assert table.num_rows == 7
    assert not (tmp_path / "home").exists()
