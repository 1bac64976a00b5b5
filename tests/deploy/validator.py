"""Holds objects against schemas; runs in the environment of the part `deploy`, and reads and writes JSON.

Objects of Kubernetes itself are held against the strict schemas of each version that is asked for; those of other projects
against the definitions that they publish, made strict: a field that a definition does not name is refused.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jsonschema
import kubernetes_validate
import yaml


def main() -> None:
    """Read `{objects, versions, definitions}`; write a list of `[name, version, complaint]`."""
    wanted = json.load(sys.stdin)
    definitions = {}
    for path in wanted["definitions"]:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - of an environment of its own
            definition = yaml.safe_load(file)
        for version in definition["spec"]["versions"]:
            key = f"{definition['spec']['group']}/{version['name']}", definition["spec"]["names"]["kind"]
            definitions[key] = strict(version["schema"]["openAPIV3Schema"])
    complaints = []
    for name, document in wanted["objects"]:
        definition = definitions.get((document["apiVersion"], document["kind"]))
        if definition is not None:
            found = jsonschema.Draft202012Validator(definition).iter_errors(document)
            complaints += [[name, document["apiVersion"], f"{error.json_path}: {error.message}"] for error in found]
        else:
            complaints += [
                [name, version, words] for version in wanted["versions"] for words in of_kubernetes(document, version)
            ]
    json.dump(complaints, sys.stdout)


def of_kubernetes(document: dict[str, Any], version: str) -> list[str]:
    """Return what a version of Kubernetes would complain of."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"no such kind: {error}"]
    return []


def strict(schema: Any) -> Any:
    """Return a schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: strict(each) for name, each in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if key not in ("pattern", "format")  # Go's expressions, not Python's
    }
    if (
        "properties" in made
        and "additionalProperties" not in made
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        made["additionalProperties"] = False
    if made.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


if __name__ == "__main__":
    main()
