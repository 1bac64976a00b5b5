"""What no schema says of the manifests: that they fit each other, and what an operator was promised.

Each rule yields a sentence per fault. `broken` plants a fault for each rule, so that a rule which finds nothing is known to look.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from deploy.charts import rendered
from deploy.releases import Release, releases, settings_of
from deploy.tools import programs
from outboard.service.ending import grace_s
from outboard.service.settings import ServiceSettings
from real_parts import NotToBeHad
from tables.sections import Section

_SELECTORS: Final = {
    "Service": ("selector",),
    "PodDisruptionBudget": ("selector", "matchLabels"),
    "NetworkPolicy": ("podSelector", "matchLabels"),
    "Deployment": ("selector", "matchLabels"),
}
Objects = dict[str, list[dict[str, Any]]]
_POD: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_METADATA: Final = {
    "169.254.169.254/32",
    "169.254.170.2/32",
    "169.254.170.23/32",
    "100.100.100.200/32",
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
}


def sections() -> Iterator[Section]:
    """Hold all releases against all rules."""
    try:
        yield held()
        yield rolled()
    except NotToBeHad as error:
        yield Section(title="Rules", skipped=str(error))


def held() -> Section:
    """Count the faults by rule, and the faults that were planted for it."""
    rows, failures = [], []
    for name, rule in RULES.items():
        faults = [f"{release.name}: {fault}" for release in releases() for fault in rule(objects_of(release))]
        noticed = any(True for _ in rule(broken(name)))
        failures += faults + ([] if noticed else [f"the rule that {name} does not notice its planted fault"])
        rows.append(
            {"rule": name, "releases": len(releases()), "faults": len(faults), "notices a planted one": noticed}
        )
    columns = ("rule", "releases", "faults", "notices a planted one")
    return Section(title="Rules", columns=columns, rows=rows, failures=failures)


def objects_of(release: Release) -> Objects:
    """Return objects by kind."""
    found: Objects = {}
    for manifest in release.manifests:
        found.setdefault(manifest.kind, []).append(manifest.document)
    return found


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each Deployment's name, its pod template and our container."""
    for each in objects.get("Deployment", []):
        template = each["spec"]["template"]
        yield (
            each["metadata"]["name"],
            template,
            next(c for c in template["spec"]["containers"] if c["name"] == "outboard"),
        )


def _selects(labels: dict[str, str], objects: Objects) -> list[str]:
    return [name for name, template, _ in pods(objects) if labels.items() <= template["metadata"]["labels"].items()]


def selectors_match_one_deployment(objects: Objects) -> Iterator[str]:
    """Services, budgets, policies, spreads and the Deployments themselves select the pods of one Deployment each."""
    for kind, path in _SELECTORS.items():
        for each in objects.get(kind, []):
            labels = each["spec"]
            for step in path:
                labels = labels[step]
            if len(_selects(labels, objects)) != 1:
                yield f"{kind} {each['metadata']['name']} selects {_selects(labels, objects)}"
    for name, template, _ in pods(objects):
        for spread in template["spec"].get("topologySpreadConstraints", []):
            if _selects(spread["labelSelector"]["matchLabels"], objects) != [name]:
                yield f"the spread of {name} selects {_selects(spread['labelSelector']['matchLabels'], objects)}"
    names = {name for name, _, _ in pods(objects)}
    for each in objects.get("HorizontalPodAutoscaler", []):
        if each["spec"]["scaleTargetRef"]["name"] not in names:
            yield f"{each['metadata']['name']} scales nothing"


