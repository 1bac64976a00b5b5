"""Who may call, and who may be called, as the network policies say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from deploy.rules.objects import Objects, replicas, selected
from deploy.rules.rule import Rule

_METADATA: Final = {
    "169.254.169.254/32",
    "169.254.170.2/32",
    "169.254.170.23/32",
    "100.100.100.200/32",
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
}


def policies_let_in_who_must(objects: Objects) -> Iterator[str]:
    """Engines reach the gRPC port and Prometheus the metrics port, nobody all; nodes that are named reach the probes."""
    for policy in objects.get("NetworkPolicy", []):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if "Ingress" not in spec["policyTypes"]:
            yield f"{name}: it lets everybody in"
        opened: dict[str, list[Any]] = {}
        for rule in spec["ingress"]:
            if not rule.get("from") or not rule.get("ports") or any(_is_everybody(peer) for peer in rule["from"]):
                yield f"{name}: a rule lets everybody in, or into every port: {rule}"
            for port in rule.get("ports", []):
                if port["protocol"] != "TCP":
                    yield f"{name}: {port}"
                opened.setdefault(port["port"], []).extend(rule.get("from", []))
        [deployed] = selected(spec["podSelector"]["matchLabels"], objects)
        [pod] = [each for each in replicas(objects) if each.name == deployed]
        for port in {each["name"] for each in pod.container["ports"]} & {"grpc", "metrics"}:
            if not any("namespaceSelector" in peer for peer in opened.get(port, [])):
                yield f"{name}: no namespace reaches {port}"
        probed = {probe["httpGet"]["port"] if "httpGet" in probe else "grpc" for probe in pod.probes.values()}
        blocks = {port for port, peers in opened.items() if any("ipBlock" in peer for peer in peers)}
        if blocks - {"callbacks", "grpc"} and not probed <= blocks:
            yield f"{name}: nodes reach {sorted(blocks)}, and probe {sorted(probed)}"


def _is_everybody(peer: Mapping[str, Any]) -> bool:
    """Tell whether a peer is every pod of all namespaces, or of its own one, or every address."""
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"]).endswith("/0")
    return not any(peer.get("namespaceSelector", peer.get("podSelector", {})).values())


def metadata_is_out_of_reach(objects: Objects) -> Iterator[str]:
    """No egress rule holds the clouds' metadata addresses, but for the way that workload identity needs; DNS is open."""
    for policy in objects.get("NetworkPolicy", []):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if ("Egress" in spec["policyTypes"]) != ("egress" in spec):
            yield f"{name}: it has {spec['policyTypes']}"
        rules = spec.get("egress", [])
        names = [rule for rule in rules if "to" not in rule]
        if rules and [{port["port"] for port in rule.get("ports", [])} for rule in names] != [{53}]:
            yield f"{name}: DNS is closed, or everything is open: {names}"
        for block in (peer["ipBlock"] for rule in rules for peer in rule.get("to", []) if "ipBlock" in peer):
            missing = {address for address in _METADATA if (":" in address) == (":" in block["cidr"])} - set(
                block.get("except", [])
            )
            if block["cidr"] in ("0.0.0.0/0", "::/0") and missing:
                yield f"{name}: {block['cidr']} holds {sorted(missing)}"


def _policy(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects["NetworkPolicy"][0]["spec"]
    return spec


RULES: Final = (
    Rule(
        name="policies let in who must, and nobody else",
        look=policies_let_in_who_must,
        planted={
            "every peer and port": lambda objects: _policy(objects)["ingress"].append({}),
            "every port": lambda objects: _policy(objects)["ingress"][0].pop("ports"),
            "every namespace": lambda objects: _policy(objects)["ingress"][0]["from"].append({"namespaceSelector": {}}),
            "every neighbour": lambda objects: _policy(objects)["ingress"][0]["from"].append({"podSelector": {}}),
            "every address": lambda objects: _policy(objects)["ingress"][0]["from"].append(
                {"ipBlock": {"cidr": "0.0.0.0/0"}}
            ),
            "no engine": lambda objects: _policy(objects)["ingress"][0]["from"].pop(),
            "another protocol": lambda objects: _policy(objects)["ingress"][0]["ports"][0].update(protocol="UDP"),
            "not for who comes": lambda objects: _policy(objects).update(policyTypes=["Egress"]),
        },
    ),
    Rule(
        name="metadata addresses are out of reach",
        look=metadata_is_out_of_reach,
        planted={
            "nothing left out": lambda objects: _policy(objects)["egress"][1]["to"][1]["ipBlock"].pop("except"),
            "everything open": lambda objects: _policy(objects)["egress"].append({}),
            "DNS closed": lambda objects: _policy(objects)["egress"].pop(0),
            "not for who is called": lambda objects: _policy(objects).update(policyTypes=["Ingress"]),
        },
    ),
)
