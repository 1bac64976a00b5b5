"""Services as processes, and an engine's calls of them over a real socket."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from typing_extensions import Self

from interop.hosting.plugins import Plugin

READY_S: Final = 90.0
_CALL_S: Final = 15.0
_ENDS: Final = ("SUCCEEDED", "FAILED", "RETRYABLE_FAILED", "ABORTED")


class Service:
    """A process that serves connectors.

    Attributes:
        address: Where it listens.
        ready: What it said when it was ready.
        lines: What it wrote to its log.
    """

    def __init__(self, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.lines: list[str] = []
        self.ready = ""
        self.address = ""
        self._news: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self.lines.append(line.rstrip())
            self._news.put(line.rstrip())
        self._news.put("")

    def wait_until_ready(self) -> bool:
        """Wait for the line that says so; tell whether it came."""
        give_up = time.monotonic() + READY_S
        with contextlib.suppress(queue.Empty):
            while line := self._news.get(timeout=max(0.1, give_up - time.monotonic())):
                if line.startswith("outboard serves "):
                    self.ready, self.address = line, line.split(" on ")[1].split(": ")[0].split(";")[0]
                    return True
        return False

    def wait_until_listening(self, address: str) -> bool:
        """Wait until it answers at an address; tell whether it does."""
        self.address = address
        with grpc.insecure_channel(address) as channel:
            try:
                grpc.channel_ready_future(channel).result(READY_S)
            except grpc.FutureTimeoutError:
                return False
        return True

    def words(self, event: str) -> str:
        """Return the reason in the last log line of an event."""
        for line in reversed(self.lines):
            if line.startswith("{") and (said := json.loads(line)).get("event") == event:
                return str(said.get("reason", ""))
        return ""

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(20)
        self._reader.join(10)
        if self._process.stderr is not None:
            self._process.stderr.close()


@contextlib.contextmanager
def outboard(plugin: Plugin, env: Mapping[str, str], settings: Mapping[str, Any]) -> Iterator[Service]:
    """Serve a plugin's connectors by `outboard serve --flytekit` in its environment."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.json"
        file.write_text(json.dumps({"host": {"status_limit": 8, "status_wait": 8}, "flytekit": dict(settings)}))
        command = [str(plugin.outboard), "serve", "--port", "0", "--flytekit", "--settings", str(file)]
        service = Service([*command, "--platforms", ""], {**env, "OUTBOARD_HOME": folder}, Path(folder))
        try:
            service.wait_until_ready()
            yield service
        finally:
            service.stop()


@contextlib.contextmanager
def pyflyte(plugin: Plugin, env: Mapping[str, str]) -> Iterator[Service]:
    """Serve a plugin's connectors by flytekit's own service in its environment."""
    ports = [_free_port(), _free_port()]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(plugin.home / "bin" / "pyflyte"), "serve", "connector"]
        options = ["--port", str(ports[0]), "--prometheus_port", str(ports[1])]
        service = Service([*command, *options], env, Path(folder))
        try:
            if not service.wait_until_listening(f"localhost:{ports[0]}"):
                service.address = ""
            yield service
        finally:
            service.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Engine:
    """Calls a service as FlytePropeller does, or as Flyte 2's executor where secrets come with the request."""

    def __init__(self, address: str, secrets: Mapping[str, str] | None = None) -> None:
        self._channel = grpc.insecure_channel(address)
        self._secrets = secrets
        self._jobs = agent_pb2_grpc.AsyncAgentServiceStub(self._channel)
        self._sync = agent_pb2_grpc.SyncAgentServiceStub(self._channel)
        self._metadata = agent_pb2_grpc.AgentMetadataServiceStub(self._channel)
        self._jobs2 = service_pb2_grpc.AsyncConnectorServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def listed(self) -> dict[str, bool]:
        """Return the task types that are served, and whether each is answered at once."""
        agents = self._metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=_CALL_S).agents
        return {each.name: agent.is_sync for agent in agents for each in agent.supported_task_categories}

    def create(self, request: agent_pb2.CreateTaskRequest) -> bytes:
        """Return the handle."""
        if self._secrets is None:
            return bytes(self._jobs.CreateTask(request, timeout=_CALL_S).resource_meta)
        again = connector_pb2.CreateTaskRequest.FromString(request.SerializeToString())
        again.connection.secrets.update(self._secrets)
        return bytes(self._jobs2.CreateTask(again, timeout=_CALL_S).resource_meta)

    def get(self, request: agent_pb2.CreateTaskRequest, handle: bytes) -> agent_pb2.Resource:
        """Return where the task stands."""
        asked: dict[str, Any] = {"resource_meta": handle, "output_prefix": request.output_prefix}
        if self._secrets is None:
            category = agent_pb2.TaskCategory(name=request.template.type)
            return self._jobs.GetTask(
                agent_pb2.GetTaskRequest(task_category=category, **asked), timeout=_CALL_S
            ).resource
        again = connector_pb2.GetTaskRequest(
            task_category=connector_pb2.TaskCategory(name=request.template.type), **asked
        )
        again.connection.secrets.update(self._secrets)
        resource = self._jobs2.GetTask(again, timeout=_CALL_S).resource
        return agent_pb2.Resource.FromString(resource.SerializeToString())

    def delete(self, request: agent_pb2.CreateTaskRequest, handle: bytes) -> None:
        """Abort the task."""
        if self._secrets is None:
            category = agent_pb2.TaskCategory(name=request.template.type)
            self._jobs.DeleteTask(
                agent_pb2.DeleteTaskRequest(task_category=category, resource_meta=handle), timeout=_CALL_S
            )
            return
        category2 = connector_pb2.TaskCategory(name=request.template.type)
        again = connector_pb2.DeleteTaskRequest(task_category=category2, resource_meta=handle)
        again.connection.secrets.update(self._secrets)
        self._jobs2.DeleteTask(again, timeout=_CALL_S)

    def do(self, request: agent_pb2.CreateTaskRequest) -> agent_pb2.Resource:
        """Return what a connector answers at once."""
        header = agent_pb2.CreateRequestHeader(
            template=request.template,
            output_prefix=request.output_prefix,
            task_execution_metadata=request.task_execution_metadata,
        )
        parts = iter(
            (agent_pb2.ExecuteTaskSyncRequest(header=header), agent_pb2.ExecuteTaskSyncRequest(inputs=request.inputs))
        )
        answer = next(self._sync.ExecuteTaskSync(parts, timeout=_CALL_S))
        return answer.header.resource

    def until(self, request: agent_pb2.CreateTaskRequest, handle: bytes, *phases: str) -> str:
        """Poll until one of some phases (any end, where none is named) is reached; return the last one."""
        give_up = time.monotonic() + _CALL_S
        while True:
            phase = phase_of(self.get(request, handle))
            if phase in (phases or _ENDS) or time.monotonic() > give_up:
                return phase
            time.sleep(0.3)


def phase_of(resource: agent_pb2.Resource) -> str:
    """Return a resource's phase by name."""
    return str(execution_pb2.TaskExecution.Phase.Name(resource.phase))


def words_of(error: BaseException) -> str:
    """Return an error in one line."""
    details = getattr(error, "details", None)
    said = str(details() if callable(details) else error).split(" (error id")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in said and lines else " ".join(lines))[:160]
