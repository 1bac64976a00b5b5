"""The chart itself: linted by two generations of Helm, rendered the same by all engines, and the same again."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.releases import NAMESPACE, value_files
from deploy.tools import CHART, helm_on_path, programs, run
from outboard import _version
from outboard.deploying.charts import copy_chart
from outboard.deploying.rendering import as_text, render
from outboard.errors import InvalidSettings
from real_parts import NotToBeHad
from tables.sections import Section

_COLUMNS: Final = ("values", "objects", "Helm 3 lints", "Helm 4 lints", "engines", "the same", "rendered twice")
WRONG: Final[dict[str, str]] = {
    "replica=3": "replica",
    "defaults.replicas=-1": "replicas",
    "defaults.replicas=two": "replicas",
    "defaults.ports.grpc=70000": "grpc",
    "defaults.ports.grpc=0": "grpc",
    "defaults.ports.admin=8000": "ports.admin",
    "defaults.logLevel=verbose": "logLevel",
    "defaults.tls.enabled=true": "tls",
    "defaults.tls.certificate=x": "certificate",
    "defaults.tls.enabled=true,defaults.tls.certManager.enabled=true": "issuerRef",
    "defaults.tls.enabled=true,defaults.tls.secret=x,defaults.ports.admin=0": "ports.admin",
    "defaults.tls.clientCA.secret=x": "tls.clientCA",
    "defaults.trust.secret=x,defaults.trust.configMap=y": "trust",
    "defaults.agents={no colon}": "agents",
    "defaults.identity.kind=aws": "kind",
    "defaults.identity.kind=gke": "identity.account",
    "defaults.identity.account=x": "identity.kind",
    "defaults.autoscaling.minReplicas=11": "autoscaling.minReplicas",
    "defaults.autoscaling.enabled=true,defaults.autoscaling.cpuPercent=0": "autoscaling",
    "defaults.strategy.maxSurge=0": "strategy",
    "defaults.lifecycle.drainSeconds=-5": "drainSeconds",
    "defaults.resources.limits.memory=1 GB": "memory",
    "defaults.secretFiles[0].path=relative": "path",
    "defaults.settings.service.port=9000": "settings.service.port",
    "defaults.settings.service.drain_s=9": "settings.service.drain_s",
    "defaults.settings.host.service_keys={abc}": "settings.host.service_keys",
    "defaults.settings.host.secrets.directory=/x": "settings.host.secrets",
    "defaults.settings.host.tracing.endpoint=http://x:4317": "settings.host.tracing",
    "defaults.settings.service.access.metadata=anyone": "settings.service.access",
    "defaults.settings.service.admin_token_file=/x": "settings.service.admin_token_file",
    "defaults.settings.platforms.sql.tls_ca_file=secret:x": "secret:x: names no key",
    "defaults.access.caller=x": "access",
    "defaults.access.metadata=nobody": "metadata",
    "defaults.access.anonymous.projects={a}": "serviceKeys.secret",
    "defaults.access.callers.a.certificate=a": "access.callers.a.certificate",
    "defaults.access.callers.a.token_file=secret:x/y": "test.client",
    "defaults.tls.enabled=true,defaults.tls.secret=x,defaults.tls.clientCA.secret=y": "test.client",
    "defaults.test.client.ca=secret:x": "ca",
    "defaults.adminToken.secret=x,defaults.ports.admin=0": "adminToken.secret",
    "defaults.secrets.overrides.key=abc": "overrides",
    "defaults.secrets.stores[0].kind=gpc": "kind",
    "defaults.secrets.stores[0].kind=kubernetes": "rbac.namespaces",
    "defaults.tracing.endpoint=collector:4317": "endpoint",
    "defaults.tracing.headers.token=abc": "headers",
    "defaults.tracing.sample_ratio=2": "sample_ratio",
    "defaults.lifecycle.marginSeconds=5": "marginSeconds",
    "defaults.minReadySeconds=600": "minReadySeconds",
    "defaults.serviceMonitor.enabled=true,defaults.ports.metrics=0": "serviceMonitor",
    "services.production.replicas=-1": "replicas",
    "services.production.ports.admin=8000": "services.production.ports",
    "services.Production.replicas=1": "Production",
    "services.a-headless.replicas=1": "a-headless",
    "image.digest=sha256:1234": "digest",
    "fullnameOverride=9lives": "fullnameOverride",
}
"""Values that must be refused, with what the refusal names."""
_NOISE: Final = ("Error:", "execution error", "specifications of the schema", "--debug", "outboard: -")


def sections() -> Iterator[Section]:
    """Try the chart."""
    try:
        yield linted_and_rendered()
        yield wrong_values()
    except NotToBeHad as error:
        yield Section(title="The chart", skipped=str(error))


def linted_and_rendered() -> Section:
    """Lint and render all releases with all engines."""
    rows, failures = [], [*_versions()]
    for name, files in value_files().items():
        row, faults = _engines(name, files)
        rows.append(row)
        failures += [f"{name}: {fault}" for fault in faults]
    library = (
        [] if _has_library() else ["the library of the extra `deploy` is not installed: only programs were compared"]
    )
    return Section(title="Linted and rendered", columns=_COLUMNS, rows=rows, failures=failures, notes=library)


def _engines(name: str, files: list[Path]) -> tuple[dict[str, Any], list[str]]:
    given = [f"--values={path}" for path in files]
    faults, lints = [], {}
    for generation, folder in programs().items():
        done = run(folder / "helm", "lint", "--strict", f"--namespace={NAMESPACE}", *given, CHART)
        lints[generation] = done.returncode == 0
        if done.returncode:
            faults.append(f"Helm {generation} lints: {(done.stdout + done.stderr).strip()[-300:]}")
    texts = {engine: rendered(folder, files, with_tests=True) for engine, folder in engines().items()}
    again = {engine: rendered(folder, files, with_tests=True) for engine, folder in engines().items()}
    if len(set(texts.values())) != 1:
        faults.append(f"{', '.join(texts)} render it differently")
    if again != texts:
        faults.append("rendered twice it differs")
    row = {
        "values": name,
        "objects": next(iter(texts.values())).count("\nkind: "),
        "Helm 3 lints": lints["3"],
        "Helm 4 lints": lints["4"],
        "engines": ", ".join(texts),
        "the same": len(set(texts.values())) == 1,
        "rendered twice": again == texts,
    }
    return row, faults


def engines() -> dict[str, Path | None]:
    """Return the engines that are here: folders with a program; None is the library."""
    found: dict[str, Path | None] = {f"Helm {generation}": folder for generation, folder in programs().items()}
    return {**found, "library": None} if _has_library() else found


def rendered(
    folder: Path | None, files: Sequence[Path], *sets: str, namespace: str = NAMESPACE, with_tests: bool = False
) -> str:
    """Return what an engine makes of values."""
    with helm_on_path(folder):
        return as_text(render(files=files, sets=sets, namespace=namespace, with_tests=with_tests))


def wrong_values() -> Section:
    """Give values that make no sense; the refusal must name the field, whichever engine reads them."""
    rows, failures = [], []
    for expression, field in WRONG.items():
        words = {}
        for engine, folder in engines().items():
            words[engine] = refusal(folder, expression)
            failures += [f"{engine}, {expression}: {fault}" for fault in told_badly(words[engine], field)]
        told = words["Helm 4"].removeprefix("the chart refuses these values: ")
        rows.append({"values": expression, "refused": all(words.values()), "told": told})
    return Section(title="Wrong values", columns=("values", "refused", "told"), rows=rows, failures=failures)


def told_badly(words: str, field: str) -> Iterator[str]:
    """Yield what is wrong with the words of a refusal: they name the field, and hold nothing of Helm's own frame."""
    if field not in words:
        yield f"it does not name {field}: {words or 'it was rendered'}"
    if any(noise in words for noise in _NOISE):
        yield f"it tells more than what is wrong: {words}"


