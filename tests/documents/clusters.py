"""Helm and kubectl without a cluster: what would be applied is validated and remembered; later commands must find it.

`helm install` and `upgrade` of our chart render it with the real Helm; of another chart the values must pass `outboard
flyte-config --check`. Every `kubectl` goes through the real program, which refuses options and words that it does not have, and
gets no answer from a cluster; then it is answered from what is remembered. `kubectl exec` and `port-forward` run the real
service, told what was applied: see `pods`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.tools import helm_on_path, programs
from documents import pods
from documents.manifests import check_objects
from documents.stand_ins import LACKING, SKIPPED
from real_parts import NotToBeHad

_NOBODY: Final = "--server=http://127.0.0.1:1"
_UNANSWERED: Final = (
    "refused",
    "unable to retrieve the complete list of server APIs",
    "couldn't get current server API",
)
_WITH_VALUE: Final = {
    "-n",
    "--namespace",
    "-f",
    "--filename",
    "-l",
    "--selector",
    "-o",
    "--output",
    "-c",
    "--container",
}
_OF_A_CLUSTER: Final = {
    "--install",
    "--wait",
    "--atomic",
    "--create-namespace",
    "--reuse-values",
    "--rollback-on-failure",
}
_SHORT: Final = {"deploy": "deployment", "svc": "service", "cm": "configmap", "po": "pod", "secrets": "secret"}


class Cluster:
    """What was applied in this document so far."""

    def __init__(self) -> None:
        self._path = Path(os.environ["READER_STATE"], "cluster.json")
        self.objects: dict[str, dict[str, Any]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def apply(self, documents: Sequence[dict[str, Any]], namespace: str) -> int:
        """Validate and remember objects."""
        check_objects(documents)
        for document in documents:
            kind, meta = document["kind"].lower(), document["metadata"]
            self.objects[f"{meta.get('namespace', namespace)}/{kind}/{meta['name']}"] = document
            _say(f"{kind}/{meta['name']} configured")
        self._path.write_text(json.dumps(self.objects))
        return 0

    def find(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None where nothing of this name was applied."""
        return self.objects.get(f"{namespace}/{_SHORT.get(kind, kind)}/{name}")


def rendered(arguments: Sequence[str]) -> int:
    """Run `outboard deploy render` with the real Helm."""

    def render(words: Sequence[str]) -> int:
        with helm_on_path(programs()["4"]):
            return subprocess.run([sys.executable, "-m", "outboard", *words], check=False).returncode

    return _tried(render, arguments)


def helm(arguments: Sequence[str]) -> int:
    """Render what would be installed; anything else is Helm's own."""
    return _tried(_helm, arguments)


def kubectl(arguments: Sequence[str]) -> int:
    """Answer from what was applied."""
    return _tried(_kubectl, arguments)


