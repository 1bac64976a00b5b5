"""What a worker gets of the service's environment beside what every job gets: credentials of object stores, for its results."""

from __future__ import annotations

import os
from typing import Final

STORE_VARIABLES: Final = ("AWS_", "AZURE_", "GOOGLE_")


def credentials() -> dict[str, str]:
    """Return the variables by which object stores are reached; they never touch the disk."""
    return {name: value for name, value in os.environ.items() if name.startswith(STORE_VARIABLES)}
