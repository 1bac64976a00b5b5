"""ClickHouse, over HTTP.

Identity: the statement's `query_id` is the key, of which a server runs one at a time (it answers a second one with 216). So
`system.processes` lists it while it runs, `KILL QUERY` finds it from anywhere, and `system.query_log` tells for days how it
ended. All of that is a server's own: where several stand behind one name, the connection should name one of them.

Parameters go beside the text as `param_p1`, and stand in it as `{p1:Type}`; the type is the value's, as ClickHouse wants one.
Rows come as an Arrow stream, block by block. Its schema hides what some columns are (UUIDs, addresses, enums, large integers,
times), so the server is asked first, by DESCRIBE, which reads no rows. An answer whose status was sent already tells of its
failure in its body: a stream counts as whole only with Arrow's end mark and nothing behind it.

There are no transactions. A statement that has ended took effect, whoever saw it end; one that was killed while it wrote may have
written a part, and nobody can tell. One that failed before it began, or that only read, had no effect.

https://clickhouse.com/docs/interfaces/http, https://clickhouse.com/docs/operations/system-tables/query_log
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

from outboard.platforms.sql.databases.clickhouse_errors import ClickHouseError, error_of, meaning_of
from outboard.platforms.sql.databases.clickhouse_values import bound
from outboard.platforms.sql.databases.columns import unique
from outboard.platforms.sql.databases.pools import CONNECT_S, path_of, pool_of
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Rows, Session, Sighting, Target, Wish
from outboard.platforms.sql.databases.rows import NoRows

LOG_DELAY_S: Final = 30.0
"""The server writes `system.query_log` every 7.5 s; what is not there after this time will not come."""

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_TAIL: Final = 1 << 16
_LONG_URL: Final = 8_192
_READS: Final = re.compile(r"\s*\(*\s*(SELECT|WITH|FROM|VALUES|EXPLAIN)\b", re.IGNORECASE)
_LISTS: Final = re.compile(r"\s*(SHOW|DESCRIBE|DESC|EXISTS|CHECK)\b", re.IGNORECASE)
_COMMENT: Final = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|/\*.*?\*/)", re.DOTALL)
_SYNTAX_ERROR: Final = 62
_BAD_ARGUMENTS: Final = 36
_FORM: Final = "ArrowStream"
_NO_LOG: Final = (60, 497)
_ONLY_READ: Final = ("Select", "Show", "Describe", "Explain")
_COUNTED: Final = {"read_rows": "rows_read", "read_bytes": "bytes_read", "written_bytes": "bytes_written"}


def open_database(target: Target, password: str) -> Database:
    """Return the server of a target."""
    return ClickHouse(target, password)


class ClickHouse:
    """One server, as one user."""

    is_seen = False

    def __init__(self, target: Target, password: str) -> None:
        self._target = target
        self._password = password
        self._pool = pool_of(target)

    def connect(self, key: str, wish: Wish) -> Session:
        """Return a session; that the server is there and knows the user is proven by a question."""
        # The server tells its progress in headers, one a minute, so that nothing between takes the silence for a break.
        http.client._MAXHEADERS = max(http.client._MAXHEADERS, 100_000)  # type: ignore[attr-defined]  # noqa: SLF001
        self.ask("SELECT 1")
        return ClickHouseSession(self, key, wish)

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:
        """Return which of these keys run on the server."""
        found = self.ask(
            "SELECT query_id, elapsed, read_rows, read_bytes FROM system.processes WHERE query_id IN {p1:\0}",
            [list(keys)],
        )
        return {
            str(key): Sighting(
                state="running", seconds=float(seconds), facts={"rows_read": int(rows), "bytes_read": int(size)}
            )
            for key, seconds, rows, size in found
        }

    def cancel(self, key: str) -> None:
        """Kill the statement of a key; users may kill their own."""
        self.ask("KILL QUERY WHERE query_id = {p1:\0} ASYNC", [key])

    def undoes(self, wish: Wish) -> bool:
        """Tell whether the statement could not write in the first place."""
        return wish.read_only

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:  # noqa: PLR0911 - one line a finding
        """Return what the server's lists say: what runs, and what its log of statements kept."""
        if decision.get("verdict") == "commit":
            return Fate.DONE  # it had ended before its worker decided
        if key in self.sightings([key]):
            return Fate.LIVE
        if wish.read_only:
            return Fate.NOTHING
        try:
            rows = self.ask(
                "SELECT toString(type), query_kind FROM system.query_log"
                " WHERE event_date >= today() - 7 AND query_id = {p1:\0} AND type != 'QueryStart'"
                " ORDER BY event_time_microseconds DESC LIMIT 1",
                [key],
            )
        except ClickHouseError as error:
            if error.code in _NO_LOG:
                return Fate.UNKNOWN
            raise
        if not rows:
            since = time.time() - float(decision.get("at", time.time()))
            return Fate.LIVE if since < LOG_DELAY_S else Fate.UNKNOWN
        ended, kind = rows[0]
        if kind in _ONLY_READ or ended == "ExceptionBeforeStart":
            return Fate.NOTHING
        return Fate.DONE if ended == "QueryFinish" else Fate.UNKNOWN

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error of the server or of the transport means."""
        return meaning_of(error)

    def ask(self, sql: str, values: Sequence[Any] = (), **settings: Any) -> list[list[Any]]:
        """Return the few rows of a question of ours, or of one on a task's behalf.

        Raises:
            ClickHouseError: The server refuses.
            urllib3.exceptions.HTTPError: It cannot be reached.
        """
        response = self.send(sql, values, {"default_format": "JSONCompact", "wait_end_of_query": 1, **settings})
        content = response.read()
        response.release_conn()
        rows: list[list[Any]] = json.loads(content)["data"] if content.strip() else []
        return rows

    def send(
        self, sql: str, values: Sequence[Any], settings: Mapping[str, Any], *, answer_s: float | None = 60.0
    ) -> Any:
        """Return the answer to a statement, its body unread; raises as `ask` does."""
        target = self._target
        text, parameters = bound(sql, values)
        place = {"database": target.schema or target.database, **settings}
        asked = {name: str(value) for name, value in place.items() if value not in ("", None)}
        headers = {"X-ClickHouse-User": target.user, "User-Agent": "outboard"}
        if self._password:
            headers["X-ClickHouse-Key"] = self._password.encode().decode("latin-1")
        body: bytes = text.encode()
        beside = {f"param_{name}": value for name, value in parameters.items()}
        if len(urlencode(beside)) > _LONG_URL:
            body, headers["Content-Type"] = urllib3.encode_multipart_formdata({"query": text, **beside})
        else:
            asked.update(beside)
        response = self._pool.urlopen(
            "POST",
            f"{path_of(target, '/')}?{urlencode(asked)}",
            body=body,
            headers=headers,
            preload_content=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=answer_s),
        )
        if response.status != 200 or "X-ClickHouse-Exception-Code" in response.headers:
            content = response.read(_TAIL)
            response.close()
            raise error_of(content, response.status, response.headers.get("X-ClickHouse-Exception-Code"), values)
        return response


class ClickHouseSession:
    """A worker's hold: HTTP keeps none, so it is the name that its statement will bear."""

    facts: Mapping[str, Any] = {}

    def __init__(self, server: ClickHouse, key: str, wish: Wish) -> None:
        self._server = server
        self._key = key
        self._wish = wish
        self._usage: dict[str, float] = {}

    def run(self, sql: str, values: Sequence[Any]) -> Rows:
        """Run the statement; its rows come while they are read."""
        bare = sql
        while comment := _COMMENT.match(bare):
            bare = bare[comment.end() :]
        types = self._types(bare, values) if _READS.match(bare) else None
        gives_rows = types is not None or _LISTS.match(bare) is not None
        settings: dict[str, Any] = {
            "query_id": self._key,
            "default_format": _FORM,
            "cancel_http_readonly_queries_on_client_close": 1,
            "send_progress_in_http_headers": 1,
            "http_headers_progress_interval_ms": 60_000,
            "max_execution_time": self._wish.timeout_s or None,
            "readonly": 2 if self._wish.read_only else None,
        }
        if not gives_rows:
            settings["wait_end_of_query"] = 1  # then the status is the statement's, not that of its first bytes
        response = self._server.send(sql, values, settings, answer_s=None)
        body = _Body(response, values)
        if not body.peek():
            body.end(is_whole=True)
            return self._written(response)
        if response.headers.get("X-ClickHouse-Format", _FORM) != _FORM:
            body.close()
            raise ClickHouseError(_BAD_ARGUMENTS, "the SQL chooses a FORMAT of its own; leave that out")
        return _Rows(body, types)

    def commit_facts(self) -> Mapping[str, Any]:
        """There is nothing to ask for afterwards: the statement has ended."""
        return {}

    def commit(self) -> None:
        """There are no transactions."""

    def rollback(self) -> None:
        """There are no transactions."""

    def usage(self) -> Mapping[str, float]:
        """Return what the server counted, of a statement without rows; of others it tells when it is too late."""
        return self._usage

    def interrupt(self) -> None:
        """Do nothing here: the worker has the server kill the statement."""

    def close(self) -> None:
        """There is nothing to let go."""

    def _types(self, sql: str, values: Sequence[Any]) -> list[tuple[str, str]] | None:
        """Return names and types of the columns that a statement will give; None where it cannot be described."""
        limits = {"readonly": 2} if self._wish.read_only else {}
        try:
            rows = self._server.ask(f"DESCRIBE TABLE ({sql}\n)", values, **limits)
        except ClickHouseError as error:
            if error.code == _SYNTAX_ERROR:
                return None  # its own error, with its own place in the text, comes when it runs
            raise
        return [(str(row[0]), " ".join(str(row[1]).split())) for row in rows]

    def _written(self, response: Any) -> NoRows:
        summary = json.loads(response.headers.get("X-ClickHouse-Summary") or "{}")
        self._usage = {name: float(summary[key]) for key, name in _COUNTED.items() if key in summary}
        affected = summary.get("written_rows")
        return NoRows(None if affected is None else int(affected))


