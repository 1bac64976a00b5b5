"""A real control plane without nodes: etcd, the API server and the controllers of Kubernetes, built from its published modules.

`tests/deploy/kubernetes/go.mod` names the versions; Go builds three programs of it under `build/kubernetes/`, where they stay. It
takes ten minutes on two cores and 5 GiB of Go's cache, so it is done when asked for: `make deploy-check KUBERNETES=build`, or
`OUTBOARD_KUBERNETES=build`. Where they were built once they are used.

The API server admits, validates and stores; the controllers make ReplicaSets and pods. Nothing is ever scheduled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.tools import ROOT, free_ports, programs, run
from real_parts import NotToBeHad

_RECIPE: Final = ROOT / "tests" / "deploy" / "kubernetes"
_KEPT: Final = ROOT / "build" / "kubernetes"
VERSION: Final = "v1.37.2"
_PROGRAMS: Final = {
    "etcd": "./etcd",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
_BUILD_LIMIT_S: Final = 3600
_START_LIMIT_S: Final = 90
_TOKEN: Final = "of-a-test-on-loopback"  # noqa: S105 - of a server that lives as long as the test


def binaries() -> Path:
    """Return the folder with the programs.

    Raises:
        NotToBeHad: They were not built, and nobody asked for that, or they cannot be.
    """
    recipe = b"".join(path.read_bytes() for path in sorted(_RECIPE.rglob("*")) if path.is_file()) + VERSION.encode()
    folder = _KEPT / hashlib.sha256(recipe).hexdigest()[:16]
    if all((folder / name).exists() for name in _PROGRAMS):
        return folder
    if os.environ.get("OUTBOARD_KUBERNETES") != "build":
        raise NotToBeHad(
            "Kubernetes' API server is not built here; `make deploy-check KUBERNETES=build` takes ten minutes for it"
        )
    if shutil.which("go") is None:
        raise NotToBeHad("there is no Go here to build Kubernetes' API server with")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT) as scratch:
        copy = shutil.copytree(_RECIPE, Path(scratch) / "source")
        for name, package in _PROGRAMS.items():
            _build(copy, package, Path(scratch) / name)
            (Path(scratch) / name).replace(folder / name)
    return folder


def _build(source: Path, package: str, target: Path) -> None:
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={VERSION}"
    command = [
        "nice",
        "-n",
        "19",
        "go",
        "build",
        "-mod=mod",
        "-p=1",
        "-trimpath",
        "-ldflags",
        flags,
        "-o",
        str(target),
        package,
    ]
    environment = {**os.environ, "GOWORK": "off"}
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False, timeout=_BUILD_LIMIT_S
    )
    if done.returncode:
        raise NotToBeHad(f"{package} cannot be built: {' '.join(done.stderr.split())[-300:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running control plane.

    Attributes:
        config: The kubeconfig of its administrator.
    """

    config: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the newest kubectl."""
        return run(programs()["4"] / "kubectl", *arguments, stdin=stdin, environment={"KUBECONFIG": str(self.config)})

    def helm(self, generation: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Helm; its own folders are the cluster's."""
        folders = {f"HELM_{name}_HOME": str(self.config.parent / name) for name in ("CACHE", "CONFIG", "DATA")}
        return run(programs()[generation] / "helm", *arguments, environment={"KUBECONFIG": str(self.config), **folders})

    def objects(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        """Return what is stored."""
        done = self.kubectl("get", kind, "--namespace", namespace, "--output=json")
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """Wait until something is so; False where it never is."""
        end = time.monotonic() + _START_LIMIT_S
        while not (found := is_so()) and time.monotonic() < end:
            time.sleep(0.3)
        return found


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Run a control plane on loopback.

    Raises:
        NotToBeHad: It is not built here.
    """
    built = binaries()
    with tempfile.TemporaryDirectory(prefix="outboard-kubernetes-") as scratch, contextlib.ExitStack() as started:
        home = Path(scratch)
        store, peers, port, manager = free_ports(4)
        _write_keys(home, port)
        cluster = Cluster(config=home / "config")
        urls = {name: f"http://127.0.0.1:{number}" for name, number in (("client", store), ("peer", peers))}
        _start(started, home, built / "etcd", _etcd(home, urls))
        _start(started, home, built / "kube-apiserver", _api_server(home, urls["client"], port))
        if not cluster.wait_until(lambda: cluster.kubectl("get", "--raw=/readyz").returncode == 0):
            raise RuntimeError((home / "kube-apiserver.log").read_text()[-1000:])
        _start(started, home, built / "kube-controller-manager", _controllers(home, manager))
        yield cluster


def _etcd(home: Path, urls: Mapping[str, str]) -> list[str]:
    options = {
        "data-dir": str(home / "etcd"),
        "listen-client-urls": urls["client"],
        "advertise-client-urls": urls["client"],
        "listen-peer-urls": urls["peer"],
        "initial-advertise-peer-urls": urls["peer"],
        "initial-cluster": f"default={urls['peer']}",
        "unsafe-no-fsync": "true",
    }
    return _options(options)


def _api_server(home: Path, store: str, port: int) -> list[str]:
    options = {
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(port),
        "cert-dir": str(home / "certificates"),
        "token-auth-file": str(home / "tokens.csv"),
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(home / "accounts.pem"),
        "service-account-signing-key-file": str(home / "accounts.pem"),
        "service-cluster-ip-range": "10.0.0.0/16",
        "endpoint-reconciler-type": "none",
    }
    return _options(options)


def _controllers(home: Path, port: int) -> list[str]:
    options = {
        "kubeconfig": str(home / "config"),
        "service-account-private-key-file": str(home / "accounts.pem"),
        "use-service-account-credentials": "false",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "secure-port": str(port),
        "cert-dir": str(home / "controllers"),
    }
    return _options(options)


def _options(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _start(started: contextlib.ExitStack, home: Path, program: Path, options: Sequence[str]) -> None:
    log = started.enter_context((home / f"{program.name}.log").open("wb"))
    process = subprocess.Popen([str(program), *options], stdout=log, stderr=log, cwd=home)

    def end() -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    started.callback(end)


def _write_keys(home: Path, port: int) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shape = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (home / "accounts.pem").write_bytes(key.private_bytes(*shape))
    (home / "tokens.csv").write_text(f'{_TOKEN},tester,tester,"system:masters"\n')
    name = "test"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {"name": name, "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": name, "user": {"token": _TOKEN}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    (home / "config").write_text(json.dumps(config))
    (home / "config").chmod(0o600)
