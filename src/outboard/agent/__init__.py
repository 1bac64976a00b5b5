"""Write an agent: everything that an author imports.

See `docs/write-an-agent.md`. A platform subclasses `Platform`, lists its agents, and is found through the entry-point
group `outboard.platforms`.
"""

from outboard.agent.agents import (
    After,
    Agent,
    AsyncAgent,
    BlockingAgent,
    BlockingSensor,
    BlockingSyncAgent,
    OutputSource,
    Sensor,
    SyncAgent,
)
from outboard.agent.callbacks import Callback, Callbacks
from outboard.agent.config import TaskConfig
from outboard.agent.context import AccountContext, Context, Secrets
from outboard.agent.discovery import discover
from outboard.agent.error_map import ErrorMap, Verdict
from outboard.agent.http import Http, Response
from outboard.agent.jobs import Connection, JobRef
from outboard.agent.platform import Platform, Settings
from outboard.agent.registry import LoadFailure, Registry
from outboard.agent.signatures import Genuine, Hmac, Scheme, SharedSecret
from outboard.agent.submission import Lookup, Named, Nothing, OnUnknown, Submission, Token
from outboard.domain.keys import Key
from outboard.domain.labels import LabelRules, Labels
from outboard.domain.phases import Phase
from outboard.domain.quotas import Quotas, QuotaScope, Rate
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.domain.states import ANY, StateMap, cancelling, failed, succeeded
from outboard.domain.statuses import (
    DEFERRED,
    Cause,
    Failure,
    Link,
    LogLine,
    LogPage,
    MetricSeries,
    Missing,
    Status,
    Usage,
)
from outboard.domain.tasks import Container, Inputs, Pod, Sql, Task, TaskType
from outboard.domain.values import Blob, Schema, StructuredDataset
from outboard.errors import Retry

INLINE = OutputSource.INLINE
FILES = OutputSource.FILES
NONE = OutputSource.NONE

__all__ = [
    "ANY",
    "DEFERRED",
    "FILES",
    "INLINE",
    "NONE",
    "AccountContext",
    "After",
    "Agent",
    "AsyncAgent",
    "Blob",
    "BlockingAgent",
    "BlockingSensor",
    "BlockingSyncAgent",
    "Callback",
    "Callbacks",
    "Cause",
    "Connection",
    "Container",
    "Context",
    "ErrorMap",
    "Failure",
    "Genuine",
    "Hmac",
    "Http",
    "Inputs",
    "JobRef",
    "Key",
    "LabelRules",
    "Labels",
    "Link",
    "LoadFailure",
    "LogLine",
    "LogPage",
    "Lookup",
    "MetricSeries",
    "Missing",
    "Named",
    "Nothing",
    "OnUnknown",
    "OutputSource",
    "Phase",
    "Platform",
    "Pod",
    "QuotaScope",
    "Quotas",
    "Rate",
    "Registry",
    "Response",
    "Retry",
    "Schema",
    "Scheme",
    "SecretRef",
    "SecretScope",
    "Secrets",
    "Sensor",
    "Settings",
    "SharedSecret",
    "Sql",
    "StateMap",
    "Status",
    "StructuredDataset",
    "Submission",
    "SyncAgent",
    "Task",
    "TaskConfig",
    "TaskType",
    "Token",
    "Usage",
    "Verdict",
    "cancelling",
    "discover",
    "failed",
    "succeeded",
]
