"""Tasks of flytekit, as plugins write them, and the platform that our agents run them on: the ledger, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

import click
from flytekit.core.base_task import PythonTask
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.interface import Interface
from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.extend import TaskPlugins
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin, SyncConnectorExecutorMixin

from outboard.agent import Agent, Connection, Context, Http, Platform, Secrets, SyncAgent, Task, TaskConfig, TaskType
from outboard.host.stores import Stores
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerPlatform

ledger = Ledger()
"""The platform's jobs; `begin_anew` replaces it."""


def begin_anew() -> Ledger:
    """Return a platform without jobs, for the next engine of this process."""
    global ledger  # noqa: PLW0603 - discovery makes platforms out of names in modules
    ledger = Ledger()
    return ledger


def platform(_: Mapping[str, Any]) -> Platform[Any, Any]:
    """Return the ledger's agents; what `OUTBOARD_AGENTS` names."""
    return LedgerPlatform(ledger, stores=Stores())  # its jobs write files, which is why it has stores


class MirrorConfig(TaskConfig):
    """The `custom` of a `mirror` task."""

    said: int = 0


class Mirror(SyncAgent[MirrorConfig, None]):
    """`mirror`: answers at once what it was sent: the command, and its input added."""

    name = "mirror"
    task_types = (TaskType("mirror"),)

    async def do(self, task: Task[MirrorConfig], ctx: Context[None]) -> Mapping[str, Any]:
        """Answer."""
        outputs = {
            "command": "" if task.container is None else " ".join(task.container.args),
            "said": task.config.said + task.inputs.get("n", 0),
        }
        return {name: outputs[name] for name in task.interface.outputs}


class Mirrors(Platform[Connection, None]):
    """The platform of `mirror`."""

    name = "mirrors"

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return [Mirror(self)]

    def open(self, connection: Connection, secrets: Secrets, http: Http) -> AbstractAsyncContextManager[None]:
        """Return nothing: there is no client."""
        return nullcontext()


AGENTS: Final = f"{__name__}:platform {__name__}:Mirrors"
"""What `OUTBOARD_AGENTS` is set to."""


class LedgerTask(AsyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A job of the ledger; `custom` is its course."""

    def __init__(self, name: str, custom: Mapping[str, Any], *, kind: str = "ledger_named", **options: Any) -> None:
        interface = Interface(inputs=options.pop("inputs", None), outputs=options.pop("outputs", None))
        super().__init__(task_type=kind, name=name, task_config=None, interface=interface, **options)
        self._custom = dict(custom)

    def get_custom(self, settings: Any) -> dict[str, Any]:
        """Return the course."""
        return self._custom


class MirrorTask(SyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # same
    """A task of a sync agent."""

    def __init__(self, name: str, **options: Any) -> None:
        interface = Interface(inputs=options.pop("inputs", None), outputs=options.pop("outputs", None))
        super().__init__(task_type="mirror", name=name, task_config=None, interface=interface, **options)

    def get_custom(self, settings: Any) -> dict[str, Any]:
        """Return the configuration."""
        return {"said": 40}


class Forgiving:
    """The configuration of a function that runs on the platform, and, where that fails, here."""

    def __init__(self, **course: Any) -> None:
        self.course = course


class ForgivingTask(AsyncConnectorExecutorMixin, PythonFunctionTask):  # type: ignore[misc]  # same
    """A task as flytekit's Databricks plugin writes it: it calls the executor by name and swallows what that raises."""

    def __init__(self, task_config: Forgiving, task_function: Any, **options: Any) -> None:
        super().__init__(task_config=task_config, task_type="ledger_files", task_function=task_function, **options)

    def get_custom(self, settings: Any) -> dict[str, Any]:
        """Return the course."""
        return dict(self.task_config.course)

    def execute(self, **kwargs: Any) -> Any:
        """Run on the platform; here, where that fails."""
        try:
            state = FlyteContextManager.current_context().execution_state
            if state is not None and state.is_local_execution():
                return AsyncConnectorExecutorMixin.execute(self, **kwargs)
        except Exception as error:  # noqa: BLE001 - as the plugin does
            click.echo(f"falling back: {error}")
        return PythonFunctionTask.execute(self, **kwargs)


TaskPlugins.register_pythontask_plugin(Forgiving, ForgivingTask)
