"""The no-op agent whose jobs need not be asked about for a minute: every GetTask but the first is answered from memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from noop import Noop, NoopAgent


class RestingAgent(NoopAgent):
    """Finds what it started running, once a minute."""

    poll_interval = timedelta(minutes=1)
    max_staleness = timedelta(minutes=1)


class Resting(Noop):
    """The platform that does nothing for a minute."""

    def agents(self) -> Sequence[NoopAgent]:
        return (RestingAgent(self),)
