"""Jobs that flytekit's own connector service started, followed by its handles.

Whoever replaces that service has tasks under way whose handles are flytekit's: the JSON of a dataclass that each
connector chose for itself. An agent of ours for the same task type may say how to read them (`read_flytekit`); what it
makes of one becomes a `Handle` like our own, and the job is followed and cancelled like our own.

Such JSON carries no seal, and it is not complete: the task type and the output prefix come with the request. So

* nothing is read unless the operator says so (`accept_flytekit_handles`);
* a handle is *bound* to what came with its request. Two sensors that wait for one path have equal handles, and only
  the output prefix tells them apart; bound bytes stay within this process;
* the submission key is unknown. One is derived from the bound bytes: stable on every replica, of no use to find the job;
* connectors that write pickles instead of JSON are never read, since loading one runs whatever it says.
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

_BOUND: Final = b"\xffOF"
_LONGEST: Final = 64 * 1024
_FOREIGN: Final = "these bytes are not a handle of Outboard; pass the resource_meta of CreateTask unchanged"


class ForeignHandles:
    """Decodes our own handles and, where the operator accepts them, flytekit's.

    Args:
        registry: Whose agents read them.
        codec: Decodes our own.
        is_accepted: `HostSettings.accept_flytekit_handles`.
    """

    __slots__ = ("_codec", "_is_accepted", "_registry")

    def __init__(self, registry: Registry, codec: HandleCodec, *, is_accepted: bool) -> None:
        self._registry = registry
        self._codec = codec
        self._is_accepted = is_accepted

    def bound(self, encoded: bytes, task_type: TaskType | None, output_prefix: str = "") -> bytes:
        """Return the bytes to know a handle by here: our own unchanged, flytekit's with what its request says."""
        if not self._is_accepted or not encoded.startswith(b"{") or task_type is None:
            return encoded
        return _BOUND + ormsgpack.packb([encoded, task_type.name, task_type.version, output_prefix])

    def decode(self, bound: bytes) -> Handle:
        """Return the handle that `bound` stands for.

        Raises:
            ForeignHandle: The bytes are not ours, and no agent here reads them.
            UnreadableHandle: See `HandleCodec.decode` and `adopt_foreign`.
        """
        if not self._is_accepted or not bound.startswith(_BOUND):
            return self._codec.decode(bound)
        try:
            encoded, name, version, output_prefix = ormsgpack.unpackb(bound[len(_BOUND) :])
            handle = adopt_foreign(encoded, TaskType(name, version), output_prefix, self._registry)
        except (ValueError, TypeError, AttributeError):  # not bound by us
            handle = None
        if handle is None:
            raise ForeignHandle(_FOREIGN)
        return handle


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
