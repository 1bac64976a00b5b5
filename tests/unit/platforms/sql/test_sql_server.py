"""What marks and job directories alone tell of a statement, without a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outboard.agent import Status
from outboard.detached import job_directory
from outboard.detached.jobs import JobSpec
from outboard.platforms.sql.agent import _status
from outboard.platforms.sql.databases.port import Fate, Target
from outboard.platforms.sql.documents import STATEMENT_FILE
from outboard.platforms.sql.marks import CLAIM, START, Marks
from outboard.platforms.sql.server import Server, View, _end_of
from outboard.platforms.sql.settings import ConnectionSettings

KEY = "ob-k"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    path = str(tmp_path / "checks.duckdb")
    use = ConnectionSettings.model_validate({"kind": "duckdb", "database": path})
    return Server(tmp_path / "machine", use, Target(kind="duckdb", database=path), "")


def test_a_statement_that_was_just_claimed_elsewhere_is_not_taken_for_lost(server: Server, tmp_path: Path) -> None:
    prefix = str(tmp_path / "out")
    own = Marks(server.place(KEY, prefix))
    own.write_once(CLAIM, {"host": "another"})
    found = server.looks([(KEY, prefix)])[KEY]
    assert (isinstance(found, View) and found.state, own.read(START)) == ("STARTING", None)


def test_a_statement_whose_creator_died_before_its_worker_is_not_found_so_that_it_is_created_again(
    server: Server, tmp_path: Path
) -> None:
    prefix = str(tmp_path / "out" / "1")
    document = json.dumps({"place": server.place(KEY, prefix)})
    spec = JobSpec(command=("true",), files={STATEMENT_FILE: document})
    job_directory._prepare(server.jobs.root / KEY, spec)
    assert server.find(KEY, [prefix]) is None
    server.jobs.create(KEY, spec)
    assert server.find(KEY, [str(tmp_path / "out" / "2"), prefix]) == prefix


@pytest.mark.parametrize(
    ("fate", "verdict", "claim", "state"),
    [
        (Fate.NOTHING, "lost", {}, "LOST"),
        (Fate.NOTHING, "cancelled", {}, "CANCELLED"),
        (Fate.DONE, "commit", {"declared": {"table": "table"}}, "SUCCEEDED"),
        (Fate.DONE, "lost", {}, "SUCCEEDED"),
        (Fate.DONE, "lost", {"declared": {"table": "table"}}, "UNKNOWN"),
        (Fate.DONE, "lost", {"declared": {"has_rows": True}}, "UNKNOWN"),
        (Fate.DONE, "lost", {"declared": {"table": "table"}, "is_idempotent": True}, "LOST"),
        (Fate.UNKNOWN, "commit", {}, "UNKNOWN"),
        (Fate.UNKNOWN, "commit", {"is_idempotent": True}, "LOST"),
    ],
)
def test_a_statement_without_its_worker_has_succeeded_only_where_its_outputs_are_known(
    fate: Fate, verdict: str, claim: dict[str, Any], state: str
) -> None:
    assert _end_of(fate, {"verdict": verdict}, claim)["state"] == state


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"result": {"rows": 12_000}}, "12,000 rows"),
        ({"affected": 0}, "0 rows written"),
        ({"affected": None}, ""),
        ({}, ""),
    ],
)
def test_how_many_rows_were_written_is_told_only_where_it_is_known(end: dict[str, Any], words: str) -> None:
    status = _status(View(state="SUCCEEDED", end=end))
    assert isinstance(status, Status)
    assert status.message == words
