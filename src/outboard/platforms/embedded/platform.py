"""The embedded platform as the host sees it: its settings, its connection and its agents.

There is no quota to count: a job is a process on this machine, and whoever asks for jobs decides how many run at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from outboard.agent import Agent, Platform, Secrets
from outboard.agent.http import Http
from outboard.detached.job_directory import JobDirectory
from outboard.platforms.embedded.declared import WITHHELD
from outboard.platforms.embedded.duckdb_agent import DuckDBAgent
from outboard.platforms.embedded.process_agent import ProcessAgent
from outboard.platforms.embedded.rows_agent import DuckDBRowsAgent
from outboard.platforms.embedded.settings import EmbeddedConnection, EmbeddedSettings


class Embedded(Platform[EmbeddedConnection, JobDirectory]):
    """Runs DuckDB queries and, where allowed, commands as detached processes on this machine.

    Args:
        settings: See `EmbeddedSettings`.

    >>> [agent.name for agent in Embedded().agents()]
    ['duckdb', 'duckdb_rows', 'process']
    """

    name = "embedded"
    settings_model = EmbeddedSettings

    def __init__(self, settings: EmbeddedSettings | None = None) -> None:
        self.options = settings if settings is not None else EmbeddedSettings()
        super().__init__(self.options)

    def agents(self) -> Sequence[Agent]:
        """Return the agents; `process` is withheld until the operator allows it."""
        return (
            DuckDBAgent(self, self.options),
            DuckDBRowsAgent(self, self.options),
            ProcessAgent(self, self.options),
        )

    def withheld(self) -> Mapping[str, str]:
        """Return `process`, which runs any command, until the operator allows it."""
        return {} if self.options.allow_process else WITHHELD

    def open(
        self,
        connection: EmbeddedConnection,
        secrets: Secrets,  # noqa: ARG002 - a folder asks for none
        http: Http,  # noqa: ARG002 - nor for this
    ) -> AbstractAsyncContextManager[JobDirectory]:
        """Return the job directory of a connection; it holds nothing open."""
        return nullcontext(JobDirectory(Path(connection.root)))

    def account(self, connection: EmbeddedConnection) -> str:
        """Return one account per job directory."""
        return f"embedded:{connection.root}"
