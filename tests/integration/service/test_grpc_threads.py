"""Which threads of a service yield to Python's, in a process that serves nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SERVE = """
import asyncio, os
from pathlib import Path
from outboard.agent import Registry
from outboard.host import Host
from outboard.service import Service, ServiceSettings

async def main():
    async with Host(Registry()) as host, Service(host, ServiceSettings(port=0)):
        for task in Path("/proc/self/task").iterdir():
            print(int(task.name) == os.getpid(), os.sched_getscheduler(int(task.name)))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
def test_grpc_s_threads_are_patient_and_python_s_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", _SERVE], capture_output=True, text=True, check=True)
    policies = [line.split() for line in done.stdout.splitlines()]
    assert [int(policy) for is_main, policy in policies if is_main == "True"] == [os.SCHED_OTHER]
    assert os.SCHED_BATCH in [int(policy) for is_main, policy in policies if is_main == "False"]
