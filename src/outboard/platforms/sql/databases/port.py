"""The port: what a kind of database must do for its statements to be started once, found, watched, ended and accounted for.

A `Database` talks for the service and for workers, a `Session` is one worker's hold on it. Both are plain blocking objects:
a worker does nothing else, and the service asks in its pool. A session bears the statement's identity, the submission key,
from its first moment until after the `end` mark is written, where the database has sessions; so a key that is seen there is
a worker that lives, or a statement that the database has not yet noticed to be an orphan.

This file is loaded by every worker, so it imports nothing of ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Literal, Protocol

Actor = Literal["user", "operator", "platform", "cancelled"]


class Fate(str, Enum):
    """What became of a statement whose worker is gone."""

    NOTHING = "nothing"
    """It certainly had no effect, and will have none."""
    DONE = "done"
    """It certainly took effect."""
    LIVE = "live"
    """The database still works on it."""
    UNKNOWN = "unknown"
    """Nobody can tell, now or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a statement runs and as whom; the password travels apart.

    Attributes:
        kind: Which module of this folder.
        host, port, database, user: As the database's own clients name them; of DuckDB `database` is the file.
        tls: `disable`, `require` (encrypted, no check of the name) or `verify`.
        tls_ca_file: Whose certificates are believed; the system's otherwise.
        schema: What unqualified names are looked up in.
        auth: How the secret is told, where there are several ways: `basic` or `bearer`.
        http_path: The path below which an HTTP server is found.
    """

    kind: str
    host: str = ""
    port: int = 0
    database: str = ""
    user: str = ""
    tls: str = "disable"
    tls_ca_file: str = ""
    schema: str = ""
    auth: str = "basic"
    http_path: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Target:
        """Return what `dataclasses.asdict` wrote."""
        return cls(**{each.name: document[each.name] for each in fields(cls) if each.name in document})

    def to_text(self) -> str:
        """Return what tells this target from others."""
        return f"{self.kind} {self.user}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a statement is to run.

    Attributes:
        read_only: The database itself refuses what would write.
        isolation: The transaction's level; the database's default otherwise.
        timeout_s: After which the database ends it; 0 is never.
        is_autocommit: Without a transaction around it, for statements that allow none.
        numeric: What a number of unlimited precision becomes: `text` (exact), `double`, or `decimal(p,s)`.
    """

    read_only: bool = False
    isolation: str = ""
    timeout_s: float = 0.0
    is_autocommit: bool = False
    numeric: str = "text"

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Wish:
        """Return what `dataclasses.asdict` wrote."""
        return cls(**{each.name: document[each.name] for each in fields(cls) if each.name in document})


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """An error of a database, told apart.

    Attributes:
        code: SQLSTATE, error number or name, as the database documents it.
        words: Its own, one line.
        actor: Who must act.
        is_retryable: The same statement may pass later.
        is_broken: The connection is gone, so that the server did not say what became of the statement.
    """

    code: str
    words: str
    actor: Actor
    is_retryable: bool = False
    is_broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A statement as the database lists it.

    Attributes:
        state: Its own word: `active`, `Sending data`.
        seconds: How long it has been at it.
        facts: Rows and bytes read, where it counts them.
    """

    state: str = ""
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


class Rows(Protocol):
    """What a statement gives.

    Attributes:
        schema: The Arrow schema of its rows; None where it gives none.
        affected: How many rows it wrote, once the batches are read; None where nobody says.
    """

    schema: Any
    affected: int | None

    def batches(self) -> Generator[Any, None, None]:
        """Yield Arrow record batches, a bounded number of rows each; closed by who asked for them."""
        ...


class Session(Protocol):
    """A worker's hold on a database.

    Attributes:
        facts: What tells this session from others (a process id, a connection id); public.
    """

    facts: Mapping[str, Any]

    def run(self, sql: str, values: Sequence[Any]) -> Rows:
        """Run one statement with its parameters."""
        ...

    def commit_facts(self) -> Mapping[str, Any]:
        """Return what a stranger needs to find out whether the commit that follows arrived."""
        ...

    def commit(self) -> None:
        """Make it so; nothing where there is no transaction."""
        ...

    def rollback(self) -> None:
        """Undo it; nothing where there is no transaction."""
        ...

    def usage(self) -> Mapping[str, float]:
        """Return what the database counted: rows and bytes read, CPU seconds."""
        ...

    def interrupt(self) -> None:
        """Make `run` or a batch fail; may be called from another thread."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Database(Protocol):
    """A database as one user of it.

    Attributes:
        is_seen: Sessions are listed by their key from connect to close. Without, only running statements are.
    """

    is_seen: bool

    def connect(self, key: str, wish: Wish) -> Session:
        """Return a session that bears a key."""
        ...

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:
        """Return what of these keys is there, in one question."""
        ...

    def cancel(self, key: str) -> None:
        """Ask for the end of the statement of a key; nothing where there is none."""
        ...

    def undoes(self, wish: Wish) -> bool:
        """Tell whether a statement that was begun and not committed certainly leaves nothing behind."""
        ...

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:
        """Return what became of a statement whose worker is gone.

        Args:
            key: The statement's.
            wish: How it ran.
            decision: The decision mark: `commit` with the facts of `commit_facts`, or why there will be no commit.
        """
        ...

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error means; None for one that is not the driver's."""
        ...


def database_of(target: Target, password: str) -> Database:
    """Return the database of a target; its driver is imported here and not before.

    Raises:
        ImportError: The driver is not installed.
    """
    module = importlib.import_module(f"outboard.platforms.sql.databases.{target.kind}")
    made: Database = module.open_database(target, password)
    return made


def first_line(error: object, limit: int = 400) -> str:
    """Return an error's first line of words."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]


def without_values(words: str, values: Sequence[Any]) -> str:
    """Return an error's words with the texts of a statement's parameters left out."""
    for value in values:
        if isinstance(value, str) and len(value) > 1:
            words = words.replace(value, "...")
    return words
