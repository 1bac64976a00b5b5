"""A platform that cannot be imported while a file is there."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outboard.agent import Connection, Platform

while Path(os.environ["OUTBOARD_TEST_HOLD"]).exists():
    time.sleep(0.01)


class Held(Platform[Connection, None]):
    """It has no agents; that it is there is enough."""

    name = "held"

    def agents(self) -> Sequence[Any]:
        return ()
