"""Attacks on who may call: tokens that are none, other tenants' jobs, floods; against `outboard serve` and a real issuer.

After each attack the service is asked for its health, and a good caller for the status of its job. The log line is what the
service wrote meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import yaml
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import real_parts
from access_rig import KEY, OTHER_KEY, TOKENS, Answer, Tenant, bearing
from attack.issuers import AUDIENCE, Issuer, issuing, strangers_key
from integration.service.served import Served, served
from outboard.domain.handles import HandleCodec
from outboard.domain.seals import ServiceKey
from tables.sections import Section

_COLUMNS: Final = ("attack", "answers", "log line", "healthy after")
_LOAD_S: Final = 8.0
_PER_SECOND: Final = 200


class Scene:
    """A service with rules, its issuer, two tenants and a token that is good."""

    def __init__(self, service: Served, issuer: Issuer, channel: grpc.aio.Channel, handle: bytes) -> None:
        self.service = service
        self.issuer = issuer
        self.channel = channel
        self.handle = handle

    def tenant(self, token: str | None, project: str = "a") -> Tenant:
        return Tenant(self.channel, project, () if token is None else bearing(token))

    @property
    def alpha(self) -> Tenant:
        return self.tenant(TOKENS["alpha"])

    @property
    def beta(self) -> Tenant:
        return self.tenant(TOKENS["beta"], "b")

    async def with_token(self, token: str | None) -> list[Answer]:
        """Try every door with a token."""
        tenant = self.tenant(token)
        return [await tenant.create(node="x"), await tenant.get(self.handle), await tenant.delete(self.handle)]

    async def is_healthy(self) -> bool:
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        good = [await self.alpha.get(self.handle), await self.tenant(self.issuer.signed()).get(self.handle)]
        return answer.status == health_pb2.HealthCheckResponse.SERVING and {each.code for each in good} == {"OK"}


Attack = Callable[[Scene], Awaitable[Iterable[Answer]]]


def _settings(issuer: Issuer, tokens: Path) -> Mapping[str, Any]:
    def known(name: str, **rules: Any) -> dict[str, Any]:
        return {"token_sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), **rules}

    callers = {
        "alpha": known("alpha", projects="a", output_prefixes="memory://bucket/{project}"),
        "beta": known("beta", projects="b", task_types="probe", output_prefixes="memory://bucket/{project}"),
        "slow": {"token_sha256": _digest("slow"), "calls_per_second": 1, "burst": 1, "concurrent_calls": 5},
        "small": {"token_sha256": _digest("small"), "request_bytes": 4096},
        "app": {"jwt": {"issuer": issuer.name, "audience": AUDIENCE, "claims": {"sub": "demo-*"}}, "projects": "a"},
        "rotated": {"token_file": str(tokens), "projects": "a"},
    }
    return {"host": {"service_keys": [KEY]}, "service": {"access": {"callers": callers}}}


def _token(name: str) -> str:
    return f"{name}-token-of-thirty-characters-or-so"


def _digest(name: str) -> str:
    return hashlib.sha256(_token(name).encode()).hexdigest()


@asynccontextmanager
async def _scene() -> AsyncIterator[tuple[Scene, Path]]:
    async with AsyncExitStack() as opened:
        issuer = await opened.enter_async_context(issuing())
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        tokens, settings = folder / "tokens", folder / "outboard.yaml"
        tokens.write_text(_token("number-0") + "\n")
        settings.write_text(yaml.safe_dump(dict(_settings(issuer, tokens))))
        options = ("--settings", str(settings), "--agents", "probe:ProbePlatform")
        service = await opened.enter_async_context(served(*options))
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(service.address))
        handle = await Tenant(channel, "a", bearing(TOKENS["alpha"])).made()
        yield Scene(service, issuer, channel, handle), tokens


def _part(value: Mapping[str, Any] | bytes) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unsigned(scene: Scene) -> str:
    claims = scene.issuer.signed().split(".")[1]
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{claims}."


def _confused(scene: Scene) -> str:
    """A token "signed" with HS256, whose secret is the issuer's public key."""
    body = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': scene.issuer.kid})}.{scene.issuer.signed().split('.')[1]}"
    return f"{body}.{_part(hmac.new(scene.issuer.public_key.encode(), body.encode(), hashlib.sha256).digest())}"


