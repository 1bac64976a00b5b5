"""Whom a command talks to: agents in this process, one service, or all that a FlytePropeller configuration names.

An endpoint's name is what the journal remembers a job by: `in-process`, a name of the configuration, or the address that was
typed. So a command that comes later (`resume`, `logs`, `cancel`) finds the way by the name alone, except to names of a
configuration, which it must be given again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from outboard.agent.registry import LoadFailure
from outboard.cli.log_output import configure_logs
from outboard.cli.settings_files import AgentChoice, open_host
from outboard.domain.endpoints import Endpoint
from outboard.domain.secret_refs import redact_forms
from outboard.engine.addresses import ServiceAddress
from outboard.engine.propeller_config import PropellerConfig, read_propeller_config
from outboard.engine.routing import IN_PROCESS
from outboard.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the options say about whom to talk to.

    Attributes:
        endpoint: One service's address; None leaves the choice to the others.
        insecure: Plain text or TLS for it; None decides by the address.
        engine_config: A FlytePropeller configuration.
        choice: Which agents to run in this process where no service is named.
    """

    endpoint: str | None = None
    insecure: bool | None = None
    engine_config: Path | None = None
    choice: AgentChoice = field(default_factory=AgentChoice)

    def __post_init__(self) -> None:
        if self.endpoint and self.engine_config:
            raise InvalidSettings(
                "--endpoint and --engine-config exclude each other: give one of them", field="endpoint"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Whom a command talks to.

    Attributes:
        endpoints: By name, in the order of preference.
        addresses: Of those that are services, by name.
        config: The FlytePropeller configuration, where there is one.
        failures: What could not be loaded in this process.
        redact: Removes the secrets that this process has read from a text.
    """

    endpoints: Mapping[str, Endpoint]
    addresses: Mapping[str, ServiceAddress] = field(default_factory=dict)
    config: PropellerConfig | None = None
    failures: Sequence[LoadFailure] = ()
    redact: Callable[[str], str] = redact_forms


@asynccontextmanager
async def connect(target: Target, recorded: Iterable[str] | None = None) -> AsyncIterator[Connections]:
    """Give the endpoints that a target means, for as long as the block lasts.

    Args:
        target: What the options say.
        recorded: The names that the journal remembers; only these are opened then, and `--endpoint` stands for each service
            among them (it has moved, say).

    Raises:
        InvalidSettings: An address or a file is wrong, or a remembered name means nothing without its configuration.
    """
    config = read_propeller_config(target.engine_config) if target.engine_config else None
    addresses = dict(config.addresses) if config else {}
    if recorded is not None:
        addresses = {name: _recorded(name, target, addresses) for name in dict.fromkeys(recorded) if name != IN_PROCESS}
        is_hosting = IN_PROCESS in recorded
    else:
        if target.endpoint:
            addresses = {target.endpoint: _address(target.endpoint, target)}
        is_hosting = not addresses
    async with AsyncExitStack() as stack:
        endpoints: dict[str, Endpoint] = {}
        failures: Sequence[LoadFailure] = ()
        redact: Callable[[str], str] = redact_forms
        if is_hosting:
            host = await stack.enter_async_context(open_host(target.choice, is_local=True))
            endpoints[IN_PROCESS], failures, redact = host, host.failures, host.redact
        for name, address in addresses.items():
            endpoints[name] = await stack.enter_async_context(_remote(address))
        configure_logs(redact, level="error")
        yield Connections(endpoints=endpoints, addresses=addresses, config=config, failures=failures, redact=redact)


def _remote(address: ServiceAddress) -> Any:
    from outboard.engine.remote import RemoteEndpoint  # noqa: PLC0415 - gRPC is heavy, and tasks in this process need none

    return RemoteEndpoint(address)


def _recorded(name: str, target: Target, addresses: Mapping[str, ServiceAddress]) -> ServiceAddress:
    if target.endpoint:
        return replace(_address(target.endpoint, target), name=name)
    if name in addresses:
        return addresses[name]
    try:
        return _address(name, target)
    except InvalidSettings:
        raise InvalidSettings(
            f"the journal knows a service only as '{name}': give --engine-config with its address, or --endpoint",
            field="engine_config",
        ) from None


def _address(written: str, target: Target) -> ServiceAddress:
    return ServiceAddress.at(written, insecure=target.insecure)
