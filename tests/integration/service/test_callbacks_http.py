"""Callbacks over real HTTP: platforms hasten polls, and strangers, floods and broken clients do nothing else than that."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import grpc
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from ledgers import Ledger, LedgerAgent, LedgerJob, LedgerPlatform, ledger_task, until
from outboard import Callback, Callbacks, Context, Missing, Registry, SecretRef, Status, TaskType
from outboard.domain.phases import Phase
from outboard.errors import InvalidSettings
from outboard.host import Host, HostSettings, SecretSettings
from outboard.service import Service, ServiceSettings
from outboard.service.callbacks import server
from outboard.testing.virtual_time import virtually

KEY = "whsec_c29tZSBrZXkgb2YgMjQgYnl0ZXMhIQ=="
SETTINGS = ServiceSettings(port=0, callbacks_port=0, drain_s=2)
AT_ONCE = HostSettings(secrets=SecretSettings(overrides={"hook_key": SecretStr(KEY)}))


class Patient(LedgerAgent):
    """Its platform says that nothing will change for five minutes, and calls back when it does."""

    name = "patient"
    task_types = (TaskType("patient"),)
    callbacks = Callbacks.standard_webhooks(SecretRef("hook_key"))

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status | Missing:
        ctx.client.polls += 1
        return Status(state=ctx.client.jobs[job.id], poll_after=timedelta(minutes=5))

    def called_back(self, callback: Callback) -> Sequence[str]:
        return [callback.json()["data"]["id"]]


class Rung(Patient):
    name = "rung"
    task_types = (TaskType("rung"),)
    callbacks = Callbacks.bearer(SecretRef("hook_key"))


class Point:
    """A service and its port for callbacks."""

    def __init__(self, service: Service, host: Host, ledger: Ledger, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.host = host
        self.ledger = ledger
        self.client = client

    @property
    def address(self) -> tuple[str, int]:
        assert self.service.callbacks_port
        return "127.0.0.1", self.service.callbacks_port

    def url(self, path: str = "/callbacks/patient") -> str:
        return f"http://127.0.0.1:{self.service.callbacks_port}{path}"

    async def post(self, callback: Callback, path: str = "/callbacks/patient") -> int:
        async with self.client.post(self.url(path), data=io.BytesIO(callback.body), headers=callback.headers) as answer:
            await answer.read()
            return answer.status

    async def raw(self, data: bytes, *, is_ended: bool = False) -> bytes:
        """What comes back for these bytes until the service closes the connection."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(data)
            if is_ended:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def phase(self, handle: bytes) -> Phase:
        return (await self.host.get_task(handle)).phase


@asynccontextmanager
async def pointed(settings: ServiceSettings = SETTINGS, host_settings: HostSettings = AT_ONCE) -> AsyncIterator[Point]:
    ledger = Ledger()
    platform = LedgerPlatform(ledger, Patient, Rung, LedgerAgent)
    async with (
        Host(Registry([platform]), host_settings) as host,
        Service(host, settings) as service,
        aiohttp.ClientSession() as client,
    ):
        yield Point(service, host, ledger, client)


@pytest.fixture
async def point() -> AsyncIterator[Point]:
    async with pointed() as point:
        yield point


def signed(job_id: str, *, event: str = "msg_1", key: str = KEY, ago: timedelta = timedelta(0)) -> Callback:
    """A callback as the official library signs it."""
    body = json.dumps({"type": "batch.completed", "data": {"id": job_id}})
    when = datetime.now(timezone.utc) - ago
    signature = Webhook(key).sign(event, when, body)
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": signature,
    }
    return Callback(body=body.encode(), headers=headers)


def counted(result: str, agent: str = "patient") -> float:
    return REGISTRY.get_sample_value("outboard_callbacks_total", {"agent": agent, "result": result}) or 0.0


def hastened(agent: str = "patient") -> float:
    return REGISTRY.get_sample_value("outboard_callbacks_jobs_total", {"agent": agent}) or 0.0


async def started(point: Point, kind: str = "patient", node: str = "n0") -> tuple[bytes, str]:
    """A job that was polled, and said that nothing will change for five minutes."""
    handle = await point.host.create_task(ledger_task(kind, node=node))
    assert await point.phase(handle) is Phase.RUNNING
    (job_id,) = [name for name in point.ledger.jobs if node in name]
    return handle, job_id


async def test_a_callback_makes_the_next_poll_tell_the_end_at_once(point: Point) -> None:
    handle, job_id = await started(point)
    before = hastened()
    point.ledger.jobs[job_id] = "OK"
    assert await point.phase(handle) is Phase.RUNNING  # from memory: it is not due for five minutes
    assert await point.post(signed(job_id)) == 200
    assert await point.phase(handle) is Phase.SUCCEEDED
    assert hastened() == before + 1


