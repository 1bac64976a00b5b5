"""Handles: whether what this service seals can be read again, here and on every other replica."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from outboard.domain.handles import Handle, seal_of
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.keys import submission_key
from outboard.domain.seals import ServiceKey
from outboard.errors import HandleError
from outboard.host import Host, HostSettings
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "handles"
DEVELOPMENT: Final = HostSettings().installation


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Seal and open a probe, read the handle that was given, and tell what weakens the seal."""
    host = subject.host
    if host is None:
        return
    settings = host.settings
    keys = key_ids(settings)
    for finding in _weak(settings):
        yield finding
    key = submission_key(settings.installation, ExecutionIdentity(execution="checkup", node="n0"), "")
    probe = Handle(agent="checkup", task_type="checkup", key=key, account="checkup")
    try:
        is_read = host.codec.decode(host.codec.encode(probe)) == probe
    except HandleError as error:
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, error=error, remedy="see host.service_keys")
    else:
        how = f"sealed with key {keys[0]}, and {len(keys)} keys are read: {', '.join(keys)}" if keys else "not sealed"
        mark = Mark.OK if is_read else Mark.PROBLEM
        words = f"new handles are {how}; every replica must show the same key ids" if keys else f"new handles are {how}"
        yield Finding(check=CHECK, mark=mark, about="seal", found=words)
    if subject.handle is not None:
        yield _given(host, subject.handle, keys)


def key_ids(settings: HostSettings) -> list[str]:
    """Return what tells service keys apart without telling them; the first one's seals."""
    return [ServiceKey.parse(key.get_secret_value()).key_id.hex() for key in settings.service_keys]


def _weak(settings: HostSettings) -> list[Finding]:
    told = []
    if settings.installation == DEVELOPMENT:
        told.append(
            (
                f"the installation has the name '{DEVELOPMENT}' of all that were not named, which may share their jobs",
                "name it: OUTBOARD_INSTALLATION, equal on all replicas",
            )
        )
    if not settings.service_keys:
        told.append(
            (
                "there are no service keys: whoever can write to the engine can write handles of any tenant's job",
                "set OUTBOARD_SERVICE_KEYS: base64 of 32 random bytes, equal on all replicas",
            )
        )
    if settings.service_keys and settings.accept_clear_handles:
        told.append(
            (
                "host.accept_clear_handles is on: handles that nobody sealed are taken too",
                "switch it off once the jobs have ended that were started without a key",
            )
        )
    if settings.accept_flytekit_handles:
        told.append(
            (
                "host.accept_flytekit_handles is on: anybody can write such handles",
                "switch it off once the jobs have ended that flytekit's service started",
            )
        )
    return [Finding(check=CHECK, mark=Mark.WARNING, found=found, remedy=remedy) for found, remedy in told]


def _given(host: Host, encoded: bytes, keys: list[str]) -> Finding:
    seal = seal_of(encoded)
    sealed_with = seal.key_id.hex() if seal is not None and seal.is_sealed else ""
    try:
        handle = host.codec.decode(encoded)
    except HandleError as error:
        words = f"the handle cannot be read: {error.message}"
        if sealed_with and sealed_with not in keys:
            words = (
                f"the handle was sealed with key {sealed_with}, which is not among ours ({', '.join(keys) or 'none'})"
            )
        remedy = "give this service the other side's key in host.service_keys, after the one that seals"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about="given", found=words, remedy=remedy, error=error)
    how = f"sealed with key {sealed_with}" if sealed_with else "not sealed"
    words = f"the handle is readable ({how}): {handle.task_type} of agent {handle.agent}"
    if host.registry.named(handle.agent) is None:
        remedy = "serve that agent here too"
        words = f"{words}, which is not served here"
        return Finding(check=CHECK, mark=Mark.PROBLEM, about="given", found=words, remedy=remedy)
    return Finding(check=CHECK, mark=Mark.OK, about="given", found=words)
