"""Endings: a job that succeeded is reported once its outputs are there.

They are fetched and checked beside the polls, which may be shorter. Six hours of refusals end the task as
RETRYABLE_FAILED "outputs gone": a job that did its work is not thrown away over a gateway that answers 400 for an
afternoon. An end that is our own verdict is written down, so that no later attempt adopts the job.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from outboard.domain.statuses import Cause, Failure, TaskStatus
from outboard.errors import (
    AgentError,
    Forbidden,
    OutboardError,
    Retry,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host.accounts import Accounts
from outboard.host.flights import Flights
from outboard.host.jobs import LiveJob, Success
from outboard.host.outputs import Outputs, failed_status
from outboard.host.settings import HostSettings
from outboard.host.statuses.verdicts import Verdicts, unexpected
from outboard.host.submissions.submissions import Submissions
from outboard.host.words import Words

_OUTPUTS_GONE_AFTER_S: Final = 6 * 3600.0
_REFUSALS: Final = 3
_NO_REFUSALS: Final = (Throttled, Unavailable, Unauthorized, Forbidden)


class Endings:
    """Ends tasks whose job is over."""

    def __init__(
        self, settings: HostSettings, outputs: Outputs, submissions: Submissions, accounts: Accounts, words: Words
    ) -> None:
        self._outputs = outputs
        self._submissions = submissions
        self._words = words
        self.verdicts = Verdicts(settings, accounts, words, self._tell_others)
        self._flights: Flights[TaskStatus] = Flights(0.0, 0)
        self._limit_s = settings.submission_limit.total_seconds()
        self._tellings: set[asyncio.Task[None]] = set()

    def begin(self, live: LiveJob, success: Success) -> asyncio.Task[None]:
        """Fetch the outputs of a job that succeeded, unless that is under way; done when there is something to report."""
        if success.ending is None or success.ending.done():
            success.ending = asyncio.ensure_future(self._end(live, success))
        return success.ending

    async def close(self) -> None:
        """Give up fetching outputs; whoever asks the next replica gets them."""
        await self._flights.close()
        await asyncio.gather(*self._tellings, return_exceptions=True)

    async def _end(self, live: LiveJob, success: Success) -> None:
        try:
            ended = await self._flights.join(live.handle.key.text, b"", partial(self._complete, live, success))
        except OutboardError as error:
            ended = self._refused(live, success, error) or self.verdicts.unanswered(live, error)
        except (asyncio.TimeoutError, TimeoutError):
            slow = Unavailable(f"the outputs did not come within {self._limit_s:g} s")
            ended = self.verdicts.unanswered(live, slow)
        except Exception as error:  # noqa: BLE001 - an engine counts failed polls over a job's life: there are none
            ended = self.verdicts.unanswered(live, unexpected(error))
        else:
            live.silent_since = live.refused_since = None
            ended = self.verdicts.count(live, ended)
        live.tell(ended)
        live.fresh_until = live.rest_until

    async def _complete(self, live: LiveJob, success: Success) -> TaskStatus:
        return await asyncio.wait_for(self._outputs.complete(live, success, self._limit_s), self._limit_s)

    def _refused(self, live: LiveJob, success: Success, error: OutboardError) -> TaskStatus | None:
        """Return the end of a task whose outputs the platform has refused for good; None as long as there is hope."""
        if not isinstance(error, AgentError) or isinstance(error, _NO_REFUSALS):
            return None
        now = time.monotonic()
        success.refusals += 1
        if success.refused_since is None:
            success.refused_since = now
        if success.refusals < _REFUSALS or now - success.refused_since < _OUTPUTS_GONE_AFTER_S:
            return None
        words = f"the job succeeded, and its outputs are refused: {self._words.text(error.message, 500)}"
        failure = Failure(code="OutputsGone", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
        ended = failed_status(self._words.failure(failure), success.derived)
        self._tell_others(live, ended)
        return ended

    def _tell_others(self, live: LiveJob, ended: TaskStatus) -> None:
        """Write down an end that is our verdict: should the job turn up again, no later attempt may adopt it."""

        async def tell() -> None:
            try:
                await self._submissions.end(live, ended)
            except OutboardError as error:
                words = "end not written down"
                live.log.warning(words, error_id=error.error_id, reason=error.message)

        task = asyncio.ensure_future(tell())
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)
