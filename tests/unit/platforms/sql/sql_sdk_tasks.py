"""Task templates as the SDKs' real classes send them, from the examples of docs/platforms/sql.md.

`sdk_tasks.json` holds the one that needs a plugin; `python sql_sdk_tasks.py > sdk_tasks.json` writes it again, where
flytekitplugins-sqlalchemy is installed.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

CORPUS = Path(__file__).with_name("sdk_tasks.json")
PAGE = Path(__file__).resolve().parents[4] / "docs" / "platforms" / "sql.md"


def examples() -> list[str]:
    """Return the page's Python: SQLAlchemyTask, flytekit's plain task, Flyte 2's."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def executed(source: str) -> dict[str, Any]:
    """Run an example as it stands; return its names."""
    names: dict[str, Any] = {"__name__": "example"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Flyte 2's own modules deprecate each other
        exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    return names


def flytekit_template(task: Any) -> Any:
    """Return flyteidl's template of a task of flytekit."""
    from flytekit.configuration import ImageConfig, SerializationSettings
    from flytekit.tools.translator import get_serializable

    settings = SerializationSettings(
        image_config=ImageConfig.auto(img_name="example.com/image:v1"),
        project="shop",
        domain="production",
        version="v1",
    )
    return get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()


def flyte2_template(task: Any) -> Any:
    """Return flyteidl2's template of a task of Flyte 2."""
    from flyte._internal.runtime.task_serde import translate_task_to_wire
    from flyte.models import SerializationContext

    context = SerializationContext(version="v1", project="shop", domain="production", root_dir=Path(__file__).parent)
    return translate_task_to_wire(task, context).task_template


if __name__ == "__main__":
    made = flytekit_template(executed(examples()[0])["orders"])
    json.dump(MessageToDict(made), sys.stdout, indent=1, sort_keys=True)
    print()  # noqa: T201 - the end of the file
