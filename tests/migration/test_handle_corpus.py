"""Handles of every release are read for ever: jobs are under way while services are upgraded.

`handles/<release>.json` holds what that release wrote, and what it means. A release adds its file and never changes another.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from outboard.domain.handles import HandleCodec, ServiceKey

CORPUS = Path(__file__).parent / "handles"
CASES = [
    pytest.param(case, id=f"{file.stem}-{case['name']}")
    for file in sorted(CORPUS.glob("*.json"))
    for case in json.loads(file.read_text("utf-8"))
]


@pytest.mark.parametrize("case", CASES)
def test_a_handle_of_a_release_means_what_it_meant(case: dict[str, Any]) -> None:
    keys = [ServiceKey.parse(case["service_key"])] if case["service_key"] else []
    handle = HandleCodec(keys).decode(base64.b64decode(case["handle"]))
    read = {
        "agent": handle.agent,
        "task_type": handle.task_type,
        "task_type_version": handle.task_type_version,
        "key": handle.key.text,
        "scope": [handle.scope.project, handle.scope.domain, handle.scope.org, handle.scope.namespace],
        "connection": dict(handle.connection),
        "account": handle.account,
        "output_prefix": handle.output_prefix,
        "created_at": handle.created_at,
        "job": dict(handle.job),
        "job_version": handle.job_version,
        "output_types": None if handle.output_types is None else dict(handle.output_types),
        "memo": base64.b64encode(handle.memo).decode(),
    }
    assert read == case["fields"]


def test_the_corpus_is_not_empty() -> None:
    assert CASES