def _tried(work: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    lacking = Path(os.environ["READER_STATE"], LACKING)
    try:
        return SKIPPED if lacking.exists() else work(arguments)
    except NotToBeHad as error:
        lacking.write_text(" ".join(str(error).split()))
        return SKIPPED
    except AssertionError as error:
        _say(str(error))
        return 1


def _helm(arguments: Sequence[str]) -> int:
    program, namespace = str(programs()["4"] / "helm"), _option(arguments, "-n", "--namespace") or "default"
    if arguments[0] == "repo":
        return 0
    if arguments[0] not in {"install", "upgrade", "rollback", "uninstall"}:
        return subprocess.run([program, *arguments], check=False).returncode
    name, *rest = _words(arguments[1:], {*_WITH_VALUE, "--values", "--set", "--timeout", "--version"})
    chart = rest[0] if rest else ""
    if arguments[0] in {"rollback", "uninstall"}:
        return 0 if _releases(name) else _refuse(f"nothing called {name} was installed")
    if not Path(chart).is_dir():
        files = [arguments[at + 1] for at, each in enumerate(arguments) if each in {"-f", "--values"}]
        command = [sys.executable, "-m", "outboard", "flyte-config", *(f"--check={each}" for each in files)]
        return subprocess.run(command, check=False).returncode if files else 0
    given = [each for each in arguments[1:] if each not in _OF_A_CLUSTER]
    done = subprocess.run([program, "template", *given], stdout=subprocess.PIPE, text=True, check=False)
    _releases(name, is_new=True)
    return done.returncode or Cluster().apply(_documents(done.stdout), namespace)


def _kubectl(arguments: Sequence[str]) -> int:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    namespace = _option(own, "-n", "--namespace") or "default"
    action, *words = _words(own, _WITH_VALUE)
    if action == "apply":
        file = _option(own, "-f", "--filename") or ""
        text = sys.stdin.read() if file == "-" else _read(Path(file))
        return Cluster().apply(_documents(text), namespace)
    if action == "create":
        return _create(own, namespace)
    refused = _refused(own)
    return _refuse(refused) if refused else _answer(action, words, arguments, namespace)


def _answer(action: str, words: list[str], arguments: Sequence[str], namespace: str) -> int:
    """Answer a question about an object, which must be there."""
    cluster = Cluster()
    words = words[1:] if action == "rollout" else words
    kind, _, name = words[0].partition("/")
    if not name and action in {"logs", "exec", "port-forward"}:
        kind, name = "pod", kind
    if not name and len(words) > 1:
        name, words = words[1], words[1:]
    found = cluster.find(namespace, kind, name) if name else {}
    if found is None:
        return _refuse(f"no {kind}/{name} was applied in namespace {namespace}")
    if action == "port-forward":
        return pods.forward(cluster.objects, namespace, found, words[1:])
    if action == "exec":
        return pods.execute(cluster.objects, namespace, found, arguments[arguments.index("--") + 1 :])
    if action == "get" and name:
        _say(yaml.safe_dump(found) if _option(arguments, "-o", "--output") == "yaml" else name)
    return 0


def _create(arguments: Sequence[str], namespace: str) -> int:
    program = str(programs()["4"] / "kubectl")
    is_printed = any(each.startswith("--dry-run") for each in arguments)
    added = [] if is_printed else ["--dry-run=client", "--output=yaml"]
    done = subprocess.run([program, *arguments, *added], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or is_printed:
        _say(done.stdout.rstrip("\n"))
        return done.returncode
    return Cluster().apply(_documents(done.stdout), namespace)


def _refused(arguments: Sequence[str]) -> str:
    """Return what the real program says of a command that it does not have."""
    words = ["--", "true"] if "exec" in arguments else []
    command = [str(programs()["4"] / "kubectl"), *arguments, _NOBODY, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if any(words in done.stderr for words in _UNANSWERED) else done.stderr.strip() or "it did nothing"


def _releases(name: str, *, is_new: bool = False) -> bool:
    mark = Path(os.environ["READER_STATE"], f"release-{name}")
    if is_new:
        mark.touch()
    return mark.exists()


def _read(path: Path) -> str:
    return (
        "\n---\n".join(each.read_text() for each in sorted(path.glob("*.yaml"))) if path.is_dir() else path.read_text()
    )


def _documents(text: str) -> list[dict[str, Any]]:
    found = [each for each in yaml.safe_load_all(text) if each is not None]
    lists: list[Mapping[str, Any]] = [each for each in found if each["kind"].endswith("List")]
    return [each for each in found if each not in lists] + [item for each in lists for item in each["items"]]


def _option(arguments: Sequence[str], *names: str) -> str | None:
    for at, each in enumerate(arguments):
        if each in names:
            return arguments[at + 1]
        if each.partition("=")[0] in names:
            return each.partition("=")[2]
    return None


def _words(arguments: Sequence[str], with_value: set[str]) -> list[str]:
    """Return what is no option, and no option's value."""
    words = iter(arguments)
    found = []
    for word in words:
        if word in with_value:
            next(words)
        elif not word.startswith("-"):
            found.append(word)
    return found


def _refuse(words: str) -> int:
    _say(words)
    return 1


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()
