"""The platform over HTTP: what every fault is on the wire, and what the reference agents make of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from outboard.agent import BlockingAgent, Context, Http, Labels, Quotas, Registry
from outboard.domain.keys import submission_key
from outboard.domain.phases import Phase
from outboard.errors import AgentError, Rejected, Sent, Throttled, Unavailable
from outboard.host import Host, HostSettings, SecretSettings
from outboard.host.budgets.budgets import AccountBudget
from outboard.host.logs import TaskLog
from outboard.host.stores import Stores
from outboard.testing.faults import (
    EFFECT_LOST,
    FAULTS,
    OPERATIONS,
    REPLY_LOST,
    FaultPlan,
    Form,
    Garble,
    OkButThrottled,
    Refuse,
    Stall,
    When,
    keeps_effect,
    throttled,
)
from outboard.testing.job_agents import JobConfig
from outboard.testing.ledger import Course, Ledger, LedgerRules
from outboard.testing.ledger_agents import sample_task
from outboard.testing.ledger_client import ERRORS, NameIsTaken
from outboard.testing.meters import Bucket
from outboard.testing.platform_server import PlatformServer, Refusal, operation
from outboard.testing.rest_agents import (
    REST_AGENTS,
    BlockingRestPlatform,
    RestBlockingAgent,
    RestConnection,
    RestPlatform,
    RestSettings,
)
from outboard.testing.rest_clients import BlockingRestClient, RestClient

LIMIT_S = 0.3
"""Of a call that meets silence."""
NOT_SENT = {"429", "429 with Retry-After", "429 as 200", "400", "401", "403"}
COURSE = Course(running_s=None, outputs={"answer": 42})
KEY = {"outboard-key": "ob-a"}


class Raw:
    """An answer as it came over the socket."""

    def __init__(
        self, server: PlatformServer, *, timeout_s: float = 5.0, body: object = None, path: str = "/jobs"
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
        try:
            self._connection.request("POST", path, json.dumps(body if body is not None else {}))
            answer = self._connection.getresponse()
            self.status = answer.status
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            self.body = answer.read()
        finally:
            self._connection.close()

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    """In a thread of its own, as for SDKs that block."""
    with PlatformServer() as running:
        yield running


@contextlib.asynccontextmanager
async def rest(server: PlatformServer) -> AsyncIterator[RestClient]:
    session = Http(budget=AccountBudget(Quotas()), errors=ERRORS)
    try:
        yield RestClient(server.url, session)
    finally:
        await session.close()


async def create(client: RestClient, **fields: Any) -> Any:
    return await client.create(**{"labels": {}, "course": COURSE, **fields})


async def refusal(call: Callable[[], Awaitable[object]]) -> AgentError:
    """What the host would make of what a call raises."""
    try:
        await asyncio.wait_for(call(), LIMIT_S)
    except (asyncio.TimeoutError, TimeoutError) as error:
        classified = ERRORS.classify(error)
    except Exception as error:  # noqa: BLE001 - the host catches everything too
        classified = ERRORS.classify(error)
    else:
        pytest.fail("the fault did not show")
    assert isinstance(classified, AgentError)
    return classified


def test_a_lost_reply_keeps_the_job_and_closes_in_order(server: PlatformServer) -> None:
    server.faults.add(REPLY_LOST, "create")
    with pytest.raises(http.client.RemoteDisconnected):
        Raw(server)
    assert len(server.ledger.jobs) == 1


def test_a_lost_effect_is_a_reset_without_a_job(server: PlatformServer) -> None:
    server.faults.add(EFFECT_LOST, "create")
    with pytest.raises(ConnectionResetError) as caught:
        Raw(server)
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert len(server.ledger.jobs) == 0


def test_a_reset_after_the_effect_keeps_the_job(server: PlatformServer) -> None:
    server.faults.add(FAULTS["reply reset"], "create")
    with pytest.raises(ConnectionResetError):
        Raw(server)
    assert len(server.ledger.jobs) == 1


@pytest.mark.parametrize(("when", "jobs"), [(When.BEFORE, 0), (When.AFTER, 1)])
def test_a_hang_is_silence_before_or_after_the_effect(server: PlatformServer, when: When, jobs: int) -> None:
    server.faults.add(Stall(when=when), "create")
    with pytest.raises(TimeoutError):
        Raw(server, timeout_s=LIMIT_S)
    assert len(server.ledger.jobs) == jobs


async def test_a_delayed_effect_comes_although_its_caller_went_away() -> None:
    async with PlatformServer() as server, rest(server) as client:
        server.faults.add(Stall(when=When.BEFORE, seconds=2 * LIMIT_S), "create")
        assert (await refusal(lambda: create(client))).sent is Sent.MAYBE
        assert len(server.ledger.jobs) == 0
        await server.ledger.effects.reaches("started")


async def test_a_delayed_answer_comes_to_who_waits() -> None:
    async with PlatformServer() as server, rest(server) as client:
        server.faults.add(Stall(when=When.AFTER, seconds=0.05), "create")
        assert (await create(client)).state == "RUNNING"


@pytest.mark.parametrize(("when", "jobs"), [(When.BEFORE, 0), (When.AFTER, 1)])
def test_a_500_comes_instead_of_the_effect_or_of_the_reply(server: PlatformServer, when: When, jobs: int) -> None:
    server.faults.add(Refuse(words="disk full", when=when), "create")
    answer = Raw(server)
    assert (answer.status, answer.json()) == (500, {"error": {"code": "INTERNAL", "message": "disk full"}})
    assert len(server.ledger.jobs) == jobs


def test_a_429_comes_with_and_without_retry_after(server: PlatformServer) -> None:
    server.faults.add(throttled(timedelta(seconds=7)), times=1)
    server.faults.add(throttled())
    first, second = Raw(server), Raw(server)
    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert second.status == 429
    assert "retry-after" not in second.headers
    assert len(server.ledger.jobs) == 0


def test_a_429_as_200_says_it_in_the_body(server: PlatformServer) -> None:
    server.faults.add(OkButThrottled())
    answer = Raw(server)
    assert (answer.status, answer.json()["error"]["code"]) == (200, "rateLimitExceeded")
    assert len(server.ledger.jobs) == 0


def test_garbage_comes_as_json(server: PlatformServer) -> None:
    server.faults.add(Garble())
    answer = Raw(server)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError):  # noqa: PT011 - bytes that are no UTF-8, or no JSON
        answer.json()
    assert len(server.ledger.jobs) == 1


def test_a_truncated_body_ends_before_its_length(server: PlatformServer) -> None:
    server.faults.add(Garble(form=Form.TRUNCATED))
    with pytest.raises(http.client.IncompleteRead) as caught:
        Raw(server)
    assert caught.value.partial.startswith(b'{"id"')
    assert len(server.ledger.jobs) == 1


def test_another_shape_is_json_all_the_same(server: PlatformServer) -> None:
    server.faults.add(Garble(form=Form.OTHER_SHAPE))
    assert isinstance(Raw(server).json(), list)
    assert len(server.ledger.jobs) == 1


def test_a_mislabelled_answer_is_the_true_one_under_a_wrong_type(server: PlatformServer) -> None:
    server.faults.add(Garble(form=Form.MISLABELLED))
    answer = Raw(server)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.json()["state"] == "RUNNING"
    assert answer.status == 201


def test_a_platform_that_is_cut_off_resets_and_comes_back(server: PlatformServer) -> None:
    server.faults.cut_off(0, time.time() + 3_600)
    with pytest.raises(ConnectionResetError):
        Raw(server)
    server.faults.clear()
    assert Raw(server).status == 201
    assert len(server.ledger.jobs) == 1


def test_an_outage_refuses_connections_and_ends_at_the_same_port(server: PlatformServer) -> None:
    url = server.url
    idle = socket.create_connection(("127.0.0.1", server.port))
    with server.outage(), pytest.raises(ConnectionRefusedError):
        Raw(server)
    idle.close()
    assert (Raw(server).status, server.url) == (201, url)


async def test_a_refused_connection_was_not_sent() -> None:
    async with PlatformServer() as server, rest(server) as client:
        await create(client)
        async with server.outage():
            assert (await refusal(lambda: create(client))).sent is not Sent.YES  # a kept connection may have been cut
            assert (await refusal(lambda: create(client))).sent is Sent.NO
        await create(client)
        assert len(server.ledger.jobs) == 2


def test_the_clock_may_be_wrong_in_headers_and_bodies() -> None:
    with PlatformServer(Ledger(LedgerRules(clock_skew=timedelta(hours=-3)))) as server:
        answer = Raw(server)
        ahead_s = time.time() - parsedate_to_datetime(answer.headers["date"]).timestamp()
        assert 10_800 <= ahead_s < 10_860
        assert answer.json()["created_at"] == pytest.approx(time.time() - 10_800, abs=60)


@pytest.mark.parametrize("body", [[], "job", {"labels": 3}, {"course": {"queued_s": "long"}}, {"course": 7}], ids=str)
def test_a_body_that_is_no_job_is_invalid(server: PlatformServer, body: object) -> None:
    answer = Raw(server, body=body)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert len(server.ledger.jobs) == 0


def test_a_fault_may_be_about_one_request(server: PlatformServer) -> None:
    server.faults.add(Refuse(), about="ob-b")
    statuses = [Raw(server, body={"labels": {"outboard-key": key}}).status for key in ("ob-a", "ob-b", "ob-a")]
    assert statuses == [201, 500, 201]


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {"connection refused", "mislabelled"}])
async def test_the_client_learns_no_more_than_it_can_know(name: str) -> None:
    async with PlatformServer() as server, rest(server) as client:
        server.faults.add(FAULTS[name], "create")
        error = await refusal(lambda: create(client))
        assert error.sent is (Sent.NO if name in NOT_SENT else Sent.MAYBE)
        assert len(server.ledger.jobs) == int(keeps_effect(FAULTS[name]))


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {"connection refused", "mislabelled"}])
def test_the_blocking_client_learns_no_more_than_it_can_know(server: PlatformServer, name: str) -> None:
    server.faults.add(FAULTS[name], "create")
    client = BlockingRestClient(server.url)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the host catches everything too
        client.create(labels={}, course=COURSE, timeout_s=LIMIT_S)
    error = ERRORS.classify(caught.value)
    assert isinstance(error, AgentError)
    assert error.sent is (Sent.NO if name in NOT_SENT else Sent.MAYBE)
    assert len(server.ledger.jobs) == int(keeps_effect(FAULTS[name]))


async def test_the_clients_errors_carry_the_platforms_words_and_wait() -> None:
    async with PlatformServer() as server:
        server.faults.add(throttled(timedelta(seconds=7)), times=1)
        server.faults.add(FAULTS["400"], times=1)
        server.faults.add(FAULTS["429 as 200"], times=1)
        server.faults.add(FAULTS["garbage"], times=1)
        errors = []
        for _ in range(4):
            async with rest(server) as client:  # a budget of its own: after "slow down" the next call would wait
                errors.append(await refusal(partial(create, client)))
        assert [type(error) for error in errors] == [Throttled, Rejected, Throttled, Unavailable]
        assert errors[0].retry_after == timedelta(seconds=7)
        assert errors[1].message == "the request is not valid"


async def test_the_api_does_what_the_ledger_does() -> None:
    rules = LedgerRules(visible_after=timedelta(hours=1))
    async with PlatformServer(Ledger(rules)) as server, rest(server) as client:
        ledger = server.ledger
        job = await create(client, token="t", labels=KEY)  # noqa: S106 - no secret
        assert (await create(client, token="t", labels=KEY)).id == job.id  # noqa: S106
        named = await create(client, name="a b", labels=KEY)
        assert isinstance(await refusal(lambda: create(client, name="a b")), NameIsTaken)
        assert await client.find("outboard-key", "ob-a") == []
        ledger.rules = replace(rules, visible_after=timedelta(0))
        assert [view.id for view in await client.find("outboard-key", "ob-a")] == [job.id, named.id]
        assert [view.id for view in await client.get_many([job.id, "none", "a b"])] == [job.id, "a b"]
        assert (await refusal(lambda: client.fetch(job.id))).code == "NOT_FOUND"
        ledger.settle(job.id, "SUCCEEDED")
        assert await client.fetch(job.id) == {"answer": 42}
        await client.cancel("a b")
        view = await client.get("a b")
        assert view is not None
        assert (view.state, view.labels) == ("CANCELLED", KEY)
        assert await client.get("none") is None
        assert [line for _, line in await client.logs("a b")][-1] == "ended as CANCELLED"
        ledger.disguise("a b", "ÜBER\n</script>")
        assert await client.get("a b") == replace(view, state="ÜBER\n</script>")
        assert {name for name in OPERATIONS if server.faults.calls[name]} == set(OPERATIONS)


def context_of(raw: Any, client: Any) -> Context[Any]:
    key = submission_key("test", raw.identity, raw.output_prefix)
    return Context(
        client=client,
        connection=None,
        account="",
        log=TaskLog(),
        deadline=time.monotonic() + 10,
        budget=AccountBudget(Quotas()),
        key=key,
        scope=raw.scope,
        output_prefix=raw.output_prefix,
        secrets={},
        labels=Labels(provenance={"outboard-key": key.text}, user={}),
    )


@pytest.mark.parametrize("kind", REST_AGENTS)
async def test_each_reference_agent_keeps_the_word_of_its_kind_over_a_lost_reply(kind: str) -> None:
    async with PlatformServer() as server, rest(server) as client:
        server.faults.add(REPLY_LOST, "create", times=1)
        platform = RestPlatform(RestSettings(url=server.url))
        agent: Any = next(each for each in platform.agents() if each.name == kind)
        raw = sample_task(kind, running_s=None)
        task, ctx = raw.with_config(JobConfig.model_validate(raw.config)), context_of(raw, client)
        await refusal(lambda: agent.create(task, ctx))
        job = await agent.create(task, ctx)
        expected = 2 if kind in {"rest_lookup", "rest_nothing"} else 1
        assert len(server.ledger.jobs_of(raw)) == expected
        assert agent.connection(task) == RestConnection(url=server.url)
        server.ledger.settle(job.id, "SUCCEEDED")
        found = await agent.get_many([job], ctx) if kind == "rest_batch" else {job.id: await agent.get(job, ctx)}
        assert found[job.id].state == "SUCCEEDED"
        assert await agent.fetch_outputs(job, ctx) == {"answer": 42}


def test_the_blocking_agent_finds_its_job_again_and_cancels_it(server: PlatformServer) -> None:
    server.faults.add(REPLY_LOST, "create", times=1)
    (agent,) = BlockingRestPlatform(RestSettings(url=server.url)).agents()
    assert isinstance(agent, RestBlockingAgent)
    assert isinstance(agent, BlockingAgent)
    raw = sample_task("rest_blocking", running_s=None)
    task, ctx = raw.with_config(JobConfig.model_validate(raw.config)), context_of(raw, BlockingRestClient(server.url))
    with pytest.raises(http.client.RemoteDisconnected):
        agent.create(task, ctx)
    job = agent.create(task, ctx)
    assert agent.find(task, ctx.key, ctx) == [job]
    assert len(server.ledger.jobs) == 1
    agent.cancel(job, ctx)
    assert getattr(agent.get(job, ctx), "state", None) == "CANCELLED"


async def test_jobs_that_write_files_write_them_before_they_are_seen_to_succeed(tmp_path: Path) -> None:
    async with PlatformServer(stores=Stores()) as server, rest(server) as client:
        course = Course(running_s=0, writes_files=True, outputs={"answer": 42})
        job = await create(client, course=course, output_prefix=str(tmp_path))
        view = await client.get(job.id)
        assert view is not None
        assert (view.state, view.has_outputs) == ("SUCCEEDED", False)
        assert (tmp_path / "outputs.pb").exists()


@pytest.mark.parametrize("kind", [*REST_AGENTS, "rest_blocking"])
async def test_a_task_of_each_kind_runs_in_the_real_host_under_its_login(
    server: PlatformServer, kind: str, tmp_path: Path
) -> None:
    settings = RestSettings(url=server.url)
    secrets = SecretSettings(overrides={"canary": SecretStr("s3cret")})
    server.faults.add(Refuse(status=401, code="UNAUTHENTICATED"), "create", about="Bearer s3cret", times=1)
    registry = Registry([RestPlatform(settings), BlockingRestPlatform(settings)])
    async with Host(registry, HostSettings(secrets=secrets)) as host:
        task = sample_task(kind, output_prefix=f"{tmp_path}/n0/0", running_s=0, login="canary")
        handle = await host.create_task(task)
        status = await host.get_task(handle)
        while not status.phase.is_terminal:
            await asyncio.sleep(0.01)
            status = await host.get_task(handle)
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"answer": 42})
        assert len(server.ledger.jobs_of(task)) == 1
        assert len(server.faults.struck) == 1  # the login was sent, and a client with a fresh one was opened


class FakeBatch(PlatformServer):
    """Somebody's own platform: one address, and the operation in a header."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/", self.act)]

    @operation(lambda request: {"Submit": "create"}.get(request.headers["X-Target"], "other"))
    async def act(self, request: web.Request) -> web.Response:
        asked: Mapping[str, Any] = await request.json()
        return web.json_response({"jobId": self.ledger.create(name=asked["name"]).id})


