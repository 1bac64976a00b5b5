"""The real parts: moto's server in a process of its own, and boto3 as the second witness, both in the environment "athena"."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from outboard.testing.platforms.athena import KEY_ID, REGION, SECRET

WITNESS = Path(__file__).parent / "athena_witness.py"
_LISTENS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@contextlib.contextmanager
def moto(python: Path) -> Iterator[str]:
    """Start moto's server and give its address; it is ended afterwards."""
    command = [str(python), "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield _address_of(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def tell(url: str, path: str, document: Mapping[str, Any]) -> None:
    """Tell moto how to behave: its own API, below `/moto-api`."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/moto-api/{path}", data=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - same


async def ask_witness(python: Path, url: str, *calls: Mapping[str, Any], secret: str = SECRET) -> list[Any]:
    """Return what boto3 answers to calls, one after the other; an error ends them."""
    asked = {"url": url, "region": REGION, "key_id": KEY_ID, "secret": secret, "calls": calls}
    process = await asyncio.create_subprocess_exec(
        str(python), str(WITNESS), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0, err.decode()[-2000:]
    answers: list[Any] = json.loads(out)
    return answers


def _address_of(process: subprocess.Popen[str]) -> str:
    for line in process.stdout or ():
        found = _LISTENS.search(line)
        if found:
            return found.group(1)
    raise RuntimeError("moto ended before it listened")
