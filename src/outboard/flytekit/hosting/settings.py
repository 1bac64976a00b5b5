"""What an operator decides about hosted connectors; importing this imports nothing of flytekit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from outboard.agent.submission import OnUnknown

Side = Literal["outboard", "flytekit", "flyte"]
"""Who may serve a task type: an agent of ours, a connector of flytekit, one of Flyte 2's SDK."""
ORDER: Final[tuple[Side, ...]] = ("outboard", "flytekit", "flyte")
"""Who serves a task type that the settings do not mention: the first of these that can."""


class HostingSettings(BaseModel):
    """The section `flytekit` of the settings file.

    Attributes:
        enabled: False leaves all of it out, as if there were no such section.
        modules: Further modules that register connectors when they are imported, as for `pyflyte serve connector --modules`.
        prefer: By task type: who serves it where several can. Who does not still follows and cancels what it started.
        accept_pickled_handles: Read handles that are Python pickles (flytekit's Airflow, OpenAI batch and SageMaker endpoint
            connectors write such). Loading one runs whatever it says, and whoever reaches the port may send one: allow it
            only where callers are authenticated or trusted. Without, tasks of such connectors are refused.
        on_unknown: What becomes of a task when nobody can tell whether its job was started: `fail`, or `retry` as with
            flytekit's own service, which may run a job twice.
        pool_size: Threads of each connector.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    modules: tuple[str, ...] = ()
    prefer: Mapping[str, Side] = Field(default_factory=dict)
    accept_pickled_handles: bool = False
    on_unknown: OnUnknown = OnUnknown.FAIL
    pool_size: int = Field(default=16, ge=1)
