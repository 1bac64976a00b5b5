"""What a user decides about an engine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from outboard.engine.courses import Rules


class EngineSettings(BaseModel):
    """Settings of an engine.

    Attributes:
        project, domain: For tasks whose identity names none.
        output_base: Below it go inputs and outputs: a path, or a URI (`s3://`, `gs://`, `az://`, `memory://`).
        max_live: Tasks of one run that are under way at once; the others wait.
        first_poll, longest_poll, poll_growth: The pause before the next GetTask starts short and grows with every
            answer that changes nothing.
        resend_limit: How long a CreateTask that a service could not take is sent again, under the same identity, before
            the task is given up as not started; the user's retries are not spent on it.
        retry_pause: Before the next attempt; it doubles with each.
        cancel_wait: How long the end of a cancelled job is awaited.
        listing_interval: How old a listing may grow before the endpoints are asked again what they serve.
        cancel_check: How often the journal is asked for cancels that other processes requested.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    project: str = "local"
    domain: str = "development"
    output_base: str = Field(default_factory=lambda: str(Path.home() / ".outboard" / "runs"))
    max_live: int = Field(default=1_000, ge=1)
    first_poll: timedelta = timedelta(milliseconds=50)
    longest_poll: timedelta = timedelta(seconds=10)
    poll_growth: float = Field(default=1.5, ge=1.0)
    resend_limit: timedelta = timedelta(minutes=2)
    retry_pause: timedelta = timedelta(seconds=1)
    cancel_wait: timedelta = timedelta(seconds=30)
    listing_interval: timedelta = timedelta(seconds=30)
    cancel_check: timedelta = timedelta(seconds=1)

    def rules(self, timeout_s: float | None) -> Rules:
        """Return what decisions about a task with this time limit go by."""
        return Rules(
            timeout_s=timeout_s,
            first_poll_s=self.first_poll.total_seconds(),
            longest_poll_s=self.longest_poll.total_seconds(),
            poll_growth=self.poll_growth,
            resend_limit_s=self.resend_limit.total_seconds(),
            retry_pause_s=self.retry_pause.total_seconds(),
            cancel_wait_s=self.cancel_wait.total_seconds(),
        )
