"""Who is found under which name and port: Services, monitors and certificates of a Deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from deploy.rules.objects import Objects, Pod, replicas, selected
from deploy.rules.rule import Rule

_SELECTORS: Final = {
    "Service": ("selector",),
    "PodDisruptionBudget": ("selector", "matchLabels"),
    "NetworkPolicy": ("podSelector", "matchLabels"),
    "Deployment": ("selector", "matchLabels"),
}
_FIELDS: Final = {"grpc": "port", "metrics": "metrics_port", "admin": "admin_port", "callbacks": "callbacks_port"}
"""Ports by name, and the settings with their numbers."""
_PAGES: Final = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def selectors_match_one_deployment(objects: Objects) -> Iterator[str]:
    """Services, budgets, policies, spreads and the Deployments themselves select the pods of one Deployment each."""
    for kind, path in _SELECTORS.items():
        for each in objects.get(kind, []):
            labels = each["spec"]
            for step in path:
                labels = labels[step]
            if len(found := selected(labels, objects)) != 1:
                yield f"{kind} {each['metadata']['name']} selects {found}"
    for pod in replicas(objects):
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if (found := selected(spread["labelSelector"]["matchLabels"], objects)) != [pod.name]:
                yield f"the spread of {pod.name} selects {found}"


def pods_have_addresses(objects: Objects) -> Iterator[str]:
    """One Service of each Deployment has the addresses of its ready pods, and replicas count each other by it."""
    for pod in replicas(objects):
        found = [each for each in _services(objects, pod) if each["metadata"]["labels"]["outboard/addresses"] == "pods"]
        if len(found) != 1:
            yield f"{pod.name} has {len(found)} Services of pods"
            continue
        [service] = found
        if service["spec"].get("clusterIP") != "None" or service["spec"]["publishNotReadyAddresses"]:
            yield f"{service['metadata']['name']} has not the addresses of ready pods"
        host = pod.settings["host"]
        if "replicas" not in host and not host["replicas_dns"].startswith(f"{_domain_name(service)}."):
            yield f"{pod.name} counts its replicas by {host['replicas_dns']}"


def ports_line_up(objects: Objects) -> Iterator[str]:
    """Names of ports in Services, probes and policies are ports of the container, with the numbers of the settings."""
    for pod in replicas(objects):
        ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        told = pod.settings["service"]
        for port, field in _FIELDS.items():
            if ports.get(port) != told.get(field):
                yield f"{pod.name}: port {port} is {ports.get(port)}, and the service is told {told.get(field)}"
        served = [port for each in _services(objects, pod) for port in each["spec"]["ports"]]
        used = {port["targetPort"] for port in served}
        if "admin" in used or not {"grpc", "metrics"} & set(ports) <= used:
            yield f"{pod.name}: Services have {sorted(used)}"
        speaks = "https" if "tls" in told else "kubernetes.io/h2c"
        if said := {port["appProtocol"] for port in served if port["targetPort"] == "grpc"} - {speaks}:
            yield f"{pod.name}: it speaks {speaks}, and Services say {said}"
        used |= {probe["httpGet"]["port"] for probe in pod.probes.values() if "httpGet" in probe}
        for policy in objects.get("NetworkPolicy", []):
            if pod.name in selected(policy["spec"]["podSelector"]["matchLabels"], objects):
                used |= {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        if unknown := used - set(ports):
            yield f"{pod.name}: ports {sorted(map(str, unknown))} are used, and the container has {sorted(ports)}"


def probes_ask_what_they_decide(objects: Objects) -> Iterator[str]:
    """Each kind of probe is there and asks its own page of the admin port; or gRPC, which kubelet speaks without TLS alone."""
    for pod in replicas(objects):
        if set(pod.probes) != set(_PAGES):
            yield f"{pod.name} has {sorted(pod.probes)}"
        told = pod.settings["service"]
        for name, probe in pod.probes.items():
            if "httpGet" in probe:
                asked, wanted = probe["httpGet"], {"path": _PAGES[name], "port": "admin", "scheme": "HTTP"}
            else:
                asked, wanted = probe["grpc"], {"port": told["port"]}
                if "tls" in told:
                    yield f"{pod.name}: kubelet would probe TLS without TLS"
            if asked != wanted:
                yield f"{pod.name}: {name} asks {asked}, not {wanted}"


def one_address_is_for_callers(objects: Objects) -> Iterator[str]:
    """A Service with one address, perhaps a load balancer's, leads to gRPC and callbacks alone: metrics are a replica's own."""
    for service in objects["Service"]:
        ports = {port["name"] for port in service["spec"]["ports"]}
        if service["metadata"]["labels"]["outboard/addresses"] == "one" and not ports <= {"grpc", "callbacks"}:
            yield f"{service['metadata']['name']} leads to {sorted(ports)}"


def monitors_find_one_service(objects: Objects) -> Iterator[str]:
    """A ServiceMonitor finds one Service, which has the metrics port: found twice, every sample would be counted twice."""
    for monitor in objects.get("ServiceMonitor", []):
        spec = monitor["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        found = [each for each in objects["Service"] if wanted <= each["metadata"]["labels"].items()]
        if len(found) != 1 or "metrics" not in {port["name"] for port in found[0]["spec"]["ports"]}:
            yield f"ServiceMonitor {monitor['metadata']['name']} finds {[each['metadata']['name'] for each in found]}"
        if [found[0]["metadata"]["namespace"]] != spec["namespaceSelector"]["matchNames"]:
            yield f"ServiceMonitor {monitor['metadata']['name']} looks in {spec['namespaceSelector']}"
        if [(each["port"], each["path"]) for each in spec["endpoints"]] != [("metrics", "/metrics")]:
            yield f"ServiceMonitor {monitor['metadata']['name']} asks {spec['endpoints']}"


def certificates_name_the_services(objects: Objects) -> Iterator[str]:
    """A certificate is a server's, holds every name of its Services, and lies where the pods look for it."""
    for certificate in objects.get("Certificate", []):
        name, spec = certificate["metadata"]["name"], certificate["spec"]
        held = [pod for pod in replicas(objects) for volume in pod.spec["volumes"]
                if volume.get("secret", {}).get("secretName") == spec["secretName"]]  # fmt: skip
        if len(held) != 1:
            yield f"{spec['secretName']} is mounted by {[pod.name for pod in held]}"
            continue
        for service in _services(objects, held[0]):
            if _domain_name(service) not in spec["dnsNames"]:
                yield f"{name} does not name {_domain_name(service)}"
        if "server auth" not in spec["usages"]:
            yield f"{name} is for {spec['usages']}"


