"""Bearer tokens that are known beforehand: lines of files, or SHA-256 sums in the settings.

Only sums are kept and compared, so how long a comparison takes tells nothing about a token. A token that has gone from its file
is good for five more seconds: a file that is written in two steps, and a caller that reads its own copy a moment later, lose no
call.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Final

from outboard.service.access.settings import CallerSettings
from outboard.service.access.watched_files import WatchedFile

_GRACE_S: Final = 5.0
_SHORTEST: Final = 20
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+")


class StaticTokens:
    """Whose tokens are good.

    Args:
        callers: By name; a token of several is the first one's.
        clock: Monotonic.
    """

    def __init__(self, callers: Mapping[str, CallerSettings], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fixed = {
            name: frozenset(bytes.fromhex(text) for text in each.token_sha256) for name, each in callers.items()
        }
        self._files = {name: [_watched(path, name) for path in each.token_file] for name, each in callers.items()}
        self._good: Mapping[bytes, str] = self._joined()
        self._gone: dict[bytes, tuple[str, float]] = {}

    def find(self, token: str) -> str | None:
        """Return whose token this is; None where it is nobody's."""
        if any([file.is_changed() for files in self._files.values() for file in files]):  # noqa: C419 - each of them must look
            self._learn()
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found = self._good.get(digest)
        if found is None and (gone := self._gone.get(digest)) is not None and gone[1] > self._clock():
            found = gone[0]
        return found

    def _learn(self) -> None:
        now, before = self._clock(), self._good
        self._good = self._joined()
        self._gone = {digest: gone for digest, gone in self._gone.items() if gone[1] > now}
        for digest, caller in before.items():
            if digest not in self._good:
                self._gone[digest] = (caller, now + _GRACE_S)

    def _joined(self) -> Mapping[bytes, str]:
        found: dict[bytes, str] = {}
        for caller, files in self._files.items():
            for digest in chain(self._fixed[caller], *(file.value for file in files)):
                found.setdefault(digest, caller)
        return found


def _watched(path: Path, caller: str) -> WatchedFile[frozenset[bytes]]:
    return WatchedFile(path, f"service.access.callers.{caller}.token_file", _read)


def _read(data: bytes) -> frozenset[bytes]:
    lines = [line.strip() for line in data.splitlines()]
    tokens = [line for line in lines if line and not line.startswith(b"#")]
    if not tokens:
        raise ValueError("it holds no token; write one a line")
    if any(not _TOKEN.fullmatch(token) for token in tokens):
        raise ValueError("a line of it is no token: only printable characters, and no spaces")
    if any(len(token) < _SHORTEST for token in tokens):
        raise ValueError(f"a token of it has fewer than {_SHORTEST} characters and could be guessed")
    return frozenset(hashlib.sha256(token).digest() for token in tokens)
