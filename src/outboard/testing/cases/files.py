"""Cases of the file sensors: a file that is there, and one that never is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from outboard.agent import Inputs, Task
from outboard.domain.types import Interface, SimpleType
from outboard.platforms.files.platform import Files
from outboard.platforms.files.sensors import FLYTEKIT_SENSOR, FileSensor, FlytekitFileSensor
from outboard.platforms.files.settings import FilesSettings
from outboard.testing.conformance.cases import Case, MakeStandIn, Site, StandIn

_PATH: Final = Interface(inputs={"path": SimpleType.STRING})
_FLYTEKIT: Final = dict(zip(("sensor_module", "sensor_name"), FLYTEKIT_SENSOR, strict=True))


def _stand_in(kind: str, config: Mapping[str, Any]) -> MakeStandIn:
    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:
        return _files_of(site, kind, config)

    return make


@asynccontextmanager
async def _files_of(site: Site, kind: str, config: Mapping[str, Any]) -> AsyncIterator[StandIn]:
    there = site.folder / "there.csv"
    there.write_text("a,b\n")
    yield StandIn(
        platform=lambda: Files(FilesSettings()),
        quick=Task(type=kind, config=config, interface=_PATH, inputs=Inputs({"path": str(there)})),
        long=Task(type=kind, config=config, interface=_PATH, inputs=Inputs({"path": str(site.folder / "never.csv")})),
    )


FILE_SENSOR: Final = Case(FileSensor, _stand_in("file_sensor", {}))
"""Outboard's own sensor."""

FLYTEKIT_FILE_SENSOR: Final = Case(FlytekitFileSensor, _stand_in("sensor", _FLYTEKIT))
"""flytekit's."""
