"""Secrets under attack: canaries planted in every source and looked for wherever something leaves, and names that lead elsewhere.

Agents (`gossips`) tell all their secrets in every way they can, in plain text, JSON, URLs, base64, Python's notation and
hexadecimal digits; afterwards every byte that left is searched for every canary in every one of these spellings. A part of a run
without anything to search is a failure, and so is a run in which redaction had nothing to do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import sqlite3
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import grpc
import yaml
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2, tasks_pb2
from flyteidl2.connector import connector_pb2

from attack.gossips import CALLED, MODES
from attack.onlookers import PAGES, collector, set_level, take_commands, take_pages
from integration.service.flyte2_requests import create_request, provide
from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef
from outboard.errors import MissingSecret
from outboard.host import HostSettings, SecretSettings
from outboard.host.codecs import Codecs
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.secrets.ports import Reader
from real_parts import NotToBeHad, install
from secret_servers import Bao, KubernetesStandIn, bao
from tables.sections import Section

_TESTS: Final = Path(__file__).resolve().parents[1]
_SERVICE: Final = "/flyteidl.service.AsyncAgentService"
_CONNECTOR: Final = "/flyteidl2.connector.AsyncConnectorService"
_REDACTED: Final = "[redacted]"
_LIMIT_S: Final = 60.0
_SHAPES: Final[Mapping[str, Sequence[str]]] = {
    "one process, json": ("--log-format", "json"),
    "isolated platform, pretty": ("--log-format", "pretty", "--isolate", "attack.gossips:GossipPlatform"),
    "two workers, json": ("--log-format", "json", "--processes", "2"),
}


def canary(name: str) -> str:
    """Return a value that stands nowhere else, with letters that every encoding writes in another way."""
    return f'Canary/{name}+of {os.getpid()}\'s "mine"&=%é'


CANARIES: Final = {
    name: canary(name) for name in ("env", "file", "override", "vault", "cluster", "provided", "connection")
}
_CREDENTIALS: Final = {
    "service key": base64.b64encode(b"canary-of-a-service-key-in-a-min").decode(),
    "bearer token": "canary-of-a-bearer-token-in-a-header",
    "cluster token": "canary-of-a-service-accounts-token",
    "collector's login": "canary-of-a-login-at-the-collector",
}


def spellings(value: str) -> set[str]:
    """Return how a value may stand in something; worked out apart from the redactor's own."""
    data = value.encode()
    spelled = {
        value,
        value[:20],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    }
    spelled |= {quote(value), quote(value, safe=""), quote_plus(value), quote(value, safe="").lower(), data.hex()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        spelled.add(encoded[4 if before else 0 : -4])
        spelled.add(encoded[4 if before else 0 : -4].translate(str.maketrans("+/", "-_")))
    return {each for each in spelled if len(each) >= 8}


@dataclass
class Haul:
    """What left, by where it left.

    Attributes:
        told: The texts and bytes of each place.
        canaries: What is looked for, by name.
    """

    told: dict[str, list[bytes]] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=lambda: {**CANARIES, **_CREDENTIALS})

    def take(self, place: str, what: object) -> None:
        """Keep something that left."""
        data = what if isinstance(what, bytes) else str(what).encode(errors="surrogateescape")
        self.told.setdefault(place, []).append(data)

    def hits(self, place: str) -> list[str]:
        """Return the names of the canaries that are somewhere in a place, with the spelling's beginning."""
        whole = b"\n".join(self.told.get(place, ()))
        found = []
        for name, value in self.canaries.items():
            found += [f"{name} as {each[:12]}..." for each in sorted(spellings(value)) if each.encode() in whole]
        return found

    def rows(self, shape: str) -> Iterator[dict[str, Any]]:
        """Give what came of each place."""
        for place, parts in self.told.items():
            whole = b"".join(parts)
            yield {
                "how": shape,
                "searched": place,
                "bytes": len(whole),
                "canaries": len(self.canaries),
                "redactions": whole.count(_REDACTED.encode()),
                "hits": len(self.hits(place)),
            }


PLACES: Final = ("standard error", "standard output", "answers", "errors and trailers", "handles", "handles, opened",
                 "metrics page", "records and outputs", "log stream", "task metrics", "traces", "outboard config",
                 "outboard doctor", "outboard explain", *(f"admin port: {page}" for page in PAGES))  # fmt: skip
