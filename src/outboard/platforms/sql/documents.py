"""What stands in `statement.json` of a job directory, and in an `end` mark: shared by the service and its workers.

This file is loaded by every worker, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from outboard.platforms.sql.databases.port import Target, Wish

STATEMENT_FILE = "statement.json"
PASSWORD_VARIABLE = "OUTBOARD_SQL_PASSWORD"  # noqa: S105 - its name

EXIT_TOLD, EXIT_SYSTEM, EXIT_NOT_OURS = 0, 3, 4
"""The end is in the marks; it could not be told; another worker has the statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSpec:
    """All that a worker needs but the password.

    Attributes:
        key: The statement's identity.
        place: Where its marks lie.
        target: The database.
        wish: How it is to run.
        statements: Text and names of parameters of each, in order.
        parameters: By name, encoded.
        output_uri: Where the last result goes; empty where no table is declared, and rows are counted only.
        max_rows, max_bytes: Limits of the result; 0 is none.
        slots: A folder of locks, of which a worker holds one while it talks to the database.
        limit: How many there are; 0 is no limit.
        connect_s: How long a database that cannot be reached is tried again.
        declared: What the task declares as its outputs; see `outputs`.
        is_idempotent: A statement whose outcome nobody knows may be run again.
    """

    key: str
    place: str
    target: Target
    wish: Wish
    statements: tuple[tuple[str, tuple[str, ...]], ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output_uri: str = ""
    max_rows: int = 0
    max_bytes: int = 0
    slots: str = ""
    limit: int = 0
    connect_s: float = 300.0
    declared: Mapping[str, Any] = field(default_factory=dict)
    is_idempotent: bool = False

    def to_document(self) -> dict[str, Any]:
        """Return the form that the job directory keeps."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StatementSpec:
        """Return what `to_document` wrote."""
        return cls(
            **{
                **document,
                "target": Target.from_document(document["target"]),
                "wish": Wish.from_document(document["wish"]),
                "statements": tuple((text, tuple(names)) for text, names in document["statements"]),
            }
        )


def end_document(
    state: str,
    *,
    code: str = "",
    message: str = "",
    actor: str = "user",
    is_retryable: bool = False,
    **facts: Any,
) -> dict[str, Any]:
    """Return an `end` mark.

    Args:
        state: A state of `states`.
        code: The database's own.
        message: Its words.
        actor: Who must act.
        is_retryable: Another attempt is worth it.
        facts: Result and usage.
    """
    return {
        "state": state,
        "code": code,
        "message": message,
        "actor": actor,
        "is_retryable": is_retryable,
        **facts,
    }


def success(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the end of a statement that took effect, from what its decision says."""
    return end_document(
        "SUCCEEDED", result=facts.get("result"), affected=facts.get("affected"), usage=facts.get("usage") or {}
    )


def unknown(words: str) -> dict[str, Any]:
    """Return the end of a statement of which nobody can tell whether it took effect."""
    return end_document("UNKNOWN", code="OutcomeUnknown", message=words, actor="platform")


def lost(words: str) -> dict[str, Any]:
    """Return the end of a statement that its worker did not finish and that another attempt may run."""
    return end_document("LOST", code="Lost", message=words, actor="platform", is_retryable=True)


def cancelled() -> dict[str, Any]:
    """Return the end of a statement that was cancelled."""
    return end_document("CANCELLED", message="the statement was cancelled")


def ended_by(mark: Mapping[str, Any], *, is_begun: bool) -> dict[str, Any]:
    """Return the end of a statement that others ended before it began, or before it was committed."""
    if mark.get("reason", mark.get("verdict")) == "cancelled":
        return cancelled()
    return lost(f"its worker was gone, and it was {'undone' if is_begun else 'never begun'}")
