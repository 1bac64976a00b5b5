"""Whom a target means: agents in this process, one service, or all that a FlytePropeller configuration names.

An endpoint's name is what the journal remembers a job by: `in-process`, a name of the configuration, or the address that was
typed. So a command that comes later (`logs`, `cancel`, `resume`) finds the way by the name and the run's target (see
`targets`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import Endpoint
from outboard.domain.secret_refs import redact_forms
from outboard.engine.addresses import ServiceAddress
from outboard.engine.credentials import ClientSettings
from outboard.engine.propeller.config import PropellerConfig, read_propeller_config
from outboard.engine.remote import RemoteEndpoint
from outboard.engine.routing import IN_PROCESS
from outboard.errors import InvalidSettings
from outboard.host.host import Host
from outboard.local.documents import read_model
from outboard.local.settings_files import open_host
from outboard.local.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Whom a target means.

    Attributes:
        host: The agents of this process; None where only services are meant.
        addresses: Services by name, in the order of preference.
        config: The FlytePropeller configuration, where there is one.
    """

    host: Host | None
    addresses: Mapping[str, ServiceAddress]
    config: PropellerConfig | None = None

    @property
    def failures(self) -> Sequence[LoadFailure]:
        """What could not be loaded in this process."""
        return self.host.failures if self.host is not None else ()

    @property
    def redact(self) -> Callable[[str], str]:
        """Removes secrets from a text."""
        return self.host.redact if self.host is not None else redact_forms

    @asynccontextmanager
    async def endpoints(self) -> AsyncIterator[Mapping[str, Endpoint]]:
        """Give all of them, connected, by name."""
        async with AsyncExitStack() as stack:
            found: dict[str, Endpoint] = {} if self.host is None else {IN_PROCESS: self.host}
            for name, address in self.addresses.items():
                found[name] = await stack.enter_async_context(RemoteEndpoint(address))
            yield found


@asynccontextmanager
async def find(target: Target, recorded: Iterable[str] = (), *, with_unsent: bool = False) -> AsyncIterator[Found]:
    """Give whom a target means, for as long as the block lasts.

    Args:
        target: What the options say.
        recorded: The names that the journal remembers, if any: then only these are meant, and `--endpoint` stands for each
            service among them (it has moved, say).
        with_unsent: Some tasks were never sent, so what the target says is meant as well.

    Raises:
        InvalidSettings: An address or a file is wrong, or a remembered name means nothing without its configuration.
    """
    config = read_propeller_config(target.engine_config) if target.engine_config else None
    configured = _configured(config, target) if config else {}
    names = list(dict.fromkeys(recorded))
    addresses: dict[str, ServiceAddress] = {}
    is_hosting = IN_PROCESS in names
    if with_unsent or not names:
        addresses = {target.endpoint: address_of(target, target.endpoint)} if target.endpoint else dict(configured)
        is_hosting = is_hosting or not addresses
    addresses |= {name: _recorded(name, target, configured) for name in names if name != IN_PROCESS}
    host = open_host(target.choice, is_local=True) if is_hosting else None
    try:
        yield Found(host=host, addresses=addresses, config=config)
    finally:
        if host is not None:
            await host.close()


def _recorded(name: str, target: Target, configured: Mapping[str, ServiceAddress]) -> ServiceAddress:
    if target.endpoint:
        return replace(address_of(target, target.endpoint, name), name=name)
    if name in configured:
        return configured[name]
    try:
        return address_of(target, name)
    except InvalidSettings:
        raise InvalidSettings(
            f"the journal knows a service only as '{name}': give --engine-config with its address, or --endpoint",
            field="engine_config",
        ) from None


def address_of(target: Target, written: str, *names: str) -> ServiceAddress:
    """Return an address with the certificates and the token that the target's settings have for it.

    Args:
        target: Whose settings.
        written: The address as it was given.
        names: By which the settings may know the service, too.

    Raises:
        InvalidSettings: It is none, or the settings are wrong.
    """
    own = _client(target).of(written, *names, is_only=True, is_plain=target.insecure is True)
    return ServiceAddress.at(written, insecure=target.insecure, credentials=own)


def _configured(config: PropellerConfig, target: Target) -> Mapping[str, ServiceAddress]:
    client, is_only = _client(target), len(config.addresses) == 1
    return {
        name: replace(each, credentials=client.of(name, each.written, is_only=is_only, is_plain=each.insecure))
        for name, each in config.addresses.items()
    }


def _client(target: Target) -> ClientSettings:
    choice = target.choice
    values = {**choice.client, **choice.client_options}
    return read_model(ClientSettings, values, InvalidSettings, where=choice.where, path="client")