class _Rows:
    """What a statement gives; see `port.Rows`."""

    affected: int | None = None

    def __init__(self, body: _Body, types: Sequence[tuple[str, str]] | None) -> None:
        import pyarrow as pa  # noqa: PLC0415 - heavy, and a statement without rows needs none of it

        from outboard.platforms.sql.databases.clickhouse_types import Plain, reader_of  # noqa: PLC0415 - as above

        self._body = body
        try:
            self._reader = pa.ipc.open_stream(pa.PythonFile(body, mode="r"))
        except (pa.ArrowException, OSError) as error:
            raise body.trouble() from error
        fields = list(self._reader.schema)
        known = [text for _, text in types] if types is not None else [""] * len(fields)
        self._columns: list[Plain] = [
            reader_of(field.name, text, field.type) for field, text in zip(fields, known, strict=True)
        ]
        names = unique([field.name for field in fields])
        self.schema: Any = pa.schema(
            [
                pa.field(name, column.arrow, metadata={"sql_type": column.sql})
                for name, column in zip(names, self._columns, strict=True)
            ]
        )

    def batches(self) -> Generator[Any, None, None]:
        """Yield the server's blocks."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        body = self._body
        try:
            while True:
                try:
                    batch = self._reader.read_next_batch()
                except StopIteration:
                    break
                except (pa.ArrowException, OSError) as error:
                    raise body.trouble() from error
                arrays = [column.read(array) for column, array in zip(self._columns, batch.columns, strict=True)]
                yield pa.record_batch(arrays, schema=self.schema)
            body.end(is_whole=body.tail.endswith(END_OF_STREAM))
        finally:
            body.close()


class _Body:
    """An answer's body as a file that remembers how it ended.

    Attributes:
        tail: The last bytes that were read.
    """

    closed = False

    def __init__(self, response: Any, values: Sequence[Any]) -> None:
        self.tail = b""
        self._response = response
        self._values = values
        self._ahead = b""

    def peek(self) -> bytes:
        """Return the first bytes; none where there is no body."""
        self._ahead = self._response.read(1)
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end."""
        ahead, self._ahead = self._ahead, b""
        wanted = None if size < 0 else size - len(ahead)
        data: bytes = ahead + (self._response.read(wanted) if wanted != 0 else b"")
        self.tail = (self.tail + data)[-_TAIL:]
        return data

    def readable(self) -> bool:
        return True

    def end(self, *, is_whole: bool) -> None:
        """Read what is left; raises unless the answer is whole and nothing comes after it."""
        if self.read(1) or not is_whole:
            raise self.trouble()
        self._response.release_conn()

    def trouble(self) -> Exception:
        """Return the error that the server wrote into the body; a broken connection where it wrote none."""
        try:
            while self.read(_TAIL):
                pass
        except urllib3.exceptions.HTTPError:
            pass
        told = error_of(self.tail, 200, None, self._values)
        return told if told.code else urllib3.exceptions.ProtocolError("the answer ended before it was whole")

    def close(self) -> None:
        """Let the connection go, for good where the answer was not read to its end."""
        self._response.close()
