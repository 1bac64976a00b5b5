"""What the SDKs' Databricks tasks send, built with their own classes and kept as JSON beside the tests.

`python databricks_sdk_tasks.py` writes `sdk_tasks.json` anew, where flytekitplugins-spark and flyteplugins-databricks are
installed; a test compares, so that the corpus follows the SDKs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "sdk_tasks.json"
HOST = "acme.cloud.databricks.com"
CLUSTER = {"spark_version": "15.4.x-scala2.12", "node_type_id": "m5.xlarge", "num_workers": 2}
SERVERLESS = {"environment_key": "default", "environments": [{"environment_key": "default", "spec": {"client": "1"}}]}


def numbered(a: int) -> float:
    """Return a number; the body of all tasks here, which the SDKs insist to find in a module."""
    return float(a)


async def numbered_later(a: int) -> float:
    """Return a number; the same for Flyte 2."""
    return float(a)


def flytekit_tasks() -> dict[str, Any]:
    """Return flytekit's task templates by name, as JSON."""
    from collections import OrderedDict

    from flytekit import task
    from flytekit.configuration import Image, ImageConfig, SerializationSettings
    from flytekit.tools.translator import get_serializable
    from flytekitplugins.spark import Databricks, DatabricksV2
    from google.protobuf.json_format import MessageToDict

    shared = {"databricks_instance": HOST, "spark_conf": {"spark.driver.memory": "2g"}}
    conf = {"run_name": "nightly", "new_cluster": CLUSTER, "timeout_seconds": 3600, "max_retries": 1}
    scaled = {**CLUSTER, "autoscale": {"min_workers": 1, "max_workers": 4}}
    scaled.pop("num_workers")
    configs = {
        "classic": DatabricksV2(databricks_conf=conf, **shared),
        "autoscale": DatabricksV2(databricks_conf={"run_name": "a", "new_cluster": scaled}, **shared),
        "existing": DatabricksV2(databricks_conf={"existing_cluster_id": "0101-1-x"}, **shared),
        "serverless": DatabricksV2(
            databricks_conf=SERVERLESS, databricks_service_credential_provider="s3-access", **shared
        ),
        "notebook": DatabricksV2(
            databricks_conf={"new_cluster": CLUSTER},
            notebook_path="/Shared/report",
            notebook_base_parameters={"day": "2026-01-01"},
            databricks_token_secret="databricks-team-a",  # noqa: S106 - a name
            **shared,
        ),
        "oauth": DatabricksV2(
            databricks_conf={"existing_cluster_id": "c"},
            databricks_auth_type="oauth_m2m",
            databricks_client_id="client-1",
            **shared,
        ),
        "older": Databricks(databricks_conf=conf, **shared),
    }
    image = ImageConfig(default_image=Image("main", "img", "1"))
    settings = SerializationSettings(project="p", domain="d", version="v", image_config=image, env={"A": "1"})
    found = {}
    for name, config in configs.items():
        declared = task(numbered, task_config=config)
        template = get_serializable(OrderedDict(), settings, declared).template.to_flyte_idl()
        found[f"flytekit {name}"] = MessageToDict(template)
    return found


def flyte_tasks() -> dict[str, Any]:
    """Return Flyte 2's task templates by name, as JSON."""
    import importlib

    import flyte
    from flyte._internal.runtime.task_serde import translate_task_to_wire
    from flyte.models import SerializationContext
    from google.protobuf.json_format import MessageToDict

    found = {}
    for name, token in (("token", "team-a-databricks"), ("no token", None)):
        environment = flyte.TaskEnvironment(
            name="e",
            image=flyte.Image.from_base("img:1"),
            plugin_config=importlib.import_module("flyteplugins.databricks").Databricks(
                spark_conf={"spark.driver.memory": "2g"},
                databricks_conf={"run_name": "nightly", "new_cluster": CLUSTER},
                databricks_instance=HOST,
                databricks_token=token,
            ),
        )

        context = SerializationContext(version="v", project="p", domain="d", root_dir=Path(__file__).parent)
        template = translate_task_to_wire(environment.task(numbered_later), context).task_template
        found[f"flyte {name}"] = MessageToDict(template)
    return found


def essentials(templates: dict[str, Any]) -> dict[str, Any]:
    """Return of each template what an agent reads, without what differs from machine to machine."""
    return {
        name: {
            "type": each["type"],
            "custom": {k: v for k, v in each["custom"].items() if k not in ("executorPath", "mainApplicationFile")},
            "args": each["container"]["args"][:8],
            "image": each["container"]["image"],
            "env": {entry["key"]: entry.get("value", "") for entry in each["container"].get("env", [])},
        }
        for name, each in templates.items()
    }


if __name__ == "__main__":
    CORPUS.write_text(json.dumps(essentials({**flytekit_tasks(), **flyte_tasks()}), indent=1) + "\n", "utf-8")