def refusal(folder: Path | None, expression: str) -> str:
    """Return with what words a value is refused; empty where it is not."""
    sets, files = [expression], []
    with tempfile.TemporaryDirectory() as scratch:
        if "[" in expression:  # the library reads no indices
            path, _, value = expression.partition("[0].")
            document: Any = [dict([value.split("=")])]
            for key in reversed(path.split(".")):
                document = {key: document}
            sets, files = [], [Path(scratch) / "values.yaml"]
            files[0].write_text(yaml.safe_dump(document))
        try:
            rendered(folder, files, *sets)
        except InvalidSettings as error:
            return error.message
    return ""


def notes(values: str) -> str:
    """Return what Helm says when it has installed values, given as YAML; nothing is, for which Helm 3 would need a cluster."""
    with tempfile.TemporaryDirectory() as scratch:
        file, chart = Path(scratch) / "values.yaml", copy_chart(Path(scratch))
        file.write_text(values)
        nowhere = {"KUBECONFIG": str(Path(scratch) / "none")}
        given = ["outboard", str(chart), "--dry-run=client", f"--namespace={NAMESPACE}", f"--values={file}"]
        done = run(programs()["4"] / "helm", "install", *given, environment=nowhere)
    return done.stdout.partition("NOTES:\n")[2] or done.stderr


def _versions() -> Iterator[str]:
    stated = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for key in ("version", "appVersion"):
        if stated[key] != _version.__version__:
            yield f"Chart.yaml: {key} is {stated[key]}, and the package is {_version.__version__}"


def _has_library() -> bool:
    return importlib.util.find_spec("helm_python") is not None