"""Where a service lets something out, and what is said of it."""


def sections() -> Iterator[Section]:
    """Return the tables, one after the other."""
    yield canaries()
    yield names()


def canaries(shapes: Sequence[str] = tuple(_SHAPES)) -> Section:
    """Plant canaries in every source, let agents tell them in every way, and search what left."""
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    try:
        python = install("openbao")
    except NotToBeHad as error:
        return Section(title="canary secrets", skipped=str(error))
    with bao(python, _free_port()) as server:
        for shape in shapes:
            haul = asyncio.run(_serve_and_ask(server, _SHAPES[shape]))
            rows += haul.rows(shape)
            failures += _faults(shape, haul, PLACES)
        for shape, name in (("outboard run", "run"), ("outboard run, start-up fails", "refused")):
            haul = asyncio.run(_run(server, name))
            rows += haul.rows(shape)
            failures += _faults(shape, haul, ("console",))
    return Section(
        title="canary secrets: hits after agents told them in every way",
        columns=("how", "searched", "bytes", "canaries", "redactions", "hits"),
        rows=rows,
        failures=failures,
        notes=[
            f"sources: {', '.join((*CANARIES, *_CREDENTIALS))}, and the token that we log in to Vault with",
            "each is looked for in plain text, JSON, URL, base64 at every offset, Python's notation, hexadecimal digits",
        ],
    )


def _faults(shape: str, haul: Haul, expected: Sequence[str]) -> Iterator[str]:
    for place in haul.told:
        for hit in haul.hits(place):
            yield f"{shape}: {place} holds the canary of {hit}"
    for place in expected:
        if not any(haul.told.get(place, ())) and place != "standard output":
            yield f"{shape}: nothing to search in {place}"
    if not any(_REDACTED.encode() in part for parts in haul.told.values() for part in parts):
        yield f"{shape}: nothing was redacted, so nothing was tried"


@asynccontextmanager
async def _sources(server: Bao, folder: Path, haul: Haul) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    """Plant the canaries and give the settings' file and the environment."""
    server.put("p/d/gossip", vault_canary=CANARIES["vault"])
    token = server.token("gossip", {"secret/data/p/d/*": ["read"]})
    haul.canaries["vault token"] = token
    (folder / "vault-token").write_text(token)
    (folder / "cluster-token").write_text(_CREDENTIALS["cluster token"])
    filed = folder / "mounted" / "p-d" / "gossip"
    filed.mkdir(parents=True)
    (filed / "file_canary").write_text(CANARIES["file"])
    (filed / "connection_canary").write_text(CANARIES["connection"])
    cluster = KubernetesStandIn(_CREDENTIALS["cluster token"])
    cluster.allowed.add("p-d")
    cluster.secrets["p-d", "gossip"] = {"cluster_canary": CANARIES["cluster"]}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster.listening())
        tracing = stack.enter_context(collector(haul.take, _CREDENTIALS["collector's login"]))
        document = {
            "host": {
                "tracing": tracing,
                "service_keys": [_CREDENTIALS["service key"]],
                "records": str(folder / "records"),
                "submission_limit": 3,
                "secrets": {
                    "overrides": {
                        "gossip/override_canary": CANARIES["override"],
                        "gossip/provided_canary": "of nobody",
                    },
                    "rules": [{"secrets": ["gossip/*"], "projects": ["p"]}],
                    "stores": [
                        {"kind": "environment"},
                        {"kind": "files", "directory": f"{folder}/mounted/{{project}}-{{domain}}"},
                        {
                            "kind": "kubernetes",
                            "names": ["gossip/cluster_*"],
                            "server": cluster.url,
                            "token_file": str(folder / "cluster-token"),
                            "ca_file": None,
                        },
                        {
                            "kind": "vault",
                            "address": server.url,
                            "path": "{project}/{domain}/{group}",
                            "token_file": str(folder / "vault-token"),
                        },
                    ],
                },
            }
        }
        path = folder / "outboard.yaml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True))
        environment = {
            "_FSEC_GOSSIP_ENV_CANARY": CANARIES["env"],
            "PYTHONPATH": str(_TESTS),
            CALLED: cluster.url,
            "OUTBOARD_HOME": str(folder / "home"),
        }
        yield path, {**os.environ, **environment, "OUTBOARD_HOME": str(folder / "home")}


