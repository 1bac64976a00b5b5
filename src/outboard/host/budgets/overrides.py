"""Quota overrides: the operator's own numbers in place of the declared ones.

Any method may be given a rate, since platforms have more methods than their authors declare. A name that differs from a declared
one only in case or punctuation is a slip, and so is the name of a platform that is nearly one of those here; both are
refused with the names that are known. A platform of quite another name may be served by another process (`--isolate`), so it
only gets a log line.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from outboard.agent.platform import Platform
from outboard.agent.registry import Registry
from outboard.domain.quotas import ANY_METHOD, Quotas, QuotaScope, Rate
from outboard.errors import InvalidSettings
from outboard.host.logs import TaskLog
from outboard.host.settings import HostSettings, RateSettings

Overrides = Mapping[str, Quotas]
"""By platform, the quotas that hold in place of the declared ones."""


def overridden_quotas(settings: HostSettings, registry: Registry) -> Overrides:
    """Return the quotas of the platforms for which the operator set any.

    Raises:
        InvalidSettings: A name is nearly one of those known, which the message lists.
    """
    platforms = {platform.name: platform for platform in registry.platforms} if settings.quotas else {}
    quotas: dict[str, Quotas] = {}
    for name, rates in settings.quotas.items():
        platform = platforms.get(name)
        if platform is None:
            _refuse_slip(name, sorted(platforms))
            TaskLog(platform=name).warning("quotas are set for a platform that is not loaded here; they have no effect")
            continue
        quotas[name] = _overridden(platform, rates)
    return quotas


def _overridden(platform: Platform[Any, Any], rates: Mapping[str, RateSettings]) -> Quotas:
    declared = platform.quotas
    replaced: dict[str, Rate] = {}
    for method, rate in rates.items():
        known = declared.of(method)
        if not known:
            _refuse_same_letters(platform.name, method, sorted({name for name, _ in declared}))
        scope = known[0].scope if known else QuotaScope.ACCOUNT
        replaced[method] = Rate(per_second=rate.per_second, burst=rate.burst, scope=scope, source="host.quotas")
    return Quotas({**declared.rates, **replaced})


def _refuse_slip(name: str, known: list[str]) -> None:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        field = f"host.quotas.{name}"
        words = f"{field}: there is no such platform; did you mean {near[0]}? (platforms: {', '.join(known)})"
        raise InvalidSettings(words, field=field)


def _refuse_same_letters(platform: str, method: str, known: list[str]) -> None:
    same = next((name for name in known if name != ANY_METHOD and _letters(name) == _letters(method)), None)
    if same is not None:
        field = f"host.quotas.{platform}.{method}"
        words = f"{field}: there is no such method; did you mean {same}? (declared: {', '.join(known)})"
        raise InvalidSettings(words, field=field)


def _letters(name: str) -> str:
    return "".join(each for each in name.casefold() if each.isalnum())