@virtually
async def test_without_the_callback_the_end_is_told_later_all_the_same() -> None:
    ledger = Ledger()
    async with Host(Registry([LedgerPlatform(ledger, Patient)]), AT_ONCE) as host:
        handle = await host.create_task(ledger_task("patient"))
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        (job_id,) = ledger.jobs
        ledger.jobs[job_id] = "OK"
        began_at = time.monotonic()
        while (await host.get_task(handle)).phase is Phase.RUNNING:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(10)
        assert 290 <= time.monotonic() - began_at <= 330


async def test_a_callback_that_says_what_is_not_so_ends_nothing(point: Point) -> None:
    handle, job_id = await started(point)
    polls = point.ledger.polls
    assert await point.post(signed(job_id)) == 200
    assert await point.phase(handle) is Phase.RUNNING
    assert point.ledger.polls == polls + 1


async def test_of_a_hundred_deliveries_at_once_one_hastens_and_one_poll_asks(point: Point) -> None:
    handle, job_id = await started(point)
    polls, repeated = point.ledger.polls, counted("repeated")
    callback = signed(job_id)
    assert set(await asyncio.gather(*(point.post(callback) for _ in range(100)))) == {200}
    assert counted("repeated") == repeated + 99
    await asyncio.gather(*(point.phase(handle) for _ in range(20)))
    assert point.ledger.polls == polls + 1


async def test_a_hundred_rings_at_once_are_one_question_a_second(point: Point) -> None:
    handle, job_id = await started(point, "rung")
    polls, began_at = point.ledger.polls, time.monotonic()
    ring = Callback(body=json.dumps({"data": {"id": job_id}}).encode(), headers={"authorization": f"Bearer {KEY}"})
    assert set(await asyncio.gather(*(point.post(ring, "/callbacks/rung") for _ in range(100)))) == {200}
    await asyncio.gather(*(point.phase(handle) for _ in range(20)))
    assert polls + 1 <= point.ledger.polls <= polls + 1 + int(time.monotonic() - began_at)


@pytest.mark.parametrize("job_id", ["nobody's", "", "\u0000"])
async def test_a_callback_about_a_job_that_nobody_follows_is_taken(point: Point, job_id: str) -> None:
    before = hastened()
    assert await point.post(signed(job_id)) == 200
    assert hastened() == before


@pytest.mark.parametrize(
    ("change", "status", "result"),
    [
        ({"key": "whsec_YW5vdGhlciBrZXk="}, 401, "forged"),
        ({"ago": timedelta(minutes=6)}, 401, "stale"),
        ({"ago": timedelta(minutes=-6)}, 401, "stale"),
    ],
)
async def test_what_is_not_verified_is_told_nothing_and_does_nothing(
    point: Point, change: Mapping[str, Any], status: int, result: str
) -> None:
    handle, job_id = await started(point)
    before, polls = counted(result), point.ledger.polls
    callback = signed(job_id, **change)
    async with point.client.post(point.url(), data=callback.body, headers=callback.headers) as answer:
        assert (answer.status, await answer.text()) == (status, "not verified\n")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert counted(result) == before + 1
    assert await point.phase(handle) is Phase.RUNNING
    assert point.ledger.polls == polls


async def test_a_body_that_the_agent_cannot_read_is_not_sent_again_and_tells_no_traceback(point: Point) -> None:
    body = '{"unexpected": "form"}'
    when = datetime.now(timezone.utc)
    headers = {
        "webhook-id": "msg_odd",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(KEY).sign("msg_odd", when, body),
    }
    before = counted("malformed")
    with capture_logs() as lines:
        async with point.client.post(point.url(), data=body, headers=headers) as answer:
            assert (answer.status, await answer.text()) == (200, "taken\n")
    assert counted("malformed") == before + 1
    assert [line["result"] for line in lines] == ["malformed"]
    assert "unexpected" not in repr(lines)
    assert "KeyError" in lines[0]["reason"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/callbacks/nobody", 404),
        ("POST", "/callbacks/ledger", 404),
        ("POST", "/callbacks/", 404),
        ("POST", "/callbacks", 404),
        ("POST", "/", 404),
        ("POST", "/callbacks/" + "x" * 201, 404),
        ("POST", "/callbacks/patient/", 404),
        ("GET", "/callbacks/patient", 405),
        ("DELETE", "/callbacks/patient", 405),
        ("GET", "/metrics", 404),
    ],
)
async def test_other_places_and_methods_are_refused(point: Point, method: str, path: str, status: int) -> None:
    async with point.client.request(method, point.url(path), data=b"{}") as answer:
        assert answer.status == status


