"""The rows of the report on SQL anywhere that are quick to make hold here too."""

from __future__ import annotations

from sql_servers import DatabaseServer
from warehouses import sql


async def test_each_type_comes_as_the_vendors_client_gives_it(server: DatabaseServer) -> None:
    section = await sql.same_rows(server.kind, server.connect, server.connection())
    assert (section.failures, len(section.rows) >= 8) == ([], True)


async def test_each_type_of_duckdb_comes_as_its_client_gives_it() -> None:
    with sql.duckdb_file() as (connect, connection):
        section = await sql.same_rows("duckdb", connect, connection)
    assert (section.failures, len(section.rows) >= 8) == ([], True)


async def test_bad_input_is_told_with_its_remedy_and_its_verdict(postgresql: DatabaseServer) -> None:
    section = await sql.bad_input(postgresql)
    assert (section.failures, len(section.rows)) == ([], len(sql.BAD_INPUT))


async def test_no_more_statements_are_under_way_than_the_connection_allows(postgresql: DatabaseServer) -> None:
    assert (await sql.crowd(postgresql, count=12, limit=3)).failures == []


def test_statements_elsewhere_cost_the_database_one_question_for_two_hundred(postgresql: DatabaseServer) -> None:
    assert sql.thousand(postgresql, count=201).failures == []
