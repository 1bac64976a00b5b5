"""The submission key: a deterministic name for one attempt of one task.

`ob-<execution>-<node>-<attempt>-<hash>`, `[a-z0-9-]`, at most 63 characters. The readable part is for people who
look at a platform's console; the hash (128 bits, base 32) is what makes it unique. It covers the installation id, the
execution identity and the output prefix, so a re-sent request has the same key, every attempt a new one, and two
nodes with equal identities (sub-workflows, dynamic nodes, arrays) different ones.

The function is frozen: jobs in flight are found by it. `tests/unit/domain/test_keys.py` holds the vectors.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from dataclasses import dataclass, replace
from typing import Final

from outboard.domain.identity import ExecutionIdentity
from outboard.errors import ContractViolation, ForeignHandle

_MAX_LENGTH: Final = 63
_HASH_BYTES: Final = 16
_HASH_CHARS: Final = 26
_EXECUTION_CHARS: Final = 20
_SHORTEST: Final = len("ob-") + _HASH_CHARS
_PATTERN: Final = re.compile(r"ob(?:-[a-z0-9]+)*-([a-z2-7]{26})")
_LONGEST_TOKEN: Final = 128


@dataclass(frozen=True, slots=True)
class Key:
    """A submission key and its spellings for platforms with other rules.

    >>> key = submission_key("prod", ExecutionIdentity(execution="f3a", node="n0"), "s3://b/f3a/n0/0")
    >>> key.text
    'ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu'
    >>> len(key.token(min_len=32, max_len=40)), key.uuid().version
    (40, 5)
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Key:
        """Return the key that `text` spells; `ForeignHandle` when it is not one of ours."""
        if len(text) > _MAX_LENGTH or not _PATTERN.fullmatch(text):
            raise ForeignHandle("this is not a submission key of Outboard; pass the handle unchanged")
        return cls(text)

    @property
    def digest(self) -> bytes:
        """The 128 bits that make the key unique."""
        return base64.b32decode(self.text[-_HASH_CHARS:].upper() + "======")

    def name(self, max_len: int = _MAX_LENGTH) -> str:
        """Return a job name of at most `max_len` characters (29 or more) that keeps the whole hash."""
        if max_len < _SHORTEST:
            raise ContractViolation(
                f"key.name(max_len={max_len}) would cut the hash; use key.token(max_len={max_len}) for names this short"
            )
        if len(self.text) <= max_len:
            return self.text
        readable = self.text[len("ob-") : -_HASH_CHARS - 1][: max(0, max_len - _SHORTEST - 1)].strip("-")
        return "-".join(part for part in ("ob", readable, self.text[-_HASH_CHARS:]) if part)

    def token(self, min_len: int = 32, max_len: int = 64) -> str:
        """Return a hexadecimal token whose length lies between `min_len` and `max_len` (16 to 128)."""
        if not 0 < min_len <= max_len or max_len < _HASH_BYTES or min_len > _LONGEST_TOKEN:
            raise ContractViolation(
                f"key.token(min_len={min_len}, max_len={max_len}): 16 to 128 characters are possible"
            )
        return hashlib.sha512(self.digest).hexdigest()[: min(max_len, _LONGEST_TOKEN)]

    def uuid(self) -> uuid.UUID:
        """Return the key as a UUID (122 of its bits, marked as version 5)."""
        return uuid.UUID(bytes=self.digest, version=5)

    def __str__(self) -> str:
        return self.text


def submission_key(installation: str, identity: ExecutionIdentity, output_prefix: str) -> Key:
    """Derive the key of one attempt.

    Args:
        installation: The installation id: equal on all replicas, different between installations that share a
            platform.
        identity: The execution identity as the engine sent it.
        output_prefix: Where this attempt's outputs go; a trailing slash makes no difference.
    """
    parts = (
        installation,
        identity.org,
        identity.project,
        identity.domain,
        identity.execution,
        identity.node,
        identity.task.org,
        identity.task.project,
        identity.task.domain,
        identity.task.name,
        identity.task.version,
        str(identity.attempt),
        output_prefix.rstrip("/"),
    )
    encoded = [part.encode(errors="surrogatepass") for part in parts]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in encoded)).digest()
    tail = base64.b32encode(digest[:_HASH_BYTES]).decode().rstrip("=").lower()
    attempt = str(identity.attempt)
    room = _MAX_LENGTH - _SHORTEST - len(attempt) - 1
    execution = _readable(identity.execution, min(_EXECUTION_CHARS, room - 1))
    node = _readable(identity.node, room - len(execution) - 2)
    return Key("-".join(part for part in ("ob", execution, node, attempt, tail) if part))


def earlier_attempts(
    installation: str, identity: ExecutionIdentity, output_prefix: str, limit: int = 10
) -> list[tuple[Key, str]]:
    """Return key and output prefix of the attempts before this one, the latest first, at most `limit`.

    An attempt's number is the last part of its output prefix too, counted from 0 by Flyte 1 and from 1 by Flyte 2, and
    goes down with it. Where the prefix does not end in a number nothing is known of earlier attempts.

    >>> identity = ExecutionIdentity(execution="f3a", node="n0", attempt=2)
    >>> [prefix for _, prefix in earlier_attempts("prod", identity, "s3://b/f3a/n0/2")]
    ['s3://b/f3a/n0/1', 's3://b/f3a/n0/0']
    """
    parent, _, last = output_prefix.rstrip("/").rpartition("/")
    if output_prefix and not (last.isascii() and last.isdigit() and int(last) >= identity.attempt):
        return []
    found = []
    for back in range(1, min(identity.attempt, limit) + 1):
        earlier = replace(identity, attempt=identity.attempt - back)
        prefix = f"{parent}/{int(last) - back}" if output_prefix else ""
        found.append((submission_key(installation, earlier, prefix), prefix))
    return found


def readable_part(execution: str) -> str:
    """Return how an execution's name is spelled in the keys of its tasks, where there is room for it."""
    return _readable(execution, _EXECUTION_CHARS)


def _readable(text: str, limit: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: max(limit, 0)].strip("-")
