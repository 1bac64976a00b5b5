"""Buckets as stores, through obstore: S3 and its kin, Google Cloud Storage, Azure Blob Storage, and memory.

Conditions are HTTP's: S3 and Azure compare ETags (`If-None-Match: *`, `If-Match`), Google compares generations. A
condition that fails is 412; Azure says 409 to a create that lost, S3 says 409 when two writers met and *neither* is
known to have won, and 404 to an update of nothing. obstore makes `AlreadyExistsError` of every 409, whence the look.

obstore repeats requests by itself: after any 5xx, also for conditional writes. A first try that was applied and then
answered 503 would so be refused by the second, and our own success be told as somebody else's. Conditional writes
therefore go through a second store that repeats nothing, and are repeated here, after a look: bytes equal to ours are
ours; the version we expected means the try was lost; anything else means that somebody was faster.

A server that knows no conditions answers 501, or takes them without looking. The latter is found out once per bucket
and condition: the first write that wins is sent again and must be refused. It holds the same bytes, so it harms nobody.

Sources: object_store 0.14 `client/retry.rs`, `aws/mod.rs`; AWS S3 User Guide, "Conditional writes".
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from outboard.host.stores.port import Stored

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CONNECT_TIMEOUT: Final = timedelta(seconds=3)
_REQUEST_TIMEOUT: Final = timedelta(seconds=10)
_TRANSFER_TIMEOUT: Final = timedelta(seconds=30)
_RETRY_FOR_S: Final = 8.0
"""Shorter than a request may take: what hung once is not asked again."""
_PAUSES_S: Final = (0.1, 0.4, 1.6)

_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CLIENT_VARIABLES: Final = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
)

_STATUS: Final = re.compile(r"status code: (\d{3})")
_TRANSIENT: Final = ("408", "409", "425", "429")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")


class Bucket:
    """The objects of one bucket.

    Args:
        patient: Repeats what fails; for everything that may be repeated.
        once: The same bucket, repeating nothing; for conditional writes.
        version: What the store compares.
        is_proved: Whether the store is known to look at conditions.
    """

    def __init__(
        self,
        patient: ObjectStore,
        once: ObjectStore,
        *,
        version: Literal["e_tag", "version"] = "e_tag",
        is_proved: bool = True,
    ) -> None:
        self._patient = patient
        self._once = once
        self._version: Final = version
        self._unproved = set() if is_proved else {"create", "replace"}

    async def read(self, path: str) -> Stored | None:
        """Return the object and its version."""
        try:
            answer = await self._patient.get_async(path)
            return Stored(bytes(await answer.bytes_async()), self._tag(answer.meta))
        except FileNotFoundError as error:
            _require_bucket(error)
            return None

    async def write(self, path: str, data: bytes) -> None:
        """Write the object."""
        await self._patient.put_async(path, data)

    async def swap(self, path: str, data: bytes, tag: str | None) -> str | None:
        """Write the object if its version is this one (None: if nothing is there)."""
        from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError  # noqa: PLC0415 - as obstore

        began, is_unsure = time.monotonic(), False
        for pause_s in (*_PAUSES_S, None):
            try:
                new = await self._put(path, data, tag)
            except PreconditionError:
                return None
            except (AlreadyExistsError, GenericError) as error:
                status = _status(error)
                if isinstance(error, AlreadyExistsError) and status != "409":
                    return None
                if pause_s is None or not _is_transient(status) or time.monotonic() - began > _RETRY_FOR_S:
                    raise
                is_unsure = is_unsure or status != "409"
                await asyncio.sleep(pause_s)
            else:
                await self._prove(path, data, tag, new)
                return new
            found = await self.read(path)
            if is_unsure and found is not None and found.data == data:
                return found.tag
            if (None if found is None else found.tag) != tag:
                return None
        raise AssertionError("the last try returns or raises")

    async def copy(self, source: str, target: str) -> bool:
        """Let the store copy the object."""
        try:
            await self._patient.copy_async(source, target)
        except FileNotFoundError as error:
            _require_bucket(error)
            return False
        return True

    async def exists(self, path: str) -> bool:
        """Tell whether the object is there."""
        try:
            await self._patient.head_async(path)
        except FileNotFoundError:
            return False
        return True

    async def written_at(self, path: str) -> datetime | None:
        """Return when the object was written, by the store's clock."""
        try:
            return (await self._patient.head_async(path))["last_modified"]
        except FileNotFoundError:
            return None

    async def delete(self, path: str) -> None:
        """Delete the object if it is there."""
        try:
            await self._patient.delete_async(path)
        except FileNotFoundError:
            return

    async def _put(self, path: str, data: bytes, tag: str | None) -> str:
        mode: Any = "create" if tag is None else {self._version: tag}
        try:
            answer = await self._once.put_async(path, data, mode=mode, use_multipart=False)
        except Exception as error:
            if _status(error) == "501" or "<Code>NotImplemented" in str(error):
                raise NotImplementedError("it knows no conditional writes (501 Not Implemented)") from error
            raise
        return self._tag(answer)

    async def _prove(self, path: str, data: bytes, tag: str | None, new: str) -> None:
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError  # noqa: PLC0415 - as obstore

        condition = "create" if tag is None else "replace"
        if condition not in self._unproved or new == tag:
            return
        try:
            await self._put(path, data, tag)
        except (AlreadyExistsError, PreconditionError):
            self._unproved.discard(condition)
        except (BaseError, OSError):
            return  # the write stands; the next one is the proof
        else:
            raise NotImplementedError("it takes a conditional write without looking at the condition")

    def _tag(self, meta: Any) -> str:
        return meta[self._version] or ""


