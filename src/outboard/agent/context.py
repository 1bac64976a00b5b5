"""What an agent's methods are given beside the task or the job.

The host builds a context per call. Everything an agent may need comes from it, so that agents have no globals, read
no environment variables, and do the same in the service and in process. Deadlines are on the monotonic clock;
`timeout_s` is what is left of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import SecretStr

from outboard.agent.spending import Budget, Spending
from outboard.domain.identity import ExecutionIdentity, Scope
from outboard.domain.keys import Key
from outboard.domain.labels import Labels
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_refs import SecretRef
from outboard.domain.statuses import TaskStatus

ClientT_co = TypeVar("ClientT_co", covariant=True)


class Secrets(Protocol):
    """Secrets that were declared by the agent or its connection, resolved for the task's scope."""

    def __getitem__(self, ref: SecretRef) -> SecretStr:
        """Return the secret's value; `MissingSecret` when it is nowhere."""
        ...


class Log(Protocol):
    """A logger that already carries the task's identity; keyword arguments become fields."""

    def debug(self, event: str, **fields: Any) -> Any: ...  # noqa: D102 - the levels are the standard ones
    def info(self, event: str, **fields: Any) -> Any: ...  # noqa: D102
    def warning(self, event: str, **fields: Any) -> Any: ...  # noqa: D102
    def error(self, event: str, **fields: Any) -> Any: ...  # noqa: D102


# Contexts are made for every poll: a frozen dataclass would take three times as long to build.
@dataclass(slots=True, kw_only=True, eq=False)
class AccountContext(Generic[ClientT_co]):
    """What a call about many jobs of one account gets.

    Attributes:
        client: What the platform's `open` yielded for the connection.
        connection: Where and as whom, as the agent resolved it at submission.
        account: The account that quotas are counted by.
        log: A logger that carries agent and account.
        deadline: Monotonic seconds.
        budget: Where `spend` takes from.
    """

    client: ClientT_co
    connection: Any
    account: str
    log: Log
    deadline: float
    budget: Budget

    @property
    def timeout_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.deadline - time.monotonic())

    def spend(self, method: str) -> Spending:
        """Return a context manager that waits for the account's budget of a platform method."""
        return Spending(self.budget, method, self.timeout_s)


NO_LABELS: Final = Labels(provenance={}, user={})


@dataclass(slots=True, kw_only=True, eq=False)
class Context(AccountContext[ClientT_co]):
    """What a call about one task or one job gets.

    Attributes:
        key: The submission key, with its spellings for platforms.
        scope: On whose behalf the job runs.
        output_prefix: Where the outputs go.
        secrets: The declared secrets. One that the engine provided under the reference's key goes before all others.
        provided: Secrets and settings that the engine sent with the request (Flyte 2's connection). A call that no request
            stands behind (a job's end that is awaited after a cancel) has those of the last one, where this process had any.
        labels: Provenance labels, to be fitted to the platform's rules; only while submitting.
        identity: The execution identity; only while submitting, handles do not carry it.
        last_status: What this replica reported last; None on another replica.
    """

    key: Key
    scope: Scope
    output_prefix: str
    secrets: Secrets
    labels: Labels = NO_LABELS
    identity: ExecutionIdentity | None = None
    last_status: TaskStatus | None = None
    provided: Provided = NOTHING
