"""The service's metrics stand beside whatever an agent's own libraries register."""

import subprocess
import sys

PROGRAM = """
from prometheus_client import REGISTRY, Counter, Summary, generate_latest
from outboard.service.metrics import CallMetrics

metrics = CallMetrics({"beside"})
metrics.succeeded("get", "beside", 0.1)
metrics.took_inputs("beside", 12)
Counter("flyte_connector_requests_success", "Theirs.", ["task_type", "operation"])
Summary("flyte_connector_input_literal_bytes", "Theirs.", ["task_type"])
print(generate_latest(REGISTRY).decode())
"""
"""A process of its own: flytekit, which another test may have imported into this one, registers the same names."""


def test_an_agent_may_import_a_library_that_registers_the_same_names() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert 'flyte_connector_requests_success_total{operation="get",task_type="beside"} 1.0' in done.stdout
    assert 'flyte_connector_input_literal_bytes_sum{task_type="beside"} 12.0' in done.stdout
