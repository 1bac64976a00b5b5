"""Object stores behind one port: local paths, `s3://`, `gs://`, `az://` and `memory://`, through obstore.

Credentials come from the environment, as obstore's and the clouds' own tools read them. What cannot be read or
written raises `StoreUnavailable` with the place and the remedy; "not there" is not an error but None or False.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from outboard.errors import StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_LOCAL: Final = ("", "file")
_CLOUD: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}


class Stores:
    """Reads and writes small objects by URI or path. Stores are opened once per bucket."""

    def __init__(self) -> None:
        self._stores: dict[str, ObjectStore] = {}

    async def read(self, uri: str) -> bytes | None:
        """Return an object's bytes, or None when it is not there."""
        try:
            store, path = self._locate(uri)
            answer = await store.get_async(path)
            return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _unavailable("read", uri, error) from error

    async def write(self, uri: str, data: bytes) -> None:
        """Write an object, replacing what was there; local directories are made."""
        try:
            store, path = self._locate(uri)
            await store.put_async(path, data)
        except Exception as error:
            raise _unavailable("write", uri, error) from error

    async def exists(self, uri: str) -> bool:
        """Tell whether an object is there."""
        try:
            store, path = self._locate(uri)
            await store.head_async(path)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise _unavailable("read", uri, error) from error
        return True

    async def delete(self, uri: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        try:
            store, path = self._locate(uri)
            await store.delete_async(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _unavailable("delete", uri, error) from error

    def _locate(self, uri: str) -> tuple[Any, str]:
        from obstore.store import LocalStore, MemoryStore, from_url  # noqa: PLC0415 - 12 ms and 10 MB at start-up

        parts = urlsplit(uri)
        if parts.scheme in _LOCAL:
            path = Path(parts.path if parts.scheme else uri).absolute()
            return self._cached("file://", lambda: LocalStore(prefix="/")), str(path).lstrip("/")
        if parts.scheme == "memory":
            return self._cached("memory://", MemoryStore), f"{parts.netloc}{parts.path}".strip("/")
        if parts.scheme not in _CLOUD:
            raise ValueError(f"{parts.scheme}:// is not supported; use a path, s3://, gs://, az:// or memory://")
        bucket = f"{_CLOUD[parts.scheme]}://{parts.netloc}"
        return self._cached(bucket, lambda: from_url(bucket)), parts.path.lstrip("/")

    def _cached(self, name: str, make: Any) -> ObjectStore:
        store = self._stores.get(name)
        if store is None:
            store = self._stores[name] = make()
        return store


def join_uri(prefix: str, *names: str) -> str:
    """Return the URI of something below a prefix.

    >>> join_uri("s3://bucket/out/", "outputs.pb")
    's3://bucket/out/outputs.pb'
    """
    return "/".join((prefix.rstrip("/"), *names))


def _unavailable(verb: str, uri: str, error: Exception) -> StoreUnavailable:
    # obstore appends its configuration to messages: only the first line is for people.
    words = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return StoreUnavailable(
        f"cannot {verb} {uri}: {words}; check that the place exists and that this process may use it"
    )
