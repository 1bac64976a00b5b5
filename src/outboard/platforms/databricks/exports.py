"""Results as Parquet: chunk by chunk from Databricks' storage into one file at the task's output prefix.

A result may be larger than what one answer to an engine allows time for, so its copy goes on by itself and whoever asks waits as
long as its own deadline; the next one finds the same copy, done or on its way. A replica that starts over writes the same file
again. Links last 15 minutes at most, so each is asked for when its chunk's turn comes. At most one chunk is in memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from outboard.detached.output_places import BUCKETS
from outboard.errors import StoreUnavailable, Unavailable
from outboard.platforms.databricks.client import Json, Workspace, objects
from outboard.platforms.databricks.results import row_count

_KEPT: Final = 1_000


class Exports:
    """The copies that are under way, or done, of one workspace."""

    def __init__(self) -> None:
        self._copies: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def write(self, workspace: Workspace, statement_id: str, answer: Json, place: str) -> None:
        """Write the result of a statement to a place, once however often it is asked for.

        Args:
            workspace: Where the statement ran.
            statement_id: The statement.
            answer: As it was answered: the manifest and the first chunk.
            place: The address of the file.

        Raises:
            Unavailable: Something cannot be read now; asking again starts over.
            StoreUnavailable: The place cannot be written to.
        """
        key = statement_id, place
        copy = self._copies.get(key)
        if copy is None or (copy.done() and (copy.cancelled() or copy.exception() is not None)):
            copy = asyncio.ensure_future(_copy(workspace, statement_id, answer, place))
            # Whoever waited may have gone: an exception that nobody hears is none to warn of.
            copy.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._copies[key] = copy
            self._forget()
        await asyncio.shield(copy)

    async def close(self) -> None:
        """End what is under way."""
        copies = list(self._copies.values())
        self._copies.clear()
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)

    def _forget(self) -> None:
        done = [key for key, copy in self._copies.items() if copy.done()]
        for key in done[: max(0, len(self._copies) - _KEPT)]:
            del self._copies[key]


async def _copy(workspace: Workspace, statement_id: str, answer: Json, place: str) -> None:
    manifest = answer.get("manifest")
    chunks = manifest.get("total_chunk_count") if isinstance(manifest, dict) else None
    count = chunks if isinstance(chunks, int) else 0
    with tempfile.TemporaryDirectory(prefix="outboard-databricks-") as folder:
        file = _ParquetFile(Path(folder) / "result")
        try:
            for index in range(count):
                chunk = await workspace.chunk(statement_id, index)
                links = objects(chunk.get("external_links"))
                if not links:
                    raise Unavailable("Databricks gave no link to a part of the result")
                data = await workspace.download(links[0])
                await asyncio.to_thread(file.add, data)
        finally:
            await asyncio.to_thread(file.close)
        if file.rows != row_count(answer):
            raise Unavailable(f"Databricks gave {file.rows:,} of the result's {row_count(answer):,} rows")
        await _upload(file.path, place)


class _ParquetFile:
    """A Parquet file that grows by Arrow streams; an empty result has no columns that anybody knows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._writer: Any = None

    def add(self, data: bytes) -> None:
        """Add the batches of an Arrow IPC stream."""
        import pyarrow as pa  # noqa: PLC0415 - only results as tables need it
        from pyarrow import ipc, parquet  # noqa: PLC0415 - same

        try:
            with ipc.open_stream(pa.py_buffer(data)) as stream:
                if self._writer is None:
                    self._writer = parquet.ParquetWriter(self.path, stream.schema)
                for batch in stream:
                    self._writer.write_batch(batch)
                    self.rows += batch.num_rows
        except pa.ArrowInvalid:
            raise Unavailable("Databricks answered a part of the result that is no Arrow stream") from None

    def close(self) -> None:
        """End the file; one without any stream becomes a table without columns."""
        if self._writer is not None:
            self._writer.close()
            return
        import pyarrow as pa  # noqa: PLC0415 - same
        from pyarrow import parquet  # noqa: PLC0415 - same

        parquet.write_table(pa.table({}), self.path)


async def _upload(path: Path, place: str) -> None:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - same
    from obstore.store import LocalStore, from_url  # noqa: PLC0415 - same

    parts = urlsplit(place)
    try:
        if parts.scheme in ("", "file"):
            target = Path(parts.path if parts.scheme else place)
            await LocalStore(target.parent, mkdir=True).put_async(target.name, path)
            return
        if parts.scheme not in BUCKETS:
            raise StoreUnavailable(
                f"the output prefix lies at {parts.scheme[:40]}://, which is no object store; give a bucket"
            )
        store = from_url(f"{parts.scheme}://{parts.netloc}")
        await store.put_async(parts.path.lstrip("/"), path)
    except (BaseError, OSError, ValueError) as error:
        raise StoreUnavailable(
            f"the result cannot be written to the output prefix ({type(error).__name__}); check the service's credentials for it"
        ) from None