def _own_key(scene: Scene) -> str:
    """A token of a key that its own header brings along."""
    import jwt

    key = strangers_key()
    brought = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return scene.issuer.signed(key=key, headers={"jwk": brought, "jku": "http://127.0.0.1:9/keys"})


async def _unknown_keys(scene: Scene) -> list[Answer]:
    before, began = scene.issuer.asked(), time.monotonic()
    forged = [scene.issuer.signed(headers={"kid": f"made-up-{n}"}) for n in range(300)]
    answers = await asyncio.gather(*(scene.tenant(token).get(scene.handle) for token in forged))
    asked = scene.issuer.asked() - before
    assert asked <= (time.monotonic() - began) / 2 + 2, f"the issuer was asked {asked} times"
    return list(answers)


async def _others_job(scene: Scene) -> list[Answer]:
    beta = scene.beta
    answers = [await each(scene.handle) for each in (beta.get, beta.get, beta.delete, beta.logs, beta.metrics)]
    stub = service_pb2_grpc.AsyncConnectorServiceStub(scene.channel)
    for method, request in (
        (stub.GetTask, connector_pb2.GetTaskRequest(resource_meta=scene.handle)),
        (stub.DeleteTask, connector_pb2.DeleteTaskRequest(resource_meta=scene.handle)),
    ):
        try:
            await method(request, metadata=beta.metadata)
        except grpc.aio.AioRpcError as error:
            answers.append(Answer(error.code().name))
        else:
            answers.append(Answer("OK"))
    return answers


async def _forged(scene: Scene) -> list[Answer]:
    sealed = HandleCodec([ServiceKey.parse(KEY)]).decode(scene.handle)
    flipped = [
        scene.handle[:place] + bytes((scene.handle[place] ^ 4,)) + scene.handle[place + 1 :]
        for place in range(0, len(scene.handle), 9)
    ]
    forged = [HandleCodec().encode(sealed), HandleCodec([ServiceKey.parse(OTHER_KEY)]).encode(sealed)]
    made = [*forged, scene.handle[:-1], scene.handle[:20], scene.handle + b"\0", b'{"job_id": "1"}', b"", *flipped]
    return [await each(handle) for handle in made for each in (scene.beta.delete, scene.alpha.delete, scene.beta.logs)]


async def _others_place(scene: Scene) -> list[Answer]:
    places = ("memory://bucket/a/e1/n0/0", "memory://bucket/b/../a", "memory://elsewhere/b", "memory://bucket")
    return [await scene.beta.create(prefix=place) for place in places]


async def _over_rate(scene: Scene) -> list[Answer]:
    slow = Tenant(scene.channel, "a", bearing(_token("slow")), timeout_s=1)
    return [answer for answer in [await slow.create(node=f"r{n}") for n in range(6)] if answer.code != "OK"]


async def _over_concurrency(scene: Scene) -> list[Answer]:
    slow = Tenant(scene.channel, "a", bearing(_token("slow")), timeout_s=20)
    answers = await asyncio.gather(*(slow.create(node=f"c{n}") for n in range(50)))
    return [answer for answer in answers if answer.code != "OK"]


async def _polls_over_rate(scene: Scene) -> list[Answer]:
    slow = Tenant(scene.channel, "a", bearing(_token("slow")))
    return list(await asyncio.gather(*(slow.get(scene.handle) for _ in range(200))))


async def _too_large(scene: Scene) -> list[Answer]:
    return [await scene.tenant(_token("small")).create(prefix="memory://bucket/" + "x" * 10_000)]


async def _headers(scene: Scene) -> list[Answer]:
    bomb = Tenant(scene.channel, "a", (*bearing(TOKENS["alpha"]), ("x-bomb", "x" * 60_000)))
    return [await bomb.get(scene.handle)]


async def _issuer_down_known(scene: Scene) -> list[Answer]:
    await scene.issuer.stop()
    try:
        return [await scene.tenant(scene.issuer.signed()).get(scene.handle) for _ in range(5)]
    finally:
        await scene.issuer.start()


