"""Tasks as flytekit's real task classes send them; `sdk_tasks.json` holds what this made, so most tests need no plugin.

`python athena_sdk_tasks.py > sdk_tasks.json` writes it again, where flytekitplugins-athena and flytekitplugins-hive are
installed.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "sdk_tasks.json"
SQL = "SELECT *\n  FROM vaccinations WHERE iso_code LIKE '{{ .inputs.iso_code }}' AND total > {{ .Inputs.least }}"


def tasks() -> dict[str, Any]:
    from flytekit import kwtypes
    from flytekit.configuration import ImageConfig, SerializationSettings
    from flytekit.tools.translator import get_serializable
    from flytekit.types.schema import FlyteSchema
    from flytekitplugins.athena import AthenaConfig, AthenaTask
    from flytekitplugins.hive import HiveConfig, HiveSelectTask, HiveTask

    settings = SerializationSettings(
        image_config=ImageConfig.auto(), project="shop", domain="development", version="v1"
    )
    inputs = kwtypes(iso_code=str, least=int)
    made = {
        "athena plain": AthenaTask(name="shop.plain", query_template=SQL, inputs=inputs),
        "athena whole": AthenaTask(
            name="shop.whole",
            query_template=SQL,
            inputs=inputs,
            task_config=AthenaConfig(database="vaccinations", workgroup="etl", catalog="AwsDataCatalog"),
            output_schema_type=FlyteSchema,
        ),
        "hive": HiveTask(
            name="shop.hive",
            query_template=SQL,
            inputs=inputs,
            task_config=HiveConfig(cluster_label="vaccinations", tags=["nightly"]),
            output_schema_type=FlyteSchema,
        ),
        "hive select": HiveSelectTask(
            name="shop.select", select_query="SELECT 1", inputs=kwtypes(), output_schema_type=FlyteSchema
        ),
    }
    answers = {}
    for name, task in made.items():
        template = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
        custom = task.get_custom(settings)
        outputs = {key: each.type.WhichOneof("type") for key, each in template.interface.outputs.variables.items()}
        answers[name] = {"type": template.type, "custom": custom, "outputs": outputs}
    return answers


if __name__ == "__main__":
    json.dump(tasks(), sys.stdout, indent=1, sort_keys=True)
