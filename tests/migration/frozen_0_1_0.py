"""What release 0.1.0 makes of a handle: written from ADR 0003 and that release's description of the format, for ever as it is.

No code of today's is used, so nobody changes reader and writer together. What 0.1.0 does with a handle that it cannot read
is part of it: a higher version, an unknown service key and a job without an id are parked, everything else that does not
fit is foreign. The writer makes handles that no release wrote yet.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import ormsgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIMIT_BYTES = 512
FIELDS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("agent", str),
    ("task_type", str),
    ("task_type_version", int),
    ("key", str),
    ("scope", list),
    ("connection", dict),
    ("account", str),
    ("output_prefix", str),
    ("created_at", int),
    ("job", dict),
    ("job_version", int),
    ("output_types", (dict, type(None))),
    ("memo", bytes),
)


class Parked(Exception):
    """0.1.0 answers RUNNING, and UNAVAILABLE to a cancel."""


class Foreign(Exception):
    """0.1.0 answers an error, and a cancel with success."""


def key_id(material: bytes) -> bytes:
    """Return the four bytes by which a handle names its service key."""
    return hashlib.sha256(b"outboard service key" + material).digest()[:4]


def read(encoded: bytes, service_keys: Sequence[bytes] = ()) -> Mapping[str, Any]:
    """Return the fields that 0.1.0 finds in a handle, by name."""
    values = ormsgpack.unpackb(_opened(encoded, service_keys))
    for (name, kind), value in zip(FIELDS, values, strict=False):
        if not isinstance(value, kind):
            raise Foreign(name)
    if len(values) < len(FIELDS) or len(values[4]) != 4:
        raise Foreign
    return {name: value for (name, _), value in zip(FIELDS, values, strict=False)}


def _opened(encoded: bytes, service_keys: Sequence[bytes]) -> bytes:
    if len(encoded) <= 5 or encoded[:3] != b"\xff\x4f\x42":
        raise Foreign
    version, mode = encoded[3], encoded[4]
    if version > 1 or mode > 1:
        raise Parked
    body = encoded[5:]
    if mode == 1:
        by_id = {key_id(each): each for each in service_keys}
        if body[:4] not in by_id:
            raise Parked
        try:
            body = AESGCM(by_id[body[:4]]).decrypt(body[4:16], body[16:], encoded[:9])
        except InvalidTag:
            raise Foreign from None
    elif service_keys:
        raise Foreign
    inflate = zlib.decompressobj(-15)
    packed = inflate.decompress(body, 16 * 1024)
    if not inflate.eof or inflate.unused_data:
        raise Foreign
    return packed


def job_of(fields: Mapping[str, Any]) -> str:
    """Return the id of the job that 0.1.0 follows for a handle of an agent with jobs; `Parked` where it finds none."""
    job = fields["job"].get("id")
    if not isinstance(job, str):
        raise Parked
    return job


def write(
    values: Sequence[Any], *, magic: bytes = b"\xff\x4f\x42", version: int = 1, mode: int = 0, service_key: bytes = b""
) -> bytes:
    """Return a handle of any version, mode and fields."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(ormsgpack.packb(list(values))) + deflate.flush()
    if not service_key:
        return magic + bytes((version, mode)) + body
    header = magic + bytes((version, 1)) + key_id(service_key)
    nonce = bytes(12)
    return header + nonce + AESGCM(service_key).encrypt(nonce, body, header)
