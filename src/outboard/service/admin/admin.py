"""The admin port of one process: a service, or the parent of workers.

It opens before anything is loaded, so that probes are answered from the beginning, and is told how far the process is. Facts are
asked for when somebody asks: those that only the service's loop may read come from that loop, and a loop that does not answer
is an answer too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FuturesTimeout  # a class of its own before Python 3.11
from typing import Any, Final, Protocol

from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

from outboard.agent.registry import LoadFailure
from outboard.host.logs import TaskLog
from outboard.service.admin.changes import refusal
from outboard.service.admin.descriptions import described_failures
from outboard.service.admin.http_server import Answer, HttpServer, Page, Request, plain
from outboard.service.admin.liveness import Knocking, Pulse
from outboard.service.admin.pages import as_json, metrics_page, parse_level, reading
from outboard.service.settings import ServiceSettings
from outboard.service.supervision.control import in_loop

_READY_SILENCE_S: Final = 10.0
"""Calls would wait behind a loop that stands still this long; it may well go on, so it is no reason to end it."""
_ASKING_S: Final = 5.0


class Subject(Protocol):
    """What the pages are about."""

    @property
    def metrics(self) -> Collector:
        """What Prometheus may read."""
        ...

    @property
    def agent_count(self) -> int:
        """How many agents are served."""
        ...

    @property
    def not_loaded(self) -> Sequence[LoadFailure]:
        """What could not be loaded, in words without secrets."""
        ...

    async def description(self) -> Mapping[str, Any]:
        """Return what `/agents` shows; on the service's loop."""
        ...

    def levels(self, level: str | None) -> Mapping[str, Any]:
        """Set the log level of all processes, or none of them; return what each has. In a thread."""
        ...


class Admin:
    """Answers the admin port, from its making in the service's loop until `close`.

    Args:
        settings: Where it listens, and what it takes for dead.
        ssl_context: For TLS on this port.
    """

    def __init__(self, settings: ServiceSettings, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._subject: Subject | None = None
        self._is_draining = False
        self._pulse = Pulse()
        self._knocking: Knocking | None = None
        self._server = HttpServer(
            settings.host, settings.admin_port or 0, self._pages(), setting="admin_port", ssl_context=ssl_context
        )
        self.port = self._server.port

    def ready(self, subject: Subject, *, port: int | None = None, has_tls: bool = False) -> None:
        """Note that the process serves.

        Args:
            subject: What it serves.
            port: Where it takes calls itself; None where only its workers do.
            has_tls: Whether it speaks TLS there.
        """
        self._subject = subject
        TaskLog().info("admin port is open", port=self.port)
        if port is not None:
            self._knocking = Knocking(self._settings.host, port, has_tls=has_tls)
            asyncio.run_coroutine_threadsafe(self._knocking.run(), self._server.loop)

    def draining(self) -> None:
        """Note that it takes no further calls soon."""
        self._is_draining = True

    def close(self) -> None:
        """Close the port."""
        self._pulse.stop()
        self._server.close()

    def _pages(self) -> Mapping[str, Page]:
        healthz = reading(self._healthz, is_quick=True)
        return {
            "/healthz": healthz,
            "/livez": healthz,
            "/startupz": reading(self._startupz, is_quick=True),
            "/readyz": reading(self._readyz, is_quick=True),
            "/metrics": metrics_page(lambda: REGISTRY if self._subject is None else self._subject.metrics),
            "/agents": reading(self._agents),
            "/loglevel": Page(by_method={"GET": self._level, "PUT": self._set_level}),
        }

    def _healthz(self, _: Request) -> Answer:
        limit_s = self._settings.wedged_after_s
        loop_s = self._pulse.silent_s
        # Closing ports do not answer, and a start is bounded by the startup probe.
        port_s = self._knocking.silent_s if self._knocking is not None and not self._is_draining else 0.0
        is_alive = self._subject is None or (loop_s <= limit_s and port_s <= limit_s)
        facts = {"alive": is_alive, "loop_silent_s": round(loop_s, 1), "port_silent_s": round(port_s, 1)}
        return as_json(200 if is_alive else 503, facts)

    def _startupz(self, _: Request) -> Answer:
        return plain(503, "starting") if self._subject is None else plain(200, "started")

    def _readyz(self, _: Request) -> Answer:
        subject = self._subject
        if subject is None:
            return as_json(503, {"ready": False, "state": "starting"})
        is_stuck = self._pulse.silent_s > _READY_SILENCE_S
        state = (
            "draining" if self._is_draining else "stuck" if is_stuck else "serving" if subject.agent_count else "empty"
        )
        facts = {
            "ready": state == "serving",
            "state": state,
            "agents": subject.agent_count,
            "not_loaded": described_failures(subject.not_loaded),
        }
        return as_json(200 if state == "serving" else 503, facts)

    def _agents(self, _: Request) -> Answer:
        if self._subject is None:
            return plain(503, "starting")
        try:
            return as_json(200, in_loop(self._loop, self._subject.description, _ASKING_S))
        except (TimeoutError, FuturesTimeout, RuntimeError):
            return plain(503, "the event loop does not answer")

    def _level(self, _: Request) -> Answer:
        return plain(503, "starting") if self._subject is None else as_json(200, self._subject.levels(None))

    def _set_level(self, request: Request) -> Answer:
        refused = refusal(request, self._settings.admin_token_file)
        if refused is not None:
            return refused
        level = parse_level(request.body)
        if isinstance(level, Answer):
            return level
        if self._subject is None:
            return plain(503, "starting")
        told = self._subject.levels(level)
        with contextlib.suppress(Exception):  # a line that cannot be written is no reason to say that it failed
            TaskLog().warning("log level changed", log_level=level, peer=request.peer)
        return as_json(200, told)