def open_bucket(url: str) -> Bucket:
    """Open a bucket with the credentials and the endpoint that the environment names.

    Args:
        url: `s3://bucket`, `gs://bucket` or `az://container`.
    """
    from obstore.store import from_url  # noqa: PLC0415 - 12 ms and 10 MB at start-up

    scheme = url.partition("://")[0]
    options = _client_options(_PREFIXES[scheme])
    quick: Any = {"connect_timeout": _CONNECT_TIMEOUT, "timeout": _REQUEST_TIMEOUT, **options}
    slow: Any = {**quick, "timeout": options.get("timeout", _TRANSFER_TIMEOUT), "read_timeout": _REQUEST_TIMEOUT}
    return Bucket(
        from_url(
            url,
            client_options=slow,
            retry_config={"max_retries": len(_PAUSES_S), "retry_timeout": timedelta(seconds=_RETRY_FOR_S)},
        ),
        from_url(url, client_options=quick, retry_config={"max_retries": 0}),
        version="version" if scheme == "gs" else "e_tag",
        is_proved=scheme != "s3",
    )


def open_memory() -> Bucket:
    """Open a bucket that lives as long as it is held."""
    from obstore.store import MemoryStore  # noqa: PLC0415 - 12 ms and 10 MB at start-up

    store = MemoryStore()
    return Bucket(store, store)


def _client_options(prefix: str) -> dict[str, Any]:
    """Return what the environment says about the HTTP client: obstore no longer asks it once it is given options."""
    named = ((name, os.environ.get(f"{prefix}_{name.upper()}")) for name in _CLIENT_VARIABLES)
    return {name: value for name, value in named if value}


def _status(error: Exception) -> str | None:
    found = _STATUS.search(str(error))
    return found[1] if found else None


def _is_transient(status: str | None) -> bool:
    return status is None or status in _TRANSIENT or status.startswith("5")


def _require_bucket(error: FileNotFoundError) -> None:
    # "No bucket" must not read as "no object": a record that is not there invites a second start.
    if any(words in str(error) for words in _NO_BUCKET):
        raise LookupError("the bucket does not exist") from error