async def _serve_and_ask(server: Bao, options: Sequence[str]) -> Haul:
    haul = Haul()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings, environment = await stack.enter_async_context(_sources(server, folder, haul))
        metrics_port, admin_port = _free_port(), _free_port()
        isolated = () if "--isolate" in options else ("--agents", "attack.gossips:GossipPlatform")
        command = [sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "", *isolated, *options]
        command += ["--settings", str(settings), "--metrics-port", str(metrics_port), "--admin-port", str(admin_port)]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said: list[bytes] = []
        printed: list[bytes] = []
        reading = [asyncio.ensure_future(_read_on(process.stdout, printed))]
        try:
            address = await asyncio.wait_for(_until_ready(process, said), _LIMIT_S)
            reading.append(asyncio.ensure_future(_read_on(process.stderr, said)))
            await asyncio.to_thread(set_level, admin_port, "debug")
            async with grpc.aio.insecure_channel(address) as channel:
                await asyncio.wait_for(_ask(channel, folder, haul), _LIMIT_S)
            await asyncio.to_thread(take_pages, admin_port, haul.take)
            haul.take("metrics page", await asyncio.to_thread(_get, f"http://127.0.0.1:{metrics_port}/metrics"))
        finally:
            await _end(process)
            await asyncio.gather(*reading)
        await take_commands(settings, environment, haul.told["handles"][::5], haul.take)
        haul.take("standard output", b"".join(printed))
        haul.take("standard error", b"".join(said))
        for path in [*(folder / "records").rglob("*"), *(folder / "out").rglob("*")]:
            if path.is_file():
                haul.take("records and outputs", str(path).encode() + path.read_bytes())
        settings_of_host = HostSettings.model_validate(yaml.safe_load(settings.read_text())["host"])
        codec = Codecs.of(settings_of_host).handles
        for handle in haul.told.get("handles", ()):
            haul.take("handles, opened", repr(codec.decode(handle)))
    return haul


async def _ask(channel: Any, folder: Path, haul: Haul) -> None:
    """Make every call there is for every way to behave, in both dialects."""
    metadata = (("authorization", f"Bearer {_CREDENTIALS['bearer token']}"),)

    async def call(method: str, request: Any, answer: Any) -> Any:
        asked = channel.unary_unary(method, request_serializer=None, response_deserializer=None)(
            request.SerializeToString(), metadata=metadata, timeout=10
        )
        try:
            data: bytes = await asked
        except grpc.aio.AioRpcError as error:
            said = (error.code(), error.details(), error.trailing_metadata(), error.debug_error_string())
            haul.take("errors and trailers", said)
            return None
        haul.take("answers", data)
        haul.take("answers", str(answer.FromString(data)))
        return answer.FromString(data)

    for number, mode in enumerate(MODES):
        for dialect, service, pb2 in (("1", _SERVICE, agent_pb2), ("2", _CONNECTOR, connector_pb2)):
            prefix = f"{folder}/out/{dialect}/a{number}/0"
            request: Any
            if dialect == "2":
                request = create_request(
                    "gossip",
                    custom={"mode": mode},
                    node=f"a{number}",
                    prefix=prefix,
                    connection=provide({"provided_canary": CANARIES["provided"]}),
                )
            else:
                request = _flyte1_request(mode, number, prefix)
            created = await call(f"{service}/CreateTask", request, pb2.CreateTaskResponse)
            if created is None:
                continue
            handle = created.resource_meta
            haul.take("handles", handle)
            about = {"resource_meta": handle, "task_category": pb2.TaskCategory(name="gossip")}
            provided = {"connection": provide({"provided_canary": CANARIES["provided"]})} if dialect == "2" else {}
            for _ in range(2):
                await call(f"{service}/GetTask", pb2.GetTaskRequest(**about, **provided), pb2.GetTaskResponse)
            await call(f"{service}/GetTaskMetrics", pb2.GetTaskMetricsRequest(**about), pb2.GetTaskMetricsResponse)
            haul.take("task metrics", haul.told["answers"][-1])
            await _read_logs(channel, f"{service}/GetTaskLogs", pb2.GetTaskLogsRequest(**about), haul, metadata)
            await call(f"{service}/DeleteTask", pb2.DeleteTaskRequest(**about, **provided), pb2.DeleteTaskResponse)
    await call(
        f"{_SERVICE}/CreateTask", _flyte1_request("running", 90, "", "gossip_answerer"), agent_pb2.CreateTaskResponse
    )
    await call(
        f"{_SERVICE}/CreateTask", _flyte1_request("outputs", 91, "", "gossip_answerer"), agent_pb2.CreateTaskResponse
    )
    await call(
        f"{_SERVICE}/CreateTask", _flyte1_request("running", 92, "", project="elsewhere"), agent_pb2.CreateTaskResponse
    )


