"""The service's side of a connection: starts workers, follows statements, ends them, settles those whose worker is gone.

Nothing is held in memory, so any replica does any of this for any statement. What is looked at, in this order:

1. the worker's process, where it runs on this machine: while it lives it knows best;
2. the `end` mark: final, whoever wrote it;
3. the `alive` mark: a worker on another machine that wrote lately lives;
4. the database's list of sessions, one question for all that are left: a session of this key is a worker's.

Where none of these shows life the statement is *settled*: `start` and then `decision` are taken in the worker's place,
after which it can begin or commit nothing any more, and the database is asked what became of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSnapshot, JobSpec
from outboard.detached.states import JobState
from outboard.errors import AgentError, Forbidden, InvalidSettings, Throttled, Unauthorized, Unavailable
from outboard.platforms.sql import marks
from outboard.platforms.sql.databases.port import Database, Fate, Sighting, Target, Wish, database_of
from outboard.platforms.sql.documents import EXIT_NOT_OURS, STATEMENT_FILE, cancelled, ended_by, lost, success, unknown
from outboard.platforms.sql.marks import Marks, MarksUnavailable, place_of
from outboard.platforms.sql.settings import ConnectionSettings

STALE_S: Final = 90.0
"""A worker writes `alive` every 15 s; clocks of the replicas may differ by some seconds."""

CLAIM_S: Final = 5.0
_NEVER: Final = "ob-ping-of-no-statement"
LOOK_EVERY_S: Final = 0.02
_NOT_YET: Final = ("claiming", "claimed", "connecting", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A statement as it was found.

    Attributes:
        state: A state of `states`.
        message: How far it is.
        end: The `end` mark, of a statement that is over.
        local: Its worker's process, where that is or was on this machine.
    """

    state: str
    message: str = ""
    end: Mapping[str, Any] | None = None
    local: JobSnapshot | None = None


