"""Real SDKs against a real server that says "slow down": their calls wait, and are slowed by what they are answered."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import botocore.session
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from outboard.agent import ErrorMap
from outboard.agent.platform_calls import TALLIES
from outboard.agent.sdk_budgets import spend_with_botocore, spend_with_requests
from outboard.agent.spending import CURRENT_CALL, AgentCall
from outboard.domain.quotas import Quotas, Rate
from outboard.errors import BudgetSpent, Throttled
from outboard.host.budgets.budgets import AccountBudget

SLOW_DOWN = ErrorMap({"TooManyRequestsException": Throttled})


class Platform(BaseHTTPRequestHandler):
    """Answers what the test planned, in turn, and notes when it was asked."""

    answers: ClassVar[list[tuple[int, dict[str, str], str]]] = []
    asked: ClassVar[list[tuple[float, str]]] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((time.monotonic(), self.path))
        status, headers, body = self.answers.pop(0) if self.answers else (200, {}, "{}")
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET  # noqa: N815 - same

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Platform.answers, Platform.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def batch_client(url: str, attempts: int = 1) -> Any:
    session = botocore.session.Session()
    return session.create_client(
        "batch",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",  # noqa: S106 - that is what it is
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


def rates(budget: AccountBudget) -> dict[str, float]:
    return {method: rate for method, _, rate in budget.figures()}


def test_botocores_calls_wait_for_the_budget_of_their_operation(url: str) -> None:
    budget = AccountBudget(Quotas({"DescribeJobs": Rate(per_second=20)}))
    client = batch_client(url)
    spend_with_botocore(client, budget)
    for _ in range(5):
        client.describe_jobs(jobs=["1"])
    times = [at for at, _ in Platform.asked]
    assert len(times) == 5
    assert times[-1] - times[0] >= 4 * 0.05 - 0.03
    assert set(rates(budget)) == {"DescribeJobs"}
    client.close()


def test_botocores_own_retries_spend_too(url: str) -> None:
    Platform.answers = [(500, {}, '{"message": "oops"}')]
    budget = AccountBudget(Quotas({"DescribeJobs": Rate(per_second=0.5)}))
    client = batch_client(url, attempts=2)
    spend_with_botocore(client, budget, longest_wait_s=0.05)
    with pytest.raises(BudgetSpent):
        client.describe_jobs(jobs=["1"])
    assert len(Platform.asked) == 1
    client.close()


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"Retry-After": "9", "x-amzn-ErrorType": "TooManyRequestsException"}, '{"message": "slow down"}'),
        (400, {"Retry-After": "9", "x-amzn-ErrorType": "ThrottlingException"}, '{"message": "Rate exceeded"}'),
        (503, {"Retry-After": "9", "x-amzn-ErrorType": "ServiceUnavailable"}, '{"message": "later"}'),
    ],
)
def test_what_botocore_is_refused_slows_its_next_calls(
    url: str, status: int, headers: dict[str, str], body: str
) -> None:
    Platform.answers = [(status, headers, body)]
    budget = AccountBudget(Quotas(), SLOW_DOWN)
    client = batch_client(url)
    spend_with_botocore(client, budget)
    with pytest.raises(ClientError):
        client.describe_jobs(jobs=["1"])
    CURRENT_CALL.set(AgentCall("agent", "get_many", time.monotonic() + 1.0))
    with pytest.raises(BudgetSpent) as caught:
        client.describe_jobs(jobs=["1"])
    assert caught.value.retry_after is not None
    assert 8 < caught.value.retry_after.total_seconds() <= 10
    CURRENT_CALL.set(None)
    client.list_jobs(jobQueue="q")  # another operation is free
    assert [path for _, path in Platform.asked] == ["/v1/describejobs", "/v1/listjobs"]
    client.close()


def test_what_only_the_error_map_knows_is_found_in_botocores_exception(url: str) -> None:
    Platform.answers = [(400, {"x-amzn-ErrorType": "ServerBusy", "Retry-After": "3"}, '{"message": "busy"}')]
    client = batch_client(url)
    with pytest.raises(ClientError) as caught:
        client.describe_jobs(jobs=["1"])
    error = ErrorMap({"ServerBusy": Throttled}).classify(caught.value)
    assert isinstance(error, Throttled)
    assert error.platform_code == "ServerBusy"
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 3
    client.close()


def test_a_requests_session_waits_and_is_slowed(url: str) -> None:
    Platform.answers = [(200, {}, "{}"), (429, {"Retry-After": "9"}, "{}")]
    budget = AccountBudget(Quotas())
    with requests.Session() as session:
        spend_with_requests(session, budget, lambda request: request.path_url, longest_wait_s=0.1)
        assert session.get(f"{url}/jobs").json() == {}
        assert session.get(f"{url}/jobs").status_code == 429
        with pytest.raises(BudgetSpent):
            session.get(f"{url}/jobs")
        assert session.get(f"{url}/others").status_code == 200
    assert [path for _, path in Platform.asked] == ["/jobs", "/jobs", "/others"]


def test_the_error_map_finds_status_and_time_in_an_exception_of_requests(url: str) -> None:
    Platform.answers = [(429, {"Retry-After": "7"}, '{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}')]
    with requests.Session() as session, pytest.raises(requests.HTTPError) as caught:
        session.get(f"{url}/jobs").raise_for_status()
    error = ErrorMap().classify(caught.value)
    assert isinstance(error, Throttled)
    assert error.platform_code == "rateLimitExceeded"
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 7


def counted(agent: str) -> dict[tuple[str, str], int]:
    """Calls of an agent by method and outcome, as the metrics have them."""
    return {(method, outcome): sum(tally.buckets) for (who, method, outcome), tally in TALLIES.items() if who == agent}


def test_each_request_of_an_sdk_is_counted_by_what_came_of_it(url: str) -> None:
    Platform.answers = [(200, {}, "{}"), (429, {}, "{}"), (500, {}, "{}"), (403, {}, "{}")]
    client, session = batch_client(url), requests.Session()
    spend_with_botocore(client, AccountBudget(Quotas({})))
    spend_with_requests(session, AccountBudget(Quotas({})), lambda _: "jobs")
    token = CURRENT_CALL.set(AgentCall("counted", "get", time.monotonic() + 60))
    try:
        client.describe_jobs(jobs=["1"])
        for _ in range(3):
            with contextlib.suppress(ClientError):
                client.describe_jobs(jobs=["1"])
        session.get(url, timeout=10)
        Platform.answers = [(503, {}, "{}")]
        session.get(url, timeout=10)
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1:9", timeout=10)
    finally:
        CURRENT_CALL.reset(token)
        client.close()
        session.close()
    once = dict.fromkeys([("DescribeJobs", each) for each in ("answered", "throttled", "unreachable", "refused")], 1)
    assert counted("counted") == {**once, ("jobs", "answered"): 1, ("jobs", "unreachable"): 2}
