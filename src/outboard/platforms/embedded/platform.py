"""The embedded platform as the host sees it: its settings, its connection and its agents.

There is no quota to count: a job is a process on this machine, and whoever asks for jobs decides how many run at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from outboard.agent import AccountContext, Agent, Platform, Secrets
from outboard.agent.http import Http
from outboard.detached.job_directory import JobDirectory
from outboard.errors import Unavailable
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

    def connections(self) -> Mapping[str, EmbeddedConnection]:
        """Return the job directory of the settings."""
        root = str(self.options.root.expanduser().absolute())
        return {root: EmbeddedConnection(root=root)}

    def ping(self, ctx: AccountContext[JobDirectory]) -> str:
        """Look whether jobs can be written where they are to be, or the folder can be made."""
        root = ctx.client.root
        nearest = next(folder for folder in (root, *root.parents) if folder.exists())
        if not (nearest.is_dir() and os.access(nearest, os.R_OK | os.W_OK | os.X_OK)):
            raise Unavailable(
                f"{nearest} cannot be written, and jobs are to lie in {root}; see platforms.embedded.root"
            )
        free_gib = shutil.disk_usage(nearest).free / 2**30
        return f"{free_gib:,.1f} GiB free at {root}"

    def account(self, connection: EmbeddedConnection) -> str:
        """Return one account per job directory."""
        return f"embedded:{connection.root}"