class Server:
    """One connection.

    Args:
        root: The platform's folder on this machine.
        use: How the operator wants the database used.
        target: The database.
        password: Its password; empty where it wants none.
    """

    def __init__(self, root: Path, use: ConnectionSettings, target: Target, password: str) -> None:
        self.jobs = JobDirectory(root / "jobs")
        self.slots = root / "slots"
        self.root = root
        self.use = use
        self.target = target
        self.password = password
        self._database: Database | None = None

    def place(self, key: str, prefix: str) -> str:
        """Return where the marks of a statement lie: below its outputs, or on this machine where it has no outputs' prefix."""
        return place_of(prefix, key) if prefix else str(self.root / "marks" / key)

    def create(self, key: str, spec: JobSpec, *, timeout_s: float) -> None:
        """Start the worker of a key unless it was started here, and wait until it has claimed the statement.

        Raises:
            Unavailable: No process can be started; nothing was begun.
        """
        snapshot = self.jobs.create(key, spec)
        give_up = time.monotonic() + min(CLAIM_S, timeout_s / 2)
        while not snapshot.state.has_ended and time.monotonic() < give_up:
            if snapshot.progress is not None and snapshot.progress.message not in ("", "claiming"):
                return
            time.sleep(LOOK_EVERY_S)
            snapshot = self.jobs.snapshot(key) or snapshot

    def ping(self) -> str:
        """Return what answers, once it took the login.

        Raises:
            AgentError: The database cannot be reached, or refuses.
        """
        kind, place = self.target.kind, self.target.database
        if kind == "duckdb":
            if not os.access(place if Path(place).exists() else Path(place).parent, os.R_OK | os.W_OK):
                raise Unavailable(f"the file {place} cannot be read and written; check platforms.sql.connections")
            return f"the file {place} is there" if Path(place).exists() else f"the file {place} will be made"
        try:
            self._database_now().sightings([_NEVER])
        except Exception as error:
            raise self._in_words(error) from error
        return f"{kind} at {self.target.host}:{self.target.port} takes the login of {self.target.user}"

    def looks(self, asked: Sequence[tuple[str, str]]) -> dict[str, View | AgentError | None]:
        """Return where statements stand, by key; None for one that never was.

        Args:
            asked: Key and outputs' prefix of each.
        """
        found: dict[str, View | AgentError | None] = {}
        unseen: list[tuple[str, str]] = []
        for key, prefix in asked:
            try:
                view = self._look(key, prefix)
                if view is None:
                    unseen.append((key, prefix))
                else:
                    found[key] = view
            except (AgentError, MarksUnavailable) as error:
                found[key] = _as_agent_error(error)
        if not unseen:
            return found
        seen: Mapping[str, Sighting] | AgentError = {}
        try:
            if self._database_now().is_seen:
                seen = self._database_now().sightings([key for key, _ in unseen])
        except Exception as error:  # noqa: BLE001 - a driver's; told apart below
            seen = self._in_words(error)
        for key, prefix in unseen:
            found[key] = self._settled(key, prefix, seen)
        return found

    def cancel(self, key: str, prefix: str) -> None:
        """Ask for the end of a statement: its worker by signal, or by its marks and in the database where that is elsewhere.

        Raises:
            AgentError: Neither can be reached.
        """
        local = self._local(key)
        if local is not None and not local.state.has_ended:
            self.jobs.cancel(key)
            return
        try:
            own = Marks(self.place(key, prefix))
            if own.read(marks.END) is not None:
                return
            begun = own.write_once(marks.START, {"verdict": "never", "reason": "cancelled"})
            if begun is None:
                own.write_once(marks.END, cancelled())
                return
            decided = own.write_once(marks.DECISION, {"verdict": "cancelled"})
            if decided is not None and decided.get("verdict") == "commit":
                return
        except MarksUnavailable as error:
            raise _as_agent_error(error) from error
        try:
            self._database_now().cancel(key)
        except Exception as error:
            raise self._in_words(error) from error

    def find(self, key: str, prefixes: Sequence[str]) -> str | None:
        """Return the outputs' prefix of a statement that was claimed below one of these, or is about to be by a worker here."""
        document = self.jobs.read_document(key, STATEMENT_FILE)
        place = str((document or {}).get("place", ""))
        local = self.jobs.snapshot(key)
        is_unborn = local is None or local.state is JobState.CLAIMED  # whose creator died: it is created again
        if place and not is_unborn:
            return next((prefix for prefix in prefixes if self.place(key, prefix) == place), "")
        for prefix in prefixes:
            try:
                if Marks(self.place(key, prefix)).read(marks.CLAIM) is not None:
                    return prefix
            except MarksUnavailable as error:
                raise _as_agent_error(error) from error
        return None

    def _look(self, key: str, prefix: str) -> View | None:
        """Return what processes and marks show; None where they show no life."""
        local = self._local(key)
        if local is not None and not local.state.has_ended:
            return _living(local)
        own = Marks(self.place(key, prefix))
        end = own.read(marks.END)
        if end is not None:
            return View(state=str(end.get("state")), message=str(end.get("message", "")), end=end, local=local)
        if local is not None:
            return None
        alive = own.read(marks.ALIVE)
        if alive is None or time.time() - float(alive.get("at", 0.0)) > STALE_S:
            return None
        message = str(alive.get("message", ""))
        return View(state=_state(message), message=message)

    def _settled(self, key: str, prefix: str, seen: Mapping[str, Sighting] | AgentError) -> View | AgentError | None:
        if isinstance(seen, AgentError):
            return seen
        if key in seen:
            sighting = seen[key]
            local = self._local(key)
            if local is None or not local.state.has_ended:
                return View(state="RUNNING", message=sighting.state)
        try:
            return self._settle(key, prefix)
        except (AgentError, MarksUnavailable) as error:
            return _as_agent_error(error)
        except Exception as error:  # noqa: BLE001 - a driver's
            return self._in_words(error)

    def _settle(self, key: str, prefix: str) -> View | None:
        """Return what became of a statement that nobody works on, and tell it to all; see the module."""
        own = Marks(self.place(key, prefix))
        claim = own.read(marks.CLAIM)
        local = self._local(key)
        if claim is None:
            if local is None or not local.state.has_ended:
                return None if local is None else _living(local)
            claim = own.write_once(marks.CLAIM, {"verdict": "lost"}) or {}
        elif local is None and time.time() - float(claim.get("at", 0.0)) < STALE_S:
            return View(state="STARTING")
        begun = own.write_once(marks.START, {"verdict": "never", "reason": "lost"})
        if begun is None or begun.get("verdict") == "never":
            return self._tell(own, claim, ended_by(begun or {}, is_begun=False), local)
        decided = own.write_once(marks.DECISION, {"verdict": "lost"}) or {"verdict": "lost"}
        wish = Wish.from_document(claim.get("wish") or {})
        database = self._database_now()
        fate = database.fate(key, wish, decided)
        if fate is Fate.LIVE:
            if decided.get("verdict") != "commit" and database.undoes(wish):
                database.cancel(key)  # it holds locks, and can come to nothing
            return View(state="ORPHANED", message="its worker is gone; the database still works on it", local=local)
        return self._tell(own, claim, _end_of(fate, decided, claim), local)

    def _local(self, key: str) -> JobSnapshot | None:
        """Return the process that holds or held a statement on this machine; one that found it taken is none."""
        local = self.jobs.snapshot(key)
        return None if local is not None and local.exit_code == EXIT_NOT_OURS else local

    def _tell(self, own: Marks, claim: Mapping[str, Any], end: Mapping[str, Any], local: JobSnapshot | None) -> View:
        document = {**end, "declared": claim.get("declared") or {}, "ended_at": time.time(), "found": True}
        told = own.write_once(marks.END, document) or document
        return View(state=str(told.get("state")), message=str(told.get("message", "")), end=told, local=local)

    def _database_now(self) -> Database:
        if self._database is None:
            try:
                self._database = database_of(self.target, self.password)
            except ImportError as error:
                raise InvalidSettings(
                    f"the driver for {self.target.kind} is not installed ({error.name}); install outboard[sql]"
                ) from error
        return self._database

    def _in_words(self, error: Exception) -> AgentError:
        """Return a driver's error as the host understands it."""
        if isinstance(error, AgentError):
            return error
        if isinstance(error, MarksUnavailable):
            return _as_agent_error(error)
        complaint = self._database.complain(error) if self._database is not None else None
        if complaint is None:
            return Unavailable(f"{self.target.kind}: {type(error).__name__}")
        if complaint.actor == "operator":
            kind: type[AgentError] = Forbidden if complaint.is_retryable else Unauthorized
        else:
            kind = Throttled if complaint.code in ("53300", "1040") else Unavailable
        return kind(complaint.words, code=complaint.code)


