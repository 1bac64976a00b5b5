"""The platform's clock: the true time, whoever asks.

Under virtual time every replica may have a wall clock of its own (`processes.Process`). The ledger runs in whichever
replica calls it, but is no part of it: it asks for the time outside of every replica.
"""

from __future__ import annotations

import time
from contextvars import Context


def platform_time() -> float:
    """Return the Unix time, without the skew of the replica that runs right now."""
    return Context().run(time.time)
