"""What other projects publish as Go modules: the definitions of the custom resources that the chart makes.

A module is had from the module proxy, by its version and checksum, as `go mod download` does it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from deploy.tools import run
from real_parts import NotToBeHad

_CERT_MANAGER: Final = ("github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_certificates.yaml")
_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_MONITORS: Final = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
_DEFINITIONS: Final = (
    _CERT_MANAGER,
    (_OPERATOR, _MONITORS.format("servicemonitors")),
    (_OPERATOR, _MONITORS.format("prometheusrules")),
)


@cache
def definitions() -> tuple[Path, ...]:
    """Return the files with the definitions.

    Raises:
        NotToBeHad: There is no Go here, or no module proxy.
    """
    return tuple(module(name) / path for name, path in _DEFINITIONS)


@cache
def module(name: str) -> Path:
    """Return the folder of a published module, `path@version`; Go checks its sum.

    Raises:
        NotToBeHad: There is no Go here, or no module proxy.
    """
    if shutil.which("go") is None:
        raise NotToBeHad("there is no Go here to have published modules with")
    with tempfile.TemporaryDirectory() as scratch:
        done = run(
            "go", "-C", scratch, "mod", "download", "-json", name, environment={"GOFLAGS": "-mod=mod", "GOWORK": "off"}
        )
    if done.returncode:
        raise NotToBeHad(f"{name}: {(done.stdout + done.stderr).strip()[-300:]}")
    return Path(json.loads(done.stdout)["Dir"])
