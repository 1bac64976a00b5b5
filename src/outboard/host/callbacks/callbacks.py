"""Callbacks: a platform says that a job changed, and the job is looked at again sooner.

What comes from outside passes four gates, in this order, and only then does the agent read it:

1. whose agent it is: one that declares `callbacks`;
2. a signature or secret that one of the agent's keys proves, and a signed time within the tolerance;
3. whether this event was seen already: it is remembered for as long as its time is within the tolerance (a replay that comes
   later is stale), and for the tolerance where no time is signed;
4. a rate per agent, so that a flood of genuine callbacks is no storm of questions to the platform.

All of it happens in one step of the event loop: of a hundred deliveries at once, one is the first. Nothing that comes out of
here is needed for anything: what is refused, lost or thrown away is found out by the next poll.

Keys are the installation's (`SecretRef`s without a project), since a platform calls before anybody knows whose job it is about.
They are looked up anew every second, so rotating them needs no restart.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from outboard.agent.agents import JobAgent
from outboard.agent.callbacks import Callback, Callbacks
from outboard.agent.registry import Registry
from outboard.agent.signatures import Genuine
from outboard.errors import AgentFault, MissingSecret, OperatorError, OutboardError, SecretsUnavailable
from outboard.host.budgets.buckets import Meter
from outboard.host.invocation import blamed
from outboard.host.secrets import SecretSource

Hasten = Callable[[str, Sequence[str]], int]
"""Takes an agent's name and ids of its jobs, and returns how many of them are alive in this process (`Host.hasten`)."""

MOST_JOBS: Final = 1000
"""Of one callback; a platform that batches sends some tens."""
_LONGEST_ID: Final = 1024
_KEYS_S: Final = 1.0
_KEYS_WAIT_S: Final = 3.0
_REMEMBERED: Final = 20_000
_PER_SECOND: Final = 50.0
_BURST: Final = 1000
"""Genuine callbacks of one agent. Each costs one look at most, and the agent's quota bounds those anyway."""


class Result(str, Enum):
    """What became of a callback.

    `ACCEPTED`: its jobs are looked at again. `REPEATED`: it was here before. `FORGED`: nothing proves its sender. `STALE`: it
    is signed, for another time. `MALFORMED`: the agent cannot read it. `UNKNOWN_AGENT`: nobody here wants it. `THROTTLED`:
    there were too many. `UNCONFIGURED`: no usable key is set. `UNAVAILABLE`: the process of its agent is
    down, or the store of its keys.
    """

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    FORGED = "forged"
    STALE = "stale"
    MALFORMED = "malformed"
    UNKNOWN_AGENT = "unknown_agent"
    THROTTLED = "throttled"
    UNCONFIGURED = "unconfigured"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a callback, and of what it was about.

    Attributes:
        result: What became of it.
        agent: The agent's own name; empty where there is none.
        job_ids: What it is about; other processes may know more of these jobs.
        live: How many of them are alive in this process.
        reason: For the log: one sentence without anything of the request.
    """

    result: Result
    agent: str = ""
    job_ids: tuple[str, ...] = ()
    live: int = 0
    reason: str = ""


class CallbackReceiver:
    """Verifies callbacks and hastens the jobs that they are about.

    Args:
        registry: Whose agents.
        source: Where keys are looked up.
        hasten: What is done about jobs.
    """

    def __init__(self, registry: Registry, source: SecretSource, hasten: Hasten) -> None:
        self._registry = registry
        self._source = source
        self._hasten = hasten
        self._inboxes: dict[str, _Inbox] = {}

    async def fetch_keys(self, name: str) -> None:
        """Ask remote stores for the keys of an agent's callbacks; `receive` tells what did not come of it."""
        agent = self._registry.named(name)
        if self._source.is_remote and isinstance(agent, JobAgent) and agent.callbacks is not None:
            with suppress(OutboardError):
                await self._source.fetch_own(agent.callbacks.keys, _KEYS_WAIT_S)

    def receive(self, name: str, callback: Callback) -> Receipt:
        """Return what became of a callback for the agent of this name or alias; never raises for anything in it."""
        agent = self._registry.named(name)
        if not isinstance(agent, JobAgent) or agent.callbacks is None:
            return Receipt(result=Result.UNKNOWN_AGENT)
        inbox = self._inboxes.get(agent.name)
        if inbox is None:
            inbox = self._inboxes[agent.name] = _Inbox(agent.callbacks)
        result, reason = self._judge(agent, inbox, callback)
        if result is not Result.ACCEPTED:
            return Receipt(result=result, agent=agent.name, reason=reason)
        try:
            with blamed(agent, "called_back"):
                job_ids = _checked(agent, agent.called_back(callback))
        except OutboardError as error:
            return Receipt(result=Result.MALFORMED, agent=agent.name, reason=error.message)
        live = self._hasten(agent.name, job_ids) if job_ids else 0
        return Receipt(result=result, agent=agent.name, job_ids=job_ids, live=live)

    def _judge(self, agent: JobAgent[Any, Any, Any], inbox: _Inbox, callback: Callback) -> tuple[Result, str]:
        """Return what the gates say, and why."""
        try:
            keys = inbox.keys(self._source)
            with blamed(agent, "callbacks"):
                genuine = inbox.declared.scheme.verify(callback, keys)
        except OperatorError as error:
            return Result.UNCONFIGURED, error.message
        except SecretsUnavailable as error:
            return Result.UNAVAILABLE, error.message
        except OutboardError as error:
            return Result.FORGED, error.message
        return inbox.admit(genuine) if isinstance(genuine, Genuine) else (Result.FORGED, "")


