"""The authoring contract, checked when an agent class is created.

A mistake that would show at three in the morning, in another replica, shows at import instead, as one sentence that
says what to write. The checks read the class only; nothing is instantiated.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from outboard.agent.callbacks import Callbacks
from outboard.agent.jobs import JobRef
from outboard.agent.submission import Lookup, Submission
from outboard.domain.secret_refs import SecretRef
from outboard.domain.states import StateMap
from outboard.domain.tasks import TaskType
from outboard.errors import ContractViolation

_METHODS: Final = ("create", "get", "get_many", "cancel", "find", "fetch_outputs", "logs", "metrics", "do", "poke")
_PURE: Final = ("connection", "links", "judge", "read_flytekit", "read_native", "called_back")
_DURATIONS: Final = ("timeout", "visibility", "poll_interval")


def check_agent_class(cls: type, *, abstract: bool) -> None:
    """Complete an agent class from its type arguments and check it; `ContractViolation` says what to change."""
    for model in _models(cls):
        if issubclass(model, JobRef):
            cls.job_model = model  # type: ignore[attr-defined]  # declared on JobAgent
        else:
            cls.config_model = model  # type: ignore[attr-defined]  # declared on Agent
    if abstract or cls.__name__.startswith("_"):
        return
    _check_names(cls)
    _check_methods(cls)
    _check_values(cls)
    if hasattr(cls, "cancel"):
        _check_jobs(cls)


def _models(cls: type) -> Iterator[type[BaseModel]]:
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is not None:
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, BaseModel):
                    yield argument


def _check_names(cls: Any) -> None:
    who = cls.__name__
    if not isinstance(getattr(cls, "name", None), str) or not cls.name:
        raise ContractViolation(f'{who} needs a name that never changes: add `name = "..."`')
    if isinstance(getattr(cls, "aliases", ()), str):
        raise ContractViolation(f"{who}.aliases is a text; write a tuple of names")
    task_types = getattr(cls, "task_types", None)
    if (
        isinstance(task_types, (str, TaskType))
        or not task_types
        or not all(isinstance(t, TaskType) for t in task_types)
    ):
        raise ContractViolation(f'{who} needs its task types: add `task_types = (TaskType("..."),)`')
    twice = [str(t) for t in task_types if list(task_types).count(t) > 1]
    if twice:
        raise ContractViolation(f"{who} lists {twice[0]} twice in task_types")
    if not hasattr(cls, "config_model"):
        raise ContractViolation(
            f"{who} has no config model: name it in the type arguments, as in `{who}(AsyncAgent[MyConfig, MyJob, MyClient])`"
        )


def _check_methods(cls: Any) -> None:
    for name in (*_METHODS, *_PURE):
        method = inspect.getattr_static(cls, name, None)
        if method is None:
            continue
        function = method.__func__ if isinstance(method, (staticmethod, classmethod)) else method
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ContractViolation(f"{cls.__name__}.{name} yields; return the whole answer instead")
        is_async = inspect.iscoroutinefunction(function)
        wants_async = name in _METHODS and not cls.is_blocking
        if is_async and not wants_async:
            why = "is pure and makes no calls" if name in _PURE else "belongs to a blocking agent"
            raise ContractViolation(f"{cls.__name__}.{name} {why}: write `def {name}`, not `async def`")
        if wants_async and not is_async:
            raise ContractViolation(
                f"{cls.__name__}.{name} must be `async def`; derive from the Blocking twin if its SDK blocks"
            )
    missing = sorted(getattr(cls, "__abstractmethods__", ()) or _abstract(cls))
    if missing:
        raise ContractViolation(f"{cls.__name__} must define {', '.join(missing)}")


def _abstract(cls: type) -> list[str]:
    return [
        name for name in _METHODS if getattr(inspect.getattr_static(cls, name, None), "__isabstractmethod__", False)
    ]


def _check_values(cls: Any) -> None:
    """Check the class attributes by type: `timeout = 60` would only show when the first task comes."""
    for name in _DURATIONS:
        if not isinstance(getattr(cls, name, timedelta(0)), timedelta):
            raise ContractViolation(f"{cls.__name__}.{name} must be a timedelta, as in timedelta(seconds=60)")
    for name in ("pool_size", "batch_size"):
        value = getattr(cls, name, 1)
        if not isinstance(value, int) or value < 1:
            raise ContractViolation(f"{cls.__name__}.{name} must be a number of at least 1")
    if isinstance(cls.secrets, SecretRef) or not all(isinstance(ref, SecretRef) for ref in cls.secrets):
        raise ContractViolation(f'{cls.__name__}.secrets must be a tuple of SecretRefs: (SecretRef("..."),)')
    if isinstance(getattr(cls, "late_links", ()), str):
        raise ContractViolation(f"{cls.__name__}.late_links is a text; write a tuple of names")


def _check_jobs(cls: Any) -> None:
    who = cls.__name__
    if not hasattr(cls, "job_model"):
        raise ContractViolation(f"{who} has no JobRef: name it as the second type argument")
    if not isinstance(getattr(cls, "submission", None), Submission):
        raise ContractViolation(
            f"{who} must declare `submission`: Token(valid_for=...), Named(), Lookup(...) or Nothing(), as the platform allows"
        )
    if not isinstance(getattr(cls, "states", None), StateMap):
        raise ContractViolation(f"{who} must declare `states`, a StateMap over the platform's documented states")
    cls.is_batching = _is_own(cls, "get_many")
    if not cls.is_batching and not _is_own(cls, "get"):
        raise ContractViolation(f"{who} must define get or get_many")
    if isinstance(cls.submission, Lookup) and not _is_own(cls, "find"):
        raise ContractViolation(f"{who} declares Lookup, so it must define find")
    _check_callbacks(cls)


def _check_callbacks(cls: Any) -> None:
    if cls.callbacks is None:
        return
    if not isinstance(cls.callbacks, Callbacks):
        raise ContractViolation(
            f'{cls.__name__}.callbacks must be Callbacks, as in Callbacks.standard_webhooks(SecretRef("..."))'
        )
    if not _is_own(cls, "called_back"):
        raise ContractViolation(f"{cls.__name__} declares callbacks, so it must define called_back")


def _is_own(cls: type, name: str) -> bool:
    owner = next(parent for parent in cls.__mro__ if name in parent.__dict__)
    return owner.__module__ != "outboard.agent.agents"
