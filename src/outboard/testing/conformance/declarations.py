"""What an agent declares: checked without any platform, from its class and, where there is one, an instance."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import random
import socket
import string
import subprocess
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FunctionType
from typing import Any, Final

from outboard.agent import Agent, ErrorMap, Lookup, Token
from outboard.agent.agents import JobAgent
from outboard.agent.config import TaskConfig
from outboard.domain.phases import Phase
from outboard.domain.secret_refs import is_secret_name
from outboard.errors import AgentError, Rejected, Sent, Throttled
from outboard.testing.conformance.boundary import METHODS
from outboard.testing.conformance.findings import Broken, NotApplicable, NotRun

_STRANGE_STATES: Final = 1_000
_LONGEST_STATE: Final = 24
_NOT_FINAL: Final = (401, 403, 404, 408, 425, 429)
_UNCERTAIN: Final = (500, 502, 504)
_LOST_REPLIES: Final = (ConnectionResetError, BrokenPipeError, EOFError, TimeoutError, asyncio.TimeoutError, OSError)
_BLOCKING: Final[tuple[object, ...]] = (
    time.sleep,
    os.system,
    subprocess.run,
    subprocess.call,
    subprocess.check_call,
    subprocess.check_output,
    urllib.request.urlopen,
    socket.create_connection,
    socket.getaddrinfo,
)
_BLOCKING_PACKAGES: Final = frozenset({"requests", "boto3", "botocore", "urllib3", "psycopg2", "pymysql"})
DeclarationCheck = Callable[[type[Agent], Agent | None], None]


def states(agent: type[Agent], _instance: Agent | None) -> None:
    """The state map is total, and ends no job on a guess."""
    if not issubclass(agent, JobAgent):
        raise NotApplicable("it has no jobs")
    table = agent.states
    readings = {state: table.read(state) for state in table.documented}
    if not any(reading.phase is Phase.SUCCEEDED for reading in readings.values()):
        raise Broken("no documented state means success", "map the platform's own word for it to succeeded()")
    if not any(reading.phase is Phase.FAILED for reading in readings.values()):
        raise Broken("no documented state means failure", "map the platform's words for it to failed()")
    unknown = sorted(str(state) for state, reading in readings.items() if reading.is_flagged)
    if unknown:
        raise Broken(f"documented states are not in the table: {', '.join(unknown)}", "map them")
    strange: list[Any] = [*_strange_states(), None, 7, (), ("",), b"DONE", ["DONE"]]
    for state in strange:
        reading = table.read(state)
        if reading.is_flagged and reading.phase is Phase.SUCCEEDED:
            raise Broken(
                f"the unknown state {state!r} counts as success",
                "let the StateMap read it: a state that is not in the table is RUNNING, flagged",
            )
        if reading.is_flagged and reading.phase.is_terminal and not isinstance(state, tuple):
            raise Broken(
                f"the unknown state {state!r} ends the job",
                "name in `ended` only first words of pairs that say that the job is over",
            )


def errors(agent: type[Agent], instance: Agent | None) -> None:
    """The error map calls nothing "not sent" that may have arrived, and nothing final that is not."""
    table = instance.platform.errors if instance is not None else None
    if table is None:
        raise NotRun(f"the platform of {agent.__name__} is not known; name module:Platform, or write a case")
    _check_statuses(table)
    for kind in _LOST_REPLIES:
        found = table.classify(kind("connection lost"))
        if isinstance(found, AgentError) and (found.sent is Sent.NO or isinstance(found, Rejected)):
            raise Broken(
                f"the error map calls {kind.__name__} {_verdict(found)}, but a reply may be lost after its effect",
                f"take {kind.__name__} out of the ErrorMap, or say Verdict(Unavailable, Sent.MAYBE)",
            )


def _check_statuses(table: ErrorMap) -> None:
    for status in range(400, 600):
        found = table.classify(status=status, words="no")
        if not isinstance(found, AgentError):
            raise Broken(
                f"HTTP {status} becomes {type(found).__name__}", "map statuses to AgentError or one of its subclasses"
            )
        if status in _NOT_FINAL and isinstance(found, Rejected):
            raise Broken(
                f"HTTP {status} is Rejected, which fails the task for good, but it may well pass later",
                f"take {status} out of the ErrorMap; the defaults are right",
            )
        if status in _UNCERTAIN and (found.sent is Sent.NO or isinstance(found, Rejected)):
            raise Broken(
                f"the error map calls HTTP {status} {_verdict(found)}, but it may come after the effect",
                f"take {status} out of the ErrorMap, or say Verdict(Unavailable, Sent.MAYBE)",
            )
    if not isinstance(table.classify(status=429, words="slow down"), Throttled):
        raise Broken("HTTP 429 is not Throttled", "take 429 out of the ErrorMap, or map it to Throttled")


def submission(agent: type[Agent], _instance: Agent | None) -> None:
    """What is declared about repeated creates is consistent."""
    if not issubclass(agent, JobAgent):
        raise NotApplicable("it has no jobs")
    kind = agent.submission
    if isinstance(kind, Token) and kind.valid_for < timedelta(minutes=2):
        raise Broken(
            f"tokens are valid for {kind.valid_for.total_seconds():g} s, less than one submission may take",
            "declare the platform's own figure; if that is it, declare Lookup or Nothing instead",
        )
    if isinstance(kind, Lookup) and not timedelta(0) <= kind.visible_within < kind.retained_for:
        raise Broken(
            "jobs are forgotten before they are certainly found", "retained_for must be longer than visible_within"
        )
    if agent.batch_size > 1 and not agent.is_batching:
        raise Broken(f"batch_size is {agent.batch_size} without `get_many`", "define `get_many`, or drop batch_size")
    for name in ("poll_interval", "visibility"):
        if getattr(agent, name) < timedelta(0):
            raise Broken(f"{name} is negative", "make it a duration")


def config(agent: type[Agent], _instance: Agent | None) -> None:
    """Configuration models accept names and aliases, drop nothing silently and hold no secrets."""
    models = {agent.config_model, *(each.config for each in agent.task_types if each.config is not None)}
    for model in models:
        if not issubclass(model, TaskConfig):
            raise Broken(f"{model.__name__} is no TaskConfig", "derive it from outboard.TaskConfig")
        settings = model.model_config
        if settings.get("extra") == "ignore":
            raise Broken(
                f"{model.__name__} drops keys that it does not know, typos too", "remove `extra` from its model_config"
            )
        if not settings.get("frozen") or not settings.get("populate_by_name"):
            raise Broken(
                f"{model.__name__} can be changed, or refuses its fields' own names",
                "keep frozen and populate_by_name in its model_config",
            )
        for name, field in model.model_fields.items():
            if is_secret_name(name) and field.annotation in (str, str | None, bytes):
                raise Broken(
                    f"{model.__name__}.{name} would hold a secret, which lies in Flyte's database in clear text",
                    "take the name of a secret there, and resolve it through a SecretRef",
                )


def blocking_calls(agent: type[Agent], _instance: Agent | None) -> None:
    """Asynchronous methods call nothing that is known to block."""
    if agent.is_blocking:
        raise NotApplicable("its methods may block; they run in a pool of their own")
    found = [
        f"{method} calls {call} in line {line}"
        for method in METHODS
        if isinstance(function := getattr(agent, method, None), FunctionType)
        for call, line in _blocking_calls(function)
    ]
    if found:
        raise Broken(
            f"{'; '.join(found)}, which stops all agents of the process",
            "await an asynchronous client instead, or derive from the Blocking twin",
        )


DECLARATIONS: Final[dict[str, DeclarationCheck]] = {
    "declared/states": states,
    "declared/errors": errors,
    "declared/submission": submission,
    "declared/config": config,
    "declared/blocking-calls": blocking_calls,
}
"""The checks that need no case, by name."""


def _verdict(error: AgentError) -> str:
    return "final" if isinstance(error, Rejected) else "not sent"


def _strange_states() -> Iterator[Any]:
    chance = random.Random(7)  # noqa: S311 - the same words each time
    letters = string.ascii_letters + string.digits + "_ -/äß\u0000\u2028"
    for number in range(_STRANGE_STATES):
        words = ["".join(chance.choices(letters, k=chance.randint(0, _LONGEST_STATE))) for _ in range(2)]
        yield tuple(words) if number % 2 else words[0]


def _blocking_calls(function: FunctionType) -> Iterator[tuple[str, int]]:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # there is no source
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := _resolved(node.func, function.__globals__)) is not None:
            package = (getattr(called, "__module__", None) or "").partition(".")[0]
            if any(called is each for each in _BLOCKING) or package in _BLOCKING_PACKAGES:
                yield ast.unparse(node.func), first + node.lineno - 1


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what a dotted name refers to; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value, names)
        return None if owner is None else inspect.getattr_static(owner, node.attr, None)
    return None