def _services(objects: Objects, pod: Pod) -> list[dict[str, Any]]:
    return [each for each in objects["Service"] if each["spec"]["selector"].items() <= pod.labels.items()]


def _domain_name(service: dict[str, Any]) -> str:
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"


def _first(objects: Objects) -> Pod:
    return next(replicas(objects))


RULES: Final = (
    Rule(
        name="selectors match the pods of one Deployment",
        look=selectors_match_one_deployment,
        planted={
            "a Service": lambda objects: objects["Service"][0]["spec"]["selector"].pop("app.kubernetes.io/component"),
            "a budget": lambda objects: objects["PodDisruptionBudget"][0]["spec"].pop("selector"),
            "a policy": lambda objects: objects["NetworkPolicy"][0]["spec"]["podSelector"].update(matchLabels={}),
        },
    ),
    Rule(
        name="pods have addresses",
        look=pods_have_addresses,
        planted={
            "one address": lambda objects: [each["spec"].pop("clusterIP", None) for each in objects["Service"]],
            "unready ones": lambda objects: [
                each["spec"].update(publishNotReadyAddresses=True) for each in objects["Service"]
            ],
            "replicas of others": lambda objects: [
                each["data"].update({"settings.yaml": each["data"]["settings.yaml"].replace("headless", "other")})
                for each in objects["ConfigMap"]
            ],
        },
    ),
    Rule(
        name="ports line up by name and number",
        look=ports_line_up,
        planted={
            "a number": lambda objects: _first(objects).container["ports"][0].update(containerPort=8001),
            "a probe's": lambda objects: _first(objects).probes["livenessProbe"]["httpGet"].update(port="amdin"),
            "a policy's": lambda objects: objects["NetworkPolicy"][0]["spec"]["ingress"][0].pop("ports"),
            "strangers at the admin port": lambda objects: objects["Service"][0]["spec"]["ports"][0].update(
                targetPort="admin"
            ),
            "plain text said": lambda objects: objects["Service"][0]["spec"]["ports"][0].update(
                appProtocol="kubernetes.io/h2c"
            ),
        },
    ),
    Rule(
        name="probes ask what they decide",
        look=probes_ask_what_they_decide,
        planted={
            "gRPC at TLS": lambda objects: _first(objects).container.update(readinessProbe={"grpc": {"port": 8000}}),
            "readiness kills": lambda objects: (
                _first(objects).probes["livenessProbe"]["httpGet"].update(path="/readyz")
            ),
            "another port": lambda objects: _first(objects).probes["livenessProbe"]["httpGet"].update(port="metrics"),
            "none at the start": lambda objects: _first(objects).container.pop("startupProbe"),
        },
    ),
    Rule(
        name="one address is for callers",
        look=one_address_is_for_callers,
        of="flyte2",
        planted={
            "metrics": lambda objects: [
                each["spec"]["ports"].append({"name": "metrics", "port": 9090}) for each in objects["Service"]
            ]
        },
    ),
    Rule(
        name="monitors find one Service",
        look=monitors_find_one_service,
        of="flyte2",
        planted={
            "two": lambda objects: objects["ServiceMonitor"][0]["spec"]["selector"]["matchLabels"].pop(
                "outboard/addresses"
            ),
            "another page": lambda objects: objects["ServiceMonitor"][0]["spec"]["endpoints"][0].update(path="/"),
            "another namespace": lambda objects: objects["ServiceMonitor"][0]["spec"]["namespaceSelector"].update(
                matchNames=["default"]
            ),
        },
    ),
    Rule(
        name="certificates name the Services",
        look=certificates_name_the_services,
        planted={
            "no name": lambda objects: objects["Certificate"][0]["spec"].update(dnsNames=[]),
            "another Secret": lambda objects: objects["Certificate"][0]["spec"].update(secretName="other"),
            "a client's": lambda objects: objects["Certificate"][0]["spec"].update(usages=["client auth"]),
        },
    ),
)
