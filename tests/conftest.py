"""What every test begins with."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_as_in_somebodys_program() -> None:
    """Logging is the process's: a test that configures it must not decide where the next one's lines go."""
    structlog.reset_defaults()
