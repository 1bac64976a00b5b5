"""Every release put to a real API server, by `kubectl apply` and two generations of Helm, under Pod Security's `restricted`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.charts import rendered
from deploy.cluster import VERSION, Cluster, running
from deploy.published import definitions
from deploy.releases import releases, value_files
from deploy.tools import CHART, programs
from real_parts import NotToBeHad
from tables.sections import Section

_RESTRICTED: Final = "pod-security.kubernetes.io/enforce=restricted"
_KINDS: Final = (
    "deployments,services,serviceaccounts,configmaps,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)


def sections() -> Iterator[Section]:
    """Try all releases."""
    try:
        with running() as cluster:
            prepare(cluster)
            yield applied(cluster)
            yield enforced(cluster)
            yield installed(cluster)
    except NotToBeHad as error:
        yield Section(title="A real API server", skipped=str(error))


def prepare(cluster: Cluster) -> None:
    """Give a cluster what the releases take for granted."""
    for path in definitions():
        _must(cluster.kubectl("apply", "--server-side", "--filename", str(path)))
    _must(cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"))
    _must(cluster.kubectl("create", "priorityclass", "production", "--value=1000"))
    named = {role["metadata"]["namespace"] for release in releases() for role in release.of("Role")}
    for namespace in sorted(named):
        _must(cluster.kubectl("create", "namespace", namespace))


def applied(cluster: Cluster) -> Section:
    """Apply each release twice, by the server's own validation, and wait for its pods."""
    rows, failures = [], []
    for name, files in value_files().items():
        row, faults = _apply(cluster, name, files)
        rows.append({"values": name, **row})
        failures += [f"{name}: {fault}" for fault in faults]
    columns = (
        "values",
        "objects",
        "dry run",
        "applied",
        "test pods",
        "again",
        "pods admitted",
        "rolled",
        "rolled back",
    )
    return Section(title=f"Applied to Kubernetes {VERSION}", columns=columns, rows=rows, failures=failures)


