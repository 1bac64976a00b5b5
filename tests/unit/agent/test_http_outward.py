"""Addresses that a task chose: nothing inside is ever connected to, however it is spelled, and the operator may allow it."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from aiohttp import web

from outboard.agent import ErrorMap, Http
from outboard.agent.outward import MOST_BYTES
from outboard.agent.spending import CURRENT_CALL, AgentCall
from outboard.domain.egress import Egress
from outboard.errors import Rejected, Sent, Unavailable

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Free:
    """A budget without limits."""

    def ask(self, method: str, /) -> None:
        """Let everything go."""

    def failed(self, method: str, error: BaseException, sent_at: float, /) -> None:
        """Forget it."""


class Listener:
    """A server that counts who connects, whatever they say."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.headers = dict(request.headers)
        match request.path:
            case "/away":
                return web.Response(status=302, headers={"Location": f"http://localhost:{self.port}/ok"})
            case "/large":
                return web.Response(body=bytes(MOST_BYTES + 1))
            case "/bomb":
                return web.Response(body=gzip.compress(bytes(4 * MOST_BYTES)), headers={"Content-Encoding": "gzip"})
            case _:
                return web.json_response({"ok": True}, headers={"Set-Cookie": "tenant=a"})


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    served = web.Server(found.answer)

    def connected() -> Any:
        found.connections += 1
        return served()

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    await served.shutdown(0)


async def ask(url: str, egress: Egress | None = None, **options: Any) -> Any:
    http = Http(budget=Free(), errors=ErrorMap(), headers={"Authorization": "Bearer ours"}, egress=egress)
    try:
        return (await http.outward.get(url, method="ask", timeout_s=5, **options)).json()
    finally:
        await http.close()


SPELLINGS = [
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[0:0:0:0:0:ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://public.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@public.example/",
    "http://public.example\\@127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "unix://127.0.0.1:{port}/",
    "http:///",
    "",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1%25lo]:{port}/",
    "http://127.0.0.1:99999999/",
]


@pytest.mark.parametrize("url", SPELLINGS)
async def test_no_spelling_of_an_address_inside_is_connected_to(listener: Listener, url: str) -> None:
    with pytest.raises((Rejected, Unavailable)) as refused:
        await ask(url.format(port=listener.port))
    assert listener.connections == 0
    assert refused.value.sent is Sent.NO


async def test_an_address_with_a_login_in_it_is_none(listener: Listener) -> None:
    with pytest.raises(Rejected):
        await ask(f"http://user:word@127.0.0.1:{listener.port}/", Egress(allow_networks=LOOPBACK))
    assert listener.connections == 0


async def test_the_refusal_is_the_task_s_fault_and_names_the_setting(listener: Listener) -> None:
    with pytest.raises(Rejected, match=r"leads to localhost, .* host\.egress\.allow_hosts"):
        await ask(f"http://localhost:{listener.port}/")


async def test_the_address_that_is_checked_is_the_one_that_is_connected_to(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name's server may tell whoever checks a good address and whoever connects a bad one; here it is asked once."""
    answers = iter(["127.0.0.2", *["127.0.0.1"] * 9])

    def rebinding(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    egress = Egress(allow_networks=(ipaddress.ip_network("127.0.0.2/32"),))
    with pytest.raises(Unavailable, match=r"(?i)refused"):
        await ask(f"http://rebinding.example:{listener.port}/", egress)
    assert listener.connections == 0


async def test_of_a_name_s_addresses_those_inside_are_not_connected_to(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(Rejected):
        await ask(f"http://both.example:{listener.port}/")
    assert listener.connections == 0


async def test_a_network_that_the_operator_allows_is_asked(listener: Listener) -> None:
    assert await ask(f"http://127.0.0.1:{listener.port}/", Egress(allow_networks=LOOPBACK)) == {"ok": True}


async def test_a_host_that_the_operator_allows_is_asked_and_its_address_is_not(listener: Listener) -> None:
    egress = Egress(allow_hosts=("localhost",))
    assert await ask(f"http://localhost:{listener.port}/", egress) == {"ok": True}
    with pytest.raises(Rejected):
        await ask(f"http://127.0.0.1:{listener.port}/", egress)


@pytest.mark.parametrize("egress", [Egress(allow_networks=LOOPBACK), Egress(allow_hosts=("localhost",))])
async def test_the_platform_s_headers_are_not_sent_to_what_a_task_chose(listener: Listener, egress: Egress) -> None:
    await ask(f"http://localhost:{listener.port}/", egress, headers={"X-Own": "yes"})
    assert "Authorization" not in listener.headers
    assert listener.headers["X-Own"] == "yes"


@pytest.mark.parametrize("egress", [Egress(allow_networks=LOOPBACK), Egress(allow_hosts=("localhost",))])
async def test_what_one_task_was_given_is_not_sent_for_the_next_one(listener: Listener, egress: Egress) -> None:
    http = Http(budget=Free(), errors=ErrorMap(), egress=egress)
    for _ in range(2):
        await http.outward.get(f"http://localhost:{listener.port}/", method="ask")
        assert "Cookie" not in listener.headers
    await http.close()


class Noted:
    """A call's trace, and the spans under it, that keeps what it is told."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}

    def platform_call(self, method: str, waited_s: float, /) -> Noted:
        return self

    def attached(self) -> AbstractContextManager[None]:
        return nullcontext()

    def note(self, facts: Mapping[str, object], /) -> None:
        self.facts.update(facts)

    def headers(self) -> Mapping[str, str]:
        return {}

    def end(self, outcome: str, error: BaseException | None, /) -> None:
        """Forget it."""


async def test_a_trace_shows_whom_a_task_asked_and_not_what(listener: Listener) -> None:
    """The whole address is the task's input, and of some services a secret."""
    call = AgentCall("webhook", "do", float("inf"))
    call.trace = noted = Noted()
    token = CURRENT_CALL.set(call)
    await ask(f"http://127.0.0.1:{listener.port}/services/T0/B0/x7kq?page=y8lr#z9ms", Egress(allow_networks=LOOPBACK))
    CURRENT_CALL.reset(token)
    assert noted.facts["url.full"] == f"http://127.0.0.1:{listener.port}/"


async def test_a_redirect_is_not_followed_and_where_it_leads_is_checked_again(listener: Listener) -> None:
    egress = Egress(allow_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    http = Http(budget=Free(), errors=ErrorMap(), egress=egress)
    answer = await http.outward.get(f"http://127.0.0.1:{listener.port}/away", method="ask", takes_redirects=True)
    with pytest.raises(Rejected):
        await http.outward.get(answer.headers["location"].replace("localhost", "127.0.0.2"), method="ask")
    await http.close()


@pytest.mark.parametrize("path", ["large", "bomb"])
async def test_an_answer_without_bounds_is_given_up(listener: Listener, path: str) -> None:
    with pytest.raises(Rejected, match="answered more than"):
        await ask(f"http://127.0.0.1:{listener.port}/{path}", Egress(allow_networks=LOOPBACK))


async def test_the_platform_s_own_session_reaches_what_the_operator_set(listener: Listener) -> None:
    http = Http(budget=Free(), errors=ErrorMap(), headers={"Authorization": "Bearer ours"})
    assert (await http.get(f"http://127.0.0.1:{listener.port}/", method="ask")).json() == {"ok": True}
    assert listener.headers["Authorization"] == "Bearer ours"
    await http.close()
