"""One of several processes that race for the same objects: `racer.py count|create|hold <uri> <name>`.

It says "ready", waits for a line, and answers with one line.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from outboard.host.stores import Stores, join_uri
from outboard.host.stores.paths import _lock

ROUNDS = 15


async def count(root: str, name: str) -> str:
    """Increment a counter; tell how often somebody else was faster."""
    stores, lost = Stores(), 0
    for _ in range(ROUNDS):
        while True:
            found = await stores.read_tagged(join_uri(root, "counter"))
            assert found is not None
            number = int(found.data.split()[0])
            if await stores.replace(join_uri(root, "counter"), f"{number + 1} {name}".encode(), found.tag):
                break
            lost += 1
    return str(lost)


async def create(root: str, name: str) -> str:
    """Create objects; tell which of them are ours."""
    stores = Stores()
    answers = [await stores.create(join_uri(root, f"claim-{each}"), name.encode()) for each in range(ROUNDS)]
    return " ".join(str(each) for each, tag in enumerate(answers) if tag)


async def hold(root: str, name: str) -> str:
    """Take the lock of a folder and never give it back."""
    _lock(Path(root))
    sys.stdout.write("held\n")
    sys.stdout.flush()
    signal.pause()
    return name


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    mode, uri, mine = sys.argv[1:]
    sys.stdout.write(asyncio.run({"count": count, "create": create, "hold": hold}[mode](uri, mine)) + "\n")
