"""Hosting: connectors of flytekit and of Flyte 2's SDK, unmodified, served beside our agents.

==============  ===================================================================
`settings`      what the operator decides
`loading`       imports SDKs and plugins, each guarded
`platforms`     platforms made of connectors, `flytekit` and `flyte`
`agents`        an agent made of a connector
`dialects`      how each SDK's service calls its connectors
`loops`         an event loop for each connector
`natives`       the connector's own bytes as handles
`pages`         its log, page by page
`secrets`       what it looks up by itself is redacted
`rulings`       who serves a task type that several know
==============  ===================================================================

Importing this package imports nothing of flytekit; `host_connectors` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outboard.domain.tasks import TaskType
from outboard.flytekit.hosting.rulings import Ruling, rule
from outboard.flytekit.hosting.settings import HostingSettings, Side

if TYPE_CHECKING:
    from outboard.agent.registry import Registry
    from outboard.flytekit.hosting.platforms import HostedPlatform

__all__ = ["HostingSettings", "Ruling", "host_connectors"]


def host_connectors(registry: Registry, settings: HostingSettings) -> None:
    """Add the agents of all connectors that can be loaded.

    What cannot be loaded is among `registry.failures`; who serves a type that several know, among `registry.notes`.

    Raises:
        InvalidSettings: Nothing can be hosted here at all, or the operator prefers somebody who does not have a type.
        ContractViolation: A connector is called like an agent of ours.
    """
    from outboard.flytekit.hosting.loading import load_connectors  # noqa: PLC0415 - it imports flytekit
    from outboard.flytekit.hosting.platforms import FlyteConnectors, FlytekitConnectors  # noqa: PLC0415 - same

    connectors, failures = load_connectors(settings.modules)
    registry.failures.extend(failures)
    taken = {name for agent in registry for name in (agent.name, *agent.aliases)}
    platforms: dict[Side, HostedPlatform] = {}
    if "flytekit" in connectors:
        platforms["flytekit"] = FlytekitConnectors(connectors["flytekit"], settings, taken)
        taken |= {agent.name for agent in platforms["flytekit"].agents()}
    if "flyte" in connectors:
        platforms["flyte"] = FlyteConnectors(connectors["flyte"], settings, taken)
    sides: dict[Side, set[TaskType]] = {
        "outboard": {task_type for agent in registry for task_type in registry.served(agent)},
    }
    for side, platform in platforms.items():
        sides[side] = {task_type for agent in platform.agents() for task_type in agent.task_types}
    hosted = sorted({kind for side in platforms for kind in sides[side]}, key=str)
    contenders = {kind: [side for side, kinds in sides.items() if kind in kinds] for kind in hosted}
    rulings = rule(contenders, settings.prefer)
    for side, platform in platforms.items():
        takes = {each.task_type for each in rulings if each.winner == side}
        registry.add(platform, takes=takes, leaves={each.task_type for each in rulings if each.winner != side})
    registry.notes.extend(str(each) for each in rulings if each.losers)
