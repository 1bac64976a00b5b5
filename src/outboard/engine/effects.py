"""Effects: what `decisions` asks for, done, and put as the event that came of it.

Order is what makes a kill harmless. Files of an attempt are written first; then `creating` is on the disk; only then CreateTask
is sent; then the handle is on the disk. Whatever the moment of a kill, a resumed run sends the same request again or polls the
handle. A journal that cannot be written before CreateTask keeps the task from being sent. Afterwards it costs nothing but that
a resumed run asks once more, so the task goes on and the complaint is kept.

An exception outside the error tree is a defect of an endpoint. It is logged with an id and taken as "asked in vain", because
nothing may be concluded about the job.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TypeVar

from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure, Link, TaskStatus
from outboard.engine.courses import (
    Answered,
    Collected,
    Course,
    Created,
    Deleted,
    Event,
    NotDeleted,
    Owing,
    Refused,
    Tick,
    Unanswered,
    Uncollected,
    Unreadable,
)
from outboard.engine.directory import Directory
from outboard.engine.journal import OwnedRun
from outboard.engine.outcomes import TaskEvent
from outboard.engine.results import collect_outputs
from outboard.engine.routing import Route
from outboard.engine.specs import PreparedAttempt, TaskSpec
from outboard.engine.verdicts import may_have_arrived
from outboard.errors import (
    InvalidOutputs,
    InvalidSettings,
    JournalUnwritable,
    OutboardError,
    StoreUnavailable,
    Unavailable,
)
from outboard.host.logs import TaskLog, task_fields
from outboard.host.stores import Store
from outboard.wire.files import encode_outputs_file

T = TypeVar("T")


class Dispatch:
    """Where a task was sent: what effects remember between calls.

    Attributes:
        route: Endpoint and method of the attempt; kept, so that a request is sent again to where it was sent first.
        endpoint: The endpoint's name, also for a task that was resumed and whose method is not looked up yet.
        recorded: The attempt that the journal knows as being created.
        are_files_written: Inputs are the same for all attempts.
        complaint: Why the journal could not be written, if it could not.
    """

    __slots__ = ("are_files_written", "complaint", "endpoint", "is_answering", "recorded", "route")

    def __init__(self, endpoint: str = "", recorded: int | None = None) -> None:
        self.route: Route | None = None
        self.endpoint = endpoint
        self.recorded = recorded
        self.are_files_written = False
        self.is_answering = False
        self.complaint = ""


class Effects:
    """Performs effects for the tasks of one run.

    Args:
        directory: Endpoints and routes.
        stores: Where inputs are written and outputs read.
        owned: The run in the journal; None without one.
    """

    def __init__(self, directory: Directory, stores: Store, owned: OwnedRun | None) -> None:
        self._directory = directory
        self._stores = stores
        self._owned = owned

    async def send(
        self, spec: TaskSpec, course: Course, dispatch: Dispatch, is_unwanted: Callable[[], bool] = lambda: False
    ) -> Event:
        """Send CreateTask, or ExecuteTaskSync to a sync agent.

        What is unwanted by the time everything before the call is done is not sent, unless it may have been sent before: then
        its handle is needed to cancel it.
        """
        began_at = time.monotonic()
        try:
            route = await self._route(spec, dispatch)
            if route.is_sync and course.stop is not None:
                raise InvalidSettings("a sync task has no job to cancel")  # the course ends; nobody reads this
            prepared = spec.prepare(course.attempt)
            await self._write_files(prepared, dispatch)
            if is_unwanted() and not course.may_exist:
                return Tick()
            if self._owned is not None and dispatch.recorded != course.attempt:
                await self._owned.creating(spec.task_id, course.attempt, endpoint=route.endpoint)
            dispatch.recorded = course.attempt
        except OutboardError as error:
            return Refused(error, began_at, arrived=False)
        if is_unwanted() and not course.may_exist:
            return Tick()
        try:
            if route.is_sync:
                dispatch.is_answering = True
                return Answered(await self._execute(route, prepared))
            handle = await self._create(route, prepared)
        except OutboardError as error:
            return Refused(error, began_at, arrived=not route.is_sync and may_have_arrived(error))
        finally:
            dispatch.is_answering = False
        if self._owned is not None:
            await self._noted(self._owned.created(spec.task_id, course.attempt, handle), dispatch)
        return Created(handle, began_at)

    async def poll(self, spec: TaskSpec, course: Course, dispatch: Dispatch) -> Event:
        """Send GetTask."""
        name = dispatch.endpoint
        try:
            endpoint = self._directory.endpoint(name)
            call = endpoint.get_task(
                course.handle or b"",
                task_type=spec.task.task_type,
                output_prefix=spec.output_prefix(course.attempt),
                timeout_s=self._directory.limit_s(name, "GetTask"),
            )
            return Answered(await _guarded(call, spec))
        except OutboardError as error:
            return Unanswered(error)

    async def delete(self, spec: TaskSpec, course: Course, dispatch: Dispatch) -> Event:
        """Send DeleteTask."""
        name = dispatch.endpoint
        try:
            endpoint = self._directory.endpoint(name)
            call = endpoint.delete_task(
                course.handle or b"",
                task_type=spec.task.task_type,
                timeout_s=self._directory.limit_s(name, "DeleteTask"),
            )
            await _guarded(call, spec)
        except OutboardError as error:
            return NotDeleted(error)
        return Deleted()

    async def collect(self, spec: TaskSpec, course: Course) -> Event:
        """Fetch and check the outputs."""
        collection = collect_outputs(
            course.status or TaskStatus(phase=Phase.SUCCEEDED),
            types=spec.task.interface.outputs,
            prefix=spec.output_prefix(course.attempt),
            stores=self._stores,
        )
        try:
            found = await _guarded(collection, spec)
        except OutboardError as error:
            return Unreadable(error)
        return Uncollected(found) if isinstance(found, Failure) else Collected(found)

    async def owe(self, spec: TaskSpec, course: Course, dispatch: Dispatch) -> Event:
        """Record the cancel that a task owes; a journal that cannot take it leaves it to this process alone."""
        if self._owned is not None and course.owed is not None:
            await self._noted(self._owned.owe(spec.task_id, course.owed, endpoint=dispatch.endpoint), dispatch)
        return Owing()

    async def settle(self, spec: TaskSpec, attempt: int, dispatch: Dispatch) -> None:
        """Record that a cancel is owed no longer."""
        if self._owned is not None:
            await self._noted(self._owned.settle(spec.task_id, attempt), dispatch)

    async def end(self, spec: TaskSpec, course: Course, dispatch: Dispatch, message: str) -> None:
        """Record how a task ended; a journal that cannot take it only makes a resumed run ask once more."""
        if self._owned is None:
            return
        types = spec.task.interface.outputs
        try:
            outputs = None if course.outputs is None else encode_outputs_file(course.outputs, types)
        except InvalidOutputs as error:  # only values of no declared type, which no interface checked
            dispatch.complaint = error.message
            return
        ended = self._owned.ended(
            spec.task_id,
            dispatch.recorded,
            course.phase or Phase.FAILED,
            message=message,
            links=_as_json(course.status.links) if course.status else None,
            outputs=outputs,
            error=None if course.failure is None else asdict(course.failure),
        )
        await self._noted(ended, dispatch)

    def note(self, spec: TaskSpec, course: Course, dispatch: Dispatch, event: TaskEvent) -> None:
        """Note where a task stands, for whoever reads the journal meanwhile."""
        if self._owned is not None and event.phase is not None and dispatch.recorded == course.attempt:
            links = _as_json(event.links)
            self._owned.phase(spec.task_id, course.attempt, event.phase, message=event.message, links=links)

    def note_cancels(self, task_ids: Iterable[str]) -> None:
        """Note that tasks are to be cancelled, all at once and before anything is done about any of them."""
        if self._owned is not None:
            self._owned.note_cancels(task_ids)

    async def request_cancel(self, spec: TaskSpec, dispatch: Dispatch) -> None:
        """Record that the task is to be cancelled, before anything is done about it."""
        if self._owned is not None:
            await self._noted(self._owned.request_cancel(spec.task_id), dispatch)

    async def _route(self, spec: TaskSpec, dispatch: Dispatch) -> Route:
        if dispatch.route is None:
            task_type = spec.task.task_type
            if dispatch.endpoint:
                dispatch.route = await self._directory.route_to(dispatch.endpoint, task_type)
            else:
                dispatch.route = await self._directory.route(task_type)
            dispatch.endpoint = dispatch.route.endpoint
        return dispatch.route

    async def _write_files(self, prepared: PreparedAttempt, dispatch: Dispatch) -> None:
        if dispatch.are_files_written:
            return
        for uri, data in prepared.files:
            try:
                await self._stores.write(uri, data)
            except StoreUnavailable as error:
                if "://" in uri:
                    raise
                # A local disk that refuses will refuse again.
                raise InvalidSettings(error.message, field="output_base") from error
        dispatch.are_files_written = True

    async def _create(self, route: Route, prepared: PreparedAttempt) -> bytes:
        endpoint = self._directory.endpoint(route.endpoint)
        limit_s = self._directory.limit_s(route.endpoint, "CreateTask")
        return await _guarded(endpoint.create_task(prepared.task, timeout_s=limit_s), prepared)

    async def _execute(self, route: Route, prepared: PreparedAttempt) -> TaskStatus:
        endpoint = self._directory.endpoint(route.endpoint)
        limit_s = self._directory.limit_s(route.endpoint, "ExecuteTaskSync")
        if prepared.task.timeout is not None:
            limit_s = min(limit_s or math.inf, prepared.task.timeout.total_seconds())
        return await _guarded(endpoint.execute_task(prepared.task, timeout_s=limit_s), prepared)

    async def _noted(self, write: Awaitable[object], dispatch: Dispatch) -> None:
        try:
            await write
        except JournalUnwritable as error:
            dispatch.complaint = error.message


def _as_json(links: Sequence[Link]) -> list[dict[str, str]] | None:
    return [{"name": link.name, "url": link.url} for link in links] if links else None


async def _guarded(call: Awaitable[T], about: TaskSpec | PreparedAttempt) -> T:
    try:
        return await call
    except OutboardError:
        raise
    except Exception as error:
        ours = Unavailable(f"{type(error).__name__} in an endpoint, which raises errors of outboard only: report it")
        TaskLog(**task_fields(about.task)).error("endpoint failed", error_id=ours.error_id, exc_info=True)
        raise ours from error
