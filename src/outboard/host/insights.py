"""Insights: the logs and metrics of a job, as its agent reads them from the platform.

A log is a stream of pages. Each page is one call with a time limit of its own, so a log of any length neither waits in
memory nor runs into one limit for all. What an agent answers is checked before it leaves, since encoding it for the
wire comes too late for a sentence that helps, and secrets are removed from every line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from outboard.agent.agents import AnsweringAgent, JobAgent
from outboard.domain.statuses import LogLine, LogPage, MetricSeries
from outboard.errors import AgentFault, Unsupported
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.secrets import Redactor

_PAGE_LINES: Final = 500
_CALL_LIMIT_S: Final = 30.0


class Insights:
    """Reads logs and metrics of jobs."""

    def __init__(self, live_jobs: LiveJobs, calls: Calls, redact: Redactor) -> None:
        self._live_jobs = live_jobs
        self._calls = calls
        self._redact = redact

    async def logs(self, handle: bytes, *, cursor: str | None, limit: int) -> AsyncIterator[LogPage]:
        """Stream what the job's log holds now after `cursor`, at most `limit` lines (0: all).

        Raises:
            HandleError: There is no job to be found behind these bytes.
            Unsupported: The agent has no logs.
            AgentError: The platform could not be asked.
            AgentFault: The agent answered something else than pages of lines.
        """
        live = self._job("logs", handle)
        left = limit if limit > 0 else None
        while True:
            wanted = _PAGE_LINES if left is None else min(left, _PAGE_LINES)
            answer = await self._calls.about_job(
                live, "logs", live.job, timeout_s=_CALL_LIMIT_S, cursor=cursor, limit=wanted
            )
            page = self._checked_page(live, answer)
            yield page
            left = None if left is None else left - len(page.lines)
            is_over = page.ended or not page.lines or page.next_cursor is None or page.next_cursor == cursor
            if is_over or (left is not None and left <= 0):
                return
            cursor = page.next_cursor

    async def metrics(
        self, handle: bytes, *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        """Return metrics of the job between two times; no names means all. Raises what `logs` raises."""
        live = self._job("metrics", handle)
        series = await self._calls.about_job(
            live, "metrics", live.job, timeout_s=_CALL_LIMIT_S, names=names, start=start, end=end
        )
        if not isinstance(series, (list, tuple)) or not all(isinstance(each, MetricSeries) for each in series):
            raise AgentFault(f"agent {live.agent.name} answered {type(series).__name__} instead of metric series")
        return [replace(each, name=self._redact(str(each.name)), unit=self._redact(str(each.unit))) for each in series]

    def _job(self, operation: str, handle: bytes) -> LiveJob:
        live = self._live_jobs.find(handle)
        if not isinstance(live.agent, JobAgent):
            kind = "answers at once" if isinstance(live.agent, AnsweringAgent) else "is a sensor"
            raise Unsupported(f"agent {live.agent.name} {kind} and offers no {operation}")
        return live

    def _checked_page(self, live: LiveJob, page: object) -> LogPage:
        lines = page.lines if isinstance(page, LogPage) else None
        if not isinstance(page, LogPage) or not isinstance(lines, (list, tuple)):
            raise AgentFault(f"agent {live.agent.name} answered {type(page).__name__} instead of a LogPage with lines")
        if not all(isinstance(line, LogLine) and isinstance(line.message, str) for line in lines):
            raise AgentFault(f"agent {live.agent.name} answered a LogPage whose lines are no LogLines of text")
        return LogPage(lines=[self._redacted(line) for line in lines], next_cursor=page.next_cursor, ended=page.ended)

    def _redacted(self, line: LogLine) -> LogLine:
        text = self._redact(line.message)
        return line if text == line.message else LogLine(message=text, at=line.at, originator=line.originator)
