"""What travels: the engine's journal holds no secret, and handles of earlier releases are read for ever."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from pathlib import Path
from typing import Final

from outboard.agent.agents import JobAgent
from outboard.domain.handles import Handle, HandleCodec
from outboard.engine import Engine
from outboard.engine.settings import EngineSettings
from outboard.errors import OutboardError
from outboard.testing.conformance.checks import Check, Kind
from outboard.testing.conformance.findings import Broken, NotApplicable
from outboard.testing.conformance.stages import Stage


async def journals_nothing_secret(stage: Stage) -> None:
    """A run of the local engine leaves a journal; the canary is looked for in its files."""
    journal = stage.site.folder / "journal.db"
    settings = EngineSettings(output_base=f"{stage.stand_in.prefix}/engine")
    async with (
        stage.make_host(lambda: None) as host,
        Engine.in_process(host, journal=journal, settings=settings) as engine,
    ):
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):  # whether it ends is another check's question
            await asyncio.wait_for(engine.run(stage.stand_in.quick), stage.pace.end_s)
    for path in stage.site.folder.glob("journal.db*"):
        stage.evidence.see("the engine's journal", path.read_bytes())


async def reads_old_handles(stage: Stage) -> None:
    """Handles that earlier releases of the agent wrote become today's jobs."""
    agent, folder = stage.agent, stage.case.old_handles
    if not isinstance(agent, JobAgent):
        raise NotApplicable("it has no jobs")
    version = agent.job_model.handle_version
    if folder is None:
        if version == 1:
            return
        raise Broken(
            f"handle_version is {version}, and no handle of an earlier version is kept",
            "keep some in a folder and name it in the case: Case(..., old_handles=Path(...))",
        )
    seen = set()
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        seen.add(_read(path, agent).job_version)
    missing = sorted(set(range(1, version)) - seen)
    if missing:
        raise Broken(
            f"no handle of version {', '.join(map(str, missing))} is kept", f"put one into {folder.name}, for ever"
        )


def _read(path: Path, agent: JobAgent[object, object, object]) -> Handle:  # type: ignore[type-var]  # any agent
    try:
        handle = HandleCodec().decode(_bytes_of(path))
    except OutboardError as error:
        raise Broken(f"{path.name}: {error.message}", "keep unsealed handles of this agent only") from None
    if handle.agent not in (agent.name, *agent.aliases):
        raise Broken(
            f"{path.name} is a handle of agent {handle.agent!r}", "add the old name to `aliases`; it stands in handles"
        )
    model, data = agent.job_model, dict(handle.job)
    try:
        if handle.job_version < model.handle_version:
            data = model.upgrade(handle.job_version, data)
        model.model_validate(data)
        agent.platform.connection_model.model_validate(dict(handle.connection))
    except Exception as error:  # noqa: BLE001 - an author's upgrade may raise anything
        raise Broken(
            f"{path.name}, of version {handle.job_version}, cannot be read: {type(error).__name__}",
            "give new fields of JobRef and Connection defaults, or let `upgrade` fill them; never take a field away",
        ) from None
    return handle


def _bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return base64.b64decode(data.strip(), validate=True)
    except binascii.Error:
        return data


TRAVELLING: Final = (
    Check(name="redaction/journal", run=journals_nothing_secret, kinds=Kind.ALL),
    Check(name="handles/old", run=reads_old_handles),
)
"""The checks of this module."""
