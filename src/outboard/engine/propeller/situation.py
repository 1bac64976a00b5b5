"""What a check looks at: the plugins' sections, as they are written and as Flyte takes them, and what is known besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from outboard.engine.propeller.sections import AgentSection, ConnectorService, Deployment, alias
from outboard.engine.propeller.trees import Place, Tree
from outboard.engine.routing import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One agent service of a section.

    Attributes:
        name: Its name; None for the default.
        tree: As it is written; None for a default that nothing is written about.
        deployment: As Flyte takes it.
        place: Where it stands.
    """

    name: str | None
    tree: Tree | None
    deployment: Deployment
    place: Place

    def place_of(self, key: str) -> Place:
        """Return where one of its keys stands, or itself."""
        below = self.tree.get(key) if self.tree is not None else None
        return below.place if below is not None else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One plugin's section.

    Attributes:
        tree: As it is written.
        section: As Flyte takes it, values that it refuses left out.
    """

    tree: Tree
    section: AgentSection

    @property
    def plugin(self) -> str:
        """The plugin's name."""
        return self.section.section

    def entries(self) -> Iterator[Entry]:
        """Yield the default, where it has an address, and the named services."""
        default = self.tree.get(self.section.default_name)
        if self.section.default.endpoint:
            place = default.place if default is not None else self.tree.place
            yield Entry(name=None, tree=default, deployment=self.section.default, place=place)
        yield from self._named(alias(self.section, "named"), self.section.named)
        if isinstance(self.section, ConnectorService):
            yield from self._named(alias(self.section, "apps"), self.section.apps)

    def _named(self, key: str, deployments: dict[str, Deployment]) -> Iterator[Entry]:
        for name, deployment in deployments.items():
            tree = self.tree.get(key, name)
            yield Entry(
                name=name, tree=tree, deployment=deployment, place=tree.place if tree is not None else self.tree.place
            )

    def place_of(self, *keys: str) -> Place:
        """Return where a chain of keys stands, or the last of them that is written."""
        return self.tree.nearest(keys).place

    def task_types(self) -> list[str]:
        """Return the task types that the section claims by itself, whatever the services list."""
        return list(dict.fromkeys([*self.section.supported_task_types, *self.section.for_task_types]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that the checks look at.

    Attributes:
        root: The engine's configuration.
        sections: The plugins' sections that are written.
        is_flyte_2: Which Flyte it is for.
        served: What the service in question serves; None where nobody was asked.
        service: The name of the entry that is this service; None for the default, or for the only one.
        live_jobs: How many tasks are live at a time; None where nobody said.
    """

    root: Tree
    sections: Sequence[Written]
    is_flyte_2: bool
    served: Sequence[Served] | None = None
    service: str | None = None
    live_jobs: int | None = None

    def enabled_plugins(self) -> frozenset[str] | None:
        """Return the plugins that are enabled, in lower case; None where the files do not say."""
        listed = self.root.get("tasks", "task-plugins", "enabled-plugins")
        value = listed.plain() if listed is not None else None
        names = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        return frozenset(str(name).strip().lower() for name in names) or None

    def default_plugins(self) -> dict[str, Tree]:
        """Return `default-for-task-types`, as written."""
        found = self.root.get("tasks", "task-plugins", "default-for-task-types")
        return dict(found.pairs()) if found is not None else {}
