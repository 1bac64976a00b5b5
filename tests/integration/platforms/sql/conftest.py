"""One server of each kind for all tests here; those whose server cannot be had are skipped, and say so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import sql_servers
from real_parts import NotToBeHad
from sql_servers import DatabaseServer

STARTERS = {"postgresql": sql_servers.postgresql, "mysql": sql_servers.mariadb}


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], DatabaseServer]]:
    """Start each server when it is first asked for."""
    started: dict[str, DatabaseServer] = {}
    with ExitStack() as stack:

        def get(kind: str) -> DatabaseServer:
            if kind not in started:
                try:
                    started[kind] = stack.enter_context(STARTERS[kind]())
                except NotToBeHad as error:
                    if os.environ.get("OUTBOARD_REAL_PARTS") == "required":
                        raise
                    pytest.skip(f"a real part was not tried: {error}")
            return started[kind]

        yield get


@pytest.fixture
def postgresql(servers: Callable[[str], DatabaseServer]) -> DatabaseServer:
    return servers("postgresql")


@pytest.fixture(params=["postgresql", "mysql"])
def server(servers: Callable[[str], DatabaseServer], request: pytest.FixtureRequest) -> DatabaseServer:
    return servers(request.param)
