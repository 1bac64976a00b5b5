"""Looks for files in stores: local folders, S3, Google Cloud Storage and Azure, all through obstore.

obstore does its input and output on threads of its own, so a network drive that hangs holds up neither the service's
loop nor its exit. Stores are opened once per bucket; credentials and endpoints come from the service's environment, as
the clouds' own tools read them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, cast

from outboard.errors import AgentError, Forbidden, Rejected, Unauthorized, Unavailable
from outboard.platforms.files.addresses import LOCAL, Address

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_KINDS: Final[dict[str, type[AgentError]]] = {
    "PermissionError": Forbidden,
    "PermissionDeniedError": Forbidden,
    "UnauthenticatedError": Unauthorized,
    "InvalidPathError": Rejected,
    "ValueError": Rejected,
}
"""By name, since obstore is imported at the first look only."""

_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a file must be like to count.

    Attributes:
        min_size_bytes: At least so large.
        min_age: Last written at least so long ago; a file that is still being written is young.
    """

    min_size_bytes: int = 0
    min_age: timedelta = timedelta(0)

    def fits(self, found: dict[str, Any]) -> bool:
        """Tell whether a file that was found counts."""
        age = datetime.now(timezone.utc) - found["last_modified"]
        return bool(found["size"] >= self.min_size_bytes and age >= self.min_age)


class FileStores:
    """Looks for files.

    Args:
        open_store: From `file://` or a bucket's address to an obstore store.
    """

    def __init__(self, open_store: Callable[[str], ObjectStore] | None = None) -> None:
        self._open_store = open_store if open_store is not None else _open_store
        self._stores: dict[str, ObjectStore] = {}

    async def has_file(self, address: Address, wanted: Wanted) -> bool:
        """Tell whether at least one wanted file is there.

        Raises:
            Unauthorized, Forbidden: The service may not look there.
            Unavailable: The store cannot be reached.
            Rejected: The store refuses the path.
        """
        try:
            if address.is_file:
                found = await self._file(address)
                if found is not None:
                    return wanted.fits(found)
            async for each in self._below(address):
                if address.matches(each["path"]) and wanted.fits(each):
                    return True
        except FileNotFoundError:
            return False
        except AgentError:
            raise
        except Exception as error:
            raise _translated(error) from error
        return False

    async def look_into(self, address: Address) -> None:
        """Read one page of the names of a folder; raises as `has_file` does, and where a local folder is not there."""
        if address.store == LOCAL:
            text = address.text
            if not await asyncio.to_thread(os.access, text, os.R_OK | os.X_OK):
                raise Unavailable(
                    f"{text} is not there, or may not be read; see platforms.files.roots", code="NotThere"
                )
            return
        try:
            stream: Any = self._store(address).list(address.folder or None, chunk_size=1)
            await anext(aiter(stream), None)
        except Exception as error:
            raise _translated(error) from error

    @staticmethod
    async def real_path(address: Address) -> str:
        """Return where a local address leads once symbolic links are followed."""
        return await asyncio.to_thread(os.path.realpath, address.text)

    async def _file(self, address: Address) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", await self._store(address).head_async(address.folder))
        except FileNotFoundError:
            return None

    async def _below(self, address: Address) -> AsyncIterator[dict[str, Any]]:
        store, folder = self._store(address), address.folder or None
        if address.is_deep:
            async for page in store.list(folder):
                for each in page:
                    yield cast("dict[str, Any]", each)
            return
        for each in (await store.list_with_delimiter_async(folder))["objects"]:
            yield cast("dict[str, Any]", each)

    def _store(self, address: Address) -> ObjectStore:
        store = self._stores.get(address.store)
        if store is None:
            store = self._stores[address.store] = self._open_store(address.store)
        return store


def _open_store(name: str) -> ObjectStore:
    from obstore.store import LocalStore, from_url  # noqa: PLC0415 - 12 ms and 10 MB at start-up

    if name == LOCAL:
        return LocalStore(prefix="/")
    # The next poke is the retry: a poke that lasts minutes would only hide that the store is away.
    return from_url(
        name,
        client_options={"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=10)},
        retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=5)},
    )


def _translated(error: Exception) -> AgentError:
    # obstore appends its configuration to messages: only the first line is for people.
    words = (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN]
    kind = next((_KINDS[each.__name__] for each in type(error).__mro__ if each.__name__ in _KINDS), Unavailable)
    return kind(words, code=type(error).__name__)