async def _read_logs(channel: Any, method: str, request: Any, haul: Haul, metadata: Any) -> None:
    stream = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
    with suppress(grpc.aio.AioRpcError):
        async for page in stream(request.SerializeToString(), metadata=metadata, timeout=10):
            haul.take("log stream", page)


def _flyte1_request(mode: str, number: int, prefix: str, task_type: str = "gossip", project: str = "p") -> Any:
    template = tasks_pb2.TaskTemplate(type=task_type)
    template.custom.update({"mode": mode})
    metadata = agent_pb2.TaskExecutionMetadata()
    execution = metadata.task_execution_id.node_execution_id.execution_id
    execution.project, execution.domain, execution.name = project, "d", "r1"
    metadata.task_execution_id.node_execution_id.node_id = f"n{number}"
    metadata.task_execution_id.task_id.project = project
    return agent_pb2.CreateTaskRequest(
        template=template, inputs=literals_pb2.LiteralMap(), output_prefix=prefix, task_execution_metadata=metadata
    )


async def _run(server: Bao, name: str) -> Haul:
    """Run tasks with `outboard run`, and search what it shows, its journal and what it leaves on disk."""
    haul = Haul()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings, environment = await stack.enter_async_context(_sources(server, folder, haul))
        if name == "refused":
            text = settings.read_text().replace(
                "kind: vault", f"kind: vault\n      addres: {json.dumps(CANARIES['override'])}"
            )
            settings.write_text(text)
        for mode in ("broken",) if name == "refused" else ("broken", "done", "outputs", "rejected"):
            command = [sys.executable, "-m", "outboard", "run", "gossip", "-c", f"mode={mode}", "--platforms", ""]
            command += ["--agents", "attack.gossips:GossipPlatform", "--settings", str(settings)]
            command += ["--project", "p", "--domain", "d", "--journal", str(folder / "journal.db"), "-o", "o0=str"]
            command += ["--output-base", str(folder / "out")]
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await asyncio.wait_for(process.communicate(), _LIMIT_S)
            haul.take("console", out + err)
        _take_disk(folder, haul)
    if name == "refused":
        haul.take("console", _REDACTED)  # nothing was resolved, so nothing could be redacted
    return haul


def _take_disk(folder: Path, haul: Haul) -> None:
    """Search the journal's bytes, its rows, and the files that tasks left."""
    for path in folder.rglob("journal.db*"):
        haul.take("journal", path.read_bytes())
    if (folder / "journal.db").exists():
        with sqlite3.connect(folder / "journal.db") as journal:
            haul.take("journal", "\n".join(journal.iterdump()))
    for path in (folder / "out").rglob("*"):
        if path.is_file():
            haul.take("records and outputs", path.read_bytes())


async def _until_ready(process: asyncio.subprocess.Process, said: list[bytes]) -> str:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said.append(line)
        if line.startswith(b"outboard serves "):
            return line.decode().split(" on ")[1].split(": ")[0].split(";")[0].strip()
    raise RuntimeError(f"the service ended: {b''.join(said)[-1000:].decode()}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a service: in order, then at once (its jobs refuse to be cancelled), then by force."""
    for end in (process.terminate, process.terminate, process.kill):
        with suppress(ProcessLookupError):
            end()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 4)
            return
    await process.wait()


async def _read_on(stream: asyncio.StreamReader | None, said: list[bytes]) -> None:
    assert stream is not None
    while part := await stream.read(65536):
        said.append(part)