async def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not(point: Point) -> None:
    most = server.MOST_BYTES
    assert await point.post(Callback(body=b"x" * most)) == 401
    assert await point.post(Callback(body=b"x" * (most + 1))) == 413

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(most // 65_536 + 1):
            yield b"x" * 65_536

    async with point.client.post(point.url(), data=pieces()) as answer:  # without telling its length
        assert answer.status == 413


async def test_a_compressed_body_is_what_was_sent_and_never_inflated(point: Point) -> None:
    _, job_id = await started(point)
    callback = signed(job_id)
    headers = {**callback.headers, "content-encoding": "gzip"}
    assert await point.post(Callback(body=callback.body, headers=headers)) == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GARBAGE\r\n\r\n",
        b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot chunks\r\n",
        b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\n" + b"X-Many: x\r\n" * 1_000 + b"\r\n",
        b"POST /callbacks/" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_400_in_constant_words(point: Point, data: bytes) -> None:
    answer = await point.raw(data)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert answer.endswith(b"\r\n\r\nnot a request\n")
    assert await point.post(signed("x")) == 200


async def test_a_request_that_ends_before_its_length_hastens_nothing(point: Point) -> None:
    callback = signed("x")
    head = "".join(f"{name}: {value}\r\n" for name, value in callback.headers.items())
    request = f"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 5000\r\n\r\n".encode()
    accepted = counted("accepted")
    assert b"200" not in await point.raw(request + callback.body, is_ended=True)
    assert counted("accepted") == accepted


async def test_clients_that_break_off_are_malformed_requests_and_one_log_line(point: Point) -> None:
    request = b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{"
    before = counted("malformed", "unknown")
    with capture_logs() as lines:
        for _ in range(20):
            _, writer = await asyncio.open_connection(*point.address)
            writer.write(request)
            await writer.drain()
            await until(lambda: bool(connections(point)))
            writer.transport.abort()
            await until(lambda: not connections(point))
        await until(lambda: counted("malformed", "unknown") == before + 20)
    assert [line["event"] for line in lines] == ["callback not taken"]


async def test_answers_do_not_tell_whose_software_reads(point: Point) -> None:
    for answer in (await point.raw(b"GARBAGE\r\n\r\n"), await point.raw(b"GET / HTTP/1.0\r\n\r\n")):
        assert b"Server: outboard\r\n" in answer
        assert b"aiohttp" not in answer


async def test_a_connection_is_for_one_request(point: Point) -> None:
    request = b"POST /callbacks/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert (await point.raw(request * 5)).count(b"HTTP/1.1 404") == 1


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /callb", b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"],
    ids=["nothing", "headers", "body"],
)
async def test_a_client_that_takes_its_time_is_cut_off(
    point: Point, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONGEST_S", 0.2)
    assert b"200" not in await point.raw(start)  # ends although the client does not


async def test_connections_are_bounded_and_slow_ones_do_not_stay(point: Point, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    slow = [await asyncio.open_connection(*point.address) for _ in range(3)]
    await until(lambda: len(connections(point)) == 3)
    throttled = counted("throttled", "unknown")
    with pytest.raises(aiohttp.ClientError):  # cut off before it could say anything
        await point.post(signed("x"))
    assert counted("throttled", "unknown") == throttled + 1
    for _, writer in slow:
        writer.close()
    await until(lambda: not connections(point))
    assert await point.post(signed("x")) == 200


def connections(point: Point) -> Sequence[object]:
    served = point.service._callbacks
    assert served is not None
    assert served._server._web is not None
    return served._server._web.connections


async def test_a_flood_of_forgeries_is_read_at_a_bounded_rate_hastens_nothing_and_is_few_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "BURST", 200)
    monkeypatch.setattr(server, "PER_SECOND", 20.0)
    async with pointed() as point:
        handle, job_id = await started(point)
        polls = point.ledger.polls
        forged = signed(job_id, key="whsec_YW5vdGhlciBrZXk=")
        head = "".join(f"{name}: {value}\r\n" for name, value in forged.headers.items())
        length = f"Content-Length: {len(forged.body)}\r\n\r\n"
        request = f"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\n{head}{length}".encode() + forged.body
        gate = asyncio.Semaphore(50)

        async def forge() -> bytes:
            async with gate:
                return (await point.raw(request))[9:12]

        with capture_logs() as lines:
            answers = await asyncio.gather(*(forge() for _ in range(600)))
            assert await point.phase(handle) is Phase.RUNNING
        assert set(answers) == {b"401", b"429"}
        assert 200 <= answers.count(b"401") < 500
        assert point.ledger.polls == polls
        assert {line["result"] for line in lines} == {"forged", "throttled"}
        assert len(lines) == 2
        assert forged.headers["webhook-signature"] not in repr(lines)
        assert job_id not in repr(lines)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_bytes_come_they_hasten_nothing_and_leave_nothing_open(
    point: Point, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONGEST_S", 0.2)
    chance = random.Random(seed)  # noqa: S311 - the same bytes each time
    head = b"POST /callbacks/patient?x=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nwebhook-id: a\r\n\r\n"

    def broken() -> bytes:
        data = bytearray(head + b"5\r\nhello\r\n0\r\n\r\n")
        for _ in range(chance.randint(1, 6)):
            where = chance.randrange(len(data))
            data[where : where + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        return bytes(data)

    accepted = counted("accepted")
    answers = await asyncio.gather(*(point.raw(broken()) for _ in range(50)))
    assert {answer[9:12] for answer in answers} <= {b"400", b"401", b"404", b"405", b""}
    assert counted("accepted") == accepted
    await until(lambda: not connections(point))


async def test_the_handshake_of_sns_is_told_and_not_answered(point: Point) -> None:
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": "http://127.0.0.1:1/", "data": {"id": "none"}}
    headers = {"authorization": f"Bearer {KEY}", "x-amz-sns-message-type": "SubscriptionConfirmation"}
    with capture_logs() as lines:
        assert await point.post(Callback(body=json.dumps(body).encode(), headers=headers), "/callbacks/rung") == 200
        wrong = {**headers, "authorization": "Bearer another"}
        assert await point.post(Callback(body=b"{}", headers=wrong), "/callbacks/rung") == 401
    events = [line["event"] for line in lines]
    assert events == ["SNS waits for its subscription to be confirmed", "callback not taken"]
    assert "127.0.0.1" not in repr(lines)


async def test_a_port_that_is_taken_is_a_wrong_setting(point: Point) -> None:
    settings = SETTINGS.model_copy(update={"callbacks_port": point.service.callbacks_port})
    words = r"cannot take callbacks on 127.0.0.1 port \d+ \(address already in use\); choose another port"
    with pytest.raises(InvalidSettings, match=words) as refused:
        async with Service(point.host, settings):
            pass
    assert refused.value.field == "callbacks_port"


async def test_a_service_on_a_unix_socket_takes_no_callbacks(point: Point, tmp_path: Any) -> None:
    with pytest.raises(InvalidSettings, match="leave callbacks_port out"):
        async with Service(point.host, SETTINGS.model_copy(update={"host": f"unix:{tmp_path}/s"})):
            pass


async def test_no_port_is_opened_unless_asked_for() -> None:
    async with pointed(ServiceSettings(port=0)) as point:
        assert point.service.callbacks_port is None


async def test_the_port_is_closed_with_the_service_although_a_client_hangs_on() -> None:
    async with pointed() as point:
        address = point.address
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await writer.drain()
        await point.service.drain()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection(*address)
        writer.close()


async def test_a_slow_client_of_the_callbacks_does_not_keep_the_service_from_draining() -> None:
    settings = SETTINGS.model_copy(update={"drain_s": 30})  # the client goes before that
    async with pointed(settings) as point, grpc.aio.insecure_channel(point.service.address) as channel:
        reader, writer = await asyncio.open_connection(*point.address)
        writer.write(b"POST /callbacks/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await writer.drain()
        await until(lambda: bool(connections(point)))
        drained = asyncio.ensure_future(point.service.drain())
        method = channel.unary_unary("/flyteidl.service.AgentMetadataService/ListAgents")

        async def call_on() -> None:
            while True:
                await method(b"", timeout=30)

        with pytest.raises(grpc.aio.AioRpcError):
            await call_on()
        assert not drained.done()
        writer.close()
        await drained
        assert await reader.read() == b""


async def test_siblings_are_told_of_the_jobs_that_a_callback_was_about(point: Point) -> None:
    told: list[tuple[str, Sequence[str]]] = []
    point.service.on_called_back = lambda agent, job_ids: told.append((agent, job_ids))
    assert await point.post(signed("job-1")) == 200
    assert await point.post(signed("job-1")) == 200
    assert told == [("patient", ("job-1",))]


async def test_what_a_sibling_heard_hastens_here(point: Point) -> None:
    handle, job_id = await started(point)
    point.ledger.jobs[job_id] = "OK"
    assert await point.service.hasten("patient", [job_id, "another"]) == 1
    assert await point.phase(handle) is Phase.SUCCEEDED
    assert await point.service.hasten("nobody", [job_id]) == 0
