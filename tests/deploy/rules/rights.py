"""What an account may do, and that nothing which belongs into a Secret stands elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from deploy.rules.objects import Objects, replicas
from deploy.rules.rule import Rule


def rights_are_narrow(objects: Objects) -> Iterator[str]:
    """Roles, never cluster roles; `get` of secrets and nothing else; bound to one account of a service, where that is."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        if kind in objects:
            yield f"there is a {kind}"
    roles = {_place(role) for role in objects.get("Role", [])}
    for role in objects.get("Role", []):
        for rule in role["rules"]:
            if (rule["apiGroups"], rule["resources"], rule["verbs"]) != ([""], ["secrets"], ["get"]):
                yield f"{_place(role)}: {rule}"
    accounts = [
        [{"kind": "ServiceAccount", "name": pod.spec["serviceAccountName"], "namespace": each["metadata"]["namespace"]}]
        for pod, each in zip(replicas(objects), objects["Deployment"], strict=True)
    ]
    bound = set()
    for binding in objects.get("RoleBinding", []):
        namespace, role = binding["metadata"]["namespace"], binding["roleRef"]
        bound.add((namespace, role["name"]))
        if role["kind"] != "Role" or (namespace, role["name"]) not in roles:
            yield f"{_place(binding)} gives {role}"
        if binding["subjects"] not in accounts:
            yield f"{_place(binding)} is for {binding['subjects']}"
    if roles != bound:
        yield f"nobody has {sorted(roles - bound)}"


def _place(found: dict[str, Any]) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def no_secret_is_written(objects: Objects) -> Iterator[str]:
    """The chart makes no Secret; no ConfigMap and no variable holds what belongs into one."""
    if "Secret" in objects:
        yield "there is a Secret"
    for each in objects.get("ConfigMap", []):
        text = each.get("data", {}).get("settings.yaml", "")
        for word in ("service_keys", "overrides", "password", "PRIVATE KEY", "headers:"):
            if word in text:
                yield f"ConfigMap {each['metadata']['name']} holds {word}"
    for pod in replicas(objects):
        for variable in pod.container["env"]:
            if variable["name"] in ("OUTBOARD_SERVICE_KEYS", "OTEL_EXPORTER_OTLP_HEADERS") and "value" in variable:
                yield f"{pod.name}: {variable['name']} stands in the manifest"


def _binding(objects: Objects) -> dict[str, Any]:
    return objects["RoleBinding"][0]


RULES: Final = (
    Rule(
        name="rights are narrow",
        look=rights_are_narrow,
        planted={
            "one verb more": lambda objects: objects["Role"][0]["rules"][0]["verbs"].append("list"),
            "everywhere": lambda objects: objects.update(ClusterRole=objects["Role"]),
            "a role of the cluster": lambda objects: _binding(objects)["roleRef"].update(kind="ClusterRole"),
            "a role of others": lambda objects: _binding(objects)["roleRef"].update(name="admin"),
            "to a group": lambda objects: _binding(objects).update(
                subjects=[{"kind": "Group", "name": "system:serviceaccounts"}]
            ),
            "to an account of another namespace": lambda objects: _binding(objects)["subjects"][0].update(
                namespace="default"
            ),
            "to nobody": lambda objects: objects["RoleBinding"].pop(),
        },
    ),
    Rule(
        name="no secret is written",
        look=no_secret_is_written,
        planted={
            "among the settings": lambda objects: objects["ConfigMap"][0]["data"].update(
                {"settings.yaml": "service_keys: [x]"}
            ),
            "as a variable": lambda objects: (
                next(replicas(objects)).container["env"].append({"name": "OUTBOARD_SERVICE_KEYS", "value": "x"})
            ),
            "as a Secret": lambda objects: objects.update(Secret=[{}]),
        },
    ),
)
