"""The pods of `helm test`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.rules.objects import Objects, client_of, doctors, projected_files
from deploy.rules.rule import Rule


def tests_ask_as_clients_do(objects: Objects) -> Iterator[str]:
    """Each service has its test pod, which asks a Service's name and port, has its files, is let in, and gets no calls."""
    found = list(doctors(objects))
    if len(found) != len(objects["Deployment"]):
        yield f"{[pod.name for pod in found]} test {len(objects['Deployment'])} services"
    ports = {
        f"dns:///{each['metadata']['name']}.{each['metadata']['namespace']}.svc": each["spec"]["ports"][0]["port"]
        for each in objects["Service"]
    }
    peers = [
        peer.get("podSelector", {}).get("matchLabels")
        for policy in objects.get("NetworkPolicy", [])
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
    ]
    for pod in found:
        [endpoint] = [each for each in pod.container["args"] if each.startswith("--endpoint=")]
        service, _, rest = endpoint.removeprefix("--endpoint=").partition(".svc")
        if ports.get(f"{service}.svc") != int(rest.rpartition(":")[2]):
            yield f"{pod.name} asks {endpoint}, and there is {ports}"
        if any(each["spec"]["selector"].items() <= pod.labels.items() for each in objects["Service"]):
            yield f"a Service takes {pod.name} for a replica"
        if "NetworkPolicy" in objects and pod.labels not in peers:
            yield f"{pod.name} is not let in"
        named = {value for value in client_of(pod).values() if str(value).startswith("/")}
        if named != projected_files(pod):
            yield f"{pod.name} is told {sorted(named)}, and has {sorted(projected_files(pod))}"
        if ("--tls" in pod.container["args"]) != ("tls" in pod.settings["service"]):
            yield f"{pod.name} asks with {pod.container['args']}"


RULES: Final = (
    Rule(
        name="tests ask as clients do",
        look=tests_ask_as_clients_do,
        planted={
            "in plain text": lambda objects: objects["Pod"][0]["spec"]["containers"][0]["args"].remove("--tls"),
            "not at all": lambda objects: objects["Pod"].pop(),
            "at the wrong port": lambda objects: [
                each["spec"]["ports"][0].update(port=1) for each in objects["Service"]
            ],
            "as a replica": lambda objects: objects["Service"][0].update(spec={"selector": {}, "ports": [{"port": 1}]}),
            "without a certificate": lambda objects: objects["Pod"][0]["spec"]["volumes"].pop(),
            "kept out": lambda objects: objects["NetworkPolicy"][0]["spec"]["ingress"][0]["from"].pop(0),
        },
    ),
)
