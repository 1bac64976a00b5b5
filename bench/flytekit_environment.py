"""The peer's environment: flytekit from PyPI, in a virtual environment of its own."""

from __future__ import annotations

import subprocess

from environments import Environment
from places import FLYTEKIT_HOME

_WANTED = ("flytekit==1.16.31", "grpcio-health-checking", "prometheus-client", "httpx")


def install() -> None:
    """Make `.bench/flytekit` unless it holds what is wanted already.

    grpcio and protobuf are pinned to our own versions: the comparison is of the services, not of their libraries.
    """
    import google.protobuf  # noqa: PLC0415 - only to read the version
    import grpc  # noqa: PLC0415 - only to read the version

    ours = (f"grpcio=={grpc.__version__}", f"protobuf=={google.protobuf.__version__}")
    Environment(home=FLYTEKIT_HOME, wanted=(*_WANTED, *ours)).install()


def is_installed() -> bool:
    """Whether the peer is there to be asked for its versions."""
    return Environment(home=FLYTEKIT_HOME, wanted=_WANTED).is_installed


def versions() -> dict[str, str]:
    """Return the versions of what was installed that matters to a reader of the report."""
    code = (
        "import importlib.metadata as m; print(*(m.version(n) for n in ('flytekit', 'grpcio', 'protobuf', 'flyteidl')))"
    )
    done = subprocess.run(
        [str(FLYTEKIT_HOME / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    )
    return dict(zip(("flytekit", "grpcio", "protobuf", "flyteidl"), done.stdout.split(), strict=True))
