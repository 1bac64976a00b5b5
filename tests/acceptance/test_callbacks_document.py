"""The agent that the document shows takes what the document's sender sends."""

import os
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from integration.service.served import served
from outboard.host.callbacks.callbacks import Result
from outboard.service.callbacks import desk

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "callbacks.md").read_text(encoding="utf-8")
KEY = "whsec_dGhlIGtleSBvZiBhbiBvdmVu"


async def test_the_documents_sender_rings_at_the_documents_agent(tmp_path: Path) -> None:
    agent, sender = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "ovens.py").write_text(agent, encoding="utf-8")
    (tmp_path / "ring.py").write_text(sender, encoding="utf-8")
    options = ("--agents", "ovens:Oven", "--callbacks-port", "0")
    async with served(*options, PYTHONPATH=str(tmp_path), _FSEC_OVEN_KEY_NEXT=KEY) as service:
        (line,) = service.logged("callbacks are taken")
        done = subprocess.run(  # noqa: ASYNC221 - the service is another process
            [sys.executable, "ring.py", str(line["port"]), "loaf-1"],
            cwd=tmp_path,
            env={**os.environ, "OVEN_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout == "200\n", done.stderr


def test_no_result_and_no_metric_is_left_out() -> None:
    told = set(re.findall(r"`(\w+)(?:\{[\w,]+\})?`", TEXT))
    metrics = [each for each in vars(desk).values() if isinstance(each, MetricWrapperBase)]
    assert {f"{next(iter(each.describe())).name}_total" for each in metrics} - told == set()
    assert {result.value for result in Result} - told == set()
    assert len(metrics) == 2