def ports_line_up(objects: Objects) -> Iterator[str]:
    """Names of ports in Services, probes, policies and monitors are ports of the container, with the numbers of the settings."""
    for name, template, container in pods(objects):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        told = _settings(objects, template)["service"]
        for port, field in (
            ("grpc", "port"),
            ("metrics", "metrics_port"),
            ("admin", "admin_port"),
            ("callbacks", "callbacks_port"),
        ):
            if ports.get(port) != told.get(field):
                yield f"{name}: port {port} is {ports.get(port)}, and the service is told {told.get(field)}"
        used = {port["targetPort"] for each in objects["Service"] for port in each["spec"]["ports"]
                if each["spec"]["selector"].items() <= template["metadata"]["labels"].items()}  # fmt: skip
        used |= {probe["httpGet"]["port"] for probe in _probes(container).values() if "httpGet" in probe}
        for policy in objects.get("NetworkPolicy", []):
            if name in _selects(policy["spec"]["podSelector"]["matchLabels"], objects):
                used |= {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        if unknown := used - set(ports):
            yield f"{name}: ports {sorted(map(str, unknown))} are used, and the container has {sorted(ports)}"
        for probe, asked in _probes(container).items():
            if "grpc" in asked and asked["grpc"]["port"] != told["port"]:
                yield f"{name}: {probe} asks {asked['grpc']['port']}, and the service listens on {told['port']}"


def monitors_find_one_service(objects: Objects) -> Iterator[str]:
    """A ServiceMonitor finds one Service, which has the metrics port: found twice, every sample would be counted twice."""
    for monitor in objects.get("ServiceMonitor", []):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        services = [each for each in objects["Service"] if wanted.items() <= each["metadata"]["labels"].items()]
        if len(services) != 1 or "metrics" not in {port["name"] for port in services[0]["spec"]["ports"]}:
            yield f"ServiceMonitor {monitor['metadata']['name']} finds {[each['metadata']['name'] for each in services]}"


def grace_outlives_the_drain(objects: Objects) -> Iterator[str]:
    """The grace period is what the service takes at most, by its own word, and a sleep before that."""
    for name, template, container in pods(objects):
        told = _settings(objects, template)["service"]
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep(0)"])[-1]
        takes = grace_s(ServiceSettings(linger_s=told["linger_s"], drain_s=told["drain_s"]))
        before = float(sleep.partition("sleep(")[2].rstrip(")")) + takes
        if template["spec"]["terminationGracePeriodSeconds"] != math.ceil(before):
            yield f"{name}: {template['spec']['terminationGracePeriodSeconds']} s, and its end takes {before:g}"


def no_probe_speaks_grpc_with_tls(objects: Objects) -> Iterator[str]:
    """Kubelet's gRPC probes know no TLS; each kind of probe is there."""
    for name, template, container in pods(objects):
        if set(_probes(container)) != {"startupProbe", "readinessProbe", "livenessProbe"}:
            yield f"{name} has {sorted(_probes(container))}"
        if "tls" in _settings(objects, template)["service"] and any(
            "grpc" in probe for probe in _probes(container).values()
        ):
            yield f"{name}: kubelet would probe TLS without TLS"


def files_are_mounted(objects: Objects) -> Iterator[str]:
    """Files that settings or environment name are mounted; every mount has its volume; /tmp and our home can be written to."""
    for name, template, container in pods(objects):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        if lost := {mount["name"] for mount in mounts.values()} - volumes:
            yield f"{name}: no volume for {sorted(lost)}"
        tls = _settings(objects, template)["service"].get("tls", {})
        files = [tls[key] for key in ("certificate", "key", "client_ca") if key in tls]
        files += [
            each["value"]
            for each in container["env"]
            if each["name"].endswith(("_FILE", "_BUNDLE", "_PATH")) and "value" in each
        ]
        for file in files:
            if not any(file.startswith(f"{path}/") for path in mounts):
                yield f"{name}: {file} is not mounted"
        named = {file for file in named_files(_settings(objects, template)) if file.startswith("/etc/outboard/")}
        if named != (projected := projected_files(template["spec"])):
            yield f"{name}: settings name {sorted(named - projected)} that are not mounted, or not {sorted(projected - named)}"
        writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
        if not {"/tmp", "/var/lib/outboard"} <= writable:  # noqa: S108 - the container's own
            yield f"{name}: only {sorted(writable)} can be written to"


def policies_let_in_who_must(objects: Objects) -> Iterator[str]:
    """Engines reach the gRPC port and Prometheus the metrics port, nobody all; nodes that are named reach the probes."""
    for policy in objects.get("NetworkPolicy", []):
        name = policy["metadata"]["name"]
        opened: dict[str, list[Any]] = {}
        for rule in policy["spec"]["ingress"]:
            if not rule.get("from") or not rule.get("ports"):
                yield f"{name}: a rule lets everybody in, or into every port"
            for port in rule.get("ports", []):
                opened.setdefault(port["port"], []).extend(rule.get("from", []))
        [deployed] = _selects(policy["spec"]["podSelector"]["matchLabels"], objects)
        container = next(container for found, _, container in pods(objects) if found == deployed)
        ports = {port["name"] for port in container["ports"]}
        for port in ports & {"grpc", "metrics"}:
            if not any("namespaceSelector" in peer for peer in opened.get(port, [])):
                yield f"{name}: no namespace reaches {port}"
        probed = {probe["httpGet"]["port"] if "httpGet" in probe else "grpc" for probe in _probes(container).values()}
        blocks = {port for port, peers in opened.items() if any("ipBlock" in peer for peer in peers)}
        if blocks - {"callbacks", "grpc"} and not probed <= blocks:
            yield f"{name}: nodes reach {sorted(blocks)}, and probe {sorted(probed)}"


def metadata_is_out_of_reach(objects: Objects) -> Iterator[str]:
    """No egress rule holds the clouds' metadata addresses, but for the way that workload identity needs; DNS is open."""
    for policy in objects.get("NetworkPolicy", []):
        name = policy["metadata"]["name"]
        if "Egress" not in policy["spec"]["policyTypes"]:
            continue
        rules = policy["spec"]["egress"]
        if not any("to" not in rule and {port["port"] for port in rule["ports"]} == {53} for rule in rules):
            yield f"{name}: DNS is closed"
        for block in (peer["ipBlock"] for rule in rules for peer in rule.get("to", []) if "ipBlock" in peer):
            missing = {address for address in _METADATA if (":" in address) == (":" in block["cidr"])} - set(
                block.get("except", [])
            )
            if block["cidr"] in ("0.0.0.0/0", "::/0") and missing:
                yield f"{name}: {block['cidr']} holds {sorted(missing)}"


def pods_are_restricted(objects: Objects) -> Iterator[str]:
    """Pod Security's `restricted`, and more: a read-only root, a numeric user, no token that nothing needs."""
    granted = {subject["name"] for each in objects.get("RoleBinding", []) for subject in each["subjects"]}
    services = [(name, template["spec"], container) for name, template, container in pods(objects)]
    for name, pod, container in services + [(name, pod, pod["containers"][0]) for name, pod in doctors(objects)]:
        rights = container["securityContext"]
        is_granted = pod["serviceAccountName"] in granted and container["name"] == "outboard"
        kept = {
            "not root": pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0,
            "seccomp": pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault",
            "read-only root": rights["readOnlyRootFilesystem"] is True,
            "no escalation": rights["allowPrivilegeEscalation"] is False,
            "no capabilities": rights["capabilities"] == {"drop": ["ALL"]},
            "no host": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod),
            "no token for everybody": pod["automountServiceAccountToken"] is False,
            "a token with rights": (_POD in _paths(container)) or not is_granted,
            "no token without need": _POD not in _paths(container) or is_granted or _asks_issuer(objects, pod),
            "requests": {"cpu", "memory"} <= set(container["resources"]["requests"])
            and "memory" in container["resources"]["limits"],
            "no service links": pod["enableServiceLinks"] is False,
        }
        for what, is_kept in kept.items():
            if not is_kept:
                yield f"{name}: {what}"


