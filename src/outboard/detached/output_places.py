"""Where a job's results go: checked before the job starts, because a query that ran for an hour should not fail on its last step.

A path is made and tried; a bucket cannot be tried without its credentials, which only the job has, so of it only the form is
checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from outboard.errors import InvalidTask

BUCKETS: Final = frozenset({"s3", "s3a", "gs", "az", "abfs", "abfss"})
"""Schemes whose hosts are the clouds' own, or the operator's; of `http://` a task would choose the host itself."""
_THIS_MACHINE: Final = ("", "localhost")


def result_place(output_prefix: str) -> str:
    """Return an output prefix that a job can write to; empty where the task has none.

    Raises:
        InvalidTask: It cannot be written, or only from another place than the job's; the message says what to give instead.
    """
    if not output_prefix:
        return ""
    parts = urlsplit(output_prefix)
    if parts.scheme in BUCKETS:
        if not parts.netloc:
            raise _refusal(output_prefix, "it names no bucket")
        return output_prefix
    if parts.scheme == "memory":
        raise _refusal("memory://", "it lies in the service's memory, where no job can write")
    if parts.scheme == "file":
        if parts.netloc not in _THIS_MACHINE:
            raise _refusal(output_prefix, f"it lies on the machine {parts.netloc!r}")
        output_prefix = unquote(parts.path)
    elif parts.scheme:
        raise _refusal(output_prefix, f"{parts.scheme}:// is not known")
    _try(output_prefix)
    return output_prefix


def _try(path: str) -> None:
    if not os.path.isabs(path):  # noqa: PTH117 - a Path cannot be made of every text, a NUL for one
        raise _refusal(path, "it depends on where the service was started")
    try:
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refusal(path, "permission denied")
    except (OSError, ValueError) as error:
        raise _refusal(path, getattr(error, "strerror", None) or "it is no path") from None


def _refusal(place: str, why: str) -> InvalidTask:
    return InvalidTask(
        f"cannot write to the output prefix {place[:200]!r}: {why}; "
        "give an absolute path that this service may write, or a bucket",
        field="output_prefix",
    )
