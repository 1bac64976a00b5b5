"""A story as people read it, section by section, and as one JSON document with the same facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from outboard.cli.json_values import handle_text
from outboard.domain.handles import Handle
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.statuses import Failure, TaskStatus
from outboard.errors import OutboardError, Retry
from outboard.host.inquiries import Answer, Inquiry
from outboard.local.notes import one_line
from outboard.local.stories import log_lines
from outboard.local.stories.story import Story

_WIDTH = 11


def lines_of(story: Story) -> Iterator[str]:
    """Give the story line by line."""
    for title, text in _facts(story):
        yield f"{title.ljust(_WIDTH)} {one_line(text)}"
    events = story.timeline
    if events:
        yield "timeline"
        for event in events:
            yield f"  {event.at:%Y-%m-%d %H:%M:%S} UTC  {one_line(event.what)}"
    undated = [line for line in story.lines if log_lines.moment(line) is None]
    for line in undated:
        yield f"  log: {one_line(log_lines.words(line))}"
    steps = story.next_steps
    if steps:
        yield "next"
        for step in steps:
            yield f"  - {one_line(step)}"


def _facts(story: Story) -> Iterator[tuple[str, str]]:
    if story.seal is not None:
        how = f"sealed with key {story.seal.key_id.hex()}" if story.seal.is_sealed else "not sealed"
        yield "handle", f"format {story.seal.version}, {how}"
    elif story.encoded is not None:
        yield "handle", "not one of Outboard's own form"
    if story.unreadable is not None:
        yield "unreadable", f"{story.unreadable.message} (keys here: {', '.join(story.our_keys) or 'none'})"
    if story.recorded is not None:
        record = story.recorded.record
        yield (
            "journal",
            f"run {record.run_id}, task {record.task_id}, {record.step.value}, at {record.endpoint or 'nowhere yet'}",
        )
        if record.error:
            yield "engine", f"{record.error.get('code', '')}: {record.error.get('message', '')}"
    if story.identity is not None:
        yield "identity", identity_text(story.identity)
    if story.inquiry is not None:
        yield from _inquired(story.inquiry, story)
    if story.endpoint:
        yield from _served(story)
    for link in story.links:
        yield "link", f"{link.name}: {link.url}"


def _inquired(inquiry: Inquiry, story: Story) -> Iterator[tuple[str, str]]:
    handle, job = inquiry.handle, inquiry.job
    yield "task", f"{handle.task_type} (version {handle.task_type_version}), agent {handle.agent}"
    yield "on behalf", f"project {handle.scope.project or '(none)'}, domain {handle.scope.domain or '(none)'}"
    yield "key", handle.key.text
    if handle.created_at:
        yield "made", _ago(datetime.fromtimestamp(handle.created_at, timezone.utc))
    yield "account", handle.account or "(none)"
    yield "connection", json.dumps(dict(handle.connection), sort_keys=True)
    if job.job:
        yield "job", json.dumps(dict(job.job), sort_keys=True)
    elif job.is_intent:
        yield "job", "none yet: the handle is an intent, whose submission was not finished when it was made"
    yield "labels", ", ".join(f"{name}={value}" for name, value in story.labels.items())
    yield "outputs", handle.output_prefix or "(no prefix)"
    yield "record", _record_text(inquiry)
    if job.ending is not None:
        yield "ended", f"{job.ending.phase.value} {job.ending.code}: {job.ending.message}"
    if inquiry.answer is not None:
        yield from _answered(inquiry.answer)
    if inquiry.error is not None:
        yield "platform", f"cannot be asked from here: {inquiry.error.message}"


def _record_text(inquiry: Inquiry) -> str:
    record = inquiry.record
    if inquiry.record_error is not None:
        return f"{inquiry.record_place}: {inquiry.record_error.message}"
    if record is None:
        return f"none at {inquiry.record_place}" if inquiry.record_place else "none: the task has no place for one"
    parts = [record.stage.value]
    if record.claim:
        parts.append(f"by process {record.claim}, turn {record.turn}")
    if record.release:
        parts.append(f"release {record.release}")
    if record.created_at:
        parts.append(_ago(datetime.fromtimestamp(record.created_at, timezone.utc)))
    parts += ["a create may have been sent"] * record.may_have_arrived + ["cancelled"] * record.is_cancelled
    if record.refusals:
        parts.append(f"{record.refusals} cancels were answered with an error")
    if record.ending is not None:
        parts.append(f"ended as {record.ending.phase.value} {record.ending.code}: {record.ending.message}")
    return f"{inquiry.record_place}: {', '.join(parts)}"


def _answered(answer: Answer) -> Iterator[tuple[str, str]]:
    if answer.error is not None:
        yield "platform", f"no answer: {type(answer.error).__name__}: {answer.error.message} ({answer.seconds:.2f} s)"
        return
    if answer.is_missing:
        yield "platform", f"it knows no such job ({answer.seconds:.2f} s)"
        yield "rule", answer.rule
        return
    said = f"{answer.state}: {answer.message}" if answer.message else answer.state or answer.message
    yield "platform", f"{said} ({answer.seconds:.2f} s)"
    phase = answer.phase.value if answer.phase is not None else "nothing"
    yield "phase", phase
    yield "rule", f"{answer.rule} -> {phase}{f'; states by {answer.source}' if answer.source else ''}"
    if answer.failure is not None:
        yield "verdict", f"{_verdict(answer.failure)}, by {answer.judge.value}"


def _served(story: Story) -> Iterator[tuple[str, str]]:
    if story.status_error is not None:
        yield "service", f"{story.endpoint}: {type(story.status_error).__name__}: {story.status_error.message}"
    elif story.status is None:
        yield "service", f"{story.endpoint} was not asked"
    else:
        yield "service", f"{story.endpoint} answers {story.status.phase.value}: {story.status.message}".rstrip(": ")
        if story.status.error is not None:
            yield "verdict", _verdict(story.status.error)


def _verdict(failure: Failure) -> str:
    worth = "another attempt is worth it" if failure.retry is Retry.YES else "final: another attempt will fail too"
    words = f" ({failure.message})" if failure.message else ""
    return f"{failure.code}{words}: {worth}; cause: {failure.cause.value}"


def identity_text(identity: ExecutionIdentity) -> str:
    """Return an identity as `explain` takes it.

    >>> identity_text(ExecutionIdentity(project="p", domain="d", execution="f3a", node="n0", attempt=1))
    'p:d:f3a:n0:1'
    """
    return ":".join((identity.project, identity.domain, identity.execution, identity.node, str(identity.attempt)))


def _ago(at: datetime) -> str:
    seconds = int((datetime.now(timezone.utc) - at).total_seconds())
    since = f"{seconds // 3600} h {seconds % 3600 // 60} min ago" if seconds >= 3600 else f"{seconds // 60} min ago"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({'in the future' if seconds < 0 else since})"


def document(story: Story) -> dict[str, Any]:
    """Return the story as JSON values."""
    return {
        "version": 1,
        "named": story.named,
        "phase": story.phase,
        "handle": _handle_document(story),
        "journal": _journal_document(story),
        "identity": None if story.identity is None else identity_text(story.identity),
        "record": _record_document(story.inquiry),
        "platform": _answer_document(story.inquiry),
        "service": _service_document(story),
        "labels": story.labels,
        "links": [{"name": link.name, "url": link.url} for link in story.links],
        "timeline": [{"at": event.at, "what": event.what} for event in story.timeline],
        "next": story.next_steps,
    }


def _handle_document(story: Story) -> Mapping[str, Any] | None:
    if story.encoded is None:
        return None
    seal, handle = story.seal, story.handle
    return {
        "bytes": handle_text(story.encoded),
        "format": None if seal is None else seal.version,
        "is_sealed": seal is not None and seal.is_sealed,
        "key_id": seal.key_id.hex() if seal is not None and seal.is_sealed else None,
        "unreadable": _words(story.unreadable),
        "binds": None if handle is None else _bound(handle, story.inquiry),
    }


def _bound(handle: Handle, inquiry: Inquiry | None) -> Mapping[str, Any]:
    job = inquiry.job if inquiry is not None else handle
    return {
        "agent": handle.agent,
        "task_type": handle.task_type,
        "task_type_version": handle.task_type_version,
        "key": handle.key.text,
        "project": handle.scope.project,
        "domain": handle.scope.domain,
        "account": handle.account,
        "connection": dict(handle.connection),
        "job": dict(job.job),
        "output_prefix": handle.output_prefix,
        "created_at": datetime.fromtimestamp(handle.created_at, timezone.utc) if handle.created_at else None,
        "is_intent": handle.is_intent,
        "ending": job.ending,
    }


def _journal_document(story: Story) -> Mapping[str, Any] | None:
    if story.recorded is None:
        return None
    record = story.recorded.record
    return {
        "run": record.run_id,
        "task": record.task_id,
        "step": record.step,
        "attempt": record.attempt,
        "endpoint": record.endpoint,
        "phase": record.phase,
        "message": record.message,
        "error": record.error,
        "is_orphaned": story.is_orphaned,
    }


def _record_document(inquiry: Inquiry | None) -> Mapping[str, Any] | None:
    if inquiry is None:
        return None
    record = inquiry.record
    place = {"place": inquiry.record_place, "error": _words(inquiry.record_error)}
    if record is None:
        return {**place, "stage": None}
    return {
        **place,
        "stage": record.stage,
        "claim": record.claim,
        "turn": record.turn,
        "created_at": datetime.fromtimestamp(record.created_at, timezone.utc) if record.created_at else None,
        "release": record.release,
        "may_have_arrived": record.may_have_arrived,
        "is_cancelled": record.is_cancelled,
        "refusals": record.refusals,
        "ending": record.ending,
    }


def _answer_document(inquiry: Inquiry | None) -> Mapping[str, Any] | None:
    if inquiry is None or (inquiry.answer is None and inquiry.error is None):
        return None
    answer = inquiry.answer
    if answer is None:
        return {"error": _words(inquiry.error)}
    return {
        "state": answer.state,
        "message": answer.message,
        "phase": answer.phase,
        "rule": answer.rule,
        "source": answer.source,
        "failure": _failure(answer.failure),
        "judge": answer.judge.value or None,
        "is_missing": answer.is_missing,
        "is_flagged": answer.is_flagged,
        "error": _words(answer.error),
        "seconds": answer.seconds,
    }


def _service_document(story: Story) -> Mapping[str, Any] | None:
    if not story.endpoint:
        return None
    status: TaskStatus | None = story.status
    return {
        "endpoint": story.endpoint,
        "phase": None if status is None else status.phase,
        "message": "" if status is None else status.message,
        "failure": None if status is None else _failure(status.error),
        "error": _words(story.status_error),
    }


def _failure(failure: Failure | None) -> Mapping[str, Any] | None:
    if failure is None:
        return None
    return {
        "code": failure.code,
        "message": failure.message,
        "is_retryable": failure.retry is Retry.YES,
        "cause": failure.cause.value,
    }


def _words(error: OutboardError | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error.message}"
