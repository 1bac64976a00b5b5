"""The exchange: what lies between an agent's method and its platform, and what all calls of a host share.

===============  ==================================================
`calls`          an agent's method, with its context
`clients`        the open client of a connection
`budgets`        what is left of an account's quotas
`shares`         which part of them is this process's
`accounts`       whether platforms answer, and take our login
`invocation`     agents' code, within its time limit
===============  ==================================================
"""

from __future__ import annotations

from outboard.agent.registry import Registry
from outboard.host.accounts import Accounts
from outboard.host.budgets.budgets import Budgets
from outboard.host.budgets.overrides import overridden_quotas
from outboard.host.budgets.shares import Shares
from outboard.host.calls import Calls
from outboard.host.clients import Clients
from outboard.host.invocation import Invoker
from outboard.host.labels import AccountLabels
from outboard.host.secrets import SecretSource
from outboard.host.settings import HostSettings
from outboard.host.tracing import Tracing
from outboard.host.words import Words


class Exchange:
    """Joins what calls to platforms need.

    Args:
        settings: What the operator decided.
        registry: The agents.
        source: Where secrets are.
        words: Makes the platforms' words fit to be shown.
        tracing: What makes spans; None where tracing is off.

    Attributes:
        accounts: What is known of the platforms' accounts.
        clients: The open clients.
        calls: Runs agents' methods.
    """

    def __init__(
        self, settings: HostSettings, registry: Registry, source: SecretSource, words: Words, tracing: Tracing | None
    ) -> None:
        self._budgets = Budgets(overridden_quotas(settings, registry), AccountLabels(words.text), words.text)
        self._shares = Shares(settings, self._budgets.rescale)
        self._invoker = Invoker(words)
        self.accounts = Accounts(settings, words)
        self.clients = Clients(
            source,
            self._budgets,
            words,
            settings.idle_client.total_seconds(),
            self.accounts,
            self._shares.watch,
            egress=settings.egress.rules(),
            tracing=tracing,
        )
        self.calls = Calls(self.clients, self._invoker, self.accounts, tracing)

    async def close(self) -> None:
        """Close all clients, and end what runs beside them."""
        await self.clients.close()
        await self._shares.close()
        self._invoker.close()
