"""Clients of the ledger: the port that the kit's agents talk to, and its in-process side for virtual time.

`LedgerClient` is what a network would be: a pause, the effect on the ledger, a pause, the answer. Whoever kills the
caller in the first pause kills a request that was never sent, in the second one a reply that was never read. Faults of
the plan strike on either side of the effect. What a fault raises is what a real client would raise: refusals through
the error map with the platform's words, transport errors of the standard library as they are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

from typing_extensions import assert_never

from outboard.agent import ErrorMap, Verdict
from outboard.errors import AgentError, OutboardError, Rejected, Sent, Throttled
from outboard.testing.faults import (
    Cut,
    Fault,
    FaultPlan,
    Form,
    Garble,
    OkButThrottled,
    Refuse,
    Stall,
    Unreachable,
    When,
)
from outboard.testing.ledger import Ledger, NameTaken, NoSuchJob
from outboard.testing.ledger_files import JobFiles
from outboard.testing.ledger_jobs import Course, JobView
from outboard.testing.processes import outside

T = TypeVar("T")


class NameIsTaken(AgentError):
    """The platform has a job of this name; the request was not carried out."""

    sent_default = Sent.NO


ERRORS: Final = ErrorMap(
    {
        "INVALID_ARGUMENT": Rejected,
        "ALREADY_EXISTS": NameIsTaken,
        "NOT_FOUND": Verdict(AgentError, Sent.NO),
        "TOO_MANY_REQUESTS": Throttled,
        "rateLimitExceeded": Throttled,
    },
    source="outboard.testing.platform_server",
)
"""The error map of the kit's platforms, in process and over HTTP. Statuses count by the map's own rules: 401 and 403
were not carried out, 500 may have been."""


class JobApi(Protocol):
    """What the kit's agents ask a platform; the in-process ledger and the HTTP client offer it alike.

    All methods raise `AgentError` or an error of the transport, which the platform's error map classifies.
    """

    async def create(
        self, *, token: str = "", name: str = "", labels: Mapping[str, str], course: Course, output_prefix: str = ""
    ) -> JobView:
        """Start a job, or return the first one of a token; `NameIsTaken` for a second one of a name."""
        ...

    async def get(self, job_id: str) -> JobView | None:
        """Return a job; None when the platform knows no such job."""
        ...

    async def get_many(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        """Return those of the jobs that the platform knows."""
        ...

    async def find(self, label: str, value: str) -> Sequence[JobView]:
        """Return the jobs that carry a label, oldest first."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Ask for a job's end."""
        ...

    async def fetch(self, job_id: str) -> Mapping[str, Any]:
        """Return the outputs of a job that succeeded."""
        ...

    async def logs(self, job_id: str) -> Sequence[tuple[float, str]]:
        """Return the lines that a job has logged, each with its Unix time."""
        ...


class LedgerClient:
    """The ledger behind a network that is a pause on either side of the effect.

    Args:
        ledger: The platform.
        faults: Which call meets which fault.
        latency: One way; also without any, every call can be killed before and after its effect.
        files: Writes the files of jobs that write files, before the answer that they succeeded.
    """

    def __init__(
        self,
        ledger: Ledger,
        faults: FaultPlan | None = None,
        latency: timedelta = timedelta(0),
        files: JobFiles | None = None,
    ) -> None:
        self.ledger = ledger
        self.faults = faults if faults is not None else FaultPlan()
        self._latency_s = latency.total_seconds()
        self._files = files

    async def create(
        self, *, token: str = "", name: str = "", labels: Mapping[str, str], course: Course, output_prefix: str = ""
    ) -> JobView:
        """See `JobApi.create`."""
        return await self._call(
            "create",
            lambda: self.ledger.create(
                token=token, name=name, labels=labels, course=course, output_prefix=output_prefix
            ),
            lambda: json.dumps([token, name, dict(labels), output_prefix]),
        )

    async def get(self, job_id: str) -> JobView | None:
        """See `JobApi.get`."""
        view = await self._call("get", lambda: self.ledger.get(job_id), job_id)
        if self._files is not None and view is not None:
            # A success that is told has its files, also one of this very moment; the job writes them, whoever asks.
            await outside(self._files.write(job_id))
        return view

    async def get_many(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        """See `JobApi.get_many`."""
        return await self._call("get_many", lambda: self.ledger.get_many(job_ids), lambda: " ".join(job_ids))

    async def find(self, label: str, value: str) -> Sequence[JobView]:
        """See `JobApi.find`."""
        return await self._call("find", lambda: self.ledger.find(label, value), value)

    async def cancel(self, job_id: str) -> None:
        """See `JobApi.cancel`."""
        await self._call("cancel", lambda: self.ledger.cancel(job_id), job_id)

    async def fetch(self, job_id: str) -> Mapping[str, Any]:
        """See `JobApi.fetch`."""
        return await self._call("fetch", lambda: self.ledger.fetch(job_id), job_id)

    async def logs(self, job_id: str) -> Sequence[tuple[float, str]]:
        """See `JobApi.logs`."""
        return await self._call("logs", lambda: self.ledger.logs(job_id), job_id)

    async def _call(self, operation: str, effect: Callable[[], T], about: str | Callable[[], str]) -> T:
        await asyncio.sleep(self._latency_s)
        fault = self.faults.strike(operation, about)
        try:
            answer = await self._meet(fault, effect)
        except NameTaken as error:
            raise ERRORS.classify(status=409, code="ALREADY_EXISTS", words=str(error)) from None
        except NoSuchJob as error:
            raise ERRORS.classify(status=404, code="NOT_FOUND", words=str(error)) from None
        await asyncio.sleep(self._latency_s)
        return answer

    async def _meet(self, fault: Fault | None, effect: Callable[[], T]) -> T:
        if fault is None:
            return effect()
        if fault.when is When.AFTER:
            answer = effect()
            await _suffer(fault)
            return answer
        if isinstance(fault, Stall) and fault.seconds is not None:
            return await outside(_late(effect, fault.seconds))
        await _suffer(fault)
        return effect()


async def _late(effect: Callable[[], T], seconds: float) -> T:
    await asyncio.sleep(seconds)
    return effect()


async def _suffer(fault: Fault) -> None:
    """Raise what a client sees of a fault, or wait as long as it takes; returns where a reply comes after all."""
    match fault:
        case Refuse():
            raise refusal(fault)
        case OkButThrottled():
            raise ERRORS.classify(code=fault.code, words="slow down")
        case Unreachable():
            raise ConnectionRefusedError("connection refused")
        case Cut():
            raise ConnectionResetError("connection reset") if fault.is_reset else EOFError("the server disconnected")
        case Stall(seconds=None):
            await asyncio.get_running_loop().create_future()
        case Stall(seconds=seconds):
            await asyncio.sleep(seconds or 0.0)
        case Garble():
            _misread(fault.form)
        case _:
            assert_never(fault)


def refusal(fault: Refuse) -> OutboardError:
    """Return the error that the kit's error map makes of a refusal."""
    return ERRORS.classify(status=fault.status, code=fault.code, words=fault.words, retry_after=fault.retry_after)


def _misread(form: Form) -> None:
    if form is Form.GARBAGE:
        raise json.JSONDecodeError("no JSON", "", 0)
    if form is Form.TRUNCATED:
        raise EOFError("the body ended early")
    if form is Form.OTHER_SHAPE:
        raise KeyError("id")
