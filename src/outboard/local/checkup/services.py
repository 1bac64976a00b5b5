"""A running service: does it answer, is it well, and what does it serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from outboard.domain.endpoints import AgentInfo
from outboard.engine.remote import RemoteEndpoint
from outboard.errors import EndpointUnreachable, OutboardError
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "service"
SERVING: Final = "SERVING"
_SLOW_S: Final = 1.0
_ASKED: Final = 5


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Ask a service for its agents, its health by name, and its reflection."""
    if subject.service is None:
        return
    async with RemoteEndpoint(subject.service) as service:
        try:
            began = time.monotonic()
            agents = await asyncio.wait_for(service.list_agents(), subject.limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"{subject.service.written} did not answer within {subject.limit_s:g} s"
            yield _failed(EndpointUnreachable(words), "is it an agent service, and well?")
            return
        except OutboardError as error:
            yield _failed(error, "check the address; --insecure and --tls choose between plain text and TLS")
            return
        yield _listed(subject.service.written, agents, time.monotonic() - began)
        yield await _latency(service, subject)
        async for finding in _health(service, agents, subject):
            yield finding
        yield await _reflection(service, subject)


def _failed(error: OutboardError, remedy: str) -> Finding:
    return Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, remedy=remedy, error=error)


def _listed(where: str, agents: Sequence[AgentInfo], seconds: float) -> Finding:
    if not agents:
        remedy = "see its log: a platform that could not be loaded is named at the start"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about="agents", found=f"{where} serves no agent", remedy=remedy)
    names = ", ".join(agent.name for agent in agents)
    kinds = sum(len(agent.task_types) for agent in agents)
    found = f"{where} serves {len(agents)} agents, {kinds} task types: {names}"
    return Finding(check=CHECK, mark=Mark.OK, about="agents", found=found, seconds=seconds)


async def _latency(service: RemoteEndpoint, subject: Subject) -> Finding:
    took = []
    for _ in range(_ASKED):
        began = time.monotonic()
        try:
            await asyncio.wait_for(service.health("", timeout_s=subject.limit_s), subject.limit_s)
        except (OutboardError, asyncio.TimeoutError, TimeoutError):
            break
        took.append(time.monotonic() - began)
    if not took:
        return Finding(check=CHECK, mark=Mark.SKIPPED, about="latency", found="it answers no health checks")
    best, slowest = min(took), max(took)
    words = f"an answer takes {best * 1000:.1f} to {slowest * 1000:.1f} ms ({len(took)} health checks)"
    is_slow = best > _SLOW_S
    remedy = "see outboard_agent_longest_step_seconds for what keeps its event loop" if is_slow else ""
    mark = Mark.WARNING if is_slow else Mark.OK
    return Finding(check=CHECK, mark=mark, about="latency", found=words, remedy=remedy, seconds=best)


async def _health(service: RemoteEndpoint, agents: Sequence[AgentInfo], subject: Subject) -> AsyncIterator[Finding]:
    names = ["", *(f"outboard.agent/{agent.name}" for agent in agents)]
    asked = [asyncio.wait_for(service.health(name, timeout_s=subject.limit_s), subject.limit_s) for name in names]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    unwell = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, BaseException):
            words = answer.message if isinstance(answer, OutboardError) else "no answer in time"
            unwell.append(f"{name or 'the service'}: {words}")
        elif answer != SERVING:
            unwell.append(f"{name or 'the service'} is {answer}")
    for words in unwell:
        remedy = "see its log; NOT_SERVING is also what a service says that drains"
        yield Finding(check=CHECK, mark=Mark.PROBLEM, about="health", found=words, remedy=remedy)
    if not unwell:
        yield Finding(
            check=CHECK, mark=Mark.OK, about="health", found=f"{SERVING}, and so are its {len(agents)} agents"
        )


async def _reflection(service: RemoteEndpoint, subject: Subject) -> Finding:
    try:
        names = await asyncio.wait_for(service.reflected(timeout_s=subject.limit_s), subject.limit_s)
    except (OutboardError, asyncio.TimeoutError, TimeoutError) as error:
        words = error.message if isinstance(error, OutboardError) else "no answer in time"
        found = f"it tells its services to nobody: {words}"
        return Finding(check=CHECK, mark=Mark.SKIPPED, about="reflection", found=found)
    return Finding(check=CHECK, mark=Mark.OK, about="reflection", found=f"it offers {', '.join(names)}")
