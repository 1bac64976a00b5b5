"""SDK budgets: blocking clients whose calls spend the account's budget by themselves.

`http.budget`, which `Platform.open` gets, is the budget of the connection's account. Attached to a client, every request that
the client sends waits for its turn, the SDK's own retries included, and every answer that says "slow down" slows the next
ones. Nothing else changes: what the SDK raises goes through the platform's `ErrorMap` as ever.

* `spend_with_botocore(client, http.budget)`: methods are the service's operations (`DescribeJobs`), as AWS names its quotas.
* `spend_with_requests(session, http.budget, method)`: `method` names the platform's method of a request.

These clients block, so they belong to blocking agents, whose calls run in threads. Neither library is imported here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from outboard.agent.error_facts import retry_after
from outboard.agent.platform_calls import CallSpan, http_facts, outcome_of, outcome_of_status, took
from outboard.agent.spending import CURRENT_CALL, Budget, Spending
from outboard.errors import Throttled

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

LONGEST_WAIT_S: Final = 60.0
"""How long a request waits for its turn where no agent's call sets an earlier deadline."""
_AWS_THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Codes that AWS's SDKs take for throttling, whatever their status
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html)."""


def spend_with_botocore(client: Any, budget: Budget, longest_wait_s: float = LONGEST_WAIT_S) -> None:
    """Let every request of a botocore (or boto3) client spend the budget.

    Args:
        client: The client; its event hooks are used, so that its own retries spend as well.
        budget: `http.budget`.
        longest_wait_s: How long a request waits where no agent's call sets an earlier deadline.

    A request whose turn does not come in time raises `BudgetSpent` out of the client's method; nothing was sent.
    """
    sending = threading.local()

    def before_send(event_name: str, **_: Any) -> None:
        asked_at = time.monotonic()
        method = _operation(event_name)
        with Spending(budget, method, longest_wait_s, makes_call=False):
            sending.at = time.monotonic()
        call = CURRENT_CALL.get()
        sending.span = call.trace.platform_call(method, sending.at - asked_at) if call and call.trace else None

    def response_received(event_name: str, **told: Any) -> None:
        answer: Mapping[str, Any] = told.get("response_dict") or {}
        error = (told.get("parsed_response") or {}).get("Error") or {}
        status, headers = answer.get("status_code", 0), _lower(answer.get("headers") or {})
        sent_at = getattr(sending, "at", 0.0)
        throttled = None
        if error.get("Code") in _AWS_THROTTLING or _means_slow_down(status, headers):
            throttled = _throttled(headers, code=error.get("Code"))
            budget.failed(_operation(event_name), throttled, sent_at)
        if sent_at:
            _count(_operation(event_name), status, throttled, sent_at, getattr(sending, "span", None))
            sending.at, sending.span = 0.0, None

    client.meta.events.register("before-send", before_send)
    client.meta.events.register("response-received", response_received)


def spend_with_requests(
    session: Session,
    budget: Budget,
    method: Callable[[PreparedRequest], str],
    longest_wait_s: float = LONGEST_WAIT_S,
) -> None:
    """Let every request of a `requests` session spend the budget.

    Args:
        session: The session; what is mounted in it goes on sending. Mount other adapters before.
        budget: `http.budget`.
        method: Names the platform's method of a request, as the quotas have it.
        longest_wait_s: How long a request waits where no agent's call sets an earlier deadline.

    A request whose turn does not come in time raises `BudgetSpent`; nothing was sent. Retries that urllib3 makes inside an
    adapter are not seen here: leave them off, the host asks again.
    """
    for prefix, adapter in list(session.adapters.items()):
        spending: Any = _SpendingAdapter(adapter, budget, method, longest_wait_s)
        session.mount(prefix, spending)


class _SpendingAdapter:
    """What a session sends through, around what it sent through before."""

    def __init__(
        self, inner: Any, budget: Budget, method: Callable[[PreparedRequest], str], longest_wait_s: float
    ) -> None:
        self._inner = inner
        self._budget = budget
        self._method = method
        self._longest_wait_s = longest_wait_s

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        method = self._method(request)
        with Spending(self._budget, method, self._longest_wait_s) as spending:
            sent_at = time.monotonic()
            if spending.span is not None:
                request.headers.update(spending.span.headers())
                spending.span.note(http_facts(request.method or "", request.url or ""))
            answer: Response = self._inner.send(request, *args, **options)
            spending.came(answer.status_code)
        headers = _lower(answer.headers)
        if _means_slow_down(answer.status_code, headers):
            self._budget.failed(method, _throttled(headers), sent_at)
        return answer

    def close(self) -> None:
        self._inner.close()


def _count(method: str, status: int, error: BaseException | None, sent_at: float, span: CallSpan | None) -> None:
    """Count a call that botocore made; without a status there was no answer."""
    answered = outcome_of_status(status) if status else "unreachable"
    outcome = answered if error is None else outcome_of(error)
    call = CURRENT_CALL.get()
    took(call.agent if call is not None else "", method, outcome, time.monotonic() - sent_at)
    if span is not None:
        span.note({"rpc.system": "aws-api", "rpc.method": method, "http.response.status_code": status})
        span.end(outcome, error)


def _operation(event_name: str) -> str:
    """Return the operation of an event: `before-send.batch.DescribeJobs`."""
    return event_name.rpartition(".")[2]


def _means_slow_down(status: int, headers: Mapping[str, str]) -> bool:
    # 503 says so only with a time: otherwise the platform is down, and asking slower changes nothing.
    return status == 429 or (status == 503 and "retry-after" in headers)


def _throttled(headers: Mapping[str, str], code: str | None = None) -> Throttled:
    wait = retry_after(headers.get("retry-after"), datetime.now(timezone.utc))
    return Throttled("the platform says: slow down", code=code, retry_after=wait)


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}
