"""What gRPC is told before it is imported, and what programs that are started later inherit of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SHOW = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"), os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
sys.meta_path.insert(0, Spy())
from outboard.cli.grpc_environment import import_service
import_service()
import_service()
print(os.environ.get("GRPC_EXPERIMENTS"), "grpc" in sys.modules)
"""


def _shown(**chosen: str) -> tuple[list[str], str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", _SHOW], env={**environment, **chosen}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")
def test_grpc_reads_its_switch_and_nobody_inherits_it() -> None:
    shown, complaints = _shown()
    assert shown == ["-event_engine_client,-event_engine_listener 0", "None True"]
    assert not complaints, "this release of grpcio does not know the switch: lower _LAST_WITH_SWITCH"


def test_what_the_operator_set_stays() -> None:
    shown, _ = _shown(GRPC_EXPERIMENTS="-monitoring_experiment", GRPC_ENABLE_FORK_SUPPORT="1")
    assert shown == ["-monitoring_experiment 1", "-monitoring_experiment True"]