def rights_are_narrow(objects: Objects) -> Iterator[str]:
    """Roles, never cluster roles; `get` of secrets and nothing else."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        if kind in objects:
            yield f"there is a {kind}"
    for role in objects.get("Role", []):
        for rule in role["rules"]:
            if (rule["apiGroups"], rule["resources"], rule["verbs"]) != ([""], ["secrets"], ["get"]):
                yield f"{role['metadata']['namespace']}/{role['metadata']['name']}: {rule}"


def no_secret_is_written(objects: Objects) -> Iterator[str]:
    """The chart makes no Secret; no ConfigMap and no variable holds what belongs into one."""
    if "Secret" in objects:
        yield "there is a Secret"
    for each in objects.get("ConfigMap", []):
        text = each.get("data", {}).get("settings.yaml", "")
        for word in ("service_keys", "overrides", "password", "PRIVATE KEY", "headers:"):
            if word in text:
                yield f"ConfigMap {each['metadata']['name']} holds {word}"
    for name, _, container in pods(objects):
        for variable in container["env"]:
            if variable["name"] in ("OUTBOARD_SERVICE_KEYS", "OTEL_EXPORTER_OTLP_HEADERS") and "value" in variable:
                yield f"{name}: {variable['name']} stands in the manifest"


def replacing_costs_no_replica(objects: Objects) -> Iterator[str]:
    """With more than one replica none is missing while they are replaced, and a drain of nodes takes one at a time."""
    for each in objects.get("Deployment", []):
        if each["spec"].get("replicas", 2) > 1 and each["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{each['metadata']['name']} does without a replica"
        if "replicas" in each["spec"] and any(
            scaler["spec"]["scaleTargetRef"]["name"] == each["metadata"]["name"]
            for scaler in objects.get("HorizontalPodAutoscaler", [])
        ):
            yield f"{each['metadata']['name']}: a roll-out would undo what the autoscaler decided"


def certificates_name_the_services(objects: Objects) -> Iterator[str]:
    """A certificate holds every name of its Services, and lies where the pods look for it."""
    for certificate in objects.get("Certificate", []):
        mounted = [name for name, template, _ in pods(objects) for volume in template["spec"]["volumes"]
                   if volume.get("secret", {}).get("secretName") == certificate["spec"]["secretName"]]  # fmt: skip
        if len(mounted) != 1:
            yield f"{certificate['spec']['secretName']} is mounted by {mounted}"
            continue
        template = next(template for name, template, _ in pods(objects) if name == mounted[0])
        for service in objects["Service"]:
            name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
            if (
                service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
                and name not in certificate["spec"]["dnsNames"]
            ):
                yield f"{certificate['metadata']['name']} does not name {name}"


def tests_ask_as_clients_do(objects: Objects) -> Iterator[str]:
    """Each service has its test pod, which asks a Service's name and port, has its files, is let in, and gets no calls."""
    found = list(doctors(objects))
    if len(found) != len(objects["Deployment"]):
        yield f"{[name for name, _ in found]} test {len(objects['Deployment'])} services"
    ports = {
        f"dns:///{each['metadata']['name']}.{each['metadata']['namespace']}.svc": each["spec"]["ports"][0]["port"]
        for each in objects["Service"]
    }
    for name, pod in found:
        [endpoint] = [each for each in pod["containers"][0]["args"] if each.startswith("--endpoint=")]
        service, _, rest = endpoint.removeprefix("--endpoint=").partition(".svc")
        if ports.get(f"{service}.svc") != int(rest.rpartition(":")[2]):
            yield f"{name} asks {endpoint}, and there is {ports}"
        labels = next(each["metadata"]["labels"] for each in objects["Pod"] if each["metadata"]["name"] == name)
        if any(each["spec"]["selector"].items() <= labels.items() for each in objects["Service"]):
            yield f"a Service takes {name} for a replica"
        peers = [
            peer.get("podSelector", {}).get("matchLabels")
            for policy in objects.get("NetworkPolicy", [])
            for rule in policy["spec"]["ingress"]
            for peer in rule["from"]
        ]
        if "NetworkPolicy" in objects and labels not in peers:
            yield f"{name} is not let in"
        client = yaml.safe_load(_config_map(objects, pod)["data"]["client.yaml"])["client"]
        named = {value for key, value in client.items() if str(value).startswith("/")}
        if named != projected_files(pod):
            yield f"{name} is told {sorted(named)}, and has {sorted(projected_files(pod))}"
        if ("--tls" in pod["containers"][0]["args"]) != ("tls" in settings_of(_config_map(objects, pod))["service"]):
            yield f"{name} asks with {pod['containers'][0]['args']}"


