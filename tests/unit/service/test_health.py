"""Health of accounts over the standard protocol: their own names tell, all others stay as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from outboard.errors import Unavailable
from outboard.host import HostSettings
from outboard.host.accounts import AccountReport, Accounts
from outboard.host.secrets import Redactor
from outboard.host.words import Words
from outboard.service.health import Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAME = "outboard.account/ledger/ours/eu"
KEY = ("ledger", "ours/eu")


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


@pytest.fixture
async def accounts() -> Accounts:
    return Accounts(HostSettings(unreachable_after=timedelta(0)), Words(Redactor()))


@pytest.fixture
async def health(accounts: Accounts) -> Health:
    return Health(["ledger"], [], accounts)


@pytest.fixture
async def stub(health: Health) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(health.by_method()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


def lose(accounts: Accounts, key: tuple[str, str] = KEY) -> None:
    for _ in range(2):
        accounts.failed(key, Unavailable("down"))


async def check(stub: health_pb2_grpc.HealthStub, name: str) -> int:
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def next_of(watch: Any) -> int:
    return int((await asyncio.wait_for(watch.read(), 30)).status)


async def is_not_found(stub: health_pb2_grpc.HealthStub, name: str) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(stub, name)
    return caught.value.code() is grpc.StatusCode.NOT_FOUND


async def _left(health: Health) -> None:
    while health._watches:  # noqa: ASYNC110 - gRPC ends the call in its own time and tells nobody
        await asyncio.sleep(0)


async def test_an_account_serves_while_it_answers(stub: health_pb2_grpc.HealthStub, accounts: Accounts) -> None:
    accounts.answered(KEY)
    assert await check(stub, NAME) == SERVING
    lose(accounts)
    assert await check(stub, NAME) == NOT_SERVING
    accounts.answered(KEY)
    assert await check(stub, NAME) == SERVING


@pytest.mark.parametrize(
    "name", ["outboard.account/", "outboard.account/ledger", "outboard.account/ledger/", "outboard.account/x/ours/eu"]
)
async def test_an_account_that_nobody_asked_is_not_found(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, name: str
) -> None:
    accounts.answered(KEY)
    assert await is_not_found(stub, name)


async def test_an_account_that_has_only_failed_once_is_not_found(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts
) -> None:
    accounts.failed(KEY, Unavailable("down"))
    assert await is_not_found(stub, NAME)


async def test_a_platform_that_is_down_does_not_take_us_out_of_rotation(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts
) -> None:
    lose(accounts)
    for name in ("", "flyteidl.service.AsyncAgentService", "outboard.agent/ledger"):
        assert await check(stub, name) == SERVING


async def test_a_watch_of_an_account_follows_it_from_before_its_first_call_to_the_drain(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, health: Health
) -> None:
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert await next_of(watch) == UNKNOWN
    accounts.answered(KEY)
    assert await next_of(watch) == SERVING
    lose(accounts, ("ledger", "another"))
    lose(accounts)
    assert await next_of(watch) == NOT_SERVING
    accounts.answered(KEY)
    assert await next_of(watch) == SERVING
    health.drain()
    assert await next_of(watch) == NOT_SERVING
    assert await asyncio.wait_for(watch.read(), 30) is grpc.aio.EOF


async def test_a_watch_learns_that_an_account_was_forgotten(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.answered(KEY)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert await next_of(watch) == SERVING
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 1_860)
    assert await next_of(watch) == UNKNOWN


async def test_a_watch_that_its_client_left_is_forgotten(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, health: Health
) -> None:
    accounts.answered(KEY)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert await next_of(watch) == SERVING
    assert (len(health._watches), len(accounts._listeners)) == (1, 1)
    watch.cancel()
    await asyncio.wait_for(_left(health), 30)
    assert not accounts._listeners


@pytest.mark.parametrize("name", ["", "somebody.else", NAME])
async def test_a_watch_during_the_drain_says_so_and_ends(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, health: Health, name: str
) -> None:
    accounts.answered(KEY)
    health.drain()
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
    assert await next_of(watch) == (UNKNOWN if name == "somebody.else" else NOT_SERVING)
    assert await asyncio.wait_for(watch.read(), 30) is grpc.aio.EOF


async def test_a_change_between_looking_and_telling_is_not_missed(accounts: Accounts) -> None:
    class Slow:
        """A stream whose first write takes as long as the account needs to be lost."""

        def __init__(self) -> None:
            self.told: list[bytes] = []

        async def write(self, answer: bytes) -> None:
            self.told.append(answer)
            if len(self.told) == 1:
                lose(accounts)
            else:
                watched.drain()

    accounts.answered(KEY)
    watched, stream = Health(["ledger"], [], accounts), Slow()
    request = health_pb2.HealthCheckRequest(service=NAME).SerializeToString()
    await asyncio.wait_for(watched._watch(request, stream), 30)
    statuses = [health_pb2.HealthCheckResponse.FromString(told).status for told in stream.told]
    assert statuses == [SERVING, NOT_SERVING]


async def test_a_watch_sleeps_while_nothing_changes(
    stub: health_pb2_grpc.HealthStub, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    find = accounts.find

    def look(platform: str, account: str) -> AccountReport | None:
        looks.append(account)
        return find(platform, account)

    monkeypatch.setattr(accounts, "find", look)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert await next_of(watch) == UNKNOWN
    accounts.answered(KEY)
    assert await next_of(watch) == SERVING
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(looks) == 2


async def test_without_accounts_none_is_known(stub: health_pb2_grpc.HealthStub) -> None:
    health = Health(["ledger"], [])
    assert health._answer(NAME) is None
    assert health._answer("") is not None
