"""The shape of Flyte's two sections about agent services: pydantic models at the edge.

Field names are ours, aliases are the file's. Keys are matched without regard to case, unknown ones are kept and can be
named, and the defaults and limits are those of Flyte 1.16, which Flyte 2 kept (`config.go` of the plugins `webapi/agent` and
`webapi/connector`; `validateConfig` in `pluginmachinery/internal/webapi/core.go`). Only
Flyte 2 knows `connectorApps`, `logs`, `project` and `domain`.

Every map may also be written as a list of maps with one key each, as in Flyte; see the package for why one would. Values
that Flyte would misread in silence (a bare `10` is ten nanoseconds to it) are refused with what to write instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from outboard.engine.addresses import parse_target
from outboard.engine.propeller.go_durations import parse_go_duration

ROUND_ROBIN: Final = '{"loadBalancingConfig": [{"round_robin":{}}]}'
_GO_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def _duration(value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, timedelta)):
        raise ValueError("write a duration such as '10s'")  # noqa: TRY004 - pydantic collects ValueError
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_go_duration(value)
    if value == 0:
        return timedelta(0)
    raise ValueError(f"a bare {value} means nanoseconds to FlytePropeller: write a unit, such as '{value}s'")


def _boolean(value: object) -> object:
    """Read a text as Go's `strconv.ParseBool` does: `yes` and `on` are no booleans to it."""
    if isinstance(value, str):
        if value not in _GO_BOOLEANS:
            raise ValueError(f"'{value}' is no boolean to Flyte: write true or false")
        return _GO_BOOLEANS[value]
    return value


def one_map(value: object) -> object:
    """Return a list of maps as the one map that Flyte makes of it; anything else as it is, and nothing as no entries."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return {} if value is None else value
    merged: dict[str, object] = {}
    for item in value:
        if not isinstance(item, Mapping):
            raise ValueError("write a mapping of names to values")  # noqa: TRY004 - pydantic collects ValueError
        merged.update(item)
    return merged


def _split(value: object) -> object:
    """Read a list written as one text, with commas, as Flyte does."""
    return value.split(",") if isinstance(value, str) else [] if value is None else value


GoDuration = Annotated[timedelta, BeforeValidator(_duration)]
GoBoolean = Annotated[bool, BeforeValidator(_boolean)]
_ONE_MAP: Final = BeforeValidator(one_map)


class _Section(BaseModel):
    """A part of the file: keys in any case, unknown ones kept."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _match_keys_without_case(cls, value: object) -> object:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ValueError("write a mapping of keys to values here")  # noqa: TRY004 - pydantic collects ValueError
        known = {name.lower(): name for name in cls.known_keys()}
        return {known.get(str(key).lower(), str(key)): item for key, item in value.items()}

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the keys that Flyte knows here, as it spells them."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    def unknown_keys(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the dotted paths of keys that Flyte does not know, nested ones included, and which it knows there."""
        for key in self.model_extra or {}:
            yield key, self.known_keys()
        for name, field in type(self).model_fields.items():
            child = getattr(self, name)
            children = child.items() if isinstance(child, Mapping) else [("", child)]
            for key, part in children:
                if isinstance(part, _Section):
                    place = ".".join(filter(None, (field.alias or name, key)))
                    yield from ((f"{place}.{path}", known) for path, known in part.unknown_keys())


class _RateLimiter(_Section):
    qps: float = Field(10, ge=1, le=100_000)
    burst: int = Field(100, ge=5, le=10_000)


class _Caching(_Section):
    size: int = Field(500_000, ge=10, le=500_000)
    resync_interval: GoDuration = Field(
        timedelta(seconds=30), alias="resyncInterval", ge=timedelta(seconds=5), le=timedelta(hours=1)
    )
    workers: int = Field(10, ge=1, le=10_000)
    max_system_failures: int = Field(5, alias="maxSystemFailures", ge=0)


_Quotas = Annotated[dict[str, int], _ONE_MAP]


class _WebApi(_Section):
    resource_quotas: _Quotas = Field(default_factory=lambda: {"default": 1000}, alias="resourceQuotas")
    read_rate_limiter: _RateLimiter = Field(default_factory=_RateLimiter, alias="readRateLimiter")
    write_rate_limiter: _RateLimiter = Field(default_factory=_RateLimiter, alias="writeRateLimiter")
    caching: _Caching = Field(default_factory=_Caching)
    resource_meta: Any = Field(None, alias="resourceMeta")


class _Constraint(_Section):
    value: int = Field(0, alias="Value")


class _Constraints(_Section):
    project: _Constraint = Field(default_factory=lambda: _Constraint(Value=100), alias="ProjectScopeResourceConstraint")
    namespace: _Constraint = Field(
        default_factory=lambda: _Constraint(Value=50), alias="NamespaceScopeResourceConstraint"
    )