RULES: Final[dict[str, Callable[[Objects], Iterator[str]]]] = {
    "selectors match the pods of one Deployment": selectors_match_one_deployment,
    "ports line up by name and number": ports_line_up,
    "monitors find one Service": monitors_find_one_service,
    "the grace period outlives linger and drain": grace_outlives_the_drain,
    "no probe speaks gRPC to TLS": no_probe_speaks_grpc_with_tls,
    "files that are named are mounted": files_are_mounted,
    "policies let in who must, and nobody else": policies_let_in_who_must,
    "metadata addresses are out of reach": metadata_is_out_of_reach,
    "pods are restricted": pods_are_restricted,
    "rights are narrow": rights_are_narrow,
    "no secret is written": no_secret_is_written,
    "replacing costs no replica": replacing_costs_no_replica,
    "certificates name the Services": certificates_name_the_services,
    "tests ask as clients do": tests_ask_as_clients_do,
}


def broken(rule: str) -> Objects:
    """Return objects with a fault that the rule must notice."""
    wanted = "flyte2" if rule.startswith("monitors") else "two_services_mtls"
    release = next(each for each in releases() if each.name == wanted)
    objects = copy.deepcopy(objects_of(release))
    template = objects["Deployment"][0]["spec"]["template"]
    container = template["spec"]["containers"][0]
    everywhere = objects["NetworkPolicy"][0]["spec"]["egress"][1]["to"][1]["ipBlock"] if "Role" in objects else {}
    faults: dict[str, Callable[[], Any]] = {
        "selectors match the pods of one Deployment": lambda: objects["Service"][0]["spec"]["selector"].pop(
            "app.kubernetes.io/component"
        ),
        "ports line up by name and number": lambda: container["ports"][0].update(containerPort=8001),
        "monitors find one Service": lambda: objects["ServiceMonitor"][0]["spec"]["selector"]["matchLabels"].pop(
            "outboard/addresses"
        ),
        "the grace period outlives linger and drain": lambda: template["spec"].update(terminationGracePeriodSeconds=15),
        "no probe speaks gRPC to TLS": lambda: container.update(readinessProbe={"grpc": {"port": 8000}}),
        "files that are named are mounted": container["volumeMounts"].pop,
        "policies let in who must, and nobody else": lambda: objects["NetworkPolicy"][0]["spec"]["ingress"].append({}),
        "metadata addresses are out of reach": lambda: everywhere.pop("except"),
        "pods are restricted": lambda: container["securityContext"].update(readOnlyRootFilesystem=False),
        "rights are narrow": lambda: objects["Role"][0]["rules"][0]["verbs"].append("list"),
        "no secret is written": lambda: objects["ConfigMap"][0]["data"].update({"settings.yaml": "service_keys: [x]"}),
        "replacing costs no replica": lambda: objects["Deployment"][1]["spec"]["strategy"]["rollingUpdate"].update(
            maxUnavailable=1
        ),
        "certificates name the Services": lambda: objects["Certificate"][0]["spec"].update(dnsNames=[]),
        "tests ask as clients do": lambda: objects["Pod"][0]["spec"]["containers"][0]["args"].remove("--tls"),
    }
    faults[rule]()
    return objects


