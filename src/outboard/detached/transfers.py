"""Brings a job's inputs from an object store to its directory and its output back, a part at a time.

Addresses are `s3://bucket/path`, `gs://bucket/path` and `abfs://container@account.dfs.core.windows.net/path`, or what
else obstore knows. Credentials come from the environment as the cloud's own tools read them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class TransferError(Exception):
    """A store cannot be read or written; the message is the store's first line."""


class MissingObject(TransferError):
    """There is nothing under an address."""


def fetch(uri: str, target: Path) -> None:
    """Copy an object, or all objects under an address, to a local file or folder.

    Raises:
        MissingObject: There is nothing.
        TransferError: The store cannot be read.
    """
    store, path = _open(uri)
    fetch_from(store, path, target)


def upload(source: Path, uri: str) -> None:
    """Copy a local file to an address; large files go in parts.

    Raises:
        TransferError: The store cannot be written.
    """
    store, path = _open(uri)
    upload_to(store, path, source)


def fetch_from(store: ObjectStore, path: str, target: Path) -> None:
    """As `fetch`, from an open store."""
    import obstore  # noqa: PLC0415 - a job whose files are local never needs it

    try:
        found = [str(each["path"]) for page in obstore.list(store, prefix=path) for each in page]
        if not found:
            _copy(store, path, target)
        for each in found:
            relative = each.removeprefix(path).lstrip("/")
            _copy(store, each, target / relative if relative else target)
    except FileNotFoundError as error:
        raise MissingObject(_first_line(error)) from error
    except (obstore.exceptions.BaseError, OSError) as error:
        raise TransferError(_first_line(error)) from error


def upload_to(store: ObjectStore, path: str, source: Path) -> None:
    """As `upload`, to an open store."""
    import obstore  # noqa: PLC0415 - as above

    try:
        with source.open("rb") as file:
            obstore.put(store, path, file)
    except (obstore.exceptions.BaseError, OSError) as error:
        raise TransferError(_first_line(error)) from error


def _copy(store: ObjectStore, path: str, target: Path) -> None:
    import obstore  # noqa: PLC0415 - as above

    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for part in obstore.get(store, path).stream():
            file.write(part)


def _open(uri: str) -> tuple[ObjectStore, str]:
    """The store of a bucket or container, and the path in it."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 - as above
    from obstore.store import from_url  # noqa: PLC0415 - as above

    parts = urlsplit(uri)
    try:
        return from_url(f"{parts.scheme}://{parts.netloc}"), parts.path.strip("/")
    except (BaseError, ValueError) as error:
        raise TransferError(f"{parts.scheme}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:256]