@operation("create")
async def own_handler(request: web.Request) -> web.Response:
    return web.json_response({"mine": True})


async def unmarked(request: web.Request) -> web.Response:
    return web.Response(text="fine")


async def post(url: str, target: str, name: str) -> Any:
    session = Http(budget=AccountBudget(Quotas()), errors=ERRORS)
    try:
        answer = await session.post(url, method="x", headers={"X-Target": target}, json_body={"name": name})
        return answer.json()
    finally:
        await session.close()


async def test_another_platforms_handlers_meet_the_same_faults() -> None:
    async with FakeBatch() as server:
        server.faults.add(REPLY_LOST, "create", times=1)
        assert (await refusal(lambda: post(server.url, "Submit", "n"))).sent is Sent.MAYBE
        assert await post(server.url, "Other", "m") == {"jobId": "m"}
        assert set(server.ledger.jobs) == {"n", "m"}
        assert (await refusal(lambda: post(f"{server.url}/jobs", "Submit", "n"))).sent is Sent.NO


def test_routes_may_be_added_and_unmarked_ones_meet_no_fault() -> None:
    plan = FaultPlan()
    plan.add(Refuse(status=503))
    routes = [web.post("/mine", own_handler), web.post("/health", unmarked)]
    with PlatformServer(faults=plan, routes=routes) as server:
        assert Raw(server, path="/mine").status == 503
        assert Raw(server, path="/health").body == b"fine"
        plan.clear()
        assert Raw(server, path="/mine").json() == {"mine": True}
        assert Raw(server).status == 201


