"""Tasks as the real task classes of both SDKs send them; `sdk_tasks.json` holds what this made, so most tests need no plugin.

`python snowflake_sdk_tasks.py > sdk_tasks.json` writes it again, where flytekitplugins-snowflake and flyteplugins-snowflake are
installed (both need snowflake-connector-python, below 5 for Flyte 2).
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "sdk_tasks.json"
SELECT = """
    SELECT * FROM orders
    WHERE day = %(day)s AND region IN (%(regions)s) AND note LIKE 'a%%'
"""
INSERT = "INSERT INTO users (id, name) VALUES (%(id)s, %(name)s)"
PLACE = {"user": "FLYTE", "account": "MYORG-PROD", "database": "SALES", "schema": "PUBLIC", "warehouse": "LOADING"}


def flytekit_tasks() -> dict[str, Any]:
    """Return flytekit's task templates by name."""
    from flytekit import StructuredDataset, kwtypes
    from flytekit.configuration import ImageConfig, SerializationSettings
    from flytekit.tools.translator import get_serializable
    from flytekitplugins.snowflake import SnowflakeConfig, SnowflakeTask
    from google.protobuf.json_format import MessageToDict

    settings = SerializationSettings(
        image_config=ImageConfig.auto(), project="shop", domain="development", version="v1"
    )
    task = SnowflakeTask(
        name="shop.orders",
        query_template=SELECT,
        task_config=SnowflakeConfig(**PLACE),
        inputs=kwtypes(day=datetime, regions=list[str]),
        output_schema_type=StructuredDataset,
    )
    silent = SnowflakeTask(
        name="shop.insert",
        query_template=INSERT,
        task_config=SnowflakeConfig(**PLACE),
        inputs=kwtypes(id=int, name=str),
    )
    templates = {
        name: MessageToDict(get_serializable(OrderedDict(), settings, each).template.to_flyte_idl())
        for name, each in (("flytekit select", task), ("flytekit insert", silent))
    }
    return {name: _essentials(template) for name, template in templates.items()}


def flyte2_tasks() -> dict[str, Any]:
    """Return Flyte 2's task templates by name."""
    from flyte._internal.runtime.task_serde import translate_task_to_wire
    from flyte.io import DataFrame
    from flyte.models import SerializationContext
    from flyteplugins.snowflake import Snowflake, SnowflakeConfig
    from google.protobuf.json_format import MessageToDict

    arguments = {
        "role": "LOADER",
        "session_parameters": {"QUERY_TAG": "nightly", "TIMEZONE": "UTC"},
        "login_timeout": 60,
    }
    tasks = {
        "flyte2 select": Snowflake(
            name="orders",
            query_template=SELECT,
            plugin_config=SnowflakeConfig(**PLACE, connection_kwargs=arguments),
            inputs={"day": datetime, "regions": list[str]},
            output_dataframe_type=DataFrame,
            secret_group="snowflake",  # noqa: S106 - a name
            snowflake_private_key="key",
            snowflake_private_key_passphrase="passphrase",  # noqa: S106 - a name
        ),
        "flyte2 batch": Snowflake(
            name="insert",
            query_template=INSERT,
            plugin_config=SnowflakeConfig(**PLACE),
            inputs={"id": list[int], "name": list[str]},
            snowflake_private_key="key",
            batch=True,
        ),
    }
    context = SerializationContext(version="v", project="p", domain="d", root_dir=Path(__file__).parent)
    return {
        name: _essentials(MessageToDict(translate_task_to_wire(task, context).task_template))
        for name, task in tasks.items()
    }


def _essentials(template: dict[str, Any]) -> dict[str, Any]:
    """Return of a template what an agent reads."""
    return {
        "type": template["type"],
        "custom": template.get("custom", {}),
        "config": template.get("config", {}),
        "sql": template["sql"]["statement"],
    }


if __name__ == "__main__":
    json.dump({**flytekit_tasks(), **flyte2_tasks()}, sys.stdout, indent=1, sort_keys=True)
    print()  # noqa: T201 - the end of the file