async def _issuer_down_unknown(scene: Scene) -> list[Answer]:
    await scene.issuer.stop()
    try:
        return [await scene.tenant(scene.issuer.signed(headers={"kid": "next"})).get(scene.handle)]
    finally:
        await scene.issuer.start()


def _bearing(make: Callable[[Scene], str | None]) -> Attack:
    async def attack(scene: Scene) -> list[Answer]:
        return await scene.with_token(make(scene))

    return attack


def _signed(**claims: Any) -> Attack:
    return _bearing(lambda scene: scene.issuer.signed(**claims))


async def _foreign_type(scene: Scene) -> list[Answer]:
    return [await scene.beta.create(task_type="ask"), await scene.beta.create(task_type="probe2")]


async def _foreign_project(scene: Scene) -> list[Answer]:
    return [await scene.beta.create("a"), await scene.beta.create(""), await scene.beta.create("b" * 100_000)]


_ATTACKS: Final[tuple[tuple[str, Attack, frozenset[str]], ...]] = (
    ("no token", _bearing(lambda _: None), frozenset({"UNAUTHENTICATED"})),
    ("wrong token", _bearing(lambda _: _token("wrong")), frozenset({"UNAUTHENTICATED"})),
    ("token of 12 KB", _bearing(lambda _: "x" * 12_000), frozenset({"UNAUTHENTICATED"})),
    ("expired", _signed(exp=int(time.time()) - 3600), frozenset({"UNAUTHENTICATED"})),
    ("not yet valid", _signed(nbf=int(time.time()) + 3600), frozenset({"UNAUTHENTICATED"})),
    ("without an end", _signed(exp=None), frozenset({"UNAUTHENTICATED"})),
    ("wrong audience", _signed(aud="another-service"), frozenset({"UNAUTHENTICATED"})),
    ("wrong issuer", _signed(iss="https://login.example.com"), frozenset({"UNAUTHENTICATED"})),
    ("wrong subject", _signed(sub="somebody"), frozenset({"UNAUTHENTICATED"})),
    ("alg none", _bearing(_unsigned), frozenset({"UNAUTHENTICATED"})),
    ("HS256 with the public key", _bearing(_confused), frozenset({"UNAUTHENTICATED"})),
    ("key in the token's header", _bearing(_own_key), frozenset({"UNAUTHENTICATED"})),
    ("300 tokens of unknown keys", _unknown_keys, frozenset({"UNAUTHENTICATED", "UNAVAILABLE"})),
    ("other tenant's handle", _others_job, frozenset({"PERMISSION_DENIED"})),
    ("forged handles", _forged, frozenset({"PERMISSION_DENIED", "UNAVAILABLE"})),
    ("foreign task type", _foreign_type, frozenset({"PERMISSION_DENIED"})),
    ("foreign project, none, 100 KB of one", _foreign_project, frozenset({"PERMISSION_DENIED"})),
    ("other tenant's output prefix", _others_place, frozenset({"PERMISSION_DENIED"})),
    ("creates over the rate", _over_rate, frozenset({"RESOURCE_EXHAUSTED"})),
    ("50 creates at once, 5 allowed", _over_concurrency, frozenset({"RESOURCE_EXHAUSTED"})),
    ("200 polls over the rate", _polls_over_rate, frozenset({"OK"})),
    ("request too large for its caller", _too_large, frozenset({"RESOURCE_EXHAUSTED"})),
    ("60 KB of headers", _headers, frozenset({"RESOURCE_EXHAUSTED"})),
    ("issuer down, key known", _issuer_down_known, frozenset({"OK"})),
    ("issuer down, key unknown", _issuer_down_unknown, frozenset({"UNAVAILABLE"})),
)
_SILENT: Final = frozenset({"200 polls over the rate", "60 KB of headers", "issuer down, key known"})
"""Nothing is refused there, or gRPC does it before anybody is asked."""


