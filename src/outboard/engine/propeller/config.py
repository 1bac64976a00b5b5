"""Which agent services there are and what they serve, read from a file in FlytePropeller's own format.

The file an operator already has for FlytePropeller says where agents run; the local engine reads the same file, so a
task takes the same way locally as on Flyte. Two sections count, `plugins.agent-service` and `plugins.connector-service`;
they differ in names only. Everything else in the file belongs to FlytePropeller and is left alone.

FlytePropeller's defaults hold (Flyte 1.16, `config.go` of its `webapi/agent` and `webapi/connector` plugins), and where
they are likely to hurt they hold with a warning: an entry under `agents` has no deadline, uses TLS and does not balance
load unless it says so itself. What FlytePropeller would ignore in silence (an unknown key, an agent that does not exist)
is a warning or an error here.

Reading has two steps: the models of `propeller_sections` check the shapes, then the sections become one
`PropellerConfig` of plain records, in which default and named agents alike are `ServiceAddress`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from outboard.domain.secret_refs import redact_forms
from outboard.engine.addresses import ServiceAddress, is_cluster_only, parse_target
from outboard.engine.propeller.sections import SECTIONS, AgentSection, ConnectorService, Deployment, alias, one_map
from outboard.engine.propeller.trees import read_trees
from outboard.errors import InvalidSettings

OPERATIONS: Final = frozenset(
    {"CreateTask", "GetTask", "DeleteTask", "ExecuteTaskSync", "GetTaskMetrics", "GetTaskLogs"}
)
_LISTINGS: Final = frozenset({"ListAgents", "ListConnectors"})
_JOB_OPERATIONS: Final = ("CreateTask", "GetTask", "DeleteTask")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigWarning:
    """Something in the file that works, though perhaps not as its author thinks.

    Attributes:
        name: What kind it is: `unknown-key`, `no-deadline`, `tls-by-default`, `ignored-timeout`, `lost-case`,
            `ignored-route`, `cluster-name` or `two-defaults`.
        path: Where it stands in the file, with dots.
        message: One sentence with the remedy.
    """

    name: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropellerConfig:
    """What a FlytePropeller file says about agent services.

    Attributes:
        addresses: Where the endpoints are, by name: the named ones in the file's order, then the defaults (`defaultAgent`,
            `defaultConnector`).
        default: The name of the endpoint for what no other serves; None when there is none.
        routes: Task type to the name of the endpoint that the file sends it to.
        default_task_types: Task types that the default endpoint serves even when it does not list them.
        listing_interval: How often to ask the endpoints what they serve (`pollInterval`).
        status_interval: How often FlytePropeller asks for a task's status (`webApi.caching.resyncInterval`).
        warnings: What works, though perhaps not as meant.
    """

    addresses: Mapping[str, ServiceAddress]
    default: str | None
    routes: Mapping[str, str]
    default_task_types: frozenset[str]
    listing_interval: timedelta
    status_interval: timedelta
    warnings: tuple[ConfigWarning, ...]


def read_propeller_config(path: Path) -> PropellerConfig:
    """Return what a FlytePropeller configuration file says about agent services.

    Raises:
        InvalidSettings: The file cannot be read, is no YAML, has neither section, or a value in it is wrong; the
            message names the place in the file and the remedy, and `field` is the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSettings(f"{path} cannot be read ({reason}): give the path of a configuration file") from None
    return parse_propeller_config(text, source=str(path))


def parse_propeller_config(text: str, *, source: str = "the configuration") -> PropellerConfig:
    """Return what a FlytePropeller configuration says; like `read_propeller_config`, from its text."""
    plugins = _plugins(text, source)
    present = {str(key).lower(): value for key, value in plugins.items()}
    sections = [_validated(kind, present[kind.section], source) for kind in SECTIONS if kind.section in present]
    if not sections:
        wanted = " or ".join(f"plugins.{kind.section}" for kind in SECTIONS)
        raise InvalidSettings(f"{source} says nothing about agent services: add a section {wanted}", field="plugins")
    return _Joined(
        sections, lost=[each for kind in sections for each in _lost_keys(kind, present[kind.section])]
    ).config()


def _plugins(text: str, source: str) -> Mapping[object, object]:
    documents = read_trees(text, source)
    plugins = documents[0].get("plugins") if documents else None
    found = plugins.plain() if plugins is not None else None
    return found if isinstance(found, Mapping) else {}


def _validated(kind: type[AgentSection], value: object, source: str) -> AgentSection:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = [
            (
                ".".join(("plugins", kind.section, *map(str, problem["loc"]))),
                problem["msg"].removeprefix("Value error, "),
            )
            for problem in error.errors(include_input=False, include_url=False)
        ]
        message = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise InvalidSettings(redact_forms(f"{source} is wrong: {message}"), field=problems[0][0]) from None


def _lost_keys(section: AgentSection, raw: object) -> Iterator[tuple[str, str]]:
    """Yield where keys with capital letters stand in a map, which Flyte's loader writes in lower case, and what is lost."""
    places = {str(key).lower(): value for key, value in raw.items()} if isinstance(raw, Mapping) else {}
    types = alias(section, "for_task_types")
    yield from _capitals(places.get(types.lower()), f"{section.path}.{types}", "task types")
    named = alias(section, "named")
    yield from _capitals(places.get(named.lower()), f"{section.path}.{named}", "names")
    deployments = {section.default_name: places.get(section.default_name.lower())}
    entries = one_map(places.get(named.lower()))
    if isinstance(entries, Mapping):
        deployments |= {f"{named}.{name}": entry for name, entry in entries.items()}
    for place, deployment in deployments.items():
        for key, value in deployment.items() if isinstance(deployment, Mapping) else ():
            if str(key).lower() == "timeouts":
                yield from _capitals(value, f"{section.path}.{place}.timeouts", "operations")


