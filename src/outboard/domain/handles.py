"""Handles: the opaque bytes that an engine keeps for a job.

FlytePropeller stores the handles of all live tasks of a workflow in one etcd object, in clear text, and never
replaces one. So a handle is small (at most 512 bytes), complete (everything needed to follow, read and cancel the job
on a replica that never saw it), versioned, sealed where the service has a key, and free of secrets.

Layout::

    FF 4F 42            magic: not valid UTF-8, so no other system's JSON or text begins so
    01                  format version
    00 | 01             clear, or sealed
    [4 bytes key id, 12 bytes nonce]   when sealed; everything before the ciphertext is authenticated with it
    body                raw-deflated msgpack of the fields, in the order of `_fields_of`

The format is frozen per version: a release writes only versions that the previous release reads. Unknown trailing
fields of the same version are ignored, a higher version is `UnreadableHandle` (parked, not failed), and anything
without our magic is `ForeignHandle`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ormsgpack

from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.secret_refs import is_secret_name, is_secret_value
from outboard.errors import ContractViolation, ForeignHandle, HandleTooLarge, InvalidSettings, UnreadableHandle

HANDLE_LIMIT_BYTES: Final = 512
_MAGIC: Final = b"\xffOB"
_VERSION: Final = 1
_CLEAR: Final = 0
_SEALED: Final = 1
_KEY_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_SEAL_BYTES: Final = 48  # magic, version, mode, key id, nonce, authentication tag, and deflate's own worst case
_PREFIX_BYTES: Final = len(_MAGIC) + 2
_INFLATED_LIMIT: Final = 16 * 1024
_FOREIGN: Final = "these bytes are not a handle of Outboard; pass the resource_meta of CreateTask unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """Everything that finds a job again.

    Attributes:
        agent: The agent's name; it wins over the task type of the request that brings the handle.
        task_type, task_type_version: As the task was routed.
        key: The submission key.
        scope: On whose behalf the job runs.
        connection: The agent's connection as JSON; secrets by reference.
        account: What the platform counts quota by.
        output_prefix: Where the outputs go.
        created_at: Unix seconds.
        job: The agent's `JobRef` as JSON.
        job_version: The agent's `handle_version` when it was written.
        output_types: The outputs' declared types in the compact form of `types`; None where they did not fit.
        memo: What a sensor needs to poke again: bytes of the host's own.
    """

    agent: str
    task_type: str
    task_type_version: int = 0
    key: Key
    scope: Scope = field(default_factory=Scope)
    connection: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""
    output_prefix: str = ""
    created_at: int = 0
    job: Mapping[str, Any] = field(default_factory=dict)
    job_version: int = 1
    output_types: Mapping[str, Any] | None = None
    memo: bytes = b""


class ServiceKey:
    """A 256-bit key that seals handles.

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

    def unseal(self, sealed: bytes, header: bytes) -> bytes:
        """Return what was sealed; `ForeignHandle` when it was changed or sealed for something else."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only services with a key pay for it

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], header)
        except (InvalidTag, ValueError):
            raise ForeignHandle(_FOREIGN) from None


class HandleCodec:
    """Turns handles into bytes and back.

    Args:
        service_keys: The key to seal with, followed by older keys that are still read. None at all (development) leaves
            handles readable.
        accepts_clear: Read handles that are not sealed although there is a key, for the time in which jobs are under way
            that were started before there was one. Anybody can write such handles.

    >>> codec = HandleCodec()
    >>> handle = Handle(agent="slurm", task_type="slurm", key=Key("ob-f-n0-0-" + "a" * 26), job={"id": "42"})
    >>> codec.decode(codec.encode(handle)).job
    {'id': '42'}
    """

    __slots__ = ("_accepts_clear", "_keys", "_sealer")

    def __init__(self, service_keys: Sequence[ServiceKey] = (), *, accepts_clear: bool = False) -> None:
        self._accepts_clear = accepts_clear or not service_keys
        self._sealer = service_keys[0] if service_keys else None
        self._keys = {key.key_id: key for key in service_keys}

    def encode(self, handle: Handle) -> bytes:
        """Return the handle's bytes.

        Raises:
            ContractViolation: A field is, or looks like, a secret.
            HandleTooLarge: Even without the outputs' types it would exceed 512 bytes; the message names the largest
                field.
        """
        refuse_secrets("connection", handle.connection)
        refuse_secrets("job", handle.job)
        encoded = self._frame(_pack(handle, handle.output_types))
        if len(encoded) > HANDLE_LIMIT_BYTES:
            encoded = self._frame(_pack(handle, None))
        if len(encoded) > HANDLE_LIMIT_BYTES:
            raise HandleTooLarge(_too_large(handle, len(encoded)))
        return encoded

    def check_room(self, handle: Handle, job_bytes: int) -> None:
        """Raise `HandleTooLarge` unless a job of `job_bytes` will fit beside everything else in `handle`.

        Asked before a job is started: a handle that turns out too large afterwards is a job that nobody can follow.
        """
        plain = len(_fields_of(handle, None)) + job_bytes + _SEAL_BYTES
        if plain <= HANDLE_LIMIT_BYTES:
            return
        filler = secrets.token_hex(job_bytes // 2)  # as good as incompressible
        self.encode(replace(handle, job={"id": filler}))

    def decode(self, encoded: bytes) -> Handle:
        """Return the handle in these bytes.

        Raises:
            ForeignHandle: They are not ours, or were changed.
            UnreadableHandle: They are ours, but of a newer format or sealed with a key that this process lacks.
        """
        if len(encoded) <= _PREFIX_BYTES or not encoded.startswith(_MAGIC):
            raise ForeignHandle(_FOREIGN)
        version, mode = encoded[3], encoded[4]
        if version > _VERSION or mode > _SEALED:
            raise UnreadableHandle(
                "this handle was written by a newer release; another replica or an upgrade will read it"
            )
        body = encoded[_PREFIX_BYTES:]
        if mode == _SEALED:
            body = self._unseal(encoded[:_PREFIX_BYTES], body)
        elif not self._accepts_clear:
            raise ForeignHandle("this service accepts sealed handles only, and this one is not sealed")
        return _unpack(body)

    def _frame(self, body: bytes) -> bytes:
        if self._sealer is None:
            return _MAGIC + bytes((_VERSION, _CLEAR)) + body
        header = _MAGIC + bytes((_VERSION, _SEALED)) + self._sealer.key_id
        return header + self._sealer.seal(body, header)

    def _unseal(self, prefix: bytes, body: bytes) -> bytes:
        key = self._keys.get(body[:_KEY_ID_BYTES])
        if key is None:
            raise UnreadableHandle(
                "this handle is sealed with a service key that this process does not have; add the older key"
            )
        return key.unseal(body[_KEY_ID_BYTES:], prefix + body[:_KEY_ID_BYTES])


def refuse_secrets(where: str, value: Any) -> None:
    """Raise `ContractViolation` when anything in a JSON value is named or formed like a secret."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if is_secret_name(str(name)) and not _is_reference(item):
                raise ContractViolation(
                    f"{where}.{name} would put a secret into the engine's database; keep a SecretRef and resolve it per call"
                )
            refuse_secrets(f"{where}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            refuse_secrets(f"{where}[{index}]", item)
    elif isinstance(value, str) and is_secret_value(value):
        raise ContractViolation(f"{where} has the form of a credential; keep a SecretRef and resolve it per call")


def _is_reference(item: Any) -> bool:
    return item is None or (
        isinstance(item, Mapping) and "key" in item and set(item) <= {"key", "group", "version", "scope"}
    )


def _pack(handle: Handle, output_types: Mapping[str, Any] | None) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(_fields_of(handle, output_types)) + deflate.flush()


def _fields_of(handle: Handle, output_types: Mapping[str, Any] | None) -> bytes:
    scope = handle.scope
    fields = [
        handle.agent,
        handle.task_type,
        handle.task_type_version,
        handle.key.text,
        [scope.project, scope.domain, scope.org, scope.namespace],
        handle.connection,
        handle.account,
        handle.output_prefix,
        handle.created_at,
        handle.job,
        handle.job_version,
        output_types,
        handle.memo,
    ]
    try:
        return ormsgpack.packb(fields)
    except (TypeError, ValueError):
        raise ContractViolation(
            "connection and job must hold plain JSON values (text, numbers, lists, mappings)"
        ) from None


def _unpack(body: bytes) -> Handle:
    try:
        inflate = zlib.decompressobj(-15)
        packed = inflate.decompress(body, _INFLATED_LIMIT)
        if not inflate.eof or inflate.unused_data:
            raise ForeignHandle(_FOREIGN)
        fields = ormsgpack.unpackb(packed)
        project, domain, org, namespace = fields[4]
        return Handle(
            agent=_of(str, fields[0]),
            task_type=_of(str, fields[1]),
            task_type_version=_of(int, fields[2]),
            key=Key.parse(_of(str, fields[3])),
            scope=Scope(
                project=_of(str, project), domain=_of(str, domain), org=_of(str, org), namespace=_of(str, namespace)
            ),
            connection=_of(dict, fields[5]),
            account=_of(str, fields[6]),
            output_prefix=_of(str, fields[7]),
            created_at=_of(int, fields[8]),
            job=_of(dict, fields[9]),
            job_version=_of(int, fields[10]),
            output_types=None if fields[11] is None else _of(dict, fields[11]),
            memo=_of(bytes, fields[12]),
        )
    except (zlib.error, ValueError, TypeError, IndexError, KeyError):
        raise ForeignHandle(_FOREIGN) from None


def _of(expected: type, value: Any) -> Any:
    if not isinstance(value, expected):
        raise TypeError
    return value


def _too_large(handle: Handle, size: int) -> str:
    parts = {
        "connection": handle.connection,
        "job": handle.job,
        "output_prefix": handle.output_prefix,
        "account": handle.account,
        "memo": handle.memo,
    }
    sizes = {name: len(ormsgpack.packb(value)) for name, value in parts.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    return (
        f"the handle would take {size} of {HANDLE_LIMIT_BYTES} bytes; the largest part is {largest} "
        f"({sizes[largest]} bytes): keep only what finds the job again, or shorten the output prefix"
    )
