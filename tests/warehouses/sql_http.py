"""SQL anywhere on ClickHouse (the real engine behind HTTP) and Trino (the real server): the kit's checks, and what was proven.

The tests in tests/integration/platforms/sql/test_sql_http.py assert on types, rows, errors, cancels and deaths.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

import sql_http_servers
from outboard.platforms.sql.databases import clickhouse_errors, trino_errors
from outboard.testing.cases.sql import case
from real_parts import NotToBeHad
from tables.sections import Section
from warehouses.measures import Mapped, conformance, mapped

ENDLESS: Final = {
    "clickhouse": "SELECT sleepEachRow(1) AS n FROM numbers(90)"
    " SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0",
    "trino": "SELECT count(*) AS n FROM tpch.sf100.lineitem a, tpch.sf100.lineitem b WHERE a.comment = b.comment || 'x'",
}
TYPES: Final = frozenset({"USER_ERROR", "INTERNAL_ERROR", "INSUFFICIENT_RESOURCES", "EXTERNAL"})
_CLIENT: Final = "https://trino.io/docs/current/develop/client-protocol.html"


def meanings() -> Section:
    """Compare what is mapped with what is documented."""
    types = Mapped(
        what="Trino: types of errors", documented=TYPES, mapped=frozenset(trino_errors.TYPES), source=_CLIENT
    )
    return mapped("ClickHouse and Trino: errors mapped, of those that are documented", [types])


def proven() -> Section:
    """Return which calls were made on what."""
    engine, server, fake = ("chdb 26.9", "no"), ("Trino 435", "no"), ("no", "yes")
    rows: list[dict[str, Any]] = [
        {"call": call, "real part": where[0], "fake": where[1]}
        for call, where in (
            ("ClickHouse: SQL, parameters, DESCRIBE, Arrow streams, codes of errors, max_execution_time", engine),
            ("ClickHouse: headers, users, query_id, 216, KILL QUERY, processes, query_log, readonly", fake),
            ("Trino: statements, EXECUTE IMMEDIATE, types, READ ONLY, limits, DELETE, system.runtime.queries", server),
            ("Trino: basic, bearer, gateways that answer 502 and 503, lost answers, 404", fake),
        )
    ]
    numbers = len(clickhouse_errors.CODES), len(trino_errors.NAMES)
    rows.append(
        {"call": f"codes that are no wrong statement: {numbers[0]} and {numbers[1]}", "real part": "", "fake": ""}
    )
    return Section(title="calls proven: ClickHouse, Trino", columns=["call", "real part", "fake"], rows=rows)


def sections() -> list[Section]:
    """Run everything; a server that cannot be had is told as skipped."""
    found = [meanings(), proven()]
    cases = {}
    with ExitStack() as stack:
        for kind, start in (("clickhouse", sql_http_servers.clickhouse), ("trino", sql_http_servers.trino)):
            try:
                server = stack.enter_context(start())
            except NotToBeHad as error:
                found.append(Section(title=f"SQL on {kind}", skipped=str(error)))
                continue
            cases[kind] = case(lambda _folder, server=server: server.trusting(), ENDLESS[kind])  # type: ignore[misc]
        if cases:
            found.append(conformance("outboard check: checks passed (ClickHouse, Trino)", cases))
    return found
