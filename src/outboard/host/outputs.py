"""Outputs: success needs proof.

A job that the platform calls successful is SUCCEEDED only when its outputs are there and match the task's interface.
Where the job writes files, `error.pb` is read first: a run that exits 0 may still have failed. Answers that would not
fit a gRPC message are written to `outputs.pb` instead, where FlytePropeller looks when a status brings none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from outboard.agent.agents import JobAgent, OutputSource
from outboard.domain.conformity import check_outputs
from outboard.domain.phases import Phase
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import DEFERRED, Cause, Failure, TaskStatus
from outboard.domain.types import ValueType
from outboard.errors import AgentFault, InvalidOutputs, Retry
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob, Success
from outboard.host.stores import Store, join_uri
from outboard.host.words import Words
from outboard.wire.files import decode_error_file, encode_outputs_file

_SEARCHED_BYTES: Final = 256 * 1024
"""Larger outputs are data, in which to look for secrets takes too long."""


class Outputs:
    """Completes the status of jobs that succeeded."""

    def __init__(self, calls: Calls, stores: Store, words: Words, inline_limit_bytes: int) -> None:
        self._calls = calls
        self._stores = stores
        self._words = words
        self._inline_limit_bytes = inline_limit_bytes

    async def complete(self, live: LiveJob, success: Success, timeout_s: float) -> TaskStatus:
        """Return the terminal status of a job that the platform calls successful.

        Raises:
            AgentError, StoreUnavailable: The outputs cannot be had right now; the job is then not reported as ended
                yet.
        """
        agent, succeeded = live.agent, success.derived
        if isinstance(agent, JobAgent):
            source = agent.outputs_of(live.job, success.status)
            if source is OutputSource.FILES:
                return await self._from_files(live, succeeded)
            if source is OutputSource.NONE:
                return replace(succeeded, outputs={}, output_types={})
            if source is OutputSource.EITHER:
                return await self._either(live, success)
        try:
            outputs = await self._fetch(live, success, timeout_s)
        except AgentFault as error:
            # The platform's part is done, and asking again would find the same fault.
            return self._fault(succeeded, error.message)
        return await self._inline(live, outputs, succeeded)

    async def _either(self, live: LiveJob, success: Success) -> TaskStatus:
        outputs, source = success.status.outputs, live.handle.source_prefix
        if outputs is not None:
            provided = live.secrets.provided
            return await self.settle(outputs, None, live.handle.output_prefix, success.derived, provided)
        if source:
            # The job was started by an earlier attempt and writes there; the engine reads at this attempt's place.
            for name in ("error.pb", "outputs.pb"):
                await self._stores.copy(join_uri(source, name), join_uri(live.handle.output_prefix, name))
        return success.derived

    async def settle(
        self,
        outputs: object,
        types: Mapping[str, ValueType] | None,
        prefix: str,
        succeeded: TaskStatus,
        provided: Provided = NOTHING,
    ) -> TaskStatus:
        """Return the succeeded status with checked outputs, inline or written to `outputs.pb`.

        Outputs that hold a secret are refused: everybody who sees the run could read it, and to change them would be to lie.
        """
        if not isinstance(outputs, Mapping) or not all(isinstance(name, str) for name in outputs):
            return self._fault(succeeded, f"the agent returned {type(outputs).__name__} where outputs by name belong")
        try:
            if types is not None:
                check_outputs(outputs, types)
            encoded = encode_outputs_file(outputs, types or {})
        except InvalidOutputs as error:
            return self._fault(succeeded, error.message)
        except Exception as error:  # noqa: BLE001 - values of an agent's own kinds may raise anything when looked at
            return self._fault(succeeded, f"the agent returned outputs that cannot be read ({type(error).__name__})")
        if len(encoded) <= _SEARCHED_BYTES and self._words.holds_secret(encoded.decode("utf-8", "replace"), provided):
            return self._fault(succeeded, "the outputs hold a secret, which everybody who sees this run could read")
        if len(encoded) > self._inline_limit_bytes and prefix:
            await self._stores.write(join_uri(prefix, "outputs.pb"), encoded)
            return replace(succeeded, outputs=None, output_types=types)
        return replace(succeeded, outputs=outputs, output_types=types)

    async def put_down(self, status: TaskStatus, prefix: str) -> TaskStatus:
        """Return a terminal status whose outputs lie in `outputs.pb`, for handles and records, which hold none."""
        if status.outputs is None:
            return status
        encoded = encode_outputs_file(status.outputs, status.output_types or {})
        await self._stores.write(join_uri(prefix, "outputs.pb"), encoded)
        return replace(status, outputs=None)

    @staticmethod
    def weigh(status: TaskStatus) -> int:
        """Return about how many bytes a status with outputs takes to keep."""
        if not status.outputs:
            return 0
        return len(encode_outputs_file(status.outputs, status.output_types or {}))

    async def _fetch(self, live: LiveJob, success: Success, timeout_s: float) -> Mapping[str, Any] | None:
        outputs = success.status.outputs
        if not (isinstance(outputs, str) and outputs == DEFERRED):
            return outputs
        if success.fetched is None:
            success.fetched = await self._calls.about_job(live, "fetch_outputs", live.job, timeout_s=timeout_s)
        return success.fetched

    async def _inline(self, live: LiveJob, outputs: Mapping[str, Any] | None, succeeded: TaskStatus) -> TaskStatus:
        if outputs is None:
            if live.output_types:
                names = ", ".join(live.output_types)
                return self._fault(succeeded, f"agent {live.agent.name} returned no outputs; the task declares {names}")
            outputs = {}
        provided = live.secrets.provided
        return await self.settle(outputs, live.output_types, live.handle.output_prefix, succeeded, provided)

    async def _from_files(self, live: LiveJob, succeeded: TaskStatus) -> TaskStatus:
        prefix = live.handle.output_prefix
        source = live.handle.source_prefix or prefix
        error = await self._stores.read(join_uri(source, "error.pb"))
        if error is not None:
            return failed_status(self._words.failure(decode_error_file(error)), succeeded)
        if live.output_types == {}:
            return replace(succeeded, outputs={}, output_types={})
        place = join_uri(source, "outputs.pb")
        if source == prefix:
            is_there = await self._stores.exists(place)
        else:
            # The job was started by an earlier attempt and writes there; the engine reads at this attempt's place.
            is_there = await self._stores.copy(place, join_uri(prefix, "outputs.pb"))
        if not is_there:
            return failed_status(
                Failure(
                    code="OutputsNotFound",
                    message=f"the job succeeded but wrote no outputs.pb at {source}",
                    retry=Retry.YES,
                ),
                succeeded,
            )
        return replace(succeeded, outputs=None, output_types=live.output_types)

    def _fault(self, status: TaskStatus, message: str) -> TaskStatus:
        failure = Failure(code="InvalidOutputs", message=message, cause=Cause.PLATFORM)
        return failed_status(self._words.failure(failure), status)


def failed_status(failure: Failure, status: TaskStatus) -> TaskStatus:
    """Return `status` as the failure says: FAILED, or RETRYABLE_FAILED where another attempt is worth it."""
    phase = Phase.RETRYABLE_FAILED if failure.retry is Retry.YES else Phase.FAILED
    return replace(status, phase=phase, message=failure.message or status.message, error=failure, outputs=None)
