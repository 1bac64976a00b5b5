"""The file sensors: they answer True once a wanted file is there.

A task is checked when it is created, so that a path which can never be looked at fails at once instead of being poked
for ever. A store that cannot be reached is an error, not a "not there yet": the host keeps the task running and says so
when it lasts.

flytekit's own sensors name a Python class for the service to import and call. This one never imports what a caller
names: it knows `flytekit.sensor.file_sensor.FileSensor` by name, does what that class does, and refuses every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from pydantic import Field

from outboard.agent import After, Blob, Connection, Context, Inputs, Platform, Sensor, Task, TaskConfig, TaskType
from outboard.domain.types import Interface, SimpleType
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.files.addresses import LOCAL, Address, is_allowed, parse_address
from outboard.platforms.files.settings import FilesSettings
from outboard.platforms.files.stores import FileStores, Wanted

FLYTEKIT_SENSOR: Final = ("flytekit.sensor.file_sensor", "FileSensor")


class FileSensorConfig(TaskConfig):
    """The `custom` of a `file_sensor` task.

    Attributes:
        min_size_bytes: Smaller files do not count.
        min_age_s: Files written more recently do not count: whoever writes them may not be done.
        poll_after_s: How long to leave it alone after a look in vain; 0 leaves that to the engine.
    """

    min_size_bytes: int = Field(default=0, ge=0)
    min_age_s: float = Field(default=0.0, ge=0, le=366 * 86_400)
    poll_after_s: float = Field(default=0.0, ge=0, le=86_400)


class FlytekitSensorConfig(TaskConfig):
    """What flytekit's sensor tasks say about themselves.

    Attributes:
        sensor_module, sensor_name: The class of the sensor.
        sensor_config, inputs: Unused by flytekit's FileSensor.
    """

    sensor_module: str
    sensor_name: str
    sensor_config: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class _PathSensor(Sensor[ConfigT, FileStores], abstract=True):
    """What both sensors share: the input `path`, and what the operator lets it name."""

    def __init__(self, platform: Platform[Any, Any], settings: FilesSettings) -> None:
        super().__init__(platform)
        self.settings = settings

    def connection(self, task: Task[Any]) -> Connection:
        """Return the platform's connection, after a look at what the task names: nothing later could refuse it."""
        self._check(parse_address(_path(task)).text)
        return super().connection(task)

    async def look(self, task: Task[ConfigT], ctx: Context[FileStores], wanted: Wanted) -> bool:
        """Tell whether a wanted file is there."""
        address: Address = parse_address(_path(task))
        if self.settings.roots is not None and address.store == LOCAL:
            self._check(await ctx.client.real_path(address))
        return await ctx.client.has_file(address, wanted)

    def _check(self, place: str) -> None:
        if not is_allowed(place, self.settings.roots):
            raise InvalidInputs(
                "the path lies outside of what sensors may look at here; "
                "the operator allows more by the setting platforms.files.roots",
                field="inputs.path",
            )


class FileSensor(_PathSensor[FileSensorConfig]):
    """Waits for a file, a glob's first match, or anything below a folder."""

    name = "file_sensor"
    task_types = (TaskType("file_sensor"),)

    async def poke(self, task: Task[FileSensorConfig], ctx: Context[FileStores]) -> bool | After:
        """Return whether it is there; otherwise when to look again, where the task says so."""
        config = task.config
        wanted = Wanted(min_size_bytes=config.min_size_bytes, min_age=timedelta(seconds=config.min_age_s))
        is_there = await self.look(task, ctx, wanted)
        return is_there or (After(timedelta(seconds=config.poll_after_s)) if config.poll_after_s else False)


class FlytekitFileSensor(_PathSensor[FlytekitSensorConfig]):
    """Serves flytekit's `FileSensor` tasks unchanged."""

    name = "flytekit_file_sensor"
    task_types = (TaskType("sensor"),)

    def connection(self, task: Task[Any]) -> Connection:
        """Return the platform's connection; refuses every sensor class but flytekit's FileSensor."""
        config: FlytekitSensorConfig = task.config
        if (config.sensor_module, config.sensor_name) != FLYTEKIT_SENSOR:
            raise InvalidTask(
                "of flytekit's sensors only FileSensor is served here, since a class that a task names is never imported; "
                "use task type file_sensor, or write an Outboard sensor",
                field="custom.sensor_name",
            )
        return super().connection(task)

    def read_flytekit(self, meta: Mapping[str, Any], task_type: TaskType) -> Task[FlytekitSensorConfig] | None:
        """Return the task of a handle of flytekit's SensorEngine, whose JSON is the task's `custom` with the inputs."""
        inputs = meta.get("inputs")
        path = inputs.get("path") if isinstance(inputs, Mapping) else None
        named = (meta.get("sensor_module"), meta.get("sensor_name"))
        if named != FLYTEKIT_SENSOR or not isinstance(path, str):
            return None
        return Task(
            type=task_type.name,
            version=task_type.version,
            config=FlytekitSensorConfig(sensor_module=FLYTEKIT_SENSOR[0], sensor_name=FLYTEKIT_SENSOR[1]),
            inputs=Inputs({"path": path}),
            interface=Interface(inputs={"path": SimpleType.STRING}),
        )

    async def poke(self, task: Task[FlytekitSensorConfig], ctx: Context[FileStores]) -> bool:
        """Return whether the path exists."""
        return await self.look(task, ctx, Wanted())


def _path(task: Task[Any]) -> str:
    value = task.inputs.get("path")
    if isinstance(value, Blob):
        return value.uri.rstrip("/") + "/" if value.multipart else value.uri
    if not isinstance(value, str) or not value:
        raise InvalidInputs(
            "a file sensor waits for its input path, a text or a file; give it one", field="inputs.path"
        )
    return value
