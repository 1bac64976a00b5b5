"""The boundary: between the host and an agent, where the kit counts calls, loses answers and kills replicas.

An instrumented agent is a copy whose methods are wrapped; host and agent notice nothing. A fault `BEFORE` the effect
keeps the method from being called; one `AFTER` lets it take effect and loses its answer, with the error that the
platform's own client would raise, so that the platform's error map is asked as it is in earnest.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from typing_extensions import assert_never

from outboard.agent import Agent
from outboard.testing.conformance.evidence import Evidence
from outboard.testing.conformance.watching import Watch
from outboard.testing.faults import (
    Cut,
    Fault,
    FaultPlan,
    Form,
    Garble,
    OkButThrottled,
    Refuse,
    Stall,
    Unreachable,
    When,
)
from outboard.testing.processes import current_process, die, outside

METHODS: Final = {
    "create": "create",
    "get": "get",
    "get_many": "get_many",
    "find": "find",
    "cancel": "cancel",
    "fetch_outputs": "fetch",
    "logs": "logs",
    "do": "do",
    "poke": "poke",
}
"""The methods that call the platform, and the operations that fault plans call them by."""


class Boundary:
    """What lies between the hosts of one stage and their agents.

    Args:
        faults: Which call meets which fault; None where the stand-in has a plan of its own.
        lost_reply: What the platform's client raises when a connection breaks.
        evidence: Looks at what agents answer.
        watch: Times their steps.

    Attributes:
        calls: How often each operation was called.
        running: Calls inside the agent's own code at this moment, by operation.
        deaths: The replica that calls this operation next dies, on this side of the effect.
    """

    def __init__(
        self, faults: FaultPlan | None, lost_reply: Callable[[], Exception], evidence: Evidence, watch: Watch
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.deaths: dict[str, When] = {}
        self._faults = faults
        self._lost_reply = lost_reply
        self._evidence = evidence
        self._watch = watch
        self._released = threading.Event()
        self._lock = threading.Lock()

    def release(self) -> None:
        """Let go of threads that a fault holds; a check is over."""
        self._released.set()

    def instrument(self, agent: Agent, die_now: Callable[[], None]) -> Agent:
        """Return a copy of an agent behind this boundary.

        Args:
            agent: The agent.
            die_now: Takes the agent's replica out of service, where it is no `Process`.
        """
        wrapped = copy.copy(agent)
        wrap = self._blocking if agent.is_blocking else self._async
        for method, operation in METHODS.items():
            if hasattr(agent, method):
                setattr(wrapped, method, wrap(agent, method, operation, die_now))
        return wrapped

    def _async(
        self, agent: Agent, method: str, operation: str, die_now: Callable[[], None]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        function = getattr(agent, method)

        async def take_effect(after_s: float, *args: Any, **options: Any) -> Any:
            if after_s:
                await asyncio.sleep(after_s)
            self._note(operation, 1)
            try:
                answer = await self._watch.run(method, function(*args, **options))
            finally:
                self._note(operation, -1)
            self._evidence.see(f"what {method} returned", answer)
            return answer

        async def call(*args: Any, **options: Any) -> Any:
            fault = self._begin(operation)
            await self._perish(operation, When.BEFORE, die_now)
            if isinstance(fault, Stall) and fault.when is When.BEFORE and fault.seconds is not None:
                return await outside(take_effect(fault.seconds, *args, **options))
            if fault is not None and fault.when is When.BEFORE:
                await self._suffer(agent, fault)
            answer = await take_effect(0.0, *args, **options)
            if fault is not None and fault.when is When.AFTER:
                await self._suffer(agent, fault)
            await self._perish(operation, When.AFTER, die_now)
            return answer

        return call

    def _blocking(self, agent: Agent, method: str, operation: str, die_now: Callable[[], None]) -> Callable[..., Any]:
        function = getattr(agent, method)

        def call(*args: Any, **options: Any) -> Any:
            fault = self._begin(operation)
            self._perish_blocking(operation, When.BEFORE, die_now)
            if fault is not None and fault.when is When.BEFORE:
                self._suffer_blocking(agent, fault)
            self._note(operation, 1)
            try:
                answer = function(*args, **options)
            finally:
                self._note(operation, -1)
            self._evidence.see(f"what {method} returned", answer)
            if fault is not None and fault.when is When.AFTER:
                self._suffer_blocking(agent, fault)
            self._perish_blocking(operation, When.AFTER, die_now)
            return answer

        return call

    def _begin(self, operation: str) -> Fault | None:
        self.calls[operation] += 1
        return None if self._faults is None else self._faults.strike(operation)

    def _note(self, operation: str, change: int) -> None:
        with self._lock:
            self.running[operation] += change

    async def _perish(self, operation: str, when: When, die_now: Callable[[], None]) -> None:
        if self.deaths.get(operation) is not when:
            return
        del self.deaths[operation]
        if current_process() is not None:
            await die()
        die_now()
        await asyncio.get_running_loop().create_future()

    def _perish_blocking(self, operation: str, when: When, die_now: Callable[[], None]) -> None:
        if self.deaths.get(operation) is when:
            del self.deaths[operation]
            die_now()
            self._hold(None)

    async def _suffer(self, agent: Agent, fault: Fault) -> None:
        if not isinstance(fault, Stall):
            self._raise(agent, fault)
        if fault.seconds is None:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(fault.seconds or 0.0)

    def _suffer_blocking(self, agent: Agent, fault: Fault) -> None:
        if not isinstance(fault, Stall):
            self._raise(agent, fault)
        self._hold(fault.seconds)

    def _hold(self, seconds: float | None) -> None:
        self._released.wait(seconds)
        if seconds is None:
            raise ConnectionResetError("the check is over")

    def _raise(self, agent: Agent, fault: Refuse | OkButThrottled | Cut | Garble | Unreachable) -> NoReturn:
        """Raise what the platform's client would; refusals are what its error map makes of their status."""
        match fault:
            case Refuse():
                raise agent.platform.errors.classify(
                    status=fault.status, words=fault.words, retry_after=fault.retry_after
                )
            case OkButThrottled():
                raise agent.platform.errors.classify(status=429, words="slow down")
            case Unreachable():
                raise ConnectionRefusedError("connection refused")
            case Cut():
                raise self._lost_reply()
            case Garble(form=Form.TRUNCATED):
                raise EOFError("the body ended early")
            case Garble(form=Form.OTHER_SHAPE):
                raise KeyError("id")
            case Garble():
                raise json.JSONDecodeError("no JSON", "", 0)
            case _:
                assert_never(fault)
