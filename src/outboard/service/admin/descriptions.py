"""What `/agents` shows of a service: what is served, what could not be loaded, which accounts answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import AgentInfo
from outboard.host.accounts import AccountReport, Accounts
from outboard.service.supervision.child import Child
from outboard.service.supervision.control import ANSWER_S, DESCRIBE, Unanswered, ask_from_loop


def described_agents(agents: Iterable[AgentInfo]) -> list[Mapping[str, Any]]:
    """Return agents as JSON shows them."""
    return [
        {
            "name": agent.name,
            "is_sync": agent.is_sync,
            "task_types": [{"name": each.name, "version": each.version} for each in agent.task_types],
        }
        for agent in sorted(agents, key=lambda each: each.name)
    ]


def described_failures(failures: Iterable[LoadFailure]) -> list[Mapping[str, Any]]:
    """Return what could not be loaded as JSON shows it."""
    return [{"source": each.source, "reason": each.reason} for each in failures]


def described_accounts(accounts: Accounts) -> list[Mapping[str, Any]]:
    """Return the platform accounts that were asked lately, and how they are."""
    return [_account(report) for report in accounts.reports()]


async def described_children(children: Sequence[Child]) -> Mapping[str, Any]:
    """Ask children what they serve; one that is down, or does not answer, says nothing."""

    async def ask(child: Child) -> Mapping[str, Any]:
        found: Any = None
        if child.control is not None:
            try:
                found = await ask_from_loop(child.control, DESCRIBE, timeout_s=ANSWER_S)
            except Unanswered:
                found = None
        return {"up": child.is_up, "restarts": child.restarts, **(found or {})}

    told = await asyncio.gather(*map(ask, children))
    return {child.source: each for child, each in zip(children, told, strict=True)}


def _account(report: AccountReport) -> Mapping[str, Any]:
    return {
        "platform": report.platform,
        "account": report.account,
        "reach": report.reach.value,
        "asked_at": report.asked_at.isoformat(),
        "answered_at": None if report.answered_at is None else report.answered_at.isoformat(),
        "silent_s": report.silent_for.total_seconds(),
        "failures": report.failures,
        "throttled": report.throttled,
        "error": report.error,
        "words": report.words,
    }
