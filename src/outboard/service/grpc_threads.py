"""gRPC's own threads, told not to interrupt Python.

gRPC's core waits for the network in threads of its own and hands every event (a call came, its message came, its answer went)
to the event loop. Linux lets a thread that wakes up interrupt the one that runs. So on a core that is busy a GetTask costs three
or four switches away from Python and back, one for each event, and each time what the processor had at hand is lost. Under the
policy SCHED_BATCH a thread that wakes up waits until the running one pauses or has had its share (milliseconds), and then handles
all events that have come meanwhile: a quarter less CPU per GetTask under load (docs/performance.md). On an idle core, or where
there is another one, it starts at once as before. It is no priority: no thread gets less time, and anybody may choose it for his
own threads. sched(7) describes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Let threads that are started inside the block run under SCHED_BATCH, where the system has and allows it.

    A thread inherits the policy of the thread that starts it, so the calling thread has it inside the block. Where somebody
    chose another policy for this process, that stays.
    """
    if sys.platform != "linux":
        yield
        return
    try:
        is_ours = os.sched_getscheduler(0) == os.SCHED_OTHER
        if is_ours:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # a sandbox that forbids or lacks the call
        is_ours = False
    try:
        yield
    finally:
        if is_ours:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