def _get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return bytes(answer.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Names that lead elsewhere

_HOSTILE: Final = {
    "climbs": "../b-production/warehouse",
    "climbs, URL-encoded": "..%2fb-production%2fwarehouse",
    "climbs, encoded twice": "%252e%252e%252fb-production",
    "climbs, backslashes": "..\\b-production\\warehouse",
    "absolute": "/etc/passwd",
    "NUL": "warehouse\0",
    "line break": "warehouse\r\nX-Vault-Token: root",
    "query": "warehouse?version=1",
    "fragment": "warehouse#password",
    "full-width dots": "．．/b-production",  # noqa: RUF001 - that is the attack
    "two-dot leader": "‥/b-production",
    "division slash": "b-production∕warehouse",  # noqa: RUF001 - same
    "placeholder": "{project}",
    "very long": "a" * 5_000,
    "nothing but dots": "..",
}


def names() -> Section:
    """Name secrets that lead elsewhere, in every part of a reference, in every kind of store."""
    rows, failures = asyncio.run(_try_names())
    return Section(
        title="path traversal in secrets' names",
        columns=("store", "tries", "refused", "requests", "values"),
        rows=rows,
        failures=failures,
        notes=[
            f"{len(_HOSTILE)} spellings as key, group and version; requests: what the store's server was asked",
            "another project's group, named outright: refused by a rule, in every spelling of a variable's name",
        ],
    )


async def _try_names() -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    cluster = KubernetesStandIn("token-of-the-test")
    cluster.allowed |= {"a-production", "b-production"}
    cluster.secrets["b-production", "warehouse"] = {"password": CANARIES["cluster"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("a-production/own", "b-production/warehouse"):
            (folder / place).mkdir(parents=True)
        (folder / "b-production/warehouse/password").write_text(CANARIES["file"])
        (folder / "token").write_text("token-of-the-test")
        async with cluster.listening():
            login = {"token_file": str(folder / "token"), "ca_file": None}
            stores: dict[str, dict[str, Any]] = {
                "environment": {"kind": "environment"},
                "files": {"kind": "files", "directory": f"{folder}/{{project}}-{{domain}}"},
                "kubernetes": {"kind": "kubernetes", "server": cluster.url, **login},
                "vault": {"kind": "vault", "address": cluster.url, "path": "{project}/{group}", **login},
            }
            for kind, store in stores.items():
                rows.append(await _try_store(kind, store, cluster, failures))
            rows.append(await _try_rules(failures))
    return rows, failures


async def _try_store(
    kind: str, store: Mapping[str, Any], cluster: KubernetesStandIn, failures: list[str]
) -> dict[str, Any]:
    variables = {"_FSEC_B-PRODUCTION_WAREHOUSE_PASSWORD": CANARIES["env"]}
    source = SecretSource(SecretSettings(stores=[store]), Redactor(), variables)
    cluster.seen.clear()
    refs = [
        (how, ref)
        for how, part in _HOSTILE.items()
        for ref in (SecretRef(part, "warehouse"), SecretRef("password", part), SecretRef("password", "warehouse", part))
    ]
    refused, values = 0, 0
    for how, ref in refs:
        reader = Reader(scope=Scope(project="a", domain="production"))
        try:
            await source.fetch([ref], reader, 2.0)
            source.resolve(ref, reader.scope)
        except MissingSecret:
            refused += 1
        else:
            values += 1
            failures.append(f"{kind}: a name that {how} was looked up")
    await source.close()
    if cluster.seen:
        failures.append(f"{kind}: the server was asked {cluster.seen[0]}")
    return {"store": kind, "tries": len(refs), "refused": refused, "requests": len(cluster.seen), "values": values}


async def _try_rules(failures: list[str]) -> dict[str, Any]:
    variables = {"_FSEC_B-PRODUCTION_WAREHOUSE_PASSWORD": CANARIES["env"]}
    rules = [{"secrets": ["{project}-{domain}/**"]}, {"secrets": ["*"]}]
    source = SecretSource(SecretSettings(rules=rules), Redactor(), variables)
    refs = [
        SecretRef("password", "b-production", "warehouse"),
        SecretRef("PASSWORD", "B-Production", "Warehouse"),
        SecretRef("warehouse_password", "b-production"),
        SecretRef("password", "b-production_warehouse"),
        SecretRef("b-production_warehouse_password"),
    ]
    refused, values = 0, 0
    for ref in refs:
        try:
            source.resolve(ref, Scope(project="a", domain="production"))
        except MissingSecret:
            refused += 1
        else:
            values += 1
            failures.append(f"rules: project a read {ref}")
    own = source.resolve(refs[0], Scope(project="b", domain="production")).get_secret_value()
    if own != CANARIES["env"]:
        failures.append("rules: project b cannot read its own secret, so nothing was tried")
    return {
        "store": "another project's, by rules",
        "tries": len(refs),
        "refused": refused,
        "requests": 0,
        "values": values,
    }
