"""The public error tree.

::

    OutboardError
    ├── TaskError                 the user must act; the task as it was sent cannot run
    │   ├── InvalidTask           a field of the task is missing, of a wrong type or contradicts another
    │   ├── InvalidInputs         an input does not match the interface or cannot be decoded
    │   └── UnknownTaskType       nobody here serves this task type and version
    ├── HandleError
    │   ├── ForeignHandle         bytes that this software never wrote
    │   ├── UnreadableHandle      ours, but of a newer version or sealed with a key this process lacks
    │   └── HandleTooLarge        more than 512 bytes would go into the engine's store
    ├── AgentError                what talking to a platform brings; raised by agents, absorbed by the host
    │   ├── Rejected              the platform refused the request as invalid: the user must act
    │   ├── Unauthorized          the credentials are missing, wrong or expired: the operator must act
    │   ├── Forbidden             the credentials are good but not allowed to do this
    │   ├── Throttled             slow down; carries `retry_after`
    │   │   └── BudgetSpent       our own budget for the platform says so; nothing was sent
    │   ├── Unavailable           down, slow, reset, or answering nonsense
    │   │   └── SecretsUnavailable    a store of secrets is; nothing was sent to the platform
    │   └── OutcomeUnknown        a submission may or may not have arrived
    ├── AgentFault                the agent's author must act
    │   ├── ContractViolation     an agent class that breaks the authoring contract (found at class creation)
    │   ├── InvalidOutputs        outputs that do not match the task's interface
    │   └── Unsupported           the agent does not offer this operation
    ├── OperatorError             whoever runs the service or the engine must act
    │   ├── InvalidSettings       a setting or a configuration file is wrong
    │   ├── MissingSecret         a declared secret is nowhere to be found
    │   ├── StoreUnavailable      an object store or path cannot be read or written
    │   ├── EndpointUnreachable   no agent service answers there
    │   ├── JournalUnwritable     the engine's journal cannot be opened or written
    │   ├── RunOwned              another living engine drives this run
    │   ├── Overloaded            too much is asked of this process at once
    │   ├── UnknownCaller         a service does not know who calls: no credentials, or none that it accepts
    │   ├── UnverifiedCaller      it cannot tell just now, since who issued the token does not answer
    │   ├── RefusedCaller         it knows, and the caller may not do this
    │   └── DrainingError         this process is shutting down
    └── TaskFailed                raised by the engine's API when a task it was asked to await did not succeed

Every error answers two questions: *who must act* (`actor`) and *is a retry worth it* (`retry`). Errors of a
platform call answer a third: may the call have *arrived* (`sent`)? What nobody classified counts as "maybe", so
that a submission whose outcome is unknown is never repeated blindly.

Messages are one sentence with the remedy. Facts are fields. An `error_id` ties what a caller sees to the log line
that holds the cause; causes never travel.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from enum import Enum
from typing import ClassVar


class Actor(str, Enum):
    """Who must act before the same thing can succeed."""

    USER = "user"
    PLATFORM = "platform"
    AUTHOR = "agent author"
    OPERATOR = "operator"


class Retry(str, Enum):
    """Whether repeating the same thing is worth it."""

    NEVER = "never"
    YES = "yes"


class Sent(str, Enum):
    """Whether a failed platform call may have taken effect."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class OutboardError(Exception):
    """The root: a message of one sentence with the remedy, who must act, and whether a retry is worth it.

    Args:
        message: One sentence. Never holds a secret, an input's value or SQL text.
        retry_after: How long to wait before a retry, where the other side said so.

    Attributes:
        error_id: Twelve hexadecimal digits that also stand in the log line with the cause.
    """

    actor: ClassVar[Actor] = Actor.OPERATOR
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.error_id = secrets.token_hex(6)

    @property
    def code(self) -> str:
        """The error's stable name, as logs, metrics and Flyte's error code carry it."""
        return type(self).__name__