def _apply(cluster: Cluster, name: str, files: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    namespace = _namespace(cluster, name)
    _must(cluster.kubectl("create", "serviceaccount", "existing", "--namespace", namespace))
    text, faults = _text(files, namespace), []

    def put(manifests: str, *options: str) -> bool:
        done = cluster.kubectl("apply", "--server-side", "--validate=strict", *options, "--filename=-", stdin=manifests)
        if done.returncode or "warning" in done.stderr.lower():
            faults.append(f"{' '.join(options)} {done.stderr.strip()[-300:]}")
            return False
        return True

    row: dict[str, Any] = {"objects": text.count("\nkind: ")}
    row["dry run"] = put(text, "--dry-run=server")
    row["applied"] = put(text)
    row["test pods"] = put(_text(files, namespace, with_tests=True), "--dry-run=server")
    before = _generations(cluster, namespace)
    put(text)
    row["again"] = "nothing changes" if _generations(cluster, namespace) == before else "it changes"
    documents = [each for each in yaml.safe_load_all(text) if each]
    least = {
        each["metadata"]["name"]: each["spec"]["minReplicas"]
        for each in documents
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    wanted = sum(
        each["spec"].get("replicas", least.get(each["metadata"]["name"]))
        for each in documents
        if each["kind"] == "Deployment"
    )
    row["pods admitted"] = _pods_admitted(cluster, namespace, wanted)
    if row["pods admitted"] != wanted:
        faults.append(f"{row['pods admitted']} of {wanted} pods: {_events(cluster, namespace)}")
    if row["again"] != "nothing changes":
        faults.append("applied again, it changes")
    row["rolled"] = put(_text(files, namespace, "defaults.rollOn=again")) and _revisions(cluster, namespace, 2)
    row["rolled back"] = _rolled_back(cluster, namespace)
    faults += [f"it was not {step}" for step in ("rolled", "rolled back") if not row[step]]
    _must(cluster.kubectl("delete", "namespace", namespace, "--wait=false"))
    return row, faults


def enforced(cluster: Cluster) -> Section:
    """Ask the server what it refuses, and what our accounts may do."""
    namespace = _namespace(cluster, "enforced")
    files = value_files()["two_services_mtls"]
    _must(cluster.kubectl("apply", "--server-side", "--filename=-", stdin=_text(files, namespace)))
    account = f"system:serviceaccount:{namespace}:agents-production"
    rights = {
        ("get", "secrets/snowflake", "flytesnacks-production"): "yes",
        ("get", "secrets/other", "flytesnacks-production"): "no",
        ("list", "secrets", "flytesnacks-production"): "no",
        ("watch", "secrets", "flytesnacks-production"): "no",
        ("get", "secrets/snowflake", namespace): "no",
        ("get", "secrets/snowflake", "kube-system"): "no",
        ("create", "pods", namespace): "no",
    }
    rows, failures = [], []
    for (verb, what, where), wanted in rights.items():
        said = cluster.kubectl("auth", "can-i", verb, what, "--as", account, "--namespace", where).stdout.strip()
        rows.append({"asked": f"may production's account {verb} {what.replace('/', ' ')} in {where}", "answer": said})
        failures += [] if said == wanted else [f"{verb} {what} in {where}: {said}"]
    for asked, sets, words in _REFUSED:
        said = _refused(cluster, sets)
        rows.append({"asked": asked, "answer": said[-160:]})
        failures += [] if words in said else [f"{asked}: {said}"]
    return Section(title="What the server refuses", columns=("asked", "answer"), rows=rows, failures=failures)


_REFUSED: Final = (
    (
        "a container with all capabilities",
        "defaults: {securityContext: {capabilities: {drop: []}}}",
        "violates PodSecurity",
    ),
    ("a pod that may be root", "defaults: {podSecurityContext: {runAsNonRoot: false}}", "violates PodSecurity"),
    ("a host's folder", "defaults: {volumes: [{name: host, hostPath: {path: /}}]}", "violates PodSecurity"),
    ("a field that Kubernetes has not", "defaults: {affinity: {podAffinities: {}}}", "field not declared in schema"),
)


def _refused(cluster: Cluster, values: str) -> str:
    namespace = _namespace(cluster, "refused")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        text = _text([Path(file.name)], namespace)
    done = cluster.kubectl("apply", "--server-side", "--validate=strict", "--filename=-", stdin=text)
    cluster.wait_until(lambda: done.returncode != 0 or "PodSecurity" in _events(cluster, namespace))
    said = f"{done.stderr} {_events(cluster, namespace)}"
    _must(cluster.kubectl("delete", "namespace", namespace))
    return " ".join(said.split())


def installed(cluster: Cluster) -> Section:
    """Install, upgrade, roll back and uninstall with both generations of Helm."""
    rows, failures = [], []
    for generation in programs():
        namespace = _namespace(cluster, f"helm-{generation}")
        given = ["outboard", str(CHART), "--namespace", namespace]
        steps = {
            "install": ["install", *given],
            "upgrade": ["upgrade", *given, "--set", "defaults.replicas=3,defaults.platforms={embedded}"],
            "roll back": ["rollback", "outboard", "1", "--namespace", namespace],
            "uninstall": ["uninstall", "outboard", "--namespace", namespace],
        }
        row: dict[str, Any] = {"Helm": generation}
        for step, arguments in steps.items():
            done = cluster.helm(generation, *arguments)
            replicas = [each["spec"]["replicas"] for each in cluster.objects("deployments", namespace)]
            row[step] = f"{replicas[0]} replicas" if replicas else "nothing is left"
            failures += [f"Helm {generation}, {step}: {done.stderr.strip()[-300:]}"] if done.returncode else []
        wanted = ("2 replicas", "3 replicas", "2 replicas", "nothing is left")
        failures += [] if tuple(row[step] for step in steps) == wanted else [f"Helm {generation}: {row}"]
        rows.append(row)
    return Section(title="Installed by Helm", columns=("Helm", *steps), rows=rows, failures=failures)


def _text(files: Sequence[Path], namespace: str, *sets: str, with_tests: bool = False) -> str:
    return rendered(programs()["4"], files, *sets, namespace=namespace, with_tests=with_tests)


def _namespace(cluster: Cluster, name: str) -> str:
    namespace = f"try-{name.replace('_', '-')}"
    _must(cluster.kubectl("create", "namespace", namespace))
    _must(cluster.kubectl("label", "namespace", namespace, _RESTRICTED))
    return namespace


def _generations(cluster: Cluster, namespace: str) -> dict[str, Any]:
    return {
        f"{each['kind']}/{each['metadata']['name']}": (each["metadata"].get("generation"), each.get("data"))
        for each in cluster.objects(_KINDS, namespace)
    }


def _pods_admitted(cluster: Cluster, namespace: str, wanted: int) -> int:
    cluster.wait_until(
        lambda: len(cluster.objects("pods", namespace)) >= wanted or "forbidden" in _events(cluster, namespace)
    )
    return len(cluster.objects("pods", namespace))


def _revisions(cluster: Cluster, namespace: str, wanted: int) -> bool:
    names = {each["metadata"]["name"] for each in cluster.objects("deployments", namespace)}

    def are_there() -> bool:
        revisions = {
            each["metadata"]["name"]: each["metadata"]["annotations"].get("deployment.kubernetes.io/revision", "0")
            for each in cluster.objects("deployments", namespace)
        }
        return all(int(revisions[name]) >= wanted for name in names)

    return cluster.wait_until(are_there)


def _rolled_back(cluster: Cluster, namespace: str) -> bool:
    for each in cluster.objects("deployments", namespace):
        done = cluster.kubectl("rollout", "undo", f"deployment/{each['metadata']['name']}", "--namespace", namespace)
        if done.returncode:
            return False
    return _revisions(cluster, namespace, 3) and not any(
        "outboard/roll-on" in each["spec"]["template"]["metadata"]["annotations"]
        and each["spec"]["template"]["metadata"]["annotations"]["outboard/roll-on"] == "again"
        for each in cluster.objects("deployments", namespace)
    )


def _events(cluster: Cluster, namespace: str) -> str:
    return " ".join(
        each.get("message", "") for each in cluster.objects("events", namespace) if each.get("type") == "Warning"
    )


def _must(done: Any) -> None:
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, done.args[1:4]))}: {done.stderr.strip()[-500:]}")
