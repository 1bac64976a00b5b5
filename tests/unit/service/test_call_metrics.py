"""The service's metrics stand beside whatever an agent's own libraries register."""

from prometheus_client import REGISTRY, Counter, Summary, generate_latest

from outboard.service.metrics import CallMetrics


def test_an_agent_may_import_a_library_that_registers_the_same_names() -> None:
    metrics = CallMetrics({"beside"})
    metrics.succeeded("get", "beside", 0.1)
    metrics.took_inputs("beside", 12)
    theirs = [
        Counter("flyte_connector_requests_success", "Theirs.", ["task_type", "operation"]),
        Summary("flyte_connector_input_literal_bytes", "Theirs.", ["task_type"]),
    ]
    try:
        page = generate_latest(REGISTRY).decode()
    finally:
        for each in theirs:
            REGISTRY.unregister(each)
    assert 'flyte_connector_requests_success_total{operation="get",task_type="beside"} 1.0' in page
    assert 'flyte_connector_input_literal_bytes_sum{task_type="beside"} 12.0' in page
