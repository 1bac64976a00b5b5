"""flytekit's own client side against our service: every method, and what reflection lists.

`.venv/bin/python bench/flytekit_client.py` starts our service with the embedded platform, installs flytekit from PyPI into
`.bench/flytekit`, and lets `peers/flytekit_walk.py` register tasks there and call every method with flyteidl's stubs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import flytekit_environment
import servers
from places import BENCH, FLYTEKIT_HOME, OUR_BIN

_METHODS = 9  # Flyte 1's eight, and gRPC's health check


def main() -> int:
    """Print a line a method; return 0 when all answered."""
    flytekit_environment.install()
    with tempfile.TemporaryDirectory(prefix="outboard-flytekit-") as folder:
        settings = Path(folder) / "settings.yaml"
        settings.write_text(
            f"platforms: {{embedded: {{root: {folder}/jobs, allow_process: true}}}}\n", encoding="utf-8"
        )
        launch = servers.Launch(
            name="outboard",
            command=lambda port: (
                *(str(OUR_BIN / "outboard"), "serve", "--port", str(port)),
                *("--platforms", "embedded", "--settings", str(settings)),
            ),
        )
        with servers.running(launch) as service:
            print("reflection lists", ", ".join(_services(service.address)))
            walk = [str(FLYTEKIT_HOME / "bin" / "python"), str(BENCH / "peers" / "flytekit_walk.py")]
            done = subprocess.run([*walk, service.address, folder], capture_output=True, text=True, check=False)
    methods = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for said in methods:
        print(f"{said['method']:<16} {said['answer']}")
    if done.returncode or len(methods) != _METHODS:
        sys.stderr.write(done.stderr)
        return 1
    return 0


def _services(address: str) -> list[str]:
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = list(stub.ServerReflectionInfo(asked))
        return sorted(service.name for service in answer.list_services_response.service)


if __name__ == "__main__":
    raise SystemExit(main())