class _FieldError(OutboardError):
    """An error about one field, which it names."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TaskError(_FieldError):
    """The task as it was sent cannot run; sending it again changes nothing."""

    actor = Actor.USER


class InvalidTask(TaskError):
    """A field of the task is missing, of a wrong type, or contradicts another."""


class InvalidInputs(TaskError):
    """An input does not match the interface, or cannot be decoded."""


class UnknownTaskType(TaskError):
    """Nobody here serves this task type and version; the message lists what is served."""


class HandleError(OutboardError):
    """Something is wrong with a handle."""


class ForeignHandle(HandleError):
    """Bytes that this software never wrote: no later version or other replica could read them either."""


class UnreadableHandle(HandleError):
    """A handle of ours that this process cannot read: a newer format, an unknown agent or another service key.

    Another replica may well read it, so nothing may be concluded about the job.
    """

    retry = Retry.YES


class HandleTooLarge(HandleError):
    """A handle would exceed 512 bytes; FlytePropeller keeps all handles of a workflow in one etcd object."""

    actor = Actor.AUTHOR


class AgentError(OutboardError):
    """What talking to a platform brings: the platform's words, and whether the call may have arrived.

    Args:
        message: The platform's own words, or ours where it had none.
        code: The platform's error code, for the user to look up.
        sent: Whether the call may have taken effect. Unknown means `Sent.MAYBE`.
        retry_after: What the platform asked for.
    """

    actor = Actor.PLATFORM
    retry = Retry.YES
    sent_default: ClassVar[Sent] = Sent.MAYBE

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        sent: Sent | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.platform_code = code
        self.sent = self.sent_default if sent is None else sent

    @property
    def code(self) -> str:
        """The platform's own code where it gave one, else the error's name."""
        return self.platform_code or type(self).__name__


class Rejected(AgentError):
    """The platform refused the request as invalid (syntax, schema, unknown parameter): the same will fail again."""

    actor = Actor.USER
    retry = Retry.NEVER
    sent_default = Sent.NO


class Unauthorized(AgentError):
    """The credentials are missing, wrong or expired."""

    actor = Actor.OPERATOR
    sent_default = Sent.NO


class Forbidden(AgentError):
    """The credentials are good but may not do this; also quota and propagation delays on some platforms."""

    actor = Actor.OPERATOR
    sent_default = Sent.NO


class Throttled(AgentError):
    """The platform, or our own budget for it, says: slow down."""

    sent_default = Sent.NO


class BudgetSpent(Throttled):
    """Our own budget for a platform has no room for this call before its deadline; nothing was sent."""


class Unavailable(AgentError):
    """The platform is down, slow, resetting connections or answering nonsense."""


class SecretsUnavailable(Unavailable):
    """A store of secrets does not answer, and nothing it said before is still good; nothing was sent to the platform."""

    actor = Actor.OPERATOR
    sent_default = Sent.NO


class OutcomeUnknown(AgentError):
    """A submission may or may not have arrived, and the platform offers no way to find out."""

    retry = Retry.NEVER


class AgentFault(OutboardError):
    """The agent's author must act."""

    actor = Actor.AUTHOR


class ContractViolation(AgentFault):
    """An agent class or object breaks the authoring contract; the message says what to change."""


class InvalidOutputs(AgentFault):
    """Outputs that do not match the task's interface by name and type."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unsupported(AgentFault):
    """The agent does not offer this operation."""


class OperatorError(OutboardError):
    """Whoever runs the service or the engine must act."""


class InvalidSettings(OperatorError):
    """A setting or a configuration file is wrong; `field` is its path."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class MissingSecret(OperatorError):
    """A declared secret is nowhere to be found; the message says where it was looked for, never its value."""


class StoreUnavailable(OperatorError):
    """An object store or a path cannot be read or written."""

    retry = Retry.YES


class EndpointUnreachable(OperatorError):
    """No agent service answers at an endpoint; `endpoint` is its name, where it has one."""

    retry = Retry.YES

    def __init__(self, message: str, *, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint


class JournalUnwritable(OperatorError):
    """The engine's journal cannot be opened or written."""


class RunOwned(OperatorError):
    """Another living engine drives this run; two engines on one run could start a job twice."""


class Overloaded(OperatorError):
    """Too much is asked of this process at once."""

    retry = Retry.YES


class UnknownCaller(OperatorError):
    """A service does not know who calls: there are no credentials, or none that it accepts."""

    retry = Retry.YES  # tokens and certificates are renewed, and the call that comes between two is worth another try


class UnverifiedCaller(OperatorError):
    """A service cannot tell just now who calls, since whoever issued the token does not answer."""

    retry = Retry.YES


class RefusedCaller(OperatorError):
    """A service knows who calls, and that caller may not do this."""


class DrainingError(OperatorError):
    """This process is shutting down and takes no new work; another replica will."""

    retry = Retry.YES


class TaskFailed(OutboardError):
    """A task that was awaited through the engine's API ended without success."""

    actor = Actor.USER