class _Inbox:
    """What is remembered of one agent's callbacks.

    Events are remembered by the wall clock, as their times are judged by it: whatever the clock does, an event is forgotten
    only when its time would be refused. Beyond `_REMEMBERED` the oldest are forgotten, and might be repeated once more.
    """

    __slots__ = ("_keys", "_keys_until", "_rate", "_until", "declared")

    def __init__(self, declared: Callbacks) -> None:
        self.declared = declared
        self._rate = Meter(_PER_SECOND, _BURST, time.monotonic())
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._keys: Sequence[str] = ()
        self._keys_until = 0.0

    def keys(self, source: SecretSource) -> Sequence[str]:
        """Return the keys that are set now; `MissingSecret` where none is."""
        now = time.monotonic()
        if now >= self._keys_until:
            self._keys = tuple(_found(self.declared, source))
            self._keys_until = now + _KEYS_S
        if not self._keys:
            names = ", ".join(repr(key.key) for key in self.declared.keys)
            raise MissingSecret(f"no key of these callbacks is set; set the secret {names}")
        return self._keys

    def admit(self, genuine: Genuine) -> tuple[Result, str]:
        """Return whether a genuine callback is taken, and why not; one that is taken is remembered."""
        now = time.time()
        tolerance_s = self.declared.tolerance.total_seconds()
        signed_at = now if genuine.sent_at is None else genuine.sent_at
        event = _short(genuine.event)
        if abs(now - signed_at) > tolerance_s:
            return Result.STALE, f"it is signed for {round(now - signed_at)} s before our time"
        if self._until.get(event, 0.0) >= now:
            return Result.REPEATED, ""
        at = time.monotonic()
        if self._rate.free_at(at) > at:
            return Result.THROTTLED, ""
        self._rate.take(at)
        if genuine.event:
            self._until[event] = signed_at + tolerance_s
        while len(self._until) > _REMEMBERED or (self._until and next(iter(self._until.values())) < now):
            self._until.popitem(last=False)
        return Result.ACCEPTED, ""


def _found(declared: Callbacks, source: SecretSource) -> list[str]:
    found = []
    for ref in declared.keys:
        try:
            found.append(source.resolve_own(ref).get_secret_value())
        except MissingSecret:  # the next key before it is put in place, or the last one after it was taken away
            continue
    return [key for key in found if key]


def _short(event: str) -> bytes:
    return hashlib.blake2b(event.encode(errors="surrogatepass"), digest_size=16).digest()


def _checked(agent: JobAgent[Any, Any, Any], job_ids: object) -> tuple[str, ...]:
    """Return job ids as an agent should give them."""
    if isinstance(job_ids, (str, bytes)) or not isinstance(job_ids, Sequence):
        raise AgentFault(
            f"called_back of agent {agent.name} returned {type(job_ids).__name__}; return a list of job ids"
        )
    if len(job_ids) > MOST_JOBS:
        raise AgentFault(f"called_back of agent {agent.name} returned more than {MOST_JOBS} jobs")
    if not all(isinstance(job_id, str) and len(job_id) <= _LONGEST_ID and _is_unicode(job_id) for job_id in job_ids):
        raise AgentFault(f"called_back of agent {agent.name} returned something else than job ids; they are texts")
    return tuple(dict.fromkeys(job_ids))


def _is_unicode(text: str) -> bool:
    """Tell whether a text may travel: JSON may hold halves of characters, which no job of ours is called."""
    return text.isascii() or text.encode(errors="replace").decode() == text
