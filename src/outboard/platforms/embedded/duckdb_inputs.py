"""Turns a query's inputs into views and parameters.

A table's files are listed before DuckDB sees them and named one by one: a directory as Flyte writes it holds files
without an extension, and the list is also what the job may read when external access is off. In a directory the
files that bear the format's extension are taken if there are any, else all; hidden ones and markers never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from outboard.detached import transfers

READERS = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_json"}
EXTENSIONS = {
    "parquet": ("parquet", "pq"),
    "csv": ("csv", "tsv", "txt"),
    "json": ("json", "jsonl", "ndjson"),
}
PACKED = (".gz", ".zst")


class InputError(Exception):
    """An input cannot be used; the message is for the user."""


def local_files(name: str, uris: Sequence[str], file_format: str, staging: Path) -> tuple[list[Path], str]:
    """The files of a table on this machine, fetched where they lie elsewhere, and their format.

    Raises:
        InputError: There are no files, or their format is none we read.
        transfers.TransferError: A store cannot be read.
    """
    found: list[Path] = []
    for index, uri in enumerate(uris):
        path = local_path(uri)
        if path is None:
            path = staging / f"{index}"
            try:
                transfers.fetch(uri, path)
            except transfers.MissingObject:
                continue
        found += _files_under(path, file_format)
    if not found:
        raise InputError(f"The input {name} has no files; check its address.")
    return found, _format_of(name, file_format, found[0])


def local_path(uri: str) -> Path | None:
    """The path that a uri names on this machine, None where it names something elsewhere."""
    if "://" not in uri:
        return Path(uri).absolute()
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def view_of(name: str, files: Sequence[Path], file_format: str) -> str:
    """The statement that makes a view of some files; names and paths are quoted."""
    listed = ", ".join(quoted(str(file)) for file in files)
    identifier = '"' + name.replace('"', '""') + '"'
    return f"CREATE VIEW {identifier} AS SELECT * FROM {READERS[file_format]}([{listed}])"  # noqa: S608 - all quoted


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def decode(value: object) -> object:
    """A parameter as `queries` encoded it."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    ((tag, content),) = value.items()
    if tag == "datetime":
        return datetime.fromisoformat(content)
    if tag == "duration":
        return timedelta(microseconds=content)
    return {key: decode(item) for key, item in content.items()}


def _files_under(path: Path, file_format: str) -> list[Path]:
    if not path.is_dir():
        return [path] if path.exists() else []
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    named = [file for file in files if _extension(file) in EXTENSIONS.get(_plain(file_format) or "parquet", ())]
    return named or files


def _format_of(name: str, declared: str, sample: Path) -> str:
    for candidate in (_plain(declared), _plain(_extension(sample)), None if declared else "parquet"):
        if candidate:
            return candidate
    raise InputError(f"The input {name} is of the format {declared[:40]!a}; use parquet, csv or json.")


def _plain(word: str) -> str | None:
    """The format that a declared format or an extension means."""
    word = word.lower().lstrip(".")
    return next((name for name, extensions in EXTENSIONS.items() if word in (name, *extensions)), None)


def _extension(path: Path) -> str:
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.rpartition(".")[2] if "." in name else ""
