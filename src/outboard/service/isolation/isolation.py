"""The isolated platforms of one service: their children, and who passes calls on to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from outboard.domain.endpoints import AgentInfo
from outboard.domain.handles import HandleCodec
from outboard.domain.tasks import TaskType
from outboard.host.tracing import Tracing
from outboard.service.isolation.child import PlatformChild
from outboard.service.isolation.children import Children
from outboard.service.isolation.forwarding import Forwarder
from outboard.service.supervision.child import ChildSpec


class Isolation:
    """Isolated platforms, from `start` to `stop`.

    Args:
        specs: How to start each.
        codec: Reads handles.
        reads: Tells whether this process reads bytes that are no handle of ours.
        tracing: What makes this process's spans: children go on with them.

    Attributes:
        forwarder: Passes calls on.
        on_change: Called when a child has come up or is down.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        codec: HandleCodec,
        reads: Callable[[bytes, TaskType], bool],
        tracing: Tracing | None = None,
    ) -> None:
        self._children = Children(specs, self._changed, None if tracing is None else tracing.carrier)
        self.forwarder = Forwarder(self._children, codec, reads)
        self.on_change: Callable[[], None] | None = None

    @property
    def agents(self) -> Sequence[AgentInfo]:
        """What is served, whether its child is up or down."""
        return self._children.agents

    @property
    def unseen(self) -> Sequence[str]:
        """Those that have never been up, so that nobody knows what they serve."""
        return self._children.unseen

    @property
    def all(self) -> Sequence[PlatformChild]:
        """The children, up or down."""
        return self._children.all

    @property
    def health(self) -> Mapping[str, bool]:
        """Whether each agent's child answers, by the agent's name."""
        return self._children.health

    async def start(self, own: Sequence[AgentInfo]) -> None:
        """Start all and wait until each is up or has failed once; see `Children.start`."""
        await self._children.start(own)

    async def stop(self, grace_s: float) -> None:
        """End all; what is left after `grace_s` is killed."""
        await self._children.stop(grace_s)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
