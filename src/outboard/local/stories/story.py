"""A story: what was found out about one task, and what follows from it for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from outboard.domain.handles import Handle
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.records import Stage
from outboard.domain.seals import Seal
from outboard.domain.statuses import Cause, Failure, Link, TaskStatus
from outboard.errors import Forbidden, MissingSecret, OutboardError, Retry, Throttled, Unauthorized
from outboard.host.inquiries import Inquiry
from outboard.local.stories import log_lines
from outboard.local.stories.search import Recorded


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    at: datetime
    what: str


@dataclass(slots=True, kw_only=True)
class Story:
    """What was found out.

    Attributes:
        named: What somebody asked about.
        encoded: The handle's bytes; None where there is none.
        seal: What the handle shows without a key.
        our_keys: Ids of the service keys that this process has.
        recorded: The journal's record of the task.
        is_orphaned: Its run has no engine that is known to live.
        inquiry: What the handle, its record and its platform say.
        unreadable: Why the handle cannot be read here.
        endpoint: The service that was asked; empty where the platform was asked from here.
        status: What that service answers.
        status_error: Why it does not.
        lines: Of a service's log.
    """

    named: str
    encoded: bytes | None = None
    seal: Seal | None = None
    our_keys: Sequence[str] = ()
    recorded: Recorded | None = None
    is_orphaned: bool = False
    inquiry: Inquiry | None = None
    unreadable: OutboardError | None = None
    endpoint: str = ""
    status: TaskStatus | None = None
    status_error: OutboardError | None = None
    lines: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def handle(self) -> Handle | None:
        """What the handle binds."""
        return self.inquiry.handle if self.inquiry is not None else None

    @property
    def identity(self) -> ExecutionIdentity | None:
        """Who the task is; handles do not carry it."""
        return self.recorded.identity if self.recorded is not None else None

    @property
    def failure(self) -> Failure | None:
        """Why the task failed, where anybody says so."""
        answer = self.inquiry.answer if self.inquiry is not None else None
        if answer is not None and answer.failure is not None:
            return answer.failure
        return self.status.error if self.status is not None else None

    @property
    def phase(self) -> Phase | None:
        """Where the task stands, by whoever was asked last."""
        if self.status is not None:
            return self.status.phase
        answer = self.inquiry.answer if self.inquiry is not None else None
        if answer is not None and answer.phase is not None:
            return answer.phase
        ending = self._ending
        if ending is not None:
            return ending
        return self.recorded.record.phase if self.recorded is not None else None

    @property
    def links(self) -> list[Link]:
        """All pages about the job, each once."""
        found: list[Link] = []
        if self.inquiry is not None:
            found += self.inquiry.links
            found += self.inquiry.answer.links if self.inquiry.answer is not None else ()
        found += self.status.links if self.status is not None else ()
        if self.recorded is not None:
            found += [Link(name=each.get("name", ""), url=each.get("url", "")) for each in self.recorded.record.links]
        return list({link.url: link for link in found}.values())

    @property
    def labels(self) -> dict[str, str]:
        """What finds the job in the platform's own lists: its provenance, before it is spelled as the platform allows."""
        handle, identity = self.handle, self.identity
        if handle is None:
            return {}
        found = {
            "outboard-key": handle.key.text,
            "flyte-project": handle.scope.project,
            "flyte-domain": handle.scope.domain,
        }
        if identity is not None:
            more = {"flyte-execution": identity.execution, "flyte-node": identity.node}
            found |= {**more, "flyte-attempt": str(identity.attempt), "flyte-task": identity.task.name}
        return {name: value for name, value in found.items() if value}

    @property
    def timeline(self) -> list[Event]:
        """What is known to have happened, the oldest first."""
        # Handles and records count whole seconds: within one the order is that of a task's life.
        return sorted(self._events(), key=lambda event: event.at.replace(microsecond=0))

    @property
    def next_steps(self) -> list[str]:
        """What is worth doing now; empty where there is nothing to do."""
        return list(dict.fromkeys([*self._handle_steps(), *self._answer_steps(), *self._journal_steps()]))

    @property
    def _has_ended(self) -> bool:
        return self.recorded is not None and self.recorded.record.ended_at is not None

    @property
    def _ending(self) -> Phase | None:
        if self.inquiry is None:
            return None
        record, job = self.inquiry.record, self.inquiry.job
        if job.ending is not None:
            return job.ending.phase
        return record.ending.phase if record is not None and record.ending is not None else None

    def _events(self) -> Iterator[Event]:
        record = self.recorded.record if self.recorded is not None else None
        if record is not None:
            yield Event(record.created_at, "the task was planned")
            if record.started_at is not None:
                yield Event(record.started_at, "its first attempt was sent")
            if record.attempt_started_at is not None and record.attempt:
                yield Event(record.attempt_started_at, f"attempt {record.attempt + 1} was sent to {record.endpoint}")
        if self.inquiry is not None:
            yield from _submission(self.inquiry)
        for line in self.lines:
            moment = log_lines.moment(line)
            if moment is not None:
                yield Event(moment, f"log: {log_lines.words(line)}")
        if record is not None and record.cancel_requested_at is not None:
            yield Event(record.cancel_requested_at, "somebody asked to cancel it")
        if record is not None and record.ended_at is not None:
            yield Event(
                record.ended_at, f"it ended as {record.phase.value if record.phase else 'nothing that is known'}"
            )

    def _handle_steps(self) -> Iterator[str]:
        if self.unreadable is not None:
            sealed_with = self.seal.key_id.hex() if self.seal is not None and self.seal.is_sealed else ""
            if sealed_with and sealed_with not in self.our_keys:
                yield f"give this command the service's keys (OUTBOARD_SERVICE_KEYS; the handle needs key {sealed_with})"
                yield "or let the service answer a poll: --endpoint HOST:PORT --poll"
            else:
                yield "give the settings of the service that made the handle (--settings), and its task type (--type)"
        if self.inquiry is None:
            return
        record, error = self.inquiry.record, self.inquiry.error
        if error is not None:
            yield f"ask where the agent is served (--endpoint), or load it here: {error.message}"
        if self.inquiry.record_error is not None:
            yield "see whether the record store can be reached: `outboard doctor --only records`"
        if self.inquiry.handle.is_intent and record is None and self.inquiry.record_error is None:
            yield "the intent has no record: the process that took it submits it alone, or was gone before it claimed it"
        if record is not None and record.stage is Stage.CLAIMED:
            yield "the submission is under way, or waits for a replica to take it over (90 s after the claimant fell silent)"
        if record is not None and record.is_cancelled:
            yield "the task was cancelled: nobody submits it any more, and a job that exists is stopped"

    def _answer_steps(self) -> Iterator[str]:
        answer = self.inquiry.answer if self.inquiry is not None else None
        error = answer.error if answer is not None else self.status_error
        if isinstance(error, (Unauthorized, Forbidden, MissingSecret)):
            yield "see the credentials: `outboard doctor --only secrets --only platforms`"
        elif isinstance(error, Throttled):
            yield "the account is throttled: wait, or see `outboard_budget_waiting` and host.quotas"
        elif error is not None:
            yield "see whether it can be reached: `outboard doctor`; the engine's polls are answered from memory meanwhile"
        if answer is not None and answer.is_missing:
            yield "look for the job by its label outboard-key in the platform's own lists; it may have been deleted there"
        if answer is not None and answer.is_flagged:
            yield "tell the agent's author: the platform has a state that the table lacks"
        failure = self.failure
        if failure is not None:
            yield from _after(failure)
        elif self.phase is Phase.WAITING_FOR_RESOURCES:
            yield "the platform has been silent for minutes: its status page, then `outboard doctor --only platforms`"
        elif self.phase is Phase.SUCCEEDED and answer is not None and not self._has_ended:
            yield "the engine's next poll brings the outputs, which are checked against the task's interface"

    def _journal_steps(self) -> Iterator[str]:
        if self.recorded is not None and self.is_orphaned and not self._has_ended:
            yield f"nobody drives the run: `outboard resume {self.recorded.record.run_id}`"


def _submission(inquiry: Inquiry) -> Iterator[Event]:
    handle, record = inquiry.handle, inquiry.record
    if record is not None and record.created_at:
        yield Event(datetime.fromtimestamp(record.created_at, timezone.utc), "the submission was claimed")
    if handle.created_at:
        what = "the intent was made: the submission went on behind it" if handle.is_intent else "the job was started"
        yield Event(datetime.fromtimestamp(handle.created_at, timezone.utc), what)


def _after(failure: Failure) -> Iterator[str]:
    if failure.retry is Retry.YES:
        yield "another attempt is worth it: the engine makes one while the task's retries last"
        return
    match failure.cause:
        case Cause.USER:
            yield f"correct the task: the same will fail again ({failure.code})"
        case Cause.CANCELLED_OUTSIDE:
            yield "somebody cancelled the job at the platform, past the engine: start the task again if that was a mistake"
        case _:
            yield f"the platform's doing, and final ({failure.code}): start the task again once its cause is mended"
