"""Platform calls over a real socket: budgets, time limits, and the platform's words in the right error."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone

import pytest
from aiohttp import web

from outboard.agent import ErrorMap, Http
from outboard.agent.error_facts import retry_after
from outboard.errors import AgentError, BudgetSpent, Rejected, Sent, Throttled, Unavailable


class Counting:
    """A budget that counts, and may be spent."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s
        self.methods: list[str] = []
        self.failures: list[tuple[str, BaseException]] = []

    def ask(self, method: str, /) -> "Never | None":
        self.methods.append(method)
        return Never(self.wait_s) if self.wait_s else None

    def failed(self, method: str, error: BaseException, sent_at: float, /) -> None:
        self.failures.append((method, error))


class Never:
    """A turn that does not come in time."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s

    async def come(self, deadline: float, /) -> None:
        self.come_blocking(deadline)

    def come_blocking(self, deadline: float, /) -> None:
        raise BudgetSpent("spent", retry_after=timedelta(seconds=self.wait_s))


def cloud_refusal(path: str) -> web.Response:
    """Where each of the large clouds puts its code."""
    if path == "/google":
        listed = [{"domain": "usageLimits", "reason": "rateLimitExceeded"}]
        words = {"code": 403, "message": "Exceeded rate limits", "status": "PERMISSION_DENIED", "errors": listed}
        return web.json_response({"error": words}, status=403)
    if path == "/aws":
        refusal = {"__type": "com.amazon.coral.service#ThrottlingException", "Message": "Rate exceeded"}
        return web.json_response(refusal, status=400)
    kind = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}
    return web.json_response({"message": "Rate exceeded"}, status=400, headers=kind)


async def answer(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/ok":
            return web.json_response({"echo": await request.text(), "q": request.query.get("q")})
        case "/nonsense":
            return web.Response(text="<html>")
        case "/slow-down":
            return web.json_response(
                {"error": {"code": "QUOTA", "message": "slow down"}}, status=429, headers={"Retry-After": "7"}
            )
        case "/bad":
            return web.json_response({"error_code": "INVALID", "message": "no such column"}, status=400)
        case "/google" | "/aws" | "/aws-header":
            return cloud_refusal(request.path)
        case "/slow-down-in-a-200":
            return web.json_response({"status": request.query["code"]})
        case "/away":
            return web.Response(status=302, headers={"Location": "/ok"})
        case "/reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        case _:
            import asyncio

            await asyncio.sleep(30)
            return web.Response()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    session = Http(budget=Counting(), errors=ErrorMap({"INVALID": Rejected}))
    yield session
    await session.close()


async def refusal(call: Callable[[], Awaitable[object]]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await call()
    return caught.value


async def test_an_answer_is_decoded_and_paid_for(url: str) -> None:
    budget = Counting()
    http = Http(budget=budget, errors=ErrorMap())
    answered = await http.post(f"{url}/ok", method="jobs/insert", json_body={"a": 1}, params={"q": "2"})
    assert answered.json() == {"echo": '{"a": 1}', "q": "2"}
    assert budget.methods == ["jobs/insert"]
    await http.close()


async def test_a_429_carries_when_to_come_back(url: str, http: Http) -> None:
    error = await refusal(lambda: http.get(f"{url}/slow-down", method="x"))
    assert isinstance(error, Throttled)
    assert error.retry_after == timedelta(seconds=7)
    assert (error.code, error.message) == ("QUOTA", "slow down")


async def test_a_listed_refusal_is_the_users_and_in_the_platforms_words(url: str, http: Http) -> None:
    error = await refusal(lambda: http.get(f"{url}/bad", method="x"))
    assert isinstance(error, Rejected)
    assert error.message == "no such column"


async def test_a_reset_may_have_arrived_and_a_refused_connection_did_not(url: str, http: Http) -> None:
    assert (await refusal(lambda: http.post(f"{url}/reset", method="x"))).sent is Sent.MAYBE
    assert (await refusal(lambda: http.post("http://127.0.0.1:1/", method="x"))).sent is Sent.NO


async def test_a_slow_platform_is_unavailable_and_may_have_got_it(url: str, http: Http) -> None:
    error = await refusal(lambda: http.post(f"{url}/hang", method="x", timeout_s=0.05))
    assert isinstance(error, Unavailable)
    assert error.sent is Sent.MAYBE


async def test_nonsense_instead_of_json_is_unavailable(url: str, http: Http) -> None:
    answered = await http.get(f"{url}/nonsense", method="x")
    with pytest.raises(Unavailable, match="not JSON"):
        answered.json()


async def test_a_redirect_is_not_followed_and_is_no_answer_unless_it_is_asked_for(url: str, http: Http) -> None:
    error = await refusal(lambda: http.get(f"{url}/away", method="x"))
    assert isinstance(error, Unavailable)
    assert (error.sent, "a redirect, which is not followed" in error.message) == (Sent.MAYBE, True)
    answered = await http.get(f"{url}/away", method="x", takes_redirects=True)
    assert (answered.status, answered.headers["location"]) == (302, "/ok")


async def test_a_budget_that_is_spent_past_the_deadline_is_throttled_and_nothing_is_sent(url: str) -> None:
    http = Http(budget=Counting(wait_s=9.0), errors=ErrorMap())
    error = await refusal(lambda: http.get(f"{url}/ok", method="x", timeout_s=1.0))
    assert isinstance(error, Throttled)
    assert error.sent is Sent.NO
    assert error.retry_after == timedelta(seconds=9)


async def test_without_time_nothing_is_sent_rather_than_without_a_limit(url: str, http: Http) -> None:
    error = await refusal(lambda: http.get(f"{url}/ok", method="x", timeout_s=0.0))
    assert isinstance(error, Unavailable)
    assert error.sent is Sent.NO


async def test_what_the_platform_refused_is_shown_to_the_budget(url: str) -> None:
    budget = Counting()
    http = Http(budget=budget, errors=ErrorMap())
    error = await refusal(lambda: http.get(f"{url}/slow-down", method="runs/get"))
    assert budget.failures == [("runs/get", error)]
    await http.get(f"{url}/ok", method="runs/get")
    assert len(budget.failures) == 1
    await http.close()


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/google", "rateLimitExceeded", "Exceeded rate limits"),
        ("/aws", "ThrottlingException", "Rate exceeded"),
        ("/aws-header", "ThrottlingException", "Rate exceeded"),
    ],
)
async def test_a_listed_code_is_found_where_the_large_clouds_put_it(url: str, path: str, code: str, words: str) -> None:
    http = Http(budget=Counting(), errors=ErrorMap({code: Throttled}))
    error = await refusal(lambda: http.get(f"{url}{path}", method="x"))
    assert isinstance(error, Throttled)
    assert (error.platform_code, error.message) == (code, words)
    await http.close()


async def test_a_general_code_counts_where_the_particular_one_is_not_listed(url: str) -> None:
    http = Http(budget=Counting(), errors=ErrorMap({"PERMISSION_DENIED": Rejected}))
    assert isinstance(await refusal(lambda: http.get(f"{url}/google", method="x")), Rejected)
    await http.close()


async def test_slow_down_in_a_200_is_throttling_where_the_map_reads_it_there(url: str) -> None:
    errors = ErrorMap({"SLOW_DOWN": Throttled}, in_body=lambda content: content.get("status"))
    http = Http(budget=Counting(), errors=errors)
    error = await refusal(lambda: http.get(f"{url}/slow-down-in-a-200?code=SLOW_DOWN", method="x"))
    assert isinstance(error, Throttled)
    assert error.platform_code == "SLOW_DOWN"
    assert (await http.get(f"{url}/slow-down-in-a-200?code=RUNNING", method="x")).json() == {"status": "RUNNING"}
    assert (await http.get(f"{url}/nonsense", method="x")).body == b"<html>"
    await http.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("-1", 0.0),
        ("soon", None),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("inf", None),
        ("1000000000000000", 365 * 86_400.0),
    ],
)
def test_retry_after_in_all_its_forms(header: str | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 22, 10, 0, 0, tzinfo=timezone.utc)
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(header, now) == expected
