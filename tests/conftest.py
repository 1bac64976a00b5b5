"""What every test begins with, and which files begin first.

The whole suite runs in several processes, file by file, so that what a file sets up once is set up once. Go programs are
built by the first test that needs them, and a few files take a minute: they begin first, or one process would work on
alone at the end.

Tests mean their own servers, accounts and settings, here and in what they start, whatever the user's variables name: settings
of platforms, of Flyte and of ours are taken out, but for those that are about tests, and no proxy stands before the loopback.
"""

import logging
import os
from collections.abc import Iterator
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings

_FIRST: Final = (
    "tests/interop/test_real_propeller.py",
    "tests/unit/host/test_submissions_crashes.py",
    "tests/interop/test_flyte2.py",
    "tests/unit/testing/test_conformance_reference.py",
    "tests/interop/",
)

_PAST_PROXIES: Final = "127.0.0.1,localhost,::1"
_USERS: Final = (
    *("AWS_", "AZURE_", "BIGQUERY_", "CLOUDSDK_", "DATABRICKS_", "FLYTE", "GCLOUD_", "GOOGLE_"),
    *("MYSQL_", "OTEL_", "OUTBOARD_", "PG", "SNOWFLAKE_"),
)
_OF_TESTS: Final = ("OUTBOARD_GO_WORK", "OUTBOARD_PROOF_PACKAGES", "OUTBOARD_REAL_PARTS")


# How long an example takes says something of the machine, and nothing of us.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Take a user's settings out of the environment, before anything reads them."""
    for name in [each for each in os.environ if each.startswith(_USERS) and not each.startswith(_OF_TESTS)]:
        del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), _PAST_PROXIES]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long files begin first; within a file and among all others the order stays."""
    items.sort(key=lambda item: next((rank for rank, path in enumerate(_FIRST) if path in item.nodeid), len(_FIRST)))


@pytest.fixture(autouse=True)
def logs_as_in_somebodys_program() -> Iterator[None]:
    """Logging is the process's: a test that configures it must not decide where the next one's lines go.

    Nor those of what the next file sets up for all of its tests, which is made before this is asked for again.
    """
    structlog.reset_defaults()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()
