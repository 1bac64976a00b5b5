"""Handles that are not ours: those of flytekit's connector service, and those of its connectors that are hosted here.

Whoever replaces that service has tasks under way whose handles are flytekit's: bytes that each connector chose for itself,
mostly the JSON of a dataclass. There are two who read them here. An agent of ours for the same task type may say how
(`read_flytekit`); what it makes of one becomes a `Handle` like our own. And a connector that is hosted here reads its own
(`read_native`); engines keep its bytes for the jobs that it starts here, too, so that one can go back at any time.

Such bytes carry no seal, and they are not complete: the task type and the output prefix come with the request. So

* agents of ours read none unless the operator says so (`accept_flytekit_handles`); hosted connectors are the operator's choice;
* a handle is *bound* to what came with its request. Two sensors that wait for one path have equal handles, and only
  the output prefix tells them apart. DeleteTask names none; then the one counts that was seen with these bytes, if only
  one was. Bound bytes stay within this process and the records;
* the submission key is unknown. One is derived from the bound bytes: stable on every replica, of no use to find the job;
* pickles are read by hosted connectors alone, where the operator allows it, since loading one runs whatever it says.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any, Final

import ormsgpack

from outboard.agent.agents import Agent, JobAgent, WatchingAgent
from outboard.agent.jobs import Connection
from outboard.agent.registry import Registry
from outboard.domain.handles import Handle, HandleCodec, refuse_secrets
from outboard.domain.keys import Key
from outboard.domain.tasks import TaskType
from outboard.errors import ForeignHandle, OutboardError, TaskError, UnknownTaskType, UnreadableHandle
from outboard.host.invocation import blamed
from outboard.host.sensors import pack_task

_OURS: Final = b"\xffO"
_BOUND: Final = b"\xffOF"
_BOUND_PARTS: Final = 4
_LONGEST: Final = 64 * 1024
_PLACES: Final = 200_000
_FOREIGN: Final = "these bytes are not a handle of Outboard; pass the resource_meta of CreateTask unchanged"


class ForeignHandles:
    """Decodes our own handles and, where the operator accepts them, others.

    Args:
        registry: Whose agents read them.
        codec: Encodes and decodes our own.
        is_accepted: `HostSettings.accept_flytekit_handles`.
    """

    __slots__ = ("_codec", "_is_accepted", "_places", "_registry")

    def __init__(self, registry: Registry, codec: HandleCodec, *, is_accepted: bool) -> None:
        self._registry = registry
        self._codec = codec
        self._is_accepted = is_accepted
        self._places = _Places()

    def bound(self, encoded: bytes, task_type: TaskType | None, output_prefix: str = "") -> bytes:
        """Return the bytes to know a handle by here: our own unchanged, others with what their request says."""
        if encoded.startswith(_OURS) or task_type is None:
            return encoded
        if not self._registry.readers(task_type) and not (self._is_accepted and encoded.startswith(b"{")):
            return encoded
        if output_prefix:
            self._places.learn(encoded, task_type, output_prefix)
        return _bind(encoded, task_type, output_prefix or self._places.find(encoded, task_type))

    def native(self, known: bytes) -> bytes:
        """Return what engines get of bytes that a handle is known by here."""
        if not known.startswith(_BOUND):
            return known
        encoded: bytes = ormsgpack.unpackb(known[len(_BOUND) :])[0]
        return encoded

    def encode(self, handle: Handle) -> bytes:
        """Return the bytes to know a job by here. Raises what `HandleCodec.encode` does."""
        agent = self._registry.named(handle.agent)
        if not handle.job or not isinstance(agent, JobAgent) or not agent.native_handles:
            return self._codec.encode(handle)
        encoded = agent.job_model.model_validate(handle.job).native()
        if encoded is None:
            return self._codec.encode(handle)
        task_type = TaskType(handle.task_type, handle.task_type_version)
        if not handle.source_prefix:
            self._places.learn(encoded, task_type, handle.output_prefix)
        return _bind(encoded, task_type, handle.output_prefix, handle.source_prefix)

    def is_adopted(self, known: bytes) -> bool:
        """Tell whether these are native bytes of an earlier attempt's job, which an engine must not take for this one's."""
        return known.startswith(_BOUND) and len(ormsgpack.unpackb(known[len(_BOUND) :])) > _BOUND_PARTS

    def decode(self, bound: bytes) -> Handle:
        """Return the handle that `bound` stands for.

        Raises:
            ForeignHandle: The bytes are not ours, and no agent here reads them.
            UnreadableHandle: See `HandleCodec.decode` and `adopt_foreign`.
        """
        if not bound.startswith(_BOUND):
            return self._codec.decode(bound)
        try:
            encoded, name, version, output_prefix, *source = ormsgpack.unpackb(bound[len(_BOUND) :])
            task_type = TaskType(name, version)
            handle = self._read_foreign(encoded, task_type, output_prefix)
            if handle is None:
                handle = read_native(encoded, task_type, output_prefix, self._registry)
        except (ValueError, TypeError, AttributeError):  # not bound by us
            raise ForeignHandle(_FOREIGN) from None
        if handle is None:
            raise ForeignHandle(_FOREIGN)
        return replace(handle, source_prefix=source[0]) if source else handle

    def _read_foreign(self, encoded: bytes, task_type: TaskType, output_prefix: str) -> Handle | None:
        if not self._is_accepted:
            return None
        try:
            return adopt_foreign(encoded, task_type, output_prefix, self._registry)
        except UnreadableHandle:
            if not self._registry.readers(task_type):
                raise
            return None


class _Places:
    """Output prefixes by the native bytes that were seen with them; the last so many."""

    __slots__ = ("_prefixes",)

    def __init__(self) -> None:
        self._prefixes: dict[bytes, str] = {}

    def learn(self, encoded: bytes, task_type: TaskType, output_prefix: str) -> None:
        """Take note of a prefix; of bytes that were seen with two nothing more is concluded."""
        name = _digest(encoded, task_type)
        known = self._prefixes.get(name)
        if known is None:
            if len(self._prefixes) >= _PLACES:
                del self._prefixes[next(iter(self._prefixes))]
            self._prefixes[name] = output_prefix
        elif known != output_prefix:
            self._prefixes[name] = ""

    def find(self, encoded: bytes, task_type: TaskType) -> str:
        """Return the one prefix of these bytes; empty where none or several are known."""
        return self._prefixes.get(_digest(encoded, task_type), "")


def read_native(encoded: bytes, task_type: TaskType, output_prefix: str, registry: Registry) -> Handle | None:
    """Return the handle that stands for a hosted connector's bytes; None where no connector of the type reads them.

    Raises:
        UnreadableHandle: The operator does not allow to read them, or the connector's reader broke.
    """
    for agent in registry.readers(task_type):
        try:
            with blamed(agent, "read_native"):
                job = agent.read_native(encoded)
                if job is None:
                    continue
                connection = agent.platform.connection_model.model_validate({})
                return Handle(
                    agent=agent.name,
                    task_type=task_type.name,
                    task_type_version=task_type.version,
                    key=_key(encoded, task_type, output_prefix),
                    output_prefix=output_prefix,
                    connection=connection.to_json(),
                    account=str(agent.platform.account(connection)),
                    job=job.to_json(),
                    job_version=agent.job_model.handle_version,
                )
        except UnreadableHandle:
            raise
        except OutboardError as error:
            raise UnreadableHandle(f"a handle of connector {agent.name}: {error.message}") from None
    return None


def adopt_foreign(encoded: bytes, task_type: TaskType | None, output_prefix: str, registry: Registry) -> Handle | None:
    """Return the handle that stands for one of flytekit's, or None where the agent of its type does not read it.

    What flytekit does not keep is missing in it: the scope (secrets are looked up as the service's own), the creation
    time, the outputs' types.

    Args:
        encoded: The `resource_meta` as flytekit wrote it.
        task_type: As the request names it.
        output_prefix: As the request names it; DeleteTask names none.
        registry: Where the agent is.

    Raises:
        ForeignHandle: The agent refuses what the handle names, by the operator's or its own rules.
        UnreadableHandle: No agent here serves the type, or its reader broke: another replica or release may read it.
    """
    meta = _json_object(encoded)
    if meta is None or task_type is None:
        return None
    try:
        agent = registry.for_type(task_type)
    except UnknownTaskType as error:
        raise UnreadableHandle(f"a handle of flytekit's service: {error.message}") from None
    key = _key(encoded, task_type, output_prefix)
    bare = Handle(
        agent=agent.name,
        task_type=task_type.name,
        task_type_version=task_type.version,
        key=key,
        output_prefix=output_prefix,
    )
    try:
        with blamed(agent, "read_flytekit"):
            return _read(agent, meta, task_type, bare)
    except TaskError as error:
        raise ForeignHandle(f"a handle of flytekit's service is refused: {error.message}") from None
    except OutboardError as error:
        raise UnreadableHandle(f"a handle of flytekit's service: {error.message}") from None


def _read(agent: Agent, meta: dict[str, Any], task_type: TaskType, bare: Handle) -> Handle | None:
    if isinstance(agent, JobAgent):
        read = agent.read_flytekit(meta, task_type)
        if read is None:
            return None
        connection, job = read
        version = agent.job_model.handle_version
        return _connected(agent, connection, replace(bare, job=job.to_json(), job_version=version))
    if isinstance(agent, WatchingAgent):
        task = agent.read_flytekit(meta, task_type)
        if task is None:
            return None
        connection = agent.connection(replace(task, output_prefix=bare.output_prefix))
        return _connected(agent, connection, replace(bare, job={"id": bare.key.text}, memo=pack_task(task)))
    return None


def _connected(agent: Agent, connection: Connection, handle: Handle) -> Handle:
    handle = replace(handle, connection=connection.to_json(), account=str(agent.platform.account(connection)))
    refuse_secrets("connection", handle.connection)
    refuse_secrets("job", handle.job)
    return handle


def _bind(encoded: bytes, task_type: TaskType, output_prefix: str, source_prefix: str = "") -> bytes:
    parts = [encoded, task_type.name, task_type.version, output_prefix]
    return _BOUND + ormsgpack.packb([*parts, source_prefix] if source_prefix else parts)


def _digest(encoded: bytes, task_type: TaskType) -> bytes:
    return hashlib.sha256(ormsgpack.packb([encoded, task_type.name, task_type.version])).digest()[:16]


def _key(encoded: bytes, task_type: TaskType, output_prefix: str) -> Key:
    bound = ormsgpack.packb([encoded, task_type.name, task_type.version, output_prefix])
    digest = hashlib.sha256(b"handle of flytekit" + bound).digest()[:16]
    return Key("ob-foreign-" + base64.b32encode(digest).decode().rstrip("=").lower())


def _json_object(encoded: bytes) -> dict[str, Any] | None:
    if len(encoded) > _LONGEST or not encoded.startswith(b"{"):
        return None
    try:
        meta = json.loads(encoded.decode())
        json.dumps(meta, ensure_ascii=False).encode()  # escapes can spell half characters, which no agent expects
    except (ValueError, RecursionError):
        return None
    return meta if isinstance(meta, dict) else None
