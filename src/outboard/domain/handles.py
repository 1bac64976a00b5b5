"""Handles: the opaque bytes that an engine keeps for a job.

FlytePropeller stores the handles of all live tasks of a workflow in one etcd object, in clear text, and never
replaces one. So a handle is small (at most 512 bytes), complete (everything needed to follow, read and cancel the job
on a replica that never saw it), versioned, sealed where the service has a key, and free of secrets.

A handle is an envelope (see `seals`) with the magic `FF 4F 42` around the raw-deflated msgpack of its fields, in the
order of `_fields_of`. The format is frozen: a release writes only what the previous release reads. Fields may follow
that an older release does not know and ignores; where ignoring them would be wrong (an intent, an end, an adopted job)
the field `job` is left empty, which makes that release park the handle rather than misread it. A higher version is
`UnreadableHandle` (parked, not failed), and anything without our magic is `ForeignHandle`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ormsgpack

from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.packing import MALFORMED, deflate, of, pack_ending, unpack, unpack_ending
from outboard.domain.seals import NEWER, SEAL_BYTES, Envelope, Seal, ServiceKey, read_seal
from outboard.domain.secret_refs import is_secret_name, is_secret_value
from outboard.domain.statuses import Ending
from outboard.errors import ContractViolation, ForeignHandle, HandleTooLarge, UnreadableHandle

HANDLE_LIMIT_BYTES: Final = 512
_MAGIC: Final = b"\xffOB"
_JOB_FIELD: Final = 9
_INFLATED_LIMIT: Final = 16 * 1024
_LATER: Final = frozenset({"intent", "end", "source", "job"})
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
        is_intent: The submission was not finished when this handle was made: the key's record tells what became of it.
        ending: How the task ended, where that was known when this handle was made.
        source_prefix: Where an adopted job writes its files: the output prefix of the attempt that started it.
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
    is_intent: bool = False
    ending: Ending | None = None
    source_prefix: str = ""


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

    __slots__ = ("_envelope",)

    def __init__(self, service_keys: Sequence[ServiceKey] = (), *, accepts_clear: bool = False) -> None:
        self._envelope = Envelope(_MAGIC, _FOREIGN, service_keys, accepts_clear=accepts_clear)

    @property
    def is_sealing(self) -> bool:
        """Whether there is a key, so that nobody else can write what this codec reads as sealed."""
        return self._envelope.is_sealing

    def is_sealed(self, encoded: bytes) -> bool:
        """Tell whether a handle that `decode` takes was sealed."""
        return self._envelope.is_sealed(encoded)

    def encode(self, handle: Handle) -> bytes:
        """Return the handle's bytes.

        Raises:
            ContractViolation: A field is, or looks like, a secret.
            HandleTooLarge: Even without the outputs' types it would exceed 512 bytes; the message names the largest
                field.
        """
        refuse_secrets("connection", handle.connection)
        refuse_secrets("job", handle.job)
        encoded = self._envelope.frame(_pack(handle, handle.output_types))
        if len(encoded) > HANDLE_LIMIT_BYTES:
            encoded = self._envelope.frame(_pack(handle, None))
        if len(encoded) > HANDLE_LIMIT_BYTES:
            raise HandleTooLarge(_too_large(handle, len(encoded)))
        return encoded

    def check_room(self, handle: Handle, job_bytes: int) -> None:
        """Raise `HandleTooLarge` unless a job of `job_bytes` will fit beside everything else in `handle`.

        Asked before a job is started: a handle that turns out too large afterwards is a job that nobody can follow.
        """
        plain = len(_fields_of(handle, None)) + job_bytes + SEAL_BYTES
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
        return _unpack(self._envelope.open(encoded))


def seal_of(encoded: bytes) -> Seal | None:
    """Return what a handle shows without a key: its format, and which key sealed it; None for bytes that are no handle."""
    return read_seal(encoded, _MAGIC)


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
    return deflate(_fields_of(handle, output_types), 9)


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
    if later := _later_fields(handle):
        # What would be misread without these fields must not look like a job to a release that ignores them.
        fields[_JOB_FIELD] = {}
        fields.append(later)
    try:
        return ormsgpack.packb(fields)
    except (TypeError, ValueError):
        raise ContractViolation(
            "connection and job must hold plain JSON values (text, numbers, lists, mappings)"
        ) from None


def _later_fields(handle: Handle) -> dict[str, Any]:
    """Return what 0.1.0 does not know: `intent`, `end` or an adopted `job` with its `source`."""
    later: dict[str, Any] = {}
    if handle.is_intent:
        later["intent"] = True
    if handle.ending is not None:
        later["end"] = pack_ending(handle.ending)
    if handle.source_prefix:
        later["source"] = handle.source_prefix
    if later and handle.job:
        later["job"] = handle.job
    return later


def _unpack(body: bytes) -> Handle:
    try:
        fields = unpack(body, _INFLATED_LIMIT)
        project, domain, org, namespace = fields[4]
        later = fields[13] if len(fields) > 13 else {}
        if not isinstance(later, dict) or not later.keys() <= _LATER:
            raise UnreadableHandle(NEWER)  # a stage that this release would misread, as 0.1.0 would ours
        end = later.get("end")
        return Handle(
            agent=of(str, fields[0]),
            task_type=of(str, fields[1]),
            task_type_version=of(int, fields[2]),
            key=Key.parse(of(str, fields[3])),
            scope=Scope(
                project=of(str, project), domain=of(str, domain), org=of(str, org), namespace=of(str, namespace)
            ),
            connection=of(dict, fields[5]),
            account=of(str, fields[6]),
            output_prefix=of(str, fields[7]),
            created_at=of(int, fields[8]),
            job=of(dict, later.get("job", fields[_JOB_FIELD])),
            job_version=of(int, fields[10]),
            output_types=None if fields[11] is None else of(dict, fields[11]),
            memo=of(bytes, fields[12]),
            is_intent=of(bool, later.get("intent", False)),
            ending=None if end is None else unpack_ending(end),
            source_prefix=of(str, later.get("source", "")),
        )
    except MALFORMED:
        raise ForeignHandle(_FOREIGN) from None


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
