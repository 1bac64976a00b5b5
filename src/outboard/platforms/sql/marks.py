"""Marks: the small objects beside a result by which its worker and all replicas agree on what became of a statement.

==========  =======================================================  ==============================  =======
mark        says                                                     written by                      how
==========  =======================================================  ==============================  =======
`claim`     which worker is the statement's                          the worker                      once
`start`     the statement may begin, or never will                   the worker, or who ends it      once
`decision`  it may be committed, or never will be                    the worker, or who ends it      once
`end`       how it ended, and what it made                           the worker, or who finds it     once
`alive`     that the worker lives, and how far it is                 the worker, every few seconds   latest
==========  =======================================================  ==============================  =======

*Once* is a conditional write: of two writers exactly one wins. So a worker that lost `start` never sends its statement, one
that lost `decision` never commits, and whoever won them knows it. Every document bears a nonce: bytes equal to ours are
ours, however often a lost reply made the client send them.

Local folders are written as job directories are (a hard link that fails where the name exists), buckets with If-None-Match.
The worker loads this file, so it imports next to nothing.
"""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from outboard.detached import job_files
from outboard.detached.output_places import BUCKETS

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CLAIM, START, DECISION, END, ALIVE = "claim.json", "start.json", "decision.json", "end.json", "alive.json"
FOLDER = ".outboard/sql"
Document = dict[str, Any]


class MarksUnavailable(Exception):
    """The place of the marks cannot be read or written; the message is the store's first line."""


class Marks:
    """The marks of one statement.

    Args:
        place: The folder: a path, `file://`, `s3://`, `gs://` or `abfs://`.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        path = local_path(self.place)
        self._folder = None if path is None else path
        self._store: ObjectStore | None = None
        self._path = "" if path is not None else urlsplit(self.place).path.strip("/")

    def write_once(self, name: str, document: Document) -> Document | None:
        """Write a mark unless there is one; return what stands there if it is another's, None where it is ours.

        Raises:
            MarksUnavailable: The place cannot be written, or takes no conditions.
        """
        text = json.dumps({**document, "at": time.time(), "nonce": secrets.token_hex(8)})
        if self._folder is not None:
            return self._write_file(name, text)
        return self._write_object(name, text)

    def write_latest(self, name: str, document: Document) -> None:
        """Write a mark over the one before.

        Raises:
            MarksUnavailable: The place cannot be written.
        """
        document = {**document, "at": time.time()}
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                job_files.write_latest(str(self._folder), name, document)
            except OSError as error:
                raise MarksUnavailable(_first_line(error)) from error
            return
        import obstore  # noqa: PLC0415 - statements whose outputs lie on this machine never need it

        try:
            obstore.put(self._bucket(), f"{self._path}/{name}", json.dumps(document).encode())
        except (obstore.exceptions.BaseError, OSError) as error:
            raise MarksUnavailable(_first_line(error)) from error

    def read(self, name: str) -> Document | None:
        """Return a mark; None where there is none.

        Raises:
            MarksUnavailable: The place cannot be read.
        """
        if self._folder is not None:
            try:
                return job_files.read_document(str(self._folder), name)
            except NotADirectoryError:
                return None
            except OSError as error:
                raise MarksUnavailable(_first_line(error)) from error
        import obstore  # noqa: PLC0415 - as above

        try:
            content = bytes(obstore.get(self._bucket(), f"{self._path}/{name}").bytes())
        except FileNotFoundError:
            return None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise MarksUnavailable(_first_line(error)) from error
        try:
            document = json.loads(content)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def _write_file(self, name: str, text: str) -> Document | None:
        folder = self._folder
        assert folder is not None  # noqa: S101 - told apart by the caller
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if job_files.write_text_once(str(folder), name, text):
                return None
        except OSError as error:
            raise MarksUnavailable(_first_line(error)) from error
        return self._others(name, text)

    def _write_object(self, name: str, text: str) -> Document | None:
        import obstore  # noqa: PLC0415 - as above

        try:
            obstore.put(self._bucket(), f"{self._path}/{name}", text.encode(), mode="create")
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            return self._others(name, text)
        except (obstore.exceptions.BaseError, NotImplementedError, OSError) as error:
            raise MarksUnavailable(_first_line(error)) from error
        return None

    def _others(self, name: str, text: str) -> Document | None:
        """Return what stands there, None where it is this very text: a reply was lost and the client sent it again."""
        found = self.read(name)
        if found is not None and found.get("nonce") == json.loads(text)["nonce"]:
            return None
        return found if found is not None else {}

    def _bucket(self) -> ObjectStore:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - as above
        from obstore.store import from_url  # noqa: PLC0415 - as above

        if self._store is None:
            parts = urlsplit(self.place)
            if parts.scheme not in BUCKETS:
                raise MarksUnavailable(f"{parts.scheme[:40]}:// is no object store")
            try:
                self._store = from_url(f"{parts.scheme}://{parts.netloc}")
            except (BaseError, ValueError) as error:
                raise MarksUnavailable(_first_line(error)) from error
        return self._store


def place_of(prefix: str, key: str) -> str:
    """Return where the marks of a key lie below an output prefix."""
    return f"{prefix.rstrip('/')}/{FOLDER}/{key}"


def local_path(uri: str) -> Path | None:
    """Return the path that a uri names on this machine; None where it names something elsewhere."""
    if "://" not in uri:
        return Path(uri).absolute()
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:256]
