"""Late answers: sync agents behind CreateTask and GetTask.

An engine sends a sync task so when it does not know better: FlytePropeller after a listing of agents that failed, Flyte
2 always. The answer is then a submission without a job: it is claimed like one, its outputs are written to `outputs.pb`
where the engine looks for them, and its end goes into the record and into the handle. Without an output prefix only
this process can tell the answer, for as long as it keeps answers.
"""

from __future__ import annotations

from outboard.domain.records import Record, Stage
from outboard.domain.statuses import Ending, TaskStatus
from outboard.errors import StoreUnavailable, TaskError
from outboard.host.answers import Answers
from outboard.host.outputs import Outputs
from outboard.host.requests import Request
from outboard.host.submissions.records import Records
from outboard.host.submissions.submission import Handed


class LateAnswers:
    """Asks sync agents in the background."""

    def __init__(self, answers: Answers, outputs: Outputs, records: Records, claim: str) -> None:
        self._answers = answers
        self._outputs = outputs
        self._records = records
        self._claim = claim

    def recall(self, key: str) -> TaskStatus | None:
        """Return an answer that this process gave lately."""
        return self._answers.recall(key)

    async def answer(self, request: Request, created_at: int) -> Ending | None:
        """Return how a sync task ended; None when only this process can tell (see `recall`).

        Raises:
            Handed: Another process is at it.
        """
        place = self._records.place(request.task.output_prefix, request.key)
        if place is None:
            await self._ask(request)
            return None
        record = Record(
            key=request.key, stage=Stage.CLAIMED, claim=self._claim, created_at=created_at, may_have_arrived=True
        )
        try:
            if await self._records.create(place, record) is None:
                return await self._settled(place, request)
        except StoreUnavailable as error:
            request.log.warning("answer not claimed", error_id=error.error_id, reason=error.message)
        status = await self._ask(request)
        status = await self._outputs.put_down(status, request.task.output_prefix)
        ending = Ending.of(status)
        await self._records.change(
            place, request.key, lambda now: None if now is None or now.stage is Stage.ENDED else now.ended(ending)
        )
        return ending

    async def _settled(self, place: str, request: Request) -> Ending:
        held = await self._records.read(place, request.key)
        if held is None or held.record.ending is None:
            raise Handed
        return held.record.ending

    async def _ask(self, request: Request) -> TaskStatus:
        try:
            return await self._answers.answer(request, None)
        except TaskError as error:
            return self._answers.refusal(request, error)
