"""Signatures: how a caller proves that a callback is its own, as data.

Two schemes cover what platforms do: an HMAC over parts of the request (`Hmac`), and a secret that travels with it
(`SharedSecret`). Whatever else there is implements `Scheme`. All are pure: no clock, no I/O. They tell which event a genuine
callback is and when it was signed; whether that is too old, or was seen before, its receiver decides.

Invariants: comparisons take the same time wherever the values differ; an empty key proves nothing; a header that becomes part
of what is signed holds none of the punctuation between the parts, so the same signature cannot be read in two ways.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from outboard.errors import ContractViolation, InvalidSettings

if TYPE_CHECKING:
    from outboard.agent.callbacks import Callback

_PART: Final = re.compile(r"\{([^{}]*)\}")
_BODY: Final = "body"
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_LONGEST_VALUE: Final = 256
_MOST_SIGNATURES: Final = 8
"""A sender that rotates its key sends two; more than a few are somebody who wants us to calculate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genuine:
    """What is known of a callback whose caller proved who it is.

    Attributes:
        event: What is the same only when the event is the same; empty where nothing tells.
        sent_at: When it was signed, in seconds since 1970; None where no time is signed.
    """

    event: str = ""
    sent_at: float | None = None


class Scheme(Protocol):
    """How a caller proves who it is."""

    def verify(self, callback: Callback, keys: Sequence[str]) -> Genuine | None:
        """Return what is known of a callback that one of the keys proves, None for any other; pure.

        Args:
            callback: The request. Nothing in it may be believed.
            keys: The secrets that are set, at least one, none empty.

        Raises:
            InvalidSettings: A key is none for this scheme.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac:
    """A keyed hash over parts of the request (RFC 2104).

    Attributes:
        content: What is signed: text, with `{body}` for the body's bytes and `{name}` for the header of that name.
        header: Where the signature is.
        prefix: What stands before it; a signature without is none of ours (another version's, for instance).
        separator: What stands between several signatures; empty where there is one.
        encoding: How it is written.
        timestamp: The header with the time in seconds since 1970, which must be signed; empty where there is none.
        event_id: The header with the event's id, which must be signed; without one, what is signed identifies the event.
        key_prefix: What may stand before a key and is no part of it.
        key_encoding: How keys are written.
        algorithm: The hash.

    >>> Hmac(content="{body}", header="x-signature", timestamp="x-time")
    Traceback (most recent call last):
    ...
    outboard.errors.ContractViolation: the header x-time is not signed, so anybody may change it; put {x-time} into content
    """

    content: str
    header: str
    prefix: str = ""
    separator: str = ""
    encoding: Literal["hex", "base64"] = "hex"
    timestamp: str = ""
    event_id: str = ""
    key_prefix: str = ""
    key_encoding: Literal["text", "base64"] = "text"
    algorithm: Literal["sha256", "sha384", "sha512"] = "sha256"

    def __post_init__(self) -> None:
        signed = {part.lower() for part in _PART.findall(self.content)}
        if _BODY not in signed:
            raise ContractViolation("a signature that does not cover the body proves nothing; put {body} into content")
        for name in (self.timestamp, self.event_id):
            if name and name.lower() not in signed:
                raise ContractViolation(
                    f"the header {name} is not signed, so anybody may change it; put {{{name}}} into content"
                )

    def verify(self, callback: Callback, keys: Sequence[str]) -> Genuine | None:
        """See `Scheme.verify`."""
        content = self._content(callback)
        sent_at = callback.header(self.timestamp) if self.timestamp else ""
        if content is None or (self.timestamp and not _SECONDS.fullmatch(sent_at)):
            return None
        offered = list(self._offered(callback.header(self.header)))
        digests = [hmac.digest(key, content, self.algorithm) for key in self._decoded(keys)] if offered else []
        # All are compared, whichever fits, so that time tells nothing of how many keys there are or which was meant.
        fitting = [hmac.compare_digest(one, other) for one in digests for other in offered]
        if not any(fitting):
            return None
        event = callback.header(self.event_id) if self.event_id else hashlib.sha256(content).hexdigest()
        return Genuine(event=event, sent_at=float(sent_at) if sent_at else None)

    def _content(self, callback: Callback) -> bytes | None:
        """Return what should be signed; None where a header is missing or could be read in two ways."""
        pieces = _PART.split(self.content)  # text and names in turns
        punctuation = {character for text in pieces[::2] for character in text if not character.isalnum()}
        parts: list[bytes] = []
        for number, piece in enumerate(pieces):
            if number % 2 == 0:
                parts.append(piece.encode())
            elif piece.lower() == _BODY:
                parts.append(callback.body)
            else:
                value = callback.header(piece)
                if not value or len(value) > _LONGEST_VALUE or not punctuation.isdisjoint(value):
                    return None
                parts.append(value.encode(errors="surrogateescape"))
        return b"".join(parts)

    def _offered(self, header: str) -> Iterator[bytes]:
        texts = header.split(self.separator) if self.separator else [header]
        for text in [each for each in texts if each.startswith(self.prefix)][:_MOST_SIGNATURES]:
            written = text[len(self.prefix) :]
            try:
                if self.encoding == "hex":
                    yield bytes.fromhex(written)
                else:
                    yield base64.b64decode(written, validate=True)
            except ValueError:
                continue

    def _decoded(self, keys: Sequence[str]) -> list[bytes]:
        """Return the keys as bytes. One that is none stands in no other's way; without any, nothing can be verified."""
        decoded: list[bytes] = []
        for key in keys:
            text = key.removeprefix(self.key_prefix)
            with contextlib.suppress(ValueError):
                # Some copy keys without the padding at their end, and so does the official library take them.
                padded = text + "=" * (-len(text) % 4)
                decoded.append(
                    text.encode() if self.key_encoding == "text" else base64.b64decode(padded, validate=True)
                )
        usable = [key for key in decoded if key]
        if not usable:
            raise InvalidSettings(f"no key of these callbacks is {self.key_encoding}; copy it anew from the platform")
        return usable


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecret:
    """A secret that travels with every callback; good over TLS only.

    A callback tells of itself only where `event_id` is given: who can repeat one holds the secret, and need not repeat.

    Attributes:
        header: The header that holds it; or
        query: the parameter of the URL that does.
        prefix: What stands before it, in any case (`Bearer `).
        encoding: How it is written.
        event_id: The header with the event's id, by which deliveries of the same event are told; empty where there is none.
    """

    header: str = ""
    query: str = ""
    prefix: str = ""
    encoding: Literal["text", "base64"] = "text"
    event_id: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.query):
            raise ContractViolation("a shared secret is in a header or in the query; give one of them")

    def verify(self, callback: Callback, keys: Sequence[str]) -> Genuine | None:
        """See `Scheme.verify`."""
        value = callback.header(self.header) if self.header else callback.query.get(self.query, "")
        prefix, offered = value[: len(self.prefix)], value[len(self.prefix) :]
        fitting = [hmac.compare_digest(_hashed(offered), _hashed(self._written(key))) for key in keys if key]
        if prefix.lower() != self.prefix.lower() or not any(fitting):
            return None
        return Genuine(event=callback.header(self.event_id) if self.event_id else "")

    def _written(self, key: str) -> str:
        return key if self.encoding == "text" else base64.b64encode(key.encode()).decode()


def _hashed(text: str) -> bytes:
    """Return something of one length, so that comparing does not tell how long a secret is."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
