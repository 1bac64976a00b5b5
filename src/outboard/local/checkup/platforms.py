"""Platforms: whether agents load, their secrets are there, and their platforms answer and take our credentials.

All platforms and connections are asked side by side, each within the time limit; the slowest decides how long it takes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.errors import (
    AgentFault,
    Forbidden,
    MissingSecret,
    OutboardError,
    SecretsUnavailable,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host import Host
from outboard.host.clients import secret_refs
from outboard.host.pings import Ping
from outboard.host.secrets import Presence
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

AGENTS: Final = "agents"
SECRETS: Final = "secrets"
PLATFORMS: Final = "platforms"

_REMEDIES: Final[dict[type[OutboardError], str]] = {
    MissingSecret: "set the secret under one of these names",
    Unauthorized: "renew the credentials: they are read anew with the next call",
    Forbidden: "give the identity the permission, or look at the platform's network rules",
    Throttled: "others use the account too: lower host.quotas, or wait",
    Unavailable: "check the address, the network and the platform's status page",
    AgentFault: "tell the platform's author",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A connection that a platform's settings name."""

    platform: Platform[Any, Any]
    name: str
    connection: Connection

    @property
    def text(self) -> str:
        own = self.platform.name
        return own if self.name in ("", own) else f"{own} {self.name}"


async def check_agents(subject: Subject) -> AsyncIterator[Finding]:
    """Tell which agents load, and which platforms do not."""
    host = subject.host
    if host is None:
        return
    wanted = {*subject.section("settings"), *subject.wanted}
    platforms = list(host.registry.platforms)  # loads those that wait for their first task
    for failure in host.failures:
        is_wanted = failure.source in wanted or ":" in failure.source
        yield Finding(
            check=AGENTS,
            mark=Mark.PROBLEM if is_wanted else Mark.WARNING,
            about=failure.source,
            found=f"{failure.source} is not loaded: {failure.reason}",
            remedy="mend it, or set `enabled: false` for it",
        )
    listed = host.registry.listed()
    if not listed:
        remedy = "install a platform's extra, or name one with --agents"
        yield Finding(check=AGENTS, mark=Mark.PROBLEM, found="no agent is served here", remedy=remedy)
        return
    kinds = sum(len(agent.task_types) for agent in listed)
    names = ", ".join(agent.name for agent in listed)
    found = f"{len(listed)} agents of {len(platforms)} platforms serve {kinds} task types: {names}"
    yield Finding(check=AGENTS, mark=Mark.OK, found=found)


async def check_secrets(subject: Subject) -> AsyncIterator[Finding]:
    """Tell which declared secrets are missing, by name and place, never by value."""
    host = subject.host
    if host is None:
        return
    declared: dict[SecretRef, list[str]] = defaultdict(list)
    for place in _places(host):
        for ref in secret_refs(place.connection):
            declared[ref].append(place.text)
    for agent in host.registry:
        for ref in (*agent.secrets, *_callback_secrets(agent)):
            declared[ref].append(f"agent {agent.name}")
    if not declared:
        yield Finding(check=SECRETS, mark=Mark.SKIPPED, found="the settings and the agents declare no secrets")
        return
    found = await host.examination.secrets_presence(subject.scope, list(declared), subject.limit_s)
    for (ref, users), presence in zip(declared.items(), found, strict=True):
        yield _secret(ref, ", ".join(dict.fromkeys(users)), presence, subject)


async def check_platforms(subject: Subject) -> AsyncIterator[Finding]:
    """Ping every connection that the settings name, side by side."""
    host = subject.host
    if host is None:
        return
    for platform in host.registry.platforms:
        broken = _broken(platform)
        if broken is not None:
            yield broken
    places = [each for each in _places(host) if each.platform.is_pinging]
    pings = [
        host.examination.ping(each.platform, each.connection, scope=subject.scope, timeout_s=subject.limit_s)
        for each in places
    ]
    for place, ping in zip(places, await asyncio.gather(*pings), strict=True):
        if ping.clock_skew is not None:
            subject.skews[place.text] = ping.clock_skew
        yield _answer(place, ping, subject)
    served = {place.platform.name for place in places}
    for platform in host.registry.platforms:
        if platform.name in served or _broken(platform) is not None:
            continue
        if platform.is_pinging:
            words, remedy = "its settings name no connection by themselves", f"see platforms.{platform.name}"
        else:
            words, remedy = "it offers no ping", ""
        yield Finding(
            check=PLATFORMS, mark=Mark.SKIPPED, about=platform.name, found=f"{platform.name}: {words}", remedy=remedy
        )


def _places(host: Host) -> list[_Place]:
    lacking = {platform.name for platform in host.registry.platforms} - {
        agent.platform.name for agent in host.registry if host.registry.served(agent)
    }
    return [
        _Place(platform=platform, name=name, connection=connection)
        for platform in host.registry.platforms
        if platform.name not in lacking
        if _broken(platform) is None
        for name, connection in platform.connections().items()
    ]


def _broken(platform: Platform[Any, Any]) -> Finding | None:
    """Return what is wrong with a platform whose own code cannot say which connections there are."""
    try:
        platform.connections()
    except Exception as error:  # noqa: BLE001 - an author's code; the other platforms are looked at all the same
        words = f"{platform.name}: its connections cannot be told ({type(error).__name__})"
        return Finding(
            check=PLATFORMS, mark=Mark.PROBLEM, about=platform.name, found=words, remedy="tell the platform's author"
        )
    return None


def _callback_secrets(agent: Agent) -> tuple[SecretRef, ...]:
    callbacks = agent.callbacks if isinstance(agent, JobAgent) else None
    return callbacks.keys if callbacks is not None and len(callbacks.keys) == 1 else ()  # of several, one is enough


def _is_of_projects(refs: Sequence[SecretRef], subject: Subject) -> bool:
    """Tell whether each project may have such secrets of its own, and none was named to look for."""
    return not subject.scope.project and any(ref.scope is SecretScope.PROJECT for ref in refs)


def _secret(ref: SecretRef, users: str, presence: Presence, subject: Subject) -> Finding:
    name = presence.name
    if presence.store:
        return Finding(check=SECRETS, mark=Mark.OK, about=name, found=f"{name} is in {presence.store}, for {users}")
    is_projects = _is_of_projects([ref], subject)
    remedy = "projects may have their own: name one with --project and --domain" if is_projects else "set it"
    error = MissingSecret(presence.problem) if presence.is_certain else SecretsUnavailable(presence.problem)
    return Finding(
        check=SECRETS,
        mark=Mark.WARNING if is_projects else Mark.PROBLEM,
        about=name,
        found=f"{presence.problem}; {users} needs it",
        remedy=remedy if presence.is_certain else "see that its store answers",
        error=error,
    )


def _answer(place: _Place, ping: Ping, subject: Subject) -> Finding:
    about, seconds = place.text, ping.seconds
    if ping.error is None:
        words = f"{about}: {ping.words} ({ping.seconds:.2f} s)"
        return Finding(check=PLATFORMS, mark=Mark.OK, about=about, found=words, seconds=seconds)
    error = ping.error
    remedy = next((_REMEDIES[kind] for kind in type(error).__mro__ if kind in _REMEDIES), "see the platform's document")
    is_projects = isinstance(error, MissingSecret) and _is_of_projects(secret_refs(place.connection), subject)
    mark = Mark.WARNING if is_projects or isinstance(error, Throttled) else Mark.PROBLEM
    words = f"{about}: {type(error).__name__}: {error.message}"
    return Finding(check=PLATFORMS, mark=mark, about=about, found=words, remedy=remedy, error=error, seconds=seconds)
