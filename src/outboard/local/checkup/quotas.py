"""Quotas: the rates that hold, how many replicas share them, and what is throttled now."""

from __future__ import annotations

import socket
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

from outboard.errors import OutboardError, StoreUnavailable
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "quotas"
_PAGE_BYTES: Final = 32 * 1024 * 1024
_WAITING: Final = "outboard_budget_waiting"
_THROTTLED: Final = "outboard_budget_throttled_total"
_REACHABLE: Final = "outboard_account_reachable"


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Tell rates and replicas, and what the metrics of a service say of them."""
    host = subject.host
    if host is not None:
        settings = host.settings
        platforms = {platform.name: platform for platform in host.registry.platforms}
        declared = {name: len(platform.quotas.rates) for name, platform in platforms.items() if platform.quotas.rates}
        told = ", ".join(f"{name} {count}" for name, count in sorted(declared.items())) or "none"
        overrides = sum(len(rates) for rates in settings.quotas.values())
        found = f"methods with a declared rate: {told}; {overrides} set by the operator"
        yield Finding(check=CHECK, mark=Mark.OK, found=found)
        for name in settings.quotas:
            if name not in platforms:
                words = (
                    f"host.quotas.{name} is for a platform that is not loaded here and has no effect in this process"
                )
                yield Finding(check=CHECK, mark=Mark.WARNING, about=name, found=words, remedy="correct the name")
        yield await _replicas(subject)
    if subject.metrics_url:
        async for finding in _metrics(subject):
            yield finding


async def _replicas(subject: Subject) -> Finding:
    host = subject.host
    assert host is not None  # noqa: S101 - for mypy
    settings = host.settings
    name = settings.replicas_dns
    if not name:
        part = f"1/{settings.replicas * settings.processes}"
        found = (
            f"replicas: {settings.replicas}, processes: {settings.processes}; each process has {part} of every quota"
        )
        return Finding(check=CHECK, mark=Mark.OK, about="replicas", found=found)
    try:
        addresses = await subject.in_thread(lambda: _addresses(name), f"resolving {name}")
    except (OSError, OutboardError) as error:
        words = error.message if isinstance(error, OutboardError) else (error.strerror or type(error).__name__)
        return Finding(
            check=CHECK,
            mark=Mark.PROBLEM,
            about="replicas",
            found=f"host.replicas_dns {name} cannot be resolved ({words}); {settings.replicas} replicas are assumed",
            remedy="name a headless Service, as name.namespace.svc.cluster.local, and look from inside of its cluster",
        )
    is_odd = settings.replicas not in (1, addresses)
    expected = f", and host.replicas says {settings.replicas}" if is_odd else ""
    return Finding(
        check=CHECK,
        mark=Mark.WARNING if is_odd else Mark.OK,
        about="replicas",
        found=f"{name} has {addresses} addresses{expected}; each replica has 1/{addresses} of every quota",
        remedy="leave host.replicas out, or see which replicas are not ready" if is_odd else "",
    )


def _addresses(name: str) -> int:
    families: dict[int, set[str]] = defaultdict(set)
    for family, _, _, _, address in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
        families[int(family)].add(str(address[0]))
    return max(len(each) for each in families.values())


async def _metrics(subject: Subject) -> AsyncIterator[Finding]:
    url = subject.metrics_url
    try:
        page = await subject.in_thread(lambda: _fetch(url, subject.limit_s), f"reading {url}")
        found = _read(page)
    except (OSError, ValueError, OutboardError) as error:
        words = str(error) or type(error).__name__
        failure = error if isinstance(error, OutboardError) else StoreUnavailable(f"{url}: {words}")
        remedy = "give the address of the service's metrics, as http://host:9090/metrics"
        words = f"the metrics cannot be read: {words}"
        yield Finding(check=CHECK, mark=Mark.PROBLEM, about="metrics", found=words, remedy=remedy, error=failure)
        return
    waiting, throttled, lost = found
    for account in lost:
        words = f"{account} is out of reach, or refuses the service's credentials"
        yield Finding(
            check=CHECK, mark=Mark.PROBLEM, about=account, found=words, remedy="see the log: account unreachable"
        )
    for account, count in sorted(waiting.items()):
        words = (
            f"{account}: {count:g} calls wait for their turn now, throttled {throttled.get(account, 0):g} times so far"
        )
        remedy = "raise host.quotas, or start fewer jobs at once"
        yield Finding(check=CHECK, mark=Mark.WARNING, about=account, found=words, remedy=remedy)
    if not lost and not waiting:
        told = f"{len(throttled)} accounts and methods were throttled before" if throttled else "none ever was"
        yield Finding(check=CHECK, mark=Mark.OK, about="metrics", found=f"no call waits for its turn; {told}")


def _fetch(url: str, limit_s: float) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no http address")
    with urllib.request.urlopen(url, timeout=limit_s) as answer:  # noqa: S310 - looked at above
        data: bytes = answer.read(_PAGE_BYTES)
    return data.decode("utf-8", "replace")


def _read(page: str) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Return calls that wait, how often "slow down" was said, and accounts out of reach, by account and method."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - only here

    waiting: dict[str, float] = {}
    throttled: dict[str, float] = {}
    lost: list[str] = []
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            about = f"{sample.labels.get('account', '')} {sample.labels.get('method', '')}".strip()
            if sample.name == _WAITING and sample.value:
                waiting[about] = sample.value
            elif sample.name == _THROTTLED and sample.value:
                throttled[about] = sample.value
            elif sample.name == _REACHABLE and not sample.value:
                lost.append(about)
    return waiting, throttled, lost
