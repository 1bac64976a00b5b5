"""The hook: what `import flytekit` loads of us, so it imports nothing that costs, and never raises.

flytekit executes a task that has an agent by the method `execute` of an executor mixin, which its own class inherits or calls
by name (`AsyncConnectorExecutorMixin.execute(self, ...)`). Both ways end at the attribute of the mixin, so that is replaced,
once, and the original is kept: `execution` goes back to it for whatever no agent of ours serves. Which way a task takes is
decided when it is executed; `OUTBOARD_FLYTEKIT=off` is looked up then too, so a notebook may change it between two cells.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, Final

VARIABLE: Final = "OUTBOARD_FLYTEKIT"
OFF: Final = frozenset({"off", "false", "no", "0"})
MIXINS: Final = ("AsyncConnectorExecutorMixin", "SyncConnectorExecutorMixin")
_MARK: Final = "outboard_original"

Execute = Callable[..., Any]


def install() -> None:
    """Let tasks of flytekit's executor mixins be executed by us; a second call changes nothing."""
    from flytekit.extend.backend import base_connector  # noqa: PLC0415 - loaded by then: flytekit's sensors need it

    for name in MIXINS:
        mixin = getattr(base_connector, name)
        if not hasattr(mixin.execute, _MARK):
            mixin.execute = _standing_in_for(mixin.execute)


def is_ours(execute: Execute) -> bool:
    """Tell whether a method is what `install` put in its place."""
    return hasattr(execute, _MARK)


def _standing_in_for(original: Execute) -> Execute:
    @functools.wraps(original)
    def execute(self: Any, **kwargs: Any) -> Any:
        if os.environ.get(VARIABLE, "").strip().lower() in OFF:
            return original(self, **kwargs)
        from outboard.flytekit.running.execution import execute_task  # noqa: PLC0415 - heavy; only for such tasks

        return execute_task(self, kwargs, original)

    setattr(execute, _MARK, original)
    return execute


try:
    install()
except Exception:
    logging.getLogger("flytekit").debug("Outboard cannot run the tasks of this version of flytekit", exc_info=True)