async def attacked() -> Section:
    """Try all attacks against one service."""
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    async with _scene() as (scene, _):
        await scene.is_healthy()
        for name, attack, wanted in _ATTACKS:
            before = len(scene.service.lines)
            answers = list(await attack(scene))
            codes = {answer.code for answer in answers}
            lines = [each for each in scene.service.lines[before:] if each["event"] in ("call refused", "call failed")]
            is_healthy = await scene.is_healthy()
            rows.append(
                {
                    "attack": name,
                    "answers": ", ".join(f"{sum(a.code == code for a in answers)} {code}" for code in sorted(codes)),
                    "log line": _shown(lines),
                    "healthy after": is_healthy,
                }
            )
            if not codes or not codes <= wanted:
                failures.append(f"{name}: answered {', '.join(sorted(codes)) or 'nothing'}")
            if not is_healthy:
                failures.append(f"{name}: the service is not healthy after it")
            if not lines and name not in _SILENT:
                failures.append(f"{name}: the log says nothing")
        written = json.dumps(scene.service.lines)
        leaked = [name for name, token in TOKENS.items() if token in written]
        if leaked or scene.issuer.signed()[:40] in written:
            failures.append("a token stands in the log")
        rows.append(
            {"attack": "tokens in the log", "answers": "0" if not leaked else str(leaked), "healthy after": True}
        )
    return Section(
        title="Who may call: refused, told, and healthy after", columns=_COLUMNS, rows=rows, failures=failures
    )


def _shown(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return ""
    first = lines[0]
    fields = ("event", "caller", "method", "reason", "peer", "project")
    return f"{len(lines)}x " + " ".join(str(first[name])[:40] for name in fields if name in first)


async def rotated() -> Section:
    """Rotate a token file and the issuer's key under load."""
    rows: list[dict[str, Any]] = []
    async with _scene() as (scene, tokens):
        await scene.is_healthy()

        async def next_file(number: int) -> str:
            tokens.write_text(f"{_token(f'number-{number - 1}')}\n{_token(f'number-{number}')}\n")
            await asyncio.sleep(1.5)
            tokens.write_text(_token(f"number-{number}") + "\n")  # and the former one is given up
            return _token(f"number-{number}")

        async def next_key(_number: int) -> str:
            await scene.issuer.rotate()
            return await scene.issuer.token()

        first = {"token file": _token("number-0"), "issuer's key": await scene.issuer.token()}
        for what, rotate in (("token file", next_file), ("issuer's key", next_key)):
            calls, failed, times = await _loaded(scene, first[what], rotate)
            rows.append({"rotated": what, "times": times, "calls": calls, "failed": sum(failed.values()), **failed})
    failures = [f"{row['rotated']}: {row['failed']} of {row['calls']} calls failed" for row in rows if row["failed"]]
    return Section(
        title=f"Token rotation under {_PER_SECOND} calls per second",
        columns=("rotated", "times", "calls", "failed"),
        rows=rows,
        failures=failures,
    )


async def _loaded(scene: Scene, token: str, rotate: Callable[[int], Awaitable[str]]) -> tuple[int, dict[str, int], int]:
    """Poll and create with the newest token while it is rotated; count what failed, by code."""
    newest, failed, calls = [token], dict[str, int](), 0
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    ends_at = began + _LOAD_S

    async def call(number: int) -> None:
        tenant = Tenant(scene.channel, "a", bearing(newest[0]))
        answer = await (tenant.create(node=f"l{number}") if number % 10 == 0 else tenant.get(scene.handle))
        if answer.code != "OK":
            failed[answer.code] = failed.get(answer.code, 0) + 1

    async def rotating() -> int:
        number = 0
        while time.monotonic() < ends_at - 2:
            number += 1
            newest[0] = await rotate(number)
            await asyncio.sleep(0.7)
        return number

    rotations = asyncio.ensure_future(rotating())
    while time.monotonic() < ends_at:
        running.add(task := asyncio.ensure_future(call(calls)))
        task.add_done_callback(running.discard)
        calls += 1
        await asyncio.sleep(max(0.0, began + calls / _PER_SECOND - time.monotonic()))
    await asyncio.gather(*running)
    return calls, failed, await rotations


def sections() -> Iterable[Section]:
    """Return the tables of this part."""
    for make in (attacked, rotated):
        try:
            yield asyncio.run(make())
        except real_parts.NotToBeHad as error:
            yield Section(title=f"Who may call ({make.__name__})", skipped=str(error))
