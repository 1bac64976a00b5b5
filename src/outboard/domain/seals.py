"""Seals: how bytes of ours leave this process and come back.

Handles go through an engine's database and records through an object store, where others can read and write. An
`Envelope` puts a magic number, a format version and, where the service has a key, a seal (AES-256-GCM) around them::

    3 bytes             magic: not valid UTF-8, so no other system's JSON or text begins so
    01                  format version
    00 | 01             clear, or sealed
    [4 bytes key id, 12 bytes nonce]   when sealed; everything before the ciphertext is authenticated with it
    body

A higher version, or a key that this process lacks, is `UnreadableHandle`: ours, for another replica to read. Anything
else that does not fit is `ForeignHandle`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outboard.errors import ForeignHandle, InvalidSettings, UnreadableHandle

NEWER: Final = "this was written by a newer release; another replica or an upgrade will read it"
SEAL_BYTES: Final = 48
"""Magic, version, mode, key id, nonce and authentication tag, with room for deflate's own worst case."""
_VERSION: Final = 1
_CLEAR: Final = 0
_SEALED: Final = 1
_KEY_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12


class ServiceKey:
    """A 256-bit key that seals handles and records.

    Args:
        material: 32 bytes.
    """

    __slots__ = ("_cipher", "key_id")

    def __init__(self, material: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only services with a key pay for it

        if len(material) != 32:
            raise InvalidSettings("a service key is 32 bytes, written in base64", field="service_key")
        self._cipher = AESGCM(material)
        self.key_id = hashlib.sha256(b"outboard service key" + material).digest()[:_KEY_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> ServiceKey:
        """Return the key that a base64 text spells; `InvalidSettings` when it is none."""
        try:
            material = base64.b64decode(text.strip(), validate=True)
        except ValueError:
            raise InvalidSettings("a service key is 32 bytes, written in base64", field="service_key") from None
        return cls(material)

    def seal(self, plain: bytes, header: bytes) -> bytes:
        """Return nonce and ciphertext; `header` is authenticated too."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, header)

    def unseal(self, sealed: bytes, header: bytes) -> bytes | None:
        """Return what was sealed; None when it was changed or sealed for something else."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only services with a key pay for it

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], header)
        except (InvalidTag, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What an envelope shows without being opened.

    Attributes:
        version: Of its format.
        is_sealed: Whether its body is encrypted.
        key_id: Of the key that sealed it; empty where nothing did.
    """

    version: int
    is_sealed: bool
    key_id: bytes = b""


def read_seal(encoded: bytes, magic: bytes) -> Seal | None:
    """Return what an envelope of a kind shows to anybody; None for bytes that are none of this kind."""
    start = len(magic)
    if not encoded.startswith(magic) or len(encoded) < start + 2:
        return None
    is_sealed = encoded[start + 1] == _SEALED
    key_id = encoded[start + 2 : start + 2 + _KEY_ID_BYTES] if is_sealed else b""
    return Seal(version=encoded[start], is_sealed=is_sealed, key_id=key_id)


class Envelope:
    r"""Puts bodies of one kind into envelopes and takes them out again.

    Args:
        magic: Three bytes that begin everything of this kind.
        foreign: What to say about bytes that are none.
        service_keys: The key to seal with, followed by older keys that are still read. None at all (development) leaves
            bodies readable.
        accepts_clear: Take what is not sealed although there is a key. Anybody can write that.

    >>> letters = Envelope(b"\xffOL", "these bytes are no letter; send one")
    >>> letters.open(letters.frame(b"hello"))
    b'hello'
    """

    __slots__ = ("_accepts_clear", "_foreign", "_keys", "_magic", "_sealer")

    def __init__(
        self, magic: bytes, foreign: str, service_keys: Sequence[ServiceKey] = (), *, accepts_clear: bool = False
    ) -> None:
        self._magic = magic
        self._foreign = foreign
        self._accepts_clear = accepts_clear or not service_keys
        self._sealer = service_keys[0] if service_keys else None
        self._keys = {key.key_id: key for key in service_keys}

    @property
    def is_sealing(self) -> bool:
        """Whether there is a key to seal with."""
        return self._sealer is not None

    def is_sealed(self, framed: bytes) -> bool:
        """Tell whether something that `open` takes was sealed."""
        return framed[len(self._magic) + 1 : len(self._magic) + 2] == bytes((_SEALED,))

    def frame(self, body: bytes, bound_to: bytes = b"") -> bytes:
        """Return a body in its envelope.

        Args:
            body: What goes in.
            bound_to: Where the envelope belongs; one that is sealed opens nowhere else.
        """
        if self._sealer is None:
            return self._magic + bytes((_VERSION, _CLEAR)) + body
        header = self._magic + bytes((_VERSION, _SEALED)) + self._sealer.key_id
        return header + self._sealer.seal(body, header + bound_to)

    def open(self, framed: bytes, bound_to: bytes = b"") -> bytes:
        """Return the body in an envelope.

        Raises:
            ForeignHandle: It is none of this kind, was changed, or belongs elsewhere.
            UnreadableHandle: It is, but of a newer format or sealed with a key that this process lacks.
        """
        prefix = len(self._magic) + 2
        if len(framed) <= prefix or not framed.startswith(self._magic):
            raise ForeignHandle(self._foreign)
        version, mode = framed[prefix - 2], framed[prefix - 1]
        if version > _VERSION or mode > _SEALED:
            raise UnreadableHandle(NEWER)
        if mode == _CLEAR:
            if not self._accepts_clear:
                raise ForeignHandle("this service accepts what is sealed only, and these bytes are not sealed")
            return framed[prefix:]
        header = framed[: prefix + _KEY_ID_BYTES]
        key = self._keys.get(header[prefix:])
        if key is None:
            raise UnreadableHandle(
                "this is sealed with a service key that this process does not have; add the older key"
            )
        body = key.unseal(framed[len(header) :], header + bound_to)
        if body is None:
            raise ForeignHandle(self._foreign)
        return body
