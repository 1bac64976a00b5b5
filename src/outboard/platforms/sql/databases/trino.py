"""Trino, by its statement protocol.

Identity: `X-Trino-Source` is the key, which `system.runtime.queries` lists (the tags and the trace token bear it too, for
resource groups and logs). A query begins when its first `nextUri` is fetched, not when it is posted: an answer that was lost has
begun nothing, and the post may be sent again. A page may be fetched again as long as the next one was not. A query that nobody
fetches is abandoned by the server after `query.client.timeout` (5 minutes), so an orphan ends by itself.

Parameters: `EXECUTE IMMEDIATE '<statement>' USING <literals>`. Trino's strings know one escape, the doubled quote, so a text in
single quotes can hold anything but its end; numbers, times and bytes are literals of fixed spelling.

A reading statement runs in a READ ONLY transaction, in which the server refuses what would write. Writes commit by themselves
when their query finishes: most connectors allow no other. A write that failed is undone or not as its connector has it.

https://trino.io/docs/current/develop/client-protocol.html, https://trino.io/docs/current/sql/execute-immediate.html
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import urllib3

from outboard.platforms.sql.databases.pools import path_of, pool_of
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Rows, Session, Sighting, Target, Wish
from outboard.platforms.sql.databases.rows import NoRows, ReadRows
from outboard.platforms.sql.databases.trino_errors import QueryGone, TrinoError, error_of, meaning_of
from outboard.platforms.sql.databases.trino_values import literal, with_values

RETRY_S: Final = 120.0
"""How long a page is asked for again; the server waits five minutes for it."""

_AGAIN: Final = (429, 502, 503, 504)
_ENDED: Final = ("FINISHED", "FAILED")
_COUNTED: Final = {
    "cpuTimeMillis": ("cpu_seconds", 1_000),
    "processedRows": ("rows_read", 1),
    "processedBytes": ("bytes_read", 1),
    "physicalInputBytes": ("bytes_scanned", 1),
    "peakMemoryBytes": ("peak_memory_bytes", 1),
}


def open_database(target: Target, password: str) -> Database:
    """Return the cluster of a target."""
    return Trino(target, password)


class Trino:
    """One catalog of a cluster, as one user."""

    is_seen = False

    def __init__(self, target: Target, password: str) -> None:
        self._target = target
        self._password = password
        self._pool = pool_of(target)

    def connect(self, key: str, wish: Wish) -> Session:
        """Return a session; that the cluster is there and knows the user is proven by a query that never begins."""
        session = TrinoSession(self, key, wish)
        session.open()
        return session

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:
        """Return which of these keys the cluster works on."""
        return {key: Sighting(state=state) for key, (_, state) in self._queries(keys).items() if state not in _ENDED}

    def cancel(self, key: str) -> None:
        """Kill the query of a key."""
        found = self._queries([key]).get(key)
        if found is not None and found[1] not in _ENDED:
            self.call("DELETE", f"/v1/query/{found[0]}", {"X-Trino-User": self._target.user})

    def undoes(self, wish: Wish) -> bool:
        """Tell whether the statement could not write in the first place."""
        return wish.read_only

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:
        """Return what the coordinator remembers: a quarter of an hour, or a hundred queries."""
        if decision.get("verdict") == "commit":
            return Fate.DONE  # it had finished before its worker decided
        _, state = self._queries([key]).get(key, ("", ""))
        if state and state not in _ENDED:
            return Fate.LIVE
        if wish.read_only:
            return Fate.NOTHING
        return Fate.DONE if state == "FINISHED" else Fate.UNKNOWN

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error of the cluster or of the transport means."""
        return meaning_of(error)

    def headers(self, source: str, **more: str) -> dict[str, str]:
        """Return the headers of a new query; `more` by the part of the name behind `X-Trino-`."""
        target = self._target
        plain = {
            "User": target.user,
            "Source": source,
            "Catalog": target.database,
            "Schema": target.schema,
            "Time-Zone": "UTC",
            "Client-Tags": f"outboard,{source}",
            "Trace-Token": source,
            "Client-Capabilities": "PARAMETRIC_DATETIME",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        return {f"X-Trino-{name}": value for name, value in plain.items() if value}

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
        """Return the answer to a call that may be sent again, and is for a while where it brings none.

        Raises:
            TrinoError: The cluster refuses.
            QueryGone: It does not know the query any more.
            urllib3.exceptions.HTTPError: It cannot be reached.
        """
        give_up, pause_s = time.monotonic() + RETRY_S, 0.1
        sent = {**headers, **self._authorization(), "User-Agent": "outboard"}
        while True:
            try:
                answer = self._pool.urlopen(
                    method, path_of(self._target, path), body=body, headers=sent, redirect=False
                )
            except urllib3.exceptions.HTTPError as error:
                if _is_final(error, method) or time.monotonic() > give_up:
                    raise
            else:
                if answer.status not in _AGAIN or time.monotonic() > give_up:
                    break
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)
        if answer.status in (404, 410) and method == "GET":
            raise QueryGone("the cluster does not know the query any more; it was restarted, or the query abandoned")
        if answer.status not in (200, 204):
            raise TrinoError(f"HTTP_{answer.status}", "", f"HTTP {answer.status}")
        return answer

    def ask(self, sql: str, source: str = "outboard", **headers: str) -> list[list[Any]]:
        """Return the few rows of a question of ours."""
        pages = Pages(self, sql, self.headers(source, **headers), ())
        return [row for page in pages for row in page.get("data") or ()]

    def _queries(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return id and state of the latest query of each key."""
        listed = ", ".join(literal(key) for key in keys)
        rows = self.ask(
            f"SELECT source, query_id, state FROM system.runtime.queries WHERE source IN ({listed}) ORDER BY created"  # noqa: S608 - literals
        )
        return {str(source): (str(number), str(state)) for source, number, state in rows}

    def _authorization(self) -> dict[str, str]:
        if not self._password:
            return {}
        if self._target.auth == "bearer":
            return {"Authorization": f"Bearer {self._password}"}
        pair = base64.b64encode(f"{self._target.user}:{self._password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


class Pages:
    """The answers of one query, one after the other.

    Attributes:
        path: Where the next page is; None behind the last.
        info: The query's page in the web console.
        started: The transaction that the statement began, if it did.
    """

    def __init__(self, server: Trino, sql: str, headers: Mapping[str, str], values: Sequence[Any]) -> None:
        self._server = server
        self._values = values
        self._headers = {"X-Trino-User": headers["X-Trino-User"]}
        self.started = ""
        answer = server.call("POST", "/v1/statement", headers, sql.encode())
        self._page = self._read(answer)
        self.info = str(self._page.get("infoUri", ""))

    @property
    def path(self) -> str | None:
        """Only its path counts: the host is the connection's, whatever an answer says."""
        return _path(self._page.get("nextUri"))

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        while True:
            yield self._page
            path = self.path
            if path is None:
                return
            self._page = self._read(self._server.call("GET", path, self._headers))

    def stop(self) -> None:
        """End the query."""
        path = self.path
        if path is not None:
            self._server.call("DELETE", path, self._headers)

    def _read(self, answer: Any) -> dict[str, Any]:
        page: dict[str, Any] = json.loads(answer.data)
        self.started = answer.headers.get("X-Trino-Started-Transaction-Id", self.started)
        if page.get("error"):
            raise error_of(page["error"], self._values)
        return page


class TrinoSession:
    """A worker's hold: the headers of its query, and its transaction where it only reads."""

    def __init__(self, server: Trino, key: str, wish: Wish) -> None:
        self.facts: Mapping[str, Any] = {}
        self._server = server
        self._key = key
        self._wish = wish
        self._transaction = ""
        self._pages: Pages | None = None
        self._stats: Mapping[str, Any] = {}

    def open(self) -> None:
        """Prove that the cluster is there, and begin a transaction where one is wanted."""
        server = self._server
        if not self._wish.read_only:
            Pages(server, "SELECT 1", server.headers("outboard"), ()).stop()
            return
        level = f"ISOLATION LEVEL {self._wish.isolation.upper()}, " if self._wish.isolation else ""
        pages = Pages(
            server, f"START TRANSACTION {level}READ ONLY", server.headers("outboard", Transaction_Id="NONE"), ()
        )
        for _ in pages:
            pass
        self._transaction = pages.started

    def run(self, sql: str, values: Sequence[Any]) -> Rows:
        """Run the statement; its rows come while they are read."""
        more = {"Transaction_Id": self._transaction} if self._transaction else {}
        if self._wish.timeout_s:
            more["Session"] = "query_max_run_time=" + quote(f"{self._wish.timeout_s:.2f}s")
        pages = Pages(self._server, with_values(sql, values), self._server.headers(self._key, **more), values)
        self._pages = pages
        print(f"the query's page: {pages.info}", flush=True)  # noqa: T201 - into the worker's log, which users read
        walk = iter(pages)
        for page in walk:
            self._stats = page.get("stats") or {}
            if page.get("columns") and not page.get("updateType"):
                return self._rows(page, walk)
        affected = page.get("updateCount")
        return NoRows(None if affected is None else int(affected))

    def commit_facts(self) -> Mapping[str, Any]:
        """There is nothing to ask for afterwards: the query has finished."""
        return {}

    def commit(self) -> None:
        """End the reading transaction; without one, the query committed when it finished."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Give the reading transaction up; without one, nothing is to be undone here."""
        self._end("ROLLBACK")

    def usage(self) -> Mapping[str, float]:
        """Return what the cluster counted."""
        return {name: self._stats[key] / unit for key, (name, unit) in _COUNTED.items() if key in self._stats}

    def interrupt(self) -> None:
        """Take the query back."""
        pages = self._pages
        if pages is not None:
            try:
                pages.stop()
            except (TrinoError, urllib3.exceptions.HTTPError):
                return  # it is tried again, and killed by its id

    def close(self) -> None:
        """There is nothing to let go: an idle transaction ends by itself."""

    def _rows(self, page: Mapping[str, Any], walk: Generator[dict[str, Any], None, None]) -> ReadRows:
        from outboard.platforms.sql.databases.trino_types import type_of  # noqa: PLC0415 - it loads Arrow

        types = [type_of(column["typeSignature"], str(column["type"])) for column in page["columns"]]

        def rows() -> Generator[Any, None, None]:
            yield from page.get("data") or ()
            for later in walk:
                self._stats = later.get("stats") or self._stats
                yield from later.get("data") or ()

        return ReadRows([str(column["name"]) for column in page["columns"]], types, rows())

    def _end(self, word: str) -> None:
        transaction, self._transaction = self._transaction, ""
        if transaction:
            self._server.ask(word, Transaction_Id=transaction)


def _is_final(error: Exception, method: str) -> bool:
    """Tell whether a call is not sent again: to try to connect is the worker's, for as long as the settings say."""
    is_away = isinstance(error, urllib3.exceptions.NewConnectionError) and method == "POST"
    return is_away or isinstance(error, urllib3.exceptions.SSLError)


def _path(uri: object) -> str | None:
    if not uri:
        return None
    parts = urlsplit(str(uri))
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
