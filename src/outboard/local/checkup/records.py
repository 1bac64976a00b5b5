"""The record store: whether records can be written there, and whether the store keeps conditions.

The promise stands on conditional writes (see `host.stores.port`): of any number of replicas that claim one key, one wins. So a
probe object is created, created again (which must be refused), replaced under its tag and under an old one (which must be
refused), read and deleted. Its name is random and nobody else's.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import urlsplit

from outboard.errors import StoreUnavailable
from outboard.host.stores import Store, Stores, join_uri
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "records"
_CONDITIONS: Final = "without conditional writes two replicas may start one job: use a store that keeps them"
_CLEANUP_S: Final = 5.0


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Try the place where submission records go."""
    host = subject.host
    if host is None:
        return
    root = host.settings.records or subject.output_prefix
    if not root:
        words = "host.records names no place, so records lie beside the outputs of each task"
        remedy = "give --output-prefix URI to try one such place"
        yield Finding(check=CHECK, mark=Mark.SKIPPED, found=words, remedy=remedy)
        return
    place = join_uri(root, f".outboard-checkup-{secrets.token_hex(8)}")
    began = time.monotonic()
    try:
        await asyncio.wait_for(_try(host.stores, place), subject.limit_s)
        await _compare_clocks(host.stores, place, root, subject)
    except (asyncio.TimeoutError, TimeoutError):
        error = StoreUnavailable(f"{root} did not answer within {subject.limit_s:g} s")
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, remedy="see the network", error=error)
    except _Unconditional as error:
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, remedy=_CONDITIONS, error=error)
    except StoreUnavailable as error:
        is_lacking = "conditional" in error.message
        remedy = _CONDITIONS if is_lacking else "give the service's identity the right to write, read and delete there"
        yield Finding(check=CHECK, mark=Mark.PROBLEM, found=error.message, remedy=remedy, error=error)
    else:
        seconds = time.monotonic() - began
        yield _good(root, seconds, host.settings.replicas)
    left = await _remove(host.stores, place)
    if left is not None:
        words = f"the probe object {place} could not be deleted: {left.message}"
        remedy = "give the service's identity the right to delete there, and delete it"
        yield Finding(check=CHECK, mark=Mark.WARNING, about="probe", found=words, remedy=remedy, error=left)


class _Unconditional(StoreUnavailable):
    """The store takes a conditional write without looking at the condition."""


async def _try(stores: Store, place: str) -> None:
    first, second, third = (secrets.token_bytes(16) for _ in range(3))
    tag = await stores.create(place, first)
    if tag is None:
        raise StoreUnavailable(f"{place} is there already, although nobody else knows its name")
    if await stores.create(place, second) is not None:
        raise _Unconditional(f"the store of {place} creates an object where one is already (If-None-Match)")
    if await stores.replace(place, second, tag) is None:
        raise StoreUnavailable(f"{place} was changed by somebody else, although nobody else knows its name")
    if await stores.replace(place, third, tag) is not None:
        raise _Unconditional(f"the store of {place} replaces a version that is not there any more (If-Match)")
    if await stores.read(place) != second:
        raise StoreUnavailable(f"{place} is not read as it was written")


async def _compare_clocks(stores: Store, place: str, root: str, subject: Subject) -> None:
    if not isinstance(stores, Stores):
        return
    written_at = await asyncio.wait_for(stores.written_at(place), subject.limit_s)
    if written_at is not None:
        skew = written_at - datetime.now(timezone.utc)
        subject.skews[_store_of(root)] = timedelta(seconds=round(skew.total_seconds()))


async def _remove(stores: Store, place: str) -> StoreUnavailable | None:
    """Delete the probe object; return why it may still be there."""
    try:
        await asyncio.wait_for(stores.delete(place), _CLEANUP_S)
        is_left = await asyncio.wait_for(stores.exists(place), _CLEANUP_S)
    except StoreUnavailable as error:
        return error
    except (asyncio.TimeoutError, TimeoutError):
        return StoreUnavailable(f"no answer within {_CLEANUP_S:g} s")
    return StoreUnavailable("it is still there") if is_left else None


def _good(root: str, seconds: float, replicas: int) -> Finding:
    found = f"{root} can be written, read and deleted, and keeps conditions ({seconds:.2f} s)"
    scheme = urlsplit(root).scheme
    if scheme == "memory":
        words = f"{root} is this process's own memory: no other replica sees it, and nothing outlives the process"
        remedy = "name a bucket, or a path that all replicas share"
        return Finding(check=CHECK, mark=Mark.WARNING, found=words, remedy=remedy)
    if scheme in ("", "file") and replicas > 1:
        words = f"{found}; but it is a path of this machine, and there are {replicas} replicas"
        return Finding(check=CHECK, mark=Mark.WARNING, found=words, remedy="name a bucket: s3://, gs:// or az://")
    return Finding(check=CHECK, mark=Mark.OK, found=found, seconds=seconds)


def _store_of(root: str) -> str:
    parts = urlsplit(root)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme not in ("", "file") else "the record store's disk"
