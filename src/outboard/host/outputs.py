"""Outputs: success needs proof.

A job that the platform calls successful is SUCCEEDED only when its outputs are there and match the task's interface.
Where the job writes files, `error.pb` is read first: a run that exits 0 may still have failed. Answers that would not
fit a gRPC message are written to `outputs.pb` instead, where FlytePropeller looks when a status brings none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from outboard.agent.agents import JobAgent, OutputSource
from outboard.domain.conformity import check_outputs
from outboard.domain.phases import Phase
from outboard.domain.statuses import DEFERRED, Cause, Failure, Status, TaskStatus
from outboard.domain.types import ValueType
from outboard.errors import InvalidOutputs, Retry
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob
from outboard.host.stores import Stores, join_uri
from outboard.wire.files import decode_error_file, encode_outputs_file


class Outputs:
    """Completes the status of jobs that succeeded."""

    def __init__(self, calls: Calls, stores: Stores, inline_limit_bytes: int) -> None:
        self._calls = calls
        self._stores = stores
        self._inline_limit_bytes = inline_limit_bytes

    async def complete(self, live: LiveJob, status: Status, succeeded: TaskStatus, timeout_s: float) -> TaskStatus:
        """Return the terminal status of a job that the platform calls successful.

        Raises:
            AgentError, StoreUnavailable: The outputs cannot be had right now; the job is then not reported as ended
                yet.
        """
        agent = live.agent
        if isinstance(agent, JobAgent) and agent.outputs is OutputSource.FILES:
            return await self._from_files(live, succeeded)
        if isinstance(agent, JobAgent) and agent.outputs is OutputSource.NONE:
            return replace(succeeded, outputs={}, output_types={})
        return await self._inline(live, await self._fetch(live, status, timeout_s), succeeded)

    async def settle(
        self, outputs: Mapping[str, Any], types: Mapping[str, ValueType] | None, prefix: str, succeeded: TaskStatus
    ) -> TaskStatus:
        """Return the succeeded status with checked outputs, inline or written to `outputs.pb`."""
        try:
            if types is not None:
                check_outputs(outputs, types)
            encoded = encode_outputs_file(outputs, types or {})
        except InvalidOutputs as error:
            return _agent_fault(succeeded, error.message)
        if len(encoded) > self._inline_limit_bytes and prefix:
            await self._stores.write(join_uri(prefix, "outputs.pb"), encoded)
            return replace(succeeded, outputs=None, output_types=types)
        return replace(succeeded, outputs=outputs, output_types=types)

    async def _fetch(self, live: LiveJob, status: Status, timeout_s: float) -> Mapping[str, Any] | None:
        if status.outputs != DEFERRED:
            return status.outputs
        if live.fetched is None:
            live.fetched = await self._calls.about_job(live, "fetch_outputs", live.job, timeout_s=timeout_s)
        return live.fetched

    async def _inline(self, live: LiveJob, outputs: Mapping[str, Any] | None, succeeded: TaskStatus) -> TaskStatus:
        if outputs is None:
            if live.output_types:
                names = ", ".join(live.output_types)
                return _agent_fault(
                    succeeded, f"agent {live.agent.name} returned no outputs; the task declares {names}"
                )
            outputs = {}
        return await self.settle(outputs, live.output_types, live.handle.output_prefix, succeeded)

    async def _from_files(self, live: LiveJob, succeeded: TaskStatus) -> TaskStatus:
        prefix = live.handle.output_prefix
        error = await self._stores.read(join_uri(prefix, "error.pb"))
        if error is not None:
            return failed_status(decode_error_file(error), succeeded)
        if live.output_types == {}:
            return replace(succeeded, outputs={}, output_types={})
        if not await self._stores.exists(join_uri(prefix, "outputs.pb")):
            return failed_status(
                Failure(
                    code="OutputsNotFound",
                    message=f"the job succeeded but wrote no outputs.pb at {prefix}",
                    retry=Retry.YES,
                ),
                succeeded,
            )
        return replace(succeeded, outputs=None, output_types=live.output_types)


def failed_status(failure: Failure, status: TaskStatus) -> TaskStatus:
    """Return `status` as the failure says: FAILED, or RETRYABLE_FAILED where another attempt is worth it."""
    phase = Phase.RETRYABLE_FAILED if failure.retry is Retry.YES else Phase.FAILED
    return replace(status, phase=phase, message=failure.message or status.message, error=failure, outputs=None)


def _agent_fault(status: TaskStatus, message: str) -> TaskStatus:
    return failed_status(Failure(code="InvalidOutputs", message=message, cause=Cause.PLATFORM), status)
