"""Offloaded inputs: values that Flyte keeps in its object store because they are large.

They are fetched once, before an agent is called, so that agents never see where a value came from. One that cannot be read fails
the task only when the agent reads it: it stays an `Offloaded` reference, which the agent may pass on.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from outboard.agent.context import Log
from outboard.domain.tasks import Inputs, Task
from outboard.domain.values import Offloaded
from outboard.errors import StoreUnavailable
from outboard.host.stores import Store
from outboard.wire.lazy_values import LazyValues

_LARGEST_BYTES: Final = 256 * 1024 * 1024


async def fetch_offloaded(task: Task[Any], stores: Store, log: Log, timeout_s: float) -> Task[Any]:
    """Return the task with its offloaded inputs in place.

    Raises:
        StoreUnavailable: They could not be read within `timeout_s`.
    """
    values = task.inputs.source
    if not isinstance(values, LazyValues):
        return task
    wanted = {name: ref for name, ref in values.offloaded().items() if ref.size_bytes <= _LARGEST_BYTES}
    if not wanted:
        return task
    reading = asyncio.gather(*(_read(ref, stores, log) for ref in wanted.values()))
    try:
        found = await asyncio.wait_for(reading, timeout_s)
    except (asyncio.TimeoutError, TimeoutError):
        raise StoreUnavailable(f"the task's offloaded inputs could not be read within {timeout_s:g} s") from None
    files = {name: data for name, data in zip(wanted, found, strict=True) if data is not None}
    return replace(task, inputs=Inputs(values.with_fetched(files)))


async def _read(ref: Offloaded, stores: Store, log: Log) -> bytes | None:
    try:
        data = await stores.read(ref.uri)
    except StoreUnavailable as error:
        log.warning("offloaded input not fetched", reason=error.message, error_id=error.error_id)
        return None
    if data is None:
        log.warning("offloaded input not found", uri=ref.uri)
    return data
