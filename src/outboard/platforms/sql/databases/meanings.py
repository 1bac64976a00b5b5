"""What the tables of errors say of an error: who must act, and whether the same statement may pass later."""

from __future__ import annotations

from outboard.platforms.sql.databases.port import Actor

Meaning = tuple[Actor, bool]
USER: Meaning = ("user", False)
OPERATOR: Meaning = ("operator", False)
PLATFORM: Meaning = ("platform", True)
BROKEN: Meaning = ("platform", False)
CANCELLED: Meaning = ("cancelled", False)
