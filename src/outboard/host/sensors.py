"""Sensor memos: a sensor has no job, so the host remembers the task that it must poke with.

GetTask brings only the handle. Configuration and inputs go into it where they fit (a path or two does); otherwise
they are written once beside the outputs, at `<output prefix>/.outboard/<key>.task`, and any replica reads them back
from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import ormsgpack

from outboard.domain.handles import HANDLE_LIMIT_BYTES, Handle, HandleCodec
from outboard.domain.tasks import Inputs, Task
from outboard.domain.type_codes import decode_type_codes, encode_type_codes
from outboard.errors import ForeignHandle, HandleTooLarge, InvalidTask, StoreUnavailable
from outboard.host.jobs import LiveJob
from outboard.host.requests import Request
from outboard.host.stores import Store, join_uri
from outboard.wire.files import decode_inputs_file, encode_inputs_file

_FOLDER: Final = ".outboard"
T = TypeVar("T")


class SensorMemos:
    """Writes and reads what sensors poke with."""

    def __init__(self, codec: HandleCodec, stores: Store) -> None:
        self._codec = codec
        self._stores = stores

    async def remember(self, request: Request, *, created_at: int, timeout_s: float) -> Handle:
        """Return the handle of a sensor's task; `StoreUnavailable` when it cannot be kept within `timeout_s`."""
        memo = pack_task(request.task)
        handle = request.handle(created_at=created_at, job={"id": request.key.text}, memo=memo)
        try:
            self._codec.encode(handle)
        except HandleTooLarge:
            if not request.task.output_prefix:
                raise InvalidTask(
                    f"the sensor's inputs take more than a handle holds ({HANDLE_LIMIT_BYTES} bytes) and there is no "
                    "output prefix to keep them at; give the task an output prefix",
                    field="output_prefix",
                ) from None
            place = _place(request.task.output_prefix, request.key.text)
            await _within(self._stores.write(place, memo), timeout_s)
            handle = request.handle(created_at=created_at, job={"id": request.key.text})
        return handle

    async def recall(self, live: LiveJob, timeout_s: float) -> Task[Any]:
        """Return the task of a sensor's handle; `StoreUnavailable` when it cannot be had within `timeout_s`."""
        handle = live.handle
        memo = handle.memo
        if not memo:
            found = await _within(self._stores.read(_place(handle.output_prefix, handle.key.text)), timeout_s)
            if found is None:
                raise StoreUnavailable(f"the sensor's task is gone from {handle.output_prefix}/{_FOLDER}; run it again")
            memo = found
        return _unpack(memo, live)


async def _within(work: Awaitable[T], timeout_s: float) -> T:
    try:
        return await asyncio.wait_for(work, timeout_s)
    except (asyncio.TimeoutError, TimeoutError):
        raise StoreUnavailable(f"the sensor's task could not be kept or read within {timeout_s:g} s") from None


def _place(prefix: str, key: str) -> str:
    return join_uri(prefix, _FOLDER, f"{key}.task")


def pack_task(task: Task[Any]) -> bytes:
    """Return the memo of a sensor's task: configuration, inputs and their types."""
    types = task.interface.inputs
    # By name where names are accepted: an alias for writing need not be one for reading.
    takes_names = bool(task.config.model_config.get("populate_by_name"))
    config = task.config.model_dump(mode="json", by_alias=not takes_names)
    return ormsgpack.packb([config, encode_inputs_file(task.inputs, types), encode_type_codes(types)])


def _unpack(memo: bytes, live: LiveJob) -> Task[Any]:
    try:
        config, literals, codes = ormsgpack.unpackb(memo)
    except (ValueError, TypeError):
        raise ForeignHandle("the sensor's task in this handle is not ours; pass the resource_meta unchanged") from None
    handle = live.handle
    return Task(
        type=handle.task_type,
        version=handle.task_type_version,
        config=live.agent.model_for(handle.task_type_version).model_validate(config),
        output_prefix=handle.output_prefix,
        inputs=Inputs(decode_inputs_file(literals, decode_type_codes(codes))),
        namespace=handle.scope.namespace,
    )
