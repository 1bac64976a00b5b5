"""Certificates and rules together, as operators combine them: `serve --settings`, workers, isolated platforms, both dialects."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
import yaml

from access_rig import KEY, TOKENS, Tenant, bearing
from certificates import Mount
from client_certificates import client_certificate
from integration.service.served import served
from outboard.service.admin.liveness import Knocking

SPIFFE = "spiffe://cluster.local/ns/flyte/sa/propeller"


@asynccontextmanager
async def connected(
    address: str, ca: trustme.CA, pair: tuple[bytes | None, bytes | None]
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, with a client's key and certificate."""
    credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes(), *pair)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        yield channel


def settings_file(folder: Path, ca: trustme.CA, callers: dict[str, Any], **service: Any) -> str:
    own = ca.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(each.bytes() for each in own.cert_chain_pems)
    mount = Mount(folder / "tls", chain, own.private_key_pem.bytes(), ca.cert_pem.bytes())
    tls = {"certificate": str(mount.certificate), "key": str(mount.key), "client_ca": str(mount.ca)}
    document = {
        "host": {"service_keys": [KEY]},
        "service": {"host": "localhost", "tls": tls, "access": {"callers": callers}, **service},
    }
    path = folder / "outboard.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def tenant(channel: grpc.aio.Channel, project: str) -> Tenant:
    """Whoever acts for a project: `d` is a caller with a token, in a connection of a certificate that is nobody's."""
    return Tenant(channel, project, bearing(TOKENS["alpha"]) if project == "d" else ())


CALLERS = {
    "propeller": {"certificate": SPIFFE, "projects": "a"},
    "named": {"certificate": "batch.flyte", "projects": "b"},
    "common": {"certificate": "cn:scheduler", "projects": "c"},
    "bearer": {"token_sha256": hashlib.sha256(TOKENS["alpha"].encode()).hexdigest(), "projects": "d"},
}


@pytest.mark.parametrize(
    "options",
    [("--processes", "2", "--isolate", "hostile:Calm"), ()],
    ids=["workers with an isolated platform", "one process"],
)
async def test_callers_with_certificates_see_their_own_jobs(tmp_path: Path, options: tuple[str, ...]) -> None:
    ca = trustme.CA()
    pairs = {
        "a": client_certificate(ca, uri=SPIFFE),
        "b": client_certificate(ca, dns="batch.flyte"),
        "c": client_certificate(ca, name="scheduler"),
        "d": client_certificate(ca, name="nobody"),
    }
    settings = settings_file(tmp_path, ca, CALLERS, admin_port=0, callbacks_port=0)
    async with served("--settings", settings, "--agents", "hostile:Calm", *options) as service:
        handles: dict[str, bytes] = {}
        for project, pair in pairs.items():
            async with connected(service.address, ca, pair) as channel:
                asked: dict[str, Any] = {
                    "task_type": "calm",
                    "config": {"deed": ""},
                    "prefix": f"{tmp_path}/out/{project}",
                }
                handles[project] = await tenant(channel, project).made(**asked)
                assert (await tenant(channel, project).create("z", **asked)).code == "PERMISSION_DENIED"
                assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"
        for project, pair in pairs.items():
            async with connected(service.address, ca, pair) as channel:
                codes = {
                    owner: [(await tenant(channel, project).get(handle, "calm")).code for _ in range(3)]
                    for owner, handle in handles.items()
                }
                assert codes == {owner: ["OK" if owner == project else "PERMISSION_DENIED"] * 3 for owner in handles}
        async with connected(service.address, ca, pairs["d"]) as channel:
            assert (await Tenant(channel, "d").get(handles["d"], "calm")).code == "UNAUTHENTICATED"
            assert (await Tenant(channel, "d").agents()).code == "UNAUTHENTICATED"


async def test_a_connection_does_not_outlive_its_clients_certificate(tmp_path: Path) -> None:
    ca = trustme.CA()
    settings = settings_file(tmp_path, ca, {"propeller": {"certificate": SPIFFE, "projects": "a"}})
    async with served("--settings", settings, "--agents", "hostile:Calm") as service:
        brief = client_certificate(ca, uri=SPIFFE, lasts=timedelta(seconds=4))
        async with connected(service.address, ca, brief) as channel:
            own = Tenant(channel, "a")
            handle = await own.made(task_type="calm", config={"deed": ""}, prefix=f"{tmp_path}/out")
            answers = [await own.get(handle, "calm")]
            while answers[-1].code == "OK" and len(answers) < 200:
                await asyncio.sleep(0.05)  # the certificate's own time goes by
                answers.append(await own.get(handle, "calm"))
            assert answers[-1].code == "UNAUTHENTICATED"
            assert "has expired" in answers[-1].details
            assert (await own.delete(handle)).code == "UNAUTHENTICATED"
        assert service.logged("call refused", reason="certificate_expired", method="get", caller="unknown")


async def test_the_admin_port_looks_after_a_port_with_tls_in_silence(tmp_path: Path) -> None:
    ca = trustme.CA()
    settings = settings_file(tmp_path, ca, CALLERS)
    # A library that a test before imported may have told gRPC to be silent, and with it all that is started from here.
    async with served("--settings", settings, "--agents", "hostile:Calm", GRPC_VERBOSITY="INFO") as service:
        port = int(service.address.rpartition(":")[2])
        for _ in range(3):
            assert await Knocking("localhost", port, has_tls=True).knock()
        with pytest.raises(
            grpc.aio.AioRpcError
        ):  # what gRPC says of it comes after what it would have said of the knocks
            async with connected(service.address, ca, (None, None)) as channel:
                await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
        await service.until(lambda: any("PEER_DID_NOT_RETURN" in line for line in service.texts))
        assert service.logged("tls is on")
    assert (
        len([line for line in service.texts if "Handshake failed" in line]) <= 2
    )  # of the one client, which may try again
    assert not await Knocking("localhost", port, has_tls=True).knock()


async def test_workers_say_once_that_anyone_may_call() -> None:
    async with served("--agents", "hostile:Calm", "--processes", "2", "--host", "0.0.0.0") as service:  # noqa: S104 - that is the point
        assert len(service.logged("anyone may call")) == 1
    assert len(service.logged("anyone may call")) == 1
