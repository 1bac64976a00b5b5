"""Scenarios of what Flyte 2 has and Flyte 1 has not: secrets that travel with requests, and services by project and domain."""

from __future__ import annotations

import asyncio
import urllib.request
import zlib
from collections.abc import Mapping
from typing import Final

from flyteidl2.task import common_pb2
from obstore.store import from_url

from integration.stores.seaweed import BUCKET
from interop.flyte2.rows import Promise, Row, take
from interop.flyte2.services import Outboard
from interop.flyte2.tasks import ConnectorTask, template_of
from interop.flyte2.world import CANARY, PRODUCTION, RESEARCH, SECRET_NAME, World, job_task

_NAME: Final = "secret"
_OURS, _HEAD, _RAW = b"\xffOB\x01\x00", 5, -15
"""How an unsealed handle of ours begins; raw deflate follows."""
_RECORDS: Final = "/.outboard/"
_NO_CUSTOM: Final = "nil Struct Object passed"
_NO_SECRET: Final = "there is no secret"  # noqa: S105 - words


async def brings_secrets(world: World) -> Row:
    """A secret of the engine's reaches the platform with create, poll and cancel, and stays nowhere."""
    task = job_task(_NAME, login=SECRET_NAME, running_s=None)
    await world.start(_NAME, task, project=RESEARCH, domain=PRODUCTION)
    stands = await world.executor.wait(_NAME, "PhaseRunning")
    await world.executor.abort(_NAME)
    await world.executor.wait(_NAME, "gone")
    heard = world.second.faults.heard
    broken = [
        f"the platform did not get the secret with {operation}"
        for operation in ("create", "get", "cancel")
        if not any(f"Bearer {CANARY}" in text for said, text in heard if said == operation)
    ]
    places = await _places(world, stands.handle)
    is_read = not world.is_ours or RESEARCH.encode() in places["the handle"]
    broken += [] if is_read else ["the handle could not be looked into"]
    broken += [f"the secret stands in {place}" for place, text in places.items() if CANARY.encode() in text]
    broken += [f"nothing was found to look into: {place}" for place, text in places.items() if not text]
    return await take(world, "secrets of a connection", [_NAME], Promise(end="ABORTED"), broken=broken)


async def lacks_a_secret(world: World) -> Row:
    """A secret that the engine does not have: the plugin says so and asks us nothing."""
    await world.start("no-secret", job_task("no-secret", login=SECRET_NAME))  # there is none in this project
    await world.executor.wait("no-secret", "over")
    return await take(world, "secret that is missing", ["no-secret"], Promise(end="FAILED", jobs=0, words=_NO_SECRET))


async def lacks_custom(world: World) -> Row:
    """A task without a configuration: the plugin refuses it before we hear of it."""
    task = ConnectorTask("no-custom", "rest_token", outputs={"answer": int})
    template = template_of(task)
    template.ClearField("custom")
    await world.executor.create("no-custom", template, common_pb2.Inputs(), f"s3://{BUCKET}/runs")
    await world.executor.wait("no-custom", "over")
    return await take(world, "task without custom", ["no-custom"], Promise(end="FAILED", jobs=0, words=_NO_CUSTOM))


async def goes_by_project(world: World) -> Row:
    """Two services of the same task types: the one of a project and domain gets its tasks, the default one all others."""
    names: Mapping[str, Mapping[str, str]] = {"near": {}, "far": {"project": RESEARCH, "domain": PRODUCTION}}
    for name, scope in names.items():
        await world.start(name, job_task(name, running_s=0.5), **scope)
    for name in names:
        await world.executor.wait(name, "over")
    places = {"near": world.first, "far": world.second}
    broken = []
    for name, place in places.items():
        strays = [job for job in world.jobs(name) if job not in place.ledger.jobs.values()]
        broken += [f"the job of {name} was started by the other service"] if strays else []
        endpoint = (await world.executor.stand(name)).events[-1]["logs_endpoint"]
        broken += [] if endpoint == place.service.address else [f"the logs of {name} are looked for at {endpoint}"]
    return await take(world, "two services, by project and domain", list(names), Promise(), broken=broken)


async def _places(world: World, handle: bytes) -> Mapping[str, bytes]:
    """Return what is kept and shown of a task, by the place's name."""
    service = world.second.service
    places = {"the handle": opened(handle), "the service's log": service.log.read_bytes()}
    if isinstance(service, Outboard):
        places |= await asyncio.to_thread(_own_places, service)
    return places


def opened(handle: bytes) -> bytes:
    """Return what an unsealed handle of ours holds, which is packed; bytes of others as they are."""
    return zlib.decompress(handle[_HEAD:], _RAW) if handle.startswith(_OURS) else handle


def _own_places(service: Outboard) -> Mapping[str, bytes]:
    bucket = from_url(f"s3://{BUCKET}")
    paths = [
        each["path"]
        for page in bucket.list()
        for each in page
        if f"/{_NAME}/" in each["path"] and _RECORDS in each["path"]
    ]
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=5) as page:
        metrics = page.read()
    return {"the metrics": metrics, **{f"the object {path}": bytes(bucket.get(path).bytes()) for path in paths}}