_Timeouts = Annotated[dict[str, GoDuration], _ONE_MAP]


class Deployment(_Section):
    """An agent service. The zero values are what Flyte uses for entries of the map."""

    endpoint: str = ""
    insecure: GoBoolean = False
    default_service_config: str = Field("", alias="defaultServiceConfig")
    timeouts: _Timeouts = Field(default_factory=dict)
    default_timeout: GoDuration = Field(timedelta(0), alias="defaultTimeout", ge=timedelta(0))
    project: str = ""
    domain: str = ""

    @field_validator("endpoint")
    @classmethod
    def _is_a_target(cls, value: str) -> str:
        if value:
            parse_target(value)
        return value

    @field_validator("default_service_config")
    @classmethod
    def _is_a_json_object(cls, value: str) -> str:
        if value:
            try:
                parsed = json.loads(value)
            except ValueError:
                raise ValueError("write the gRPC service configuration as a JSON text") from None
            if not isinstance(parsed, dict):
                raise ValueError("write the gRPC service configuration as a JSON object")
        return value

    @field_validator("timeouts")
    @classmethod
    def _are_not_negative(cls, value: dict[str, timedelta]) -> dict[str, timedelta]:
        for operation, limit in value.items():
            if limit < timedelta(0):
                raise ValueError(f"the timeout of {operation} is negative: write a positive one, or 0 for none")
        return value


class _Plugin(_Section):
    """What both sections share; the subclasses carry the names of their time."""

    section: ClassVar[str]
    default_name: ClassVar[str]
    listing: ClassVar[str]
    placeholders: ClassVar[tuple[str, ...]]

    web_api: _WebApi = Field(default_factory=_WebApi, alias="webApi")
    resource_constraints: _Constraints = Field(default_factory=_Constraints, alias="resourceConstraints")
    supported_task_types: Annotated[list[str], BeforeValidator(_split)] = Field(
        default_factory=list, alias="supportedTaskTypes"
    )
    poll_interval: GoDuration = Field(timedelta(seconds=10), alias="pollInterval", gt=timedelta(0))

    @property
    def path(self) -> str:
        """Where the section stands in the file."""
        return f"plugins.{self.section}"


def _flytes_default(timeout: str) -> dict[str, object]:
    return {"insecure": True, "defaultTimeout": timeout, "defaultServiceConfig": ROUND_ROBIN}


def _over_flytes(timeout: str) -> BeforeValidator:
    """Lay what the file says over Flyte's defaults for the default deployment, matching keys without case."""
    flytes = _flytes_default(timeout)

    def lay(value: object) -> object:
        if not isinstance(value, Mapping):
            return flytes if value is None else value
        given = {str(key).lower() for key in value}
        return {**{key: item for key, item in flytes.items() if key.lower() not in given}, **value}

    return BeforeValidator(lay)


_TaskTypeMap = Annotated[dict[str, str], _ONE_MAP]
_NamedMap = Annotated[dict[str, Deployment], _ONE_MAP]


class AgentService(_Plugin):
    """The plugin of Flyte 1 up to 1.14, kept in later ones and deprecated."""

    section = "agent-service"
    default_name = "defaultAgent"
    listing = "ListAgents"
    placeholders = ("task_type_1", "task_type_2")

    default: Annotated[Deployment, _over_flytes("3s")] = Field(
        default_factory=lambda: Deployment.model_validate(_flytes_default("3s")), alias="defaultAgent"
    )
    named: _NamedMap = Field(default_factory=dict, alias="agents")
    for_task_types: _TaskTypeMap = Field(default_factory=dict, alias="agentForTaskTypes")


class ConnectorService(_Plugin):
    """The plugin of Flyte 1 from 1.15 on, and of Flyte 2."""

    section = "connector-service"
    default_name = "defaultConnector"
    listing = "ListConnectors"
    placeholders = ("task_type_3", "task_type_4")

    default: Annotated[Deployment, _over_flytes("10s")] = Field(
        default_factory=lambda: Deployment.model_validate(_flytes_default("10s")), alias="defaultConnector"
    )
    named: _NamedMap = Field(default_factory=dict, alias="connectors")
    for_task_types: _TaskTypeMap = Field(default_factory=dict, alias="connectorForTaskTypes")
    apps: _NamedMap = Field(default_factory=dict, alias="connectorApps")
    logs: Any = None


AgentSection = AgentService | ConnectorService
SECTIONS: Final[tuple[type[AgentSection], ...]] = (ConnectorService, AgentService)  # the newer one goes first


def alias(kind: type[BaseModel] | BaseModel, name: str) -> str:
    """Return how the file spells one of our fields."""
    found = (kind if isinstance(kind, type) else type(kind)).model_fields[name]
    return found.alias or name
