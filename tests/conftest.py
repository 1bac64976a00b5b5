"""What every test begins with, and which files begin first.

The whole suite runs in several processes, file by file, so that what a file sets up once is set up once. Go programs are
built by the first test that needs them, and a few files take a minute: they begin first, or one process would work on
alone at the end.

Servers of tests are on loopback: no proxy that a user's variables name stands before them, here and in what tests start.
"""

import os
from typing import Final

import pytest
import structlog

_FIRST: Final = (
    "tests/interop/test_real_propeller.py",
    "tests/unit/host/test_submissions_crashes.py",
    "tests/interop/test_flyte2.py",
    "tests/unit/testing/test_conformance_reference.py",
    "tests/interop/",
)

_PAST_PROXIES: Final = "127.0.0.1,localhost,::1"


def pytest_configure() -> None:
    """Have every client, of whatever library, reach loopback itself; the rest goes where the user's variables say."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), _PAST_PROXIES]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long files begin first; within a file and among all others the order stays."""
    items.sort(key=lambda item: next((rank for rank, path in enumerate(_FIRST) if path in item.nodeid), len(_FIRST)))


@pytest.fixture(autouse=True)
def logs_as_in_somebodys_program() -> None:
    """Logging is the process's: a test that configures it must not decide where the next one's lines go."""
    structlog.reset_defaults()
