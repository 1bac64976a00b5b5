"""What happens to the number of replicas: roll-outs, drains of nodes, autoscalers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from deploy.rules.objects import Objects, replicas, selected
from deploy.rules.rule import Rule
from metric_sources import metric_sources


def replacing_costs_no_replica(objects: Objects) -> Iterator[str]:
    """With more than one replica none is missing while they are replaced, and a drain of nodes takes one at a time."""
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in objects.get("HorizontalPodAutoscaler", [])}
    for each in objects["Deployment"]:
        name, spec = each["metadata"]["name"], each["spec"]
        if "replicas" in spec and name in scaled:
            yield f"{name}: a roll-out would undo what the autoscaler decided"
        if spec.get("replicas", 2) < 2:
            continue
        if spec["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{name} does without a replica"
        if spec["minReadySeconds"] < 1:
            yield f"{name}: clients do not know the new replica when the old one goes"
        budgets = [
            budget["spec"]["maxUnavailable"]
            for budget in objects.get("PodDisruptionBudget", [])
            if selected(budget["spec"]["selector"]["matchLabels"], objects) == [name]
        ]
        if budgets != [1]:
            yield f"{name}: a drain of nodes takes {budgets or 'all'}"


def autoscalers_see_what_they_scale(objects: Objects) -> Iterator[str]:
    """An autoscaler has a Deployment of ours, and looks at a container of it or at a metric that we have."""
    named = {pod.name: pod for pod in replicas(objects)}
    for each in objects.get("HorizontalPodAutoscaler", []):
        name, spec = each["metadata"]["name"], each["spec"]
        target = spec["scaleTargetRef"]
        if (target["apiVersion"], target["kind"]) != ("apps/v1", "Deployment") or target["name"] not in named:
            yield f"{name} scales {target}"
            continue
        containers = {one["name"] for one in named[target["name"]].spec["containers"]}
        for metric in spec["metrics"]:
            if metric["type"] == "ContainerResource" and metric["containerResource"]["container"] not in containers:
                yield f"{name} looks at {metric['containerResource']}"
            if metric["type"] == "Pods" and metric["pods"]["metric"]["name"] not in metric_sources():
                yield f"{name} looks at {metric['pods']['metric']}, which is none of ours"


def _scaler(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects["HorizontalPodAutoscaler"][0]["spec"]
    return spec


RULES: Final = (
    Rule(
        name="replacing costs no replica",
        look=replacing_costs_no_replica,
        planted={
            "one missing": lambda objects: objects["Deployment"][1]["spec"]["strategy"]["rollingUpdate"].update(
                maxUnavailable=1
            ),
            "all at once": lambda objects: objects["Deployment"][1]["spec"].update(strategy={"type": "Recreate"}),
            "no wait": lambda objects: objects["Deployment"][1]["spec"].update(minReadySeconds=0),
            "no budget": lambda objects: objects.pop("PodDisruptionBudget"),
            "a budget of all": lambda objects: objects["PodDisruptionBudget"][0]["spec"].update(maxUnavailable="100%"),
        },
    ),
    Rule(
        name="autoscalers see what they scale",
        look=autoscalers_see_what_they_scale,
        of="autoscaled_gke",
        planted={
            "another's": lambda objects: _scaler(objects)["scaleTargetRef"].update(name="other"),
            "another kind": lambda objects: _scaler(objects)["scaleTargetRef"].update(kind="StatefulSet"),
            "another container": lambda objects: _scaler(objects)["metrics"][0]["containerResource"].update(
                container="other"
            ),
            "another metric": lambda objects: _scaler(objects)["metrics"][1]["pods"]["metric"].update(name="other"),
        },
    ),
)
