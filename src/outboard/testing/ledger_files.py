"""Output files of the ledger's jobs: what a job on a real platform writes before its state says that it succeeded.

A job whose course says `writes_files` writes `outputs.pb`, or `error.pb` when its course has an error, at its output
prefix. The files are written when its success is first seen, just before the platform tells of it.
"""

from __future__ import annotations

from typing import Protocol

from outboard.domain.statuses import Failure
from outboard.host.stores import join_uri
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_jobs import SUCCEEDED, LedgerJob
from outboard.testing.platform_clock import platform_time
from outboard.wire.files import encode_error_file, encode_outputs_file


class Writes(Protocol):
    """What is needed of an object store; `outboard.host.stores.Stores` has it."""

    async def write(self, uri: str, data: bytes) -> None:
        """Write an object."""
        ...


class JobFiles:
    """Writes the output files of a ledger's jobs."""

    def __init__(self, ledger: Ledger, stores: Writes) -> None:
        self._ledger = ledger
        self._stores = stores

    async def write(self, job_id: str) -> None:
        """Write a job's files, unless it has none to write or they are written."""
        job = self._ledger.jobs.get(job_id)
        if job is None or job.has_written or not job.course.writes_files or job.state(platform_time()) != SUCCEEDED:
            return
        name, data = _file(job)
        await self._stores.write(join_uri(job.output_prefix, name), data)
        job.has_written = True


def _file(job: LedgerJob) -> tuple[str, bytes]:
    if job.course.error:
        return "error.pb", encode_error_file(Failure(code="JobError", message=job.course.error))
    return "outputs.pb", encode_outputs_file(job.course.outputs or {}, {})