def _living(local: JobSnapshot) -> View:
    message = local.progress.message if local.progress is not None else ""
    if local.state is JobState.CANCELLING:
        return View(state="CANCELLING", message=message, local=local)
    if local.state is JobState.CLAIMED:
        return View(state="CLAIMED", local=local)
    return View(state=_state(message), message=message, local=local)


def _state(message: str) -> str:
    return "STARTING" if not message or message.startswith(_NOT_YET) else "RUNNING"


def _end_of(fate: Fate, decided: Mapping[str, Any], claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return the end of a statement whose worker is gone, by what the database says became of it."""
    is_commit = decided.get("verdict") == "commit"
    if fate is Fate.NOTHING:
        return ended_by(decided, is_begun=True)
    if fate is Fate.DONE and is_commit:
        return success(decided)
    declared = claim.get("declared") or {}
    if fate is Fate.DONE and not (declared.get("table") or declared.get("has_rows")):
        return success({})
    if claim.get("is_idempotent"):
        return lost("its worker was gone before its end was known, and it may be run again")
    if fate is Fate.DONE:
        return unknown("it took effect, and its rows or their number were lost with its worker")
    return unknown("its worker was gone before its end was known")


def _as_agent_error(error: AgentError | MarksUnavailable) -> AgentError:
    if isinstance(error, AgentError):
        return error
    return Unavailable(f"the marks beside the outputs cannot be read or written: {error}")
