"""The shape of FlytePropeller's two sections about agent services: pydantic models at the edge.

Field names are ours, aliases are the file's. Keys are matched without regard to case, unknown ones are kept and can be
named, and the defaults are those of Flyte 1.16. Values that FlytePropeller would misread in silence (a bare `10` is ten
nanoseconds to it) are refused with what to write instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from outboard.engine.addresses import parse_target
from outboard.engine.go_durations import parse_go_duration

_ROUND_ROBIN: Final = '{"loadBalancingConfig": [{"round_robin":{}}]}'


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


GoDuration = Annotated[timedelta, BeforeValidator(_duration)]


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
        known = {(field.alias or name).lower(): field.alias or name for name, field in cls.model_fields.items()}
        return {known.get(str(key).lower(), str(key)): item for key, item in value.items()}

    def unknown_keys(self) -> Iterator[str]:
        """Yield the dotted paths of keys that FlytePropeller does not know, nested ones included."""
        yield from self.model_extra or {}
        for name, field in type(self).model_fields.items():
            child = getattr(self, name)
            children = child.items() if isinstance(child, Mapping) else [("", child)]
            for key, part in children:
                if isinstance(part, _Section):
                    place = ".".join(filter(None, (field.alias or name, key)))
                    yield from (f"{place}.{path}" for path in part.unknown_keys())


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


class _WebApi(_Section):
    resource_quotas: dict[str, int] = Field(default_factory=lambda: {"default": 1000}, alias="resourceQuotas")
    read_rate_limiter: _RateLimiter = Field(default_factory=_RateLimiter, alias="readRateLimiter")
    write_rate_limiter: _RateLimiter = Field(default_factory=_RateLimiter, alias="writeRateLimiter")
    caching: _Caching = Field(default_factory=_Caching)
    resource_meta: Any = Field(None, alias="resourceMeta")


class Deployment(_Section):
    """An agent service. The zero values are what FlytePropeller uses for entries of the map."""

    endpoint: str = ""
    insecure: bool = False
    default_service_config: str = Field("", alias="defaultServiceConfig")
    timeouts: dict[str, GoDuration] = Field(default_factory=dict)
    default_timeout: GoDuration = Field(timedelta(0), alias="defaultTimeout", ge=timedelta(0))

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

    web_api: _WebApi = Field(default_factory=_WebApi, alias="webApi")
    resource_constraints: Any = Field(None, alias="resourceConstraints")
    supported_task_types: list[str] = Field(default_factory=list, alias="supportedTaskTypes")
    poll_interval: GoDuration = Field(timedelta(seconds=10), alias="pollInterval", gt=timedelta(0))

    @property
    def path(self) -> str:
        """Where the section stands in the file."""
        return f"plugins.{self.section}"


def _one_map(value: object) -> object:
    """Accept the list of one-key maps that Flyte's guide shows where FlytePropeller wants one map."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return {} if value is None else value
    merged: dict[str, object] = {}
    for item in value:
        if not isinstance(item, Mapping):
            raise ValueError("write a mapping of task types to names")  # noqa: TRY004 - pydantic collects ValueError
        merged.update(item)
    return merged


def _flytes_default(timeout: str) -> dict[str, object]:
    return {"insecure": True, "defaultTimeout": timeout, "defaultServiceConfig": _ROUND_ROBIN}


def _over_flytes(timeout: str) -> BeforeValidator:
    """Lay what the file says over Flyte's defaults for the default deployment, matching keys without case."""
    flytes = _flytes_default(timeout)

    def lay(value: object) -> object:
        if not isinstance(value, Mapping):
            return flytes if value is None else value
        given = {str(key).lower() for key in value}
        return {**{key: item for key, item in flytes.items() if key.lower() not in given}, **value}

    return BeforeValidator(lay)


_TaskTypeMap = Annotated[dict[str, str], BeforeValidator(_one_map)]
_NamedMap = Annotated[dict[str, Deployment], BeforeValidator(lambda value: {} if value is None else value)]


class _AgentService(_Plugin):
    section = "agent-service"
    default_name = "defaultAgent"
    listing = "ListAgents"

    default: Annotated[Deployment, _over_flytes("3s")] = Field(
        default_factory=lambda: Deployment.model_validate(_flytes_default("3s")), alias="defaultAgent"
    )
    named: _NamedMap = Field(default_factory=dict, alias="agents")
    for_task_types: _TaskTypeMap = Field(default_factory=dict, alias="agentForTaskTypes")


class _ConnectorService(_Plugin):
    section = "connector-service"
    default_name = "defaultConnector"
    listing = "ListConnectors"

    default: Annotated[Deployment, _over_flytes("10s")] = Field(
        default_factory=lambda: Deployment.model_validate(_flytes_default("10s")), alias="defaultConnector"
    )
    named: _NamedMap = Field(default_factory=dict, alias="connectors")
    for_task_types: _TaskTypeMap = Field(default_factory=dict, alias="connectorForTaskTypes")


AgentSection = _AgentService | _ConnectorService
SECTIONS: Final[tuple[type[AgentSection], ...]] = (_ConnectorService, _AgentService)  # the newer one goes first
