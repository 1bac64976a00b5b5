"""The local engine: runs tasks against agents, in process or over gRPC, and remembers what it began."""

from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.live_tasks import LiveTask
from outboard.engine.outcomes import LeftRunning, TaskEvent, TaskOutcome
from outboard.engine.plain import Interrupted, run_sync, run_task, run_tasks
from outboard.engine.runs import Run
from outboard.engine.settings import EngineSettings

__all__ = [
    "Engine",
    "EngineSettings",
    "Interrupted",
    "Journal",
    "LeftRunning",
    "LiveTask",
    "Run",
    "TaskEvent",
    "TaskOutcome",
    "run_sync",
    "run_task",
    "run_tasks",
]