def rolled() -> Section:
    """Change one value at a time; the pods of the services that it concerns are replaced, and those of no other."""
    rows, failures = [], []
    changes = {
        "services.a.settings.host.unreachable_after=99": {"outboard-a"},
        "services.a.lifecycle.drainSeconds=30": {"outboard-a"},
        "defaults.ports.grpc=9000": {"outboard-a", "outboard-b"},
        "defaults.rollOn=again": {"outboard-a", "outboard-b"},
        "services.b.replicas=5": set(),
        "defaults.networkPolicy.enabled=false": set(),
    }
    before = _templates("services.a.replicas=1")
    for change, expected in changes.items():
        after = _templates(f"services.a.replicas=1,{change}")
        replaced = {name for name in before if before[name] != after[name]}
        if replaced != expected:
            failures.append(f"{change} replaces {sorted(replaced)}, expected {sorted(expected)}")
        rows.append({"change": change, "replaced": ", ".join(sorted(replaced)) or "none"})
    return Section(title="What a change replaces", columns=("change", "replaced"), rows=rows, failures=failures)


def _templates(values: str) -> dict[str, Any]:
    documents = yaml.safe_load_all(rendered(programs()["4"], [], f"services.b.logLevel=info,{values}"))
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in documents
        if each and each["kind"] == "Deployment"
    }


def _probes(container: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key.endswith("Probe")}


def _settings(objects: Objects, template: dict[str, Any]) -> dict[str, Any]:
    return settings_of(_config_map(objects, template["spec"]))


def _config_map(objects: Objects, pod: dict[str, Any]) -> dict[str, Any]:
    name = next(volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "settings")
    return next(each for each in objects["ConfigMap"] if each["metadata"]["name"] == name)


def doctors(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the spec of each pod of `helm test`."""
    for each in objects.get("Pod", []):
        yield each["metadata"]["name"], each["spec"]


def named_files(settings: Any) -> Iterator[str]:
    """Yield every file that settings name as `..._file`."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key.endswith("_file"):
            yield from [value] if isinstance(value, str) else value
        else:
            yield from named_files(value)
    for each in settings if isinstance(settings, list) else ():
        yield from named_files(each)


def projected_files(pod: dict[str, Any]) -> set[str]:
    """Return the files of a pod's projected volume `files`, as its first container sees them."""
    [mounted] = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "files"] or [""]
    return {
        f"{mounted}/{item['path']}"
        for volume in pod["volumes"]
        if volume["name"] == "files"
        for source in volume["projected"]["sources"]
        for each in source.values()
        for item in each.get("items", [each])
    }


def _paths(container: dict[str, Any]) -> set[str]:
    return {mount["mountPath"] for mount in container["volumeMounts"]}


def _asks_issuer(objects: Objects, pod: dict[str, Any]) -> bool:
    """Tell whether tokens of this cluster are checked, for which its keys are asked for."""
    return "https://kubernetes.default.svc" in str(settings_of(_config_map(objects, pod))["service"].get("access"))
