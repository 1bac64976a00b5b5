"""Health that changes with the isolated platforms: an agent's name is SERVING while its process answers.

One that is down takes nobody else down with it: the overall names stay SERVING, or all other agents' jobs would lose their
poller. Watches hear of every change.
"""

from __future__ import annotations

from collections.abc import Mapping

from outboard.service.handlers import SERVICES
from outboard.service.health import AGENT_PREFIX, HEALTH_SERVICE, Health


class AgentHealth(Health):
    """Health whose agents may come, and go down and up."""

    def tell(self, agents: Mapping[str, bool]) -> None:
        """Answer so for these agents from now on."""
        self._serving.update({f"{AGENT_PREFIX}{name}": is_up for name, is_up in agents.items()})
        if agents:
            self._serving.update(dict.fromkeys(("", *SERVICES, HEALTH_SERVICE), True))
        for changed in self._watches:
            changed.set()