class Guarded(FakeBatch):
    """Takes batches of who says a word, as long as there is room."""

    def admit(self, request: web.Request, method: str) -> None:
        if "word" not in request.query:
            raise Refusal(web.json_response({"why": "who are you"}, status=401))
        if not self.has_room(method):
            raise Refusal(web.json_response({"why": "slow down"}, status=429))

    @operation("create", method="batch.submit")
    async def act(self, request: web.Request) -> web.Response:
        if (await request.json())["name"] == "odd":
            raise Refusal(web.json_response({"why": "odd"}, status=400))
        return await super().act(request)


def test_what_a_platform_refuses_has_no_effect_is_counted_and_meets_the_same_faults() -> None:
    with Guarded(meter=Bucket({"batch.submit": (0.0, 2)})) as server:

        def ask(name: str, path: str = "/?word=please") -> tuple[int, Any]:
            answer = Raw(server, path=path, body={"name": name})
            return answer.status, answer.json()

        assert ask("a", path="/") == (401, {"why": "who are you"})
        assert ask("odd") == (400, {"why": "odd"})
        assert ask("a") == (200, {"jobId": "a"})
        assert ask("b") == (429, {"why": "slow down"})
        assert (server.calls, server.throttled) == ({"batch.submit": 4}, {"batch.submit": 1})
        server.faults.add(Refuse(status=503, when=When.AFTER), "create")
        assert ask("c")[0] == 503
        assert set(server.ledger.jobs) == {"a"}


def test_a_server_that_is_not_running_says_so() -> None:
    server = PlatformServer()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with pytest.raises(RuntimeError, match="thread"), server.outage():
        pass


def test_stopping_ends_what_hangs() -> None:
    with PlatformServer() as server:
        server.faults.add(Stall(when=When.AFTER))
        hanging = socket.create_connection(("127.0.0.1", server.port))
        hanging.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        server.run_in_thread(server.ledger.effects.reaches("started"))
    hanging.settimeout(5)
    with contextlib.suppress(ConnectionResetError):
        assert hanging.recv(1) == b""
    hanging.close()
