"""What `serve --processes N` makes of a choice of agents: the same for each of N workers, and nothing for this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from outboard.cli.child_documents import COMMAND, worker_document
from outboard.cli.light_imports import without
from outboard.local.settings_files import AgentChoice

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings
    from outboard.service.supervision.child import ChildSpec


def serve_workers(
    choice: AgentChoice,
    settings: ServiceSettings,
    isolated: Sequence[ChildSpec],
    *,
    log_level: str,
    log_format: str,
) -> int:
    """Serve with several processes until told to end; return the exit code.

    Args:
        choice: The agents that are not isolated.
        settings: Of the service.
        isolated: The children that each worker has.
        log_level: Of all processes' log lines.
        log_format: Of what is written here.
    """
    with without("rich"):
        from outboard.cli.log_output import configure_logs  # noqa: PLC0415 - settings are checked before the heavy imports
        from outboard.service.processes.parent import serve_processes  # noqa: PLC0415 - same
        from outboard.service.supervision.child import ChildSpec  # noqa: PLC0415 - same

    configure_logs(lambda text: text, level=log_level, form=log_format)  # workers remove secrets before they write

    def spec(number: int, theirs: ServiceSettings) -> ChildSpec:
        document = worker_document(choice, theirs.model_dump(mode="json"), isolated, log_level)
        return ChildSpec(source=str(number), command=COMMAND, document=document, drain_s=settings.drain_s)

    return serve_processes(spec, settings)
