"""Outboard: run other people's platforms as workflow tasks.

Everything an author of agents and a user of the engine imports stands here; it is loaded when it is first used, so that
`import outboard` costs nothing. See `docs/write-an-agent.md` and `docs/engine.md`.

>>> from outboard import TaskType
>>> str(TaskType("bigquery_query_job_task"))
'bigquery_query_job_task (version 0)'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from outboard._version import __version__

if TYPE_CHECKING:
    from outboard.agent import (
        ANY,
        DEFERRED,
        FILES,
        INLINE,
        NONE,
        AccountContext,
        After,
        Agent,
        AsyncAgent,
        Blob,
        BlockingAgent,
        BlockingSensor,
        BlockingSyncAgent,
        Callback,
        Callbacks,
        Cause,
        Connection,
        Container,
        Context,
        ErrorMap,
        Failure,
        Genuine,
        Hmac,
        Http,
        Inputs,
        JobRef,
        Key,
        LabelRules,
        Labels,
        Link,
        LoadFailure,
        LogLine,
        LogPage,
        Lookup,
        MetricSeries,
        Missing,
        Named,
        Nothing,
        OnUnknown,
        OutputSource,
        Phase,
        Platform,
        Pod,
        Quotas,
        QuotaScope,
        Rate,
        Registry,
        Response,
        Retry,
        Schema,
        Scheme,
        SecretRef,
        Secrets,
        SecretScope,
        Sensor,
        Settings,
        SharedSecret,
        Sql,
        StateMap,
        Status,
        StructuredDataset,
        Submission,
        SyncAgent,
        Task,
        TaskConfig,
        TaskType,
        Token,
        Usage,
        Verdict,
        cancelling,
        discover,
        failed,
        succeeded,
    )
    from outboard.host import Host, HostSettings

_HOMES = {"Host": "outboard.host", "HostSettings": "outboard.host"}

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
    "Host",
    "HostSettings",
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
    "__version__",
    "cancelling",
    "discover",
    "failed",
    "succeeded",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'outboard' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "outboard.agent")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
