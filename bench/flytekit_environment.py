"""Installs the peer: flytekit from PyPI in a virtual environment of its own, so that neither side bends the other's versions."""

from __future__ import annotations

import subprocess
import sys

from places import FLYTEKIT_HOME, SCRATCH

_WANTED = ("flytekit==1.16.31", "grpcio-health-checking", "prometheus-client", "httpx")
_MARK = FLYTEKIT_HOME / ".installed"


def install() -> None:
    """Make `.bench/flytekit` unless it holds what is wanted already.

    grpcio and protobuf are pinned to our own versions: the comparison is of the services, not of their libraries.
    """
    import google.protobuf  # noqa: PLC0415 - only to read the version
    import grpc  # noqa: PLC0415 - only to read the version

    wanted = [*_WANTED, f"grpcio=={grpc.__version__}", f"protobuf=={google.protobuf.__version__}"]
    if _MARK.exists() and _MARK.read_text().split() == wanted:
        return
    print(f"installing {_WANTED[0]} into {FLYTEKIT_HOME.relative_to(SCRATCH.parent)} ...", file=sys.stderr)
    SCRATCH.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FLYTEKIT_HOME)], check=True)
    pip = [str(FLYTEKIT_HOME / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *wanted], check=True)
    _MARK.write_text("\n".join(wanted) + "\n")


def is_installed() -> bool:
    """Whether the peer is there to be asked for its versions."""
    return _MARK.exists()


def versions() -> dict[str, str]:
    """Return the versions of what was installed that matters to a reader of the report."""
    code = (
        "import importlib.metadata as m; print(*(m.version(n) for n in ('flytekit', 'grpcio', 'protobuf', 'flyteidl')))"
    )
    done = subprocess.run(
        [str(FLYTEKIT_HOME / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    )
    return dict(zip(("flytekit", "grpcio", "protobuf", "flyteidl"), done.stdout.split(), strict=True))
