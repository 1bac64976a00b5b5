"""A real S3 server of our own: SeaweedFS on loopback, in a folder that goes with it, as do the sockets it makes elsewhere."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "outboard", "no-secret-at-all"
BUCKET = "records"
_DEADLINE_S = 60.0


@contextmanager
def running_seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with one bucket; yield the variables by which a client finds it."""
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], _free_ports(2 * len(names)), strict=True))
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        *(str(Path(sys.executable).with_name("weed")), f"-logdir={folder}"),
        *("server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=16", "-master.telemetry=false", "-s3.autoCreateBucket=false"),
        # Its own bound is a hundredth of the disk; below that, every write hangs until the client gives up.
        "-volume.minFreeSpace=64MiB",
        *(f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
        *(f"-{name}.port={ports[name]}" for name in names),
        *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names),
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server:
        try:
            # The filer keeps buckets as folders, and answers once everything behind it does.
            _await(server, folder, f"http://127.0.0.1:{ports['filer']}/buckets/{BUCKET}/", method="POST")
            _await(server, folder, f"http://127.0.0.1:{ports['s3']}/healthz", method="GET")
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "AWS_REGION": "us-east-1",
            }
        finally:
            server.kill()
    for name in names:
        for socket_name in (f"{name}-{ports[name]}", f"{name}-grpc-{ports[f'{name}.grpc']}"):
            Path(f"/tmp/seaweedfs-{socket_name}.sock").unlink(missing_ok=True)  # noqa: S108 - where it puts them
    shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _await(server: subprocess.Popen[bytes], folder: Path, url: str, *, method: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text()[-2000:]) from error
            time.sleep(0.05)