def _capitals(value: object, path: str, what: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and any(str(key).lower() != str(key) for key in value):
        yield path, what


class _Joined:
    """One configuration made of the sections that a file has; collects the warnings on the way."""

    def __init__(self, sections: Sequence[AgentSection], *, lost: Sequence[tuple[str, str]]) -> None:
        self._sections = sections
        self._warnings = [
            ConfigWarning(
                name="lost-case",
                path=path,
                message=f"Flyte itself loses {what} with capital letters in a map: write a list, `- name: value`",
            )
            for path, what in lost
        ]

    def config(self) -> PropellerConfig:
        first = self._sections[0]
        for section in self._sections:
            for path, _ in section.unknown_keys():
                self._warn(
                    "unknown-key", f"{section.path}.{path}", "FlytePropeller knows no such key: check its spelling"
                )
        named, defaults = self._named(), self._defaults()
        addresses = {**named, **defaults}
        return PropellerConfig(
            addresses=addresses,
            default=next(iter(defaults), None),
            routes=self._routes(addresses),
            default_task_types=frozenset(task_type for s in self._sections for task_type in s.supported_task_types),
            listing_interval=first.poll_interval,
            status_interval=first.web_api.caching.resync_interval,
            warnings=tuple(self._warnings),
        )

    def _warn(self, name: str, path: str, message: str) -> None:
        self._warnings.append(ConfigWarning(name=name, path=path, message=message))

    def _named(self) -> dict[str, ServiceAddress]:
        named: dict[str, ServiceAddress] = {}
        for section in self._sections:
            fields = ("named", "apps") if isinstance(section, ConnectorService) else ("named",)
            entries = [(alias(section, each), *entry) for each in fields for entry in getattr(section, each).items()]
            for word, name, deployment in entries:
                path = f"{section.path}.{word}.{name}"
                if not deployment.endpoint:
                    raise InvalidSettings(f"{path}.endpoint is missing: write host:port", field=f"{path}.endpoint")
                if name in named or name in {each.default_name for each in self._sections}:
                    raise InvalidSettings(f"{path}: another endpoint has this name: rename one of them", field=path)
                named[name] = self._endpoint(name, deployment, section, path)
                self._warn_of_zero_values(deployment, path)
        return named

    def _defaults(self) -> dict[str, ServiceAddress]:
        defaults = {}
        for section in self._sections:
            if section.default.endpoint:
                name = section.default_name
                defaults[name] = self._endpoint(name, section.default, section, f"{section.path}.{name}")
        if len(defaults) > 1:
            self._warn("two-defaults", "plugins", f"both sections have a default: {next(iter(defaults))} is used")
        return defaults

    def _endpoint(self, name: str, deployment: Deployment, section: AgentSection, path: str) -> ServiceAddress:
        if is_cluster_only(deployment.endpoint):
            message = "a Kubernetes service is dialled by its DNS name: outside the cluster write a host and a port"
            self._warn("cluster-name", f"{path}.endpoint", message)
        return ServiceAddress(
            name=name,
            target=parse_target(deployment.endpoint),
            written=deployment.endpoint,
            insecure=deployment.insecure,
            timeouts=self._timeouts(deployment, section, f"{path}.timeouts"),
            default_timeout=deployment.default_timeout or None,
            service_config=deployment.default_service_config or None,
        )

    def _timeouts(self, deployment: Deployment, section: AgentSection, path: str) -> dict[str, timedelta]:
        timeouts = {name: limit for name, limit in deployment.timeouts.items() if name in OPERATIONS}
        for name in deployment.timeouts.keys() - OPERATIONS - _LISTINGS:
            known = ", ".join(sorted({*OPERATIONS, section.listing}))
            self._warn("ignored-timeout", f"{path}.{name}", f"there is no such operation: write one of {known}")
        for name in sorted(deployment.timeouts.keys() & _LISTINGS, key=lambda name: name == section.listing):
            timeouts["ListAgents"] = deployment.timeouts[name]
            if name != section.listing:
                message = f"FlytePropeller ignores this here: write {section.listing}"
                self._warn("ignored-timeout", f"{path}.{name}", message)
        return timeouts

    def _warn_of_zero_values(self, deployment: Deployment, path: str) -> None:
        if not deployment.default_timeout:
            endless = [name for name in _JOB_OPERATIONS if not deployment.timeouts.get(name)]
            if endless:
                message = f"{', '.join(endless)} may wait for ever, as in FlytePropeller: add `defaultTimeout: 10s`"
                self._warn("no-deadline", path, message)
        if "insecure" not in deployment.model_fields_set:
            message = "TLS is used, since only the default is plain by itself: add `insecure: true` or `false`"
            self._warn("tls-by-default", path, message)

    def _routes(self, addresses: Mapping[str, ServiceAddress]) -> dict[str, str]:
        routes: dict[str, str] = {}
        for section in self._sections:
            place = f"{section.path}.{alias(section, 'for_task_types')}"
            for task_type, name in section.for_task_types.items():
                path = f"{place}.{task_type}"
                if name not in addresses:
                    known = ", ".join(addresses) or "none"
                    message = (
                        f"{path}: there is no endpoint '{name}': define it or choose one of those defined ({known})"
                    )
                    raise InvalidSettings(message, field=path)
                if routes.setdefault(task_type, name) != name:
                    self._warn(
                        "ignored-route", path, f"the other section sends it to '{routes[task_type]}', which holds"
                    )
        return routes
