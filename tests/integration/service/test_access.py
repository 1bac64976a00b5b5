"""Who may call, over a real socket: tenants that neither see nor touch each other's jobs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from access_rig import KEY, OTHER_KEY, TOKENS, Rig, Tenant, bearing, rigged
from integration.service.probe import Gate, make_task
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.seals import ServiceKey
from outboard.errors import InvalidSettings
from outboard.wire.tasks import encode_header


def digest(name: str) -> str:
    return hashlib.sha256(TOKENS[name].encode()).hexdigest()


def tenants(**rules: Any) -> dict[str, Any]:
    return {
        "callers": {
            "alpha": {"token_sha256": digest("alpha"), "projects": "a", **rules},
            "beta": {"token_sha256": digest("beta"), "projects": "b", **rules},
            "root": {"token_sha256": digest("root")},
        }
    }


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged(tenants()) as made:
        yield made


@pytest.fixture
def alpha(rig: Rig) -> Tenant:
    return rig.tenant("a", TOKENS["alpha"])


@pytest.fixture
def beta(rig: Rig) -> Tenant:
    return rig.tenant("b", TOKENS["beta"])


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


async def test_a_job_is_its_tenants_own(rig: Rig, alpha: Tenant, beta: Tenant) -> None:
    handle = await alpha.made()
    for method in (beta.get, beta.delete, beta.logs, beta.metrics):
        answer = await method(handle)
        assert answer.code == "PERMISSION_DENIED", (method.__name__, answer)
        assert "caller beta may not act for project 'a'" in answer.details
        assert answer.trailing is not None
        assert answer.trailing["outboard-error"] == "RefusedCaller"
    assert rig.platform.probe.cancelled == []
    for method in (alpha.get, alpha.logs, alpha.metrics, alpha.delete):
        assert (await method(handle)).code == "OK", method.__name__
    assert rig.platform.probe.cancelled


async def test_what_is_answered_from_memory_is_its_tenants_own_too(alpha: Tenant, beta: Tenant, rig: Rig) -> None:
    handle = await alpha.made()
    for _ in range(3):
        assert (await alpha.get(handle)).code == "OK"
    before = counted("outboard_access_refused_total", caller="beta", reason="project")
    for _ in range(3):
        assert (await beta.get(handle)).code == "PERMISSION_DENIED"
    assert counted("outboard_access_refused_total", caller="beta", reason="project") == before + 3
    assert (await rig.tenant("", TOKENS["root"]).get(handle)).code == "OK"
    assert (await alpha.get(handle)).code == "OK"


async def test_memory_tells_jobs_of_tenants_apart_whose_requests_look_alike(alpha: Tenant, beta: Tenant) -> None:
    first, second = await alpha.made(), await beta.made()
    assert len(first) == len(second)
    for _ in range(2):
        for tenant, own, other in ((alpha, first, second), (beta, second, first)):
            assert [(await tenant.get(own)).code for _ in range(2)] == ["OK", "OK"]
            assert (await tenant.get(other)).code == "PERMISSION_DENIED"


async def test_flyte_2_is_judged_by_the_same_rules(rig: Rig, alpha: Tenant) -> None:
    handle = await alpha.made()
    stub = service_pb2_grpc.AsyncConnectorServiceStub(rig.channel)
    request = connector_pb2.GetTaskRequest(resource_meta=handle)
    request.task_category.name = "probe"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetTask(request, metadata=bearing(TOKENS["beta"]))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (await stub.GetTask(request, metadata=bearing(TOKENS["alpha"]))).resource.phase
    deletion = connector_pb2.DeleteTaskRequest(resource_meta=handle)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.DeleteTask(deletion, metadata=bearing(TOKENS["beta"]))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_task_of_another_tenant_or_of_nobody_is_not_started(rig: Rig, alpha: Tenant, beta: Tenant) -> None:
    mine = await alpha.made()
    assert (await beta.create("a")).code == "PERMISSION_DENIED"  # A's very request, which A's record would answer
    nobody = await beta.create("")
    assert nobody.code == "PERMISSION_DENIED"
    assert "does not say its project" in nobody.details
    own = await beta.made(prefix="memory://bucket/a/e1/n0/0")  # B's execution in A's place: another key, another job
    assert own != mine
    codec = rig.service.host.codec
    assert codec.decode(own).key != codec.decode(mine).key
    assert codec.decode(own).job != codec.decode(mine).job


async def test_outputs_go_only_where_a_caller_may_have_them() -> None:
    rules = tenants(output_prefixes="memory://bucket/{project}/*")
    async with rigged(rules) as rig:
        beta = rig.tenant("b", TOKENS["beta"])
        assert (await beta.create()).code == "OK"
        for prefix in (
            "memory://bucket/a/e1/n0/0",
            "memory://bucket/b",
            "memory://bucket/b/../a/e1/n0/0",
            "memory://other/b/e1",
            "memory://bucket/bb/e1",
        ):
            answer = await beta.create(prefix=prefix, node="n1")
            assert answer.code == "PERMISSION_DENIED", prefix


@pytest.mark.parametrize("make", ["forged", "clear", "truncated", "flipped", "flytekit"])
async def test_bytes_that_were_not_sealed_here_are_nobodys(rig: Rig, alpha: Tenant, beta: Tenant, make: str) -> None:
    handle = await alpha.made()
    found = rig.service.host.codec.decode(handle)
    made = {
        "forged": _written(found, OTHER_KEY),
        "clear": _written(found, None),
        "truncated": handle[:-1],
        "flipped": handle[:40] + bytes((handle[40] ^ 1,)) + handle[41:],
        "flytekit": b'{"job_id": "1"}',
    }[make]
    for tenant in (alpha, beta):
        for method in (tenant.delete, tenant.logs, tenant.metrics):
            answer = await method(made)
            assert answer.code in ("PERMISSION_DENIED", "UNAVAILABLE"), (make, answer)
            assert (answer.code == "UNAVAILABLE") == (make == "forged")
        polled = await tenant.get(made)
        if make == "forged":  # another replica may have that key: a status tells nothing, and is not an error
            assert "cannot read the handle" in polled.message.resource.message
        else:
            assert polled.code == "PERMISSION_DENIED"
    assert rig.platform.probe.cancelled == []


def _written(handle: Handle, key: str | None) -> bytes:
    return HandleCodec(() if key is None else (ServiceKey.parse(key),)).encode(handle)


async def test_every_bit_of_a_handle_counts(rig: Rig, alpha: Tenant) -> None:
    handle = await alpha.made()
    for bit in range(0, len(handle) * 8, 13):
        place, mask = divmod(bit, 8)
        changed = handle[:place] + bytes((handle[place] ^ 1 << mask,)) + handle[place + 1 :]
        assert (await alpha.delete(changed)).code != "OK", bit
    assert rig.platform.probe.cancelled == []


async def test_nobody_gets_in_without_a_tokens_that_is_known(rig: Rig, alpha: Tenant) -> None:
    handle = await alpha.made()
    for metadata in (
        (),
        bearing("wrong-token-of-thirty-characters"),
        bearing(""),
        (("authorization", "Basic YTpi"),),
        (*bearing(TOKENS["beta"]), *bearing(TOKENS["alpha"])),
    ):
        stranger = Tenant(rig.channel, "a", metadata)
        for answer in (await stranger.create(), await stranger.get(handle), await stranger.agents()):
            assert answer.code == "UNAUTHENTICATED", (metadata, answer)
            assert "error id" in answer.details


async def test_task_types_and_domains_are_rules_too() -> None:
    async with rigged(tenants(task_types="ask", domains="prod*")) as rig:
        alpha = rig.tenant("a", TOKENS["alpha"])
        assert "task type 'probe'" in (await alpha.create()).details
        root = rig.tenant("a", TOKENS["root"])
        handle = await root.made()
        assert (
            await alpha.get(handle, "ask")
        ).code == "PERMISSION_DENIED"  # the handle says what it is, not the request


async def test_a_sync_task_is_judged_before_its_inputs_are_read(rig: Rig) -> None:
    call = agent_pb2_grpc.SyncAgentServiceStub(rig.channel).ExecuteTaskSync(metadata=bearing(TOKENS["beta"]))
    await call.write(agent_pb2.ExecuteTaskSyncRequest(header=encode_header(make_task("ask"))))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_health_is_open_and_the_schema_is_the_callers(rig: Rig) -> None:
    answer = await health_pb2_grpc.HealthStub(rig.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reflection.ServerReflectionInfo(iter([request])).read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    known = reflection.ServerReflectionInfo(iter([request]), metadata=bearing(TOKENS["beta"]))
    assert (await known.read()).list_services_response.service


async def test_the_schema_can_be_opened() -> None:
    async with rigged({**tenants(), "metadata": "anyone"}) as rig:
        nobody = rig.tenant("a")
        assert (await nobody.agents()).code == "OK"
        reflection = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        assert (await reflection.ServerReflectionInfo(iter([request])).read()).list_services_response.service
        assert (await nobody.create()).code == "UNAUTHENTICATED"


async def test_a_refusal_is_one_line_with_who_what_why_and_where(rig: Rig, alpha: Tenant, beta: Tenant) -> None:
    handle = await alpha.made()
    with structlog.testing.capture_logs() as lines:
        structlog.configure(processors=structlog.get_config()["processors"])
        answer = await beta.delete(handle)
    (line,) = [each for each in lines if each["event"] == "call refused"]
    assert {name: line[name] for name in ("caller", "method", "reason", "project", "log_level")} == {
        "caller": "beta",
        "method": "delete",
        "reason": "project",
        "project": "a",
        "log_level": "warning",
    }
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["error_id"] in answer.details
    assert TOKENS["beta"] not in str(lines)


async def test_a_flood_of_refusals_is_a_few_lines(rig: Rig) -> None:
    stranger = rig.tenant("a")
    with structlog.testing.capture_logs() as lines:
        structlog.configure(processors=structlog.get_config()["processors"])
        before = counted("outboard_access_refused_total", caller="unknown", reason="no_credentials")
        await asyncio.gather(*(stranger.agents() for _ in range(200)))
    assert counted("outboard_access_refused_total", caller="unknown", reason="no_credentials") == before + 200
    assert len([each for each in lines if each["event"] == "call refused"]) <= 12


async def test_anonymous_callers_may_do_what_the_operator_says() -> None:
    async with rigged({"anonymous": {"projects": "a", "task_types": "probe"}}) as rig:
        nobody = rig.tenant("a")
        handle = await nobody.made()
        assert (await nobody.get(handle)).code == "OK"
        assert (await nobody.create("b")).code == "PERMISSION_DENIED"


@pytest.mark.parametrize(("networks", "code"), [("127.0.0.0/8", "OK"), ("10.0.0.0/8", "UNAUTHENTICATED")])
async def test_callers_are_known_by_where_they_call_from(networks: str, code: str) -> None:
    async with rigged({"callers": {"propeller": {"networks": networks}}}) as rig:
        assert (await rig.tenant("a").create()).code == code


async def test_a_proxys_word_counts_from_this_machine_alone_and_only_where_it_is_asked_for() -> None:
    spiffe = "spiffe://cluster.local/ns/flyte/sa/propeller"
    callers = {"propeller": {"certificate": spiffe, "networks": "10.0.0.0/8"}}
    said = (("x-forwarded-client-cert", 'Hash=ab;Subject="CN=x,O=y";URI=spiffe://cluster.local/ns/flyte/sa/propeller'),)
    async with rigged({"callers": callers}) as rig:
        assert (await Tenant(rig.channel, "a", said).create()).code == "UNAUTHENTICATED"
    async with rigged({"callers": callers, "proxy": {}}) as rig:
        assert (await Tenant(rig.channel, "a", said).create()).code == "OK"
        assert (await Tenant(rig.channel, "a", (*said, *said)).create()).code == "UNAUTHENTICATED"
        sent_on = (("x-forwarded-client-cert", said[0][1] + ",URI=spiffe://cluster.local/ns/else/sa/x"),)
        assert (await Tenant(rig.channel, "a", sent_on).create()).code == "UNAUTHENTICATED"
    async with rigged({"callers": callers, "proxy": {"networks": ["127.9.0.0/16"]}}) as rig:
        assert (await Tenant(rig.channel, "a", said).create()).code == "UNAUTHENTICATED"


async def test_tokens_are_rotated_without_a_failed_call(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("first-token-of-thirty-characters\n")
    async with rigged({"callers": {"alpha": {"token_file": str(path)}}}) as rig:
        first, second = (rig.tenant("a", f"{name}-token-of-thirty-characters") for name in ("first", "second"))
        handle = await first.made()
        assert (await second.get(handle)).code == "UNAUTHENTICATED"
        path.write_text("second-token-of-thirty-characters\n")

        async def is_known() -> bool:
            assert (await first.get(handle)).code == "OK"  # what has gone from the file is good for some seconds
            return (await second.get(handle)).code == "OK"

        while not await is_known():  # noqa: ASYNC110 - calls, as callers make them
            await asyncio.sleep(0.05)
        assert (await first.get(handle)).code == "OK"


async def test_creates_over_the_rate_wait_and_then_are_told_when_to_ask_again() -> None:
    rules: Mapping[str, Any] = {"calls_per_second": 5, "burst": 1}
    async with rigged({"callers": {"alpha": {"token_sha256": digest("alpha"), **rules}}}) as rig:
        alpha = Tenant(rig.channel, "a", bearing(TOKENS["alpha"]), timeout_s=2)
        answers = await asyncio.gather(*(alpha.create(node=f"n{n}") for n in range(20)))
        codes = [answer.code for answer in answers]
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
        assert 4 <= codes.count("OK") <= 8
        refused = next(answer for answer in answers if answer.code != "OK")
        assert refused.trailing is not None
        assert int(refused.trailing["grpc-retry-pushback-ms"]) > 0
        assert float(refused.trailing["outboard-retry-after-s"]) > 0


async def test_statuses_and_cancels_are_not_refused_for_the_rate() -> None:
    rules: Mapping[str, Any] = {"calls_per_second": 0.01, "burst": 1}
    async with rigged({"callers": {"alpha": {"token_sha256": digest("alpha"), **rules}}}) as rig:
        alpha = rig.tenant("a", TOKENS["alpha"])
        handle = await alpha.made()
        answers = await asyncio.gather(*(alpha.get(handle) for _ in range(50)))
        assert {answer.code for answer in answers} == {"OK"}
        assert (await alpha.delete(handle)).code == "OK"
        assert (await alpha.agents()).code == "RESOURCE_EXHAUSTED"


async def test_a_status_is_told_while_as_many_calls_run_as_may() -> None:
    gate = Gate()
    callers = {"alpha": {"token_sha256": digest("alpha"), "concurrent_calls": 1}}
    async with rigged({"callers": callers}, gate=gate) as rig:
        alpha = rig.tenant("a", TOKENS["alpha"])
        handle = await alpha.made()
        creating = asyncio.ensure_future(alpha.create(node="n1", mode="gated"))
        await gate.entered.wait()
        assert (await alpha.get(handle)).code == "OK"  # the first one, which no memory answers
        assert (await alpha.delete(handle)).code == "RESOURCE_EXHAUSTED"
        gate.opened.set()
        assert (await creating).code == "OK"


async def test_a_clear_handle_is_nobodys_even_where_clear_ones_are_read() -> None:
    async with rigged(tenants(), accepts_clear=True) as rig:
        alpha, root = (rig.tenant("a", TOKENS[name]) for name in ("alpha", "root"))
        clear = _written(rig.service.host.codec.decode(await alpha.made()), None)
        assert (await root.get(clear)).code == "OK"
        for _ in range(2):
            assert (await alpha.get(clear)).code == "PERMISSION_DENIED"
        assert (await alpha.delete(clear)).code == "PERMISSION_DENIED"


async def test_a_job_that_its_tenant_could_not_follow_is_not_started() -> None:
    async with rigged(tenants(), is_native=True) as rig:
        answer = await rig.tenant("a", TOKENS["alpha"]).create()
        assert answer.code == "PERMISSION_DENIED"
        assert "handles of hosted connectors" in answer.details
    async with rigged(
        {"callers": {"alpha": {"token_sha256": digest("alpha"), "task_types": "ask"}}}, is_native=True
    ) as rig:
        refused = await rig.tenant("a", TOKENS["alpha"]).get(b'{"job_id": "1"}', "probe")
        assert "task type 'probe'" in refused.details


async def test_whoever_may_write_only_somewhere_may_not_bring_a_connectors_own_bytes() -> None:
    callers = {"alpha": {"token_sha256": digest("alpha"), "output_prefixes": "memory://bucket/a"}}
    async with rigged({"callers": callers}) as rig:
        answer = await rig.tenant("a", TOKENS["alpha"]).get(b'{"job_id": "1"}')
        assert answer.code == "PERMISSION_DENIED"
        assert "do not say whose job they are" in answer.details


async def test_calls_at_once_and_bytes_of_a_request_are_bounded() -> None:
    rules: Mapping[str, Any] = {"concurrent_calls": 1, "request_bytes": 2048}
    async with rigged({"callers": {"alpha": {"token_sha256": digest("alpha"), **rules}}}) as rig:
        alpha = rig.tenant("a", TOKENS["alpha"])
        answers = await asyncio.gather(*(alpha.create(node=f"n{n}") for n in range(10)))
        assert {answer.code for answer in answers} == {"OK", "RESOURCE_EXHAUSTED"}
        handle = await alpha.made(node="n99")  # the count goes down again
        assert (await alpha.get(handle)).code == "OK"
        large = await alpha.create(prefix="memory://bucket/" + "x" * 3000)
        assert large.code == "RESOURCE_EXHAUSTED"
        assert "of at most 2048 for caller alpha" in large.details
        call = agent_pb2_grpc.SyncAgentServiceStub(rig.channel).ExecuteTaskSync(metadata=bearing(TOKENS["alpha"]))
        await call.write(agent_pb2.ExecuteTaskSyncRequest(header=encode_header(make_task("ask"))))
        inputs = literals_pb2.LiteralMap(literals={"x" * 3000: literals_pb2.Literal()})
        await call.write(agent_pb2.ExecuteTaskSyncRequest(inputs=inputs))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert "of at most 2048 for caller alpha" in (refused.value.details() or "")


async def test_rules_can_be_tried_before_they_count(rig: Rig) -> None:
    async with rigged({**tenants(), "enforce": False}) as trial:
        alpha, beta, nobody = (trial.tenant("a", TOKENS.get(name)) for name in ("alpha", "beta", "nobody"))
        handle = await alpha.made()
        before = counted("outboard_access_unenforced_total", caller="beta", reason="project")
        assert (await beta.get(handle)).code == "OK"
        assert counted("outboard_access_unenforced_total", caller="beta", reason="project") == before + 1
        assert (await nobody.get(handle)).code == "OK"


async def test_rules_without_a_service_key_are_no_rules() -> None:
    with pytest.raises(InvalidSettings, match=r"set host\.service_keys"):
        async with rigged(tenants(), key=None):
            pass
    async with rigged({"callers": {"root": {"token_sha256": digest("root")}}}, key=None) as rig:
        assert (await rig.tenant("a", TOKENS["root"]).create()).code == "OK"


async def test_a_service_that_anybody_reaches_says_so() -> None:
    with structlog.testing.capture_logs() as lines:
        structlog.configure(processors=structlog.get_config()["processors"])
        async with rigged(None, host="0.0.0.0"):  # noqa: S104 - that is the point
            pass
        async with rigged(None):
            pass
    assert len([each for each in lines if each["event"] == "anyone may call"]) == 1


async def test_a_caller_whose_certificate_nobody_asks_for_is_a_mistake() -> None:
    with pytest.raises(InvalidSettings, match=r"access\.callers\.batch .* service\.tls\.client_ca"):
        async with rigged({"callers": {"batch": {"certificate": "batch.flyte"}}, "anonymous": {}}):
            pass


async def test_an_unknown_scope_is_never_taken_for_a_known_one() -> None:
    codec = HandleCodec([ServiceKey.parse(KEY)])
    handle = codec.encode(Handle(agent="probe", task_type="probe", key=Key("ob-f-n0-0-" + "a" * 26), scope=Scope()))
    async with rigged(tenants()) as rig:
        assert (await rig.tenant("a", TOKENS["alpha"]).get(handle)).code == "PERMISSION_DENIED"
