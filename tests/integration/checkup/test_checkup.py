"""What is wrong with an installation is found, named and given a remedy; what is right is left as it was."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from outboard.agent import AccountContext, Agent, Connection, Platform, Registry, SecretRef
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.keys import submission_key
from outboard.domain.seals import ServiceKey
from outboard.errors import Unauthorized
from outboard.host import Host, HostSettings
from outboard.host.stores import Store, Stores
from outboard.local.checkup.checkup import HERE, examine
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject
from outboard.local.settings_files import AgentChoice
from outboard.testing.stores import MemoryStores

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
CANARY = "canary-9f8e7d6c5b4a"


class Vault(Connection):
    token: SecretRef = SecretRef("vault_token")


class Vaults(Platform[Vault, None]):
    """A platform whose ping does what a test says."""

    name = "vaults"

    def __init__(self, act: Any = None) -> None:
        super().__init__()
        self.act = act or (lambda ctx: "open")

    def agents(self) -> list[Agent]:
        return []

    async def ping(self, ctx: AccountContext[None]) -> str:
        return str(self.act(ctx))


@asynccontextmanager
async def subject_of(
    *,
    host: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    stores: Store | None = None,
    platform: Platform[Any, Any] | None = None,
    **more: Any,
) -> Any:
    values = {"installation": "tests", **(host or {})}
    choice = AgentChoice(host=values, service=dict(service or {}), platforms=[])
    registry = Registry([platform] if platform is not None else [])
    async with Host(registry, HostSettings.model_validate(values), stores=stores or MemoryStores()) as made:
        yield Subject(choice=choice, host=made, **{"limit_s": 5.0, **more})


async def found(check: str, **options: Any) -> list[Finding]:
    async with subject_of(**options) as subject:
        return await examine(subject, [check])


def marks(findings: list[Finding]) -> list[str]:
    return [each.mark.value for each in findings]


def only(findings: list[Finding], about: str) -> Finding:
    (finding,) = [each for each in findings if each.about == about]
    return finding


async def test_every_check_says_something() -> None:
    async with subject_of(platform=_with_agent(Vaults())) as subject:
        findings = await examine(subject)
        assert {each.check for each in findings} == set(HERE)
        assert all(each.found for each in findings)
        assert all(each.remedy for each in findings if each.mark in (Mark.PROBLEM, Mark.WARNING))


async def test_a_check_that_breaks_costs_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Subject) -> Any:
        yield Finding(check="versions", mark=Mark.OK, found="first, password=hunter2000")
        raise RuntimeError("x")

    checks = {**HERE, "versions": broken}
    monkeypatch.setattr("outboard.local.checkup.checkup.HERE", checks)
    async with subject_of() as subject:
        findings = await examine(subject, ["versions", "handles"])
    assert [each.found for each in findings if each.check == "versions"] == [
        "first, password=[redacted]",
        "the check broke (RuntimeError); please report it",
    ]
    assert any(each.check == "handles" for each in findings)


async def test_a_check_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hanging(_: Subject) -> Any:
        yield Finding(check="versions", mark=Mark.OK, found="first")
        await asyncio.Event().wait()

    monkeypatch.setattr("outboard.local.checkup.checkup.HERE", {"versions": hanging})
    async with subject_of() as subject:
        subject.limit_s = 0.01
        findings = await examine(subject)
    assert [each.found for each in findings] == ["first", "the check did not end within 0.03 s"]


# --- platforms and secrets


async def test_a_missing_secret_is_told_with_where_it_was_looked_for() -> None:
    served = Vaults()
    (finding,) = await found("secrets", platform=_with_agent(served))
    assert finding.mark is Mark.PROBLEM
    assert "vault_token" in finding.found
    assert "_FSEC_VAULT_TOKEN" in finding.found


async def test_a_secret_that_is_there_is_told_by_its_name_alone() -> None:
    secrets = {"overrides": {"vault_token": CANARY}}
    async with subject_of(platform=_with_agent(Vaults()), host={"secrets": secrets}) as subject:
        findings = await examine(subject)
    assert only(findings, "vault_token").mark is Mark.OK
    assert CANARY not in repr(findings)


async def test_a_platform_that_quotes_a_secret_is_told_without_it() -> None:
    def quote(ctx: AccountContext[None]) -> str:
        raise Unauthorized(f"the token {CANARY} is refused")

    secrets = {"overrides": {"vault_token": CANARY}}
    async with subject_of(platform=_with_agent(Vaults(quote)), host={"secrets": secrets}) as subject:
        findings = await examine(subject)
    refused = only(findings, "vaults")
    assert refused.mark is Mark.PROBLEM
    assert "[redacted] is refused" in refused.found
    assert "renew the credentials" in refused.remedy
    assert CANARY not in repr([(each.found, each.remedy, str(each.error)) for each in findings])


def _with_agent(platform: Vaults) -> Vaults:
    """Let the platform count as served: one that serves nothing is not asked."""
    from outboard.agent import SyncAgent, TaskConfig, TaskType

    class Opener(SyncAgent[TaskConfig, None]):
        name = "opener"
        task_types = (TaskType("open"),)

        async def do(self, task: Any, ctx: Any) -> Mapping[str, Any]:
            return {}

    agent = Opener(platform)
    platform.agents = lambda: [agent]  # type: ignore[method-assign]  # one platform of many tests
    return platform


async def test_a_platform_that_cannot_name_its_connections_costs_no_other_one() -> None:
    served = _with_agent(Vaults())
    served.connections = lambda: 1 / 0  # type: ignore[assignment,method-assign,return-value]  # an author's mistake
    finding = only(await found("platforms", platform=served), "vaults")
    assert finding.mark is Mark.PROBLEM
    assert "ZeroDivisionError" in finding.found


# --- records


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


async def test_a_store_that_keeps_conditions_is_good_and_left_empty(tmp_path: Path) -> None:
    async with subject_of(host={"records": str(tmp_path)}, stores=Stores()) as subject:
        clock, records = await examine(subject, ["clock", "records"])
        assert records.mark is Mark.OK
        assert clock.mark is Mark.OK, "the store's time was compared with ours"
    assert is_empty(tmp_path)


async def test_a_store_that_ignores_conditions_is_a_problem(tmp_path: Path) -> None:
    class Careless(MemoryStores):
        async def create(self, uri: str, data: bytes) -> str | None:
            await self.write(uri, data)
            stored = await self.read_tagged(uri)
            return None if stored is None else stored.tag

    (finding,) = await found("records", host={"records": "s3://bucket/records"}, stores=Careless())
    assert finding.mark is Mark.PROBLEM
    assert "If-None-Match" in finding.found
    assert "two replicas may start one job" in finding.remedy


async def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (finding,) = await found("records", host={"records": str(tmp_path / "file" / "deep")}, stores=Stores())
    assert finding.mark is Mark.PROBLEM
    assert "cannot create" in finding.found


async def test_a_path_is_no_place_for_several_replicas(tmp_path: Path) -> None:
    (finding,) = await found("records", host={"records": str(tmp_path), "replicas": 3})
    assert finding.mark is Mark.WARNING
    assert "3 replicas" in finding.found


async def test_without_a_place_of_its_own_the_outputs_place_is_tried(tmp_path: Path) -> None:
    (finding,) = await found("records", output_prefix=str(tmp_path))
    assert finding.mark is Mark.OK
    (skipped,) = await found("records")
    assert skipped.mark is Mark.SKIPPED


# --- clock


@pytest.mark.parametrize(
    ("skews", "mark"),
    [
        ({}, Mark.SKIPPED),
        ({"a": 2, "b": -30}, Mark.OK),
        ({"a": 300, "b": 301}, Mark.PROBLEM),
        ({"a": 300, "b": 0, "c": 1}, Mark.WARNING),
    ],
)
async def test_a_clock_that_is_off_is_told(skews: Mapping[str, float], mark: Mark) -> None:
    told = {name: timedelta(seconds=seconds) for name, seconds in skews.items()}
    (finding,) = await found("clock", skews=told)
    assert finding.mark is mark


# --- handles


def sealed(key: str) -> bytes:
    handle = Handle(
        agent="opener",
        task_type="open",
        key=submission_key("tests", ExecutionIdentity(execution="f1", node="n0"), "s3://b"),
    )
    return HandleCodec([ServiceKey.parse(key)]).encode(handle)


async def test_a_handle_of_another_key_is_told_by_the_ids_of_the_keys() -> None:
    findings = await found("handles", host={"service_keys": KEYS[:1]}, handle=sealed(KEYS[1]))
    finding = only(findings, "given")
    assert finding.mark is Mark.PROBLEM
    assert ServiceKey.parse(KEYS[1]).key_id.hex() in finding.found
    assert KEYS[0] not in repr(findings)
    assert KEYS[1] not in repr(findings)


async def test_a_handle_of_an_older_key_is_readable() -> None:
    options = {"service_keys": [KEYS[0], KEYS[1]]}
    findings = await found("handles", host=options, handle=sealed(KEYS[1]), platform=_with_agent(Vaults()))
    assert only(findings, "given").mark is Mark.OK


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"installation": "development", "service_keys": KEYS[:1]}, "the name 'development'"),
        ({"installation": "prod"}, "no service keys"),
        ({"installation": "prod", "service_keys": KEYS[:1], "accept_clear_handles": True}, "accept_clear_handles"),
        (
            {"installation": "prod", "service_keys": KEYS[:1], "accept_flytekit_handles": True},
            "accept_flytekit_handles",
        ),
    ],
)
async def test_what_weakens_handles_is_a_warning(settings: Mapping[str, Any], words: str) -> None:
    findings = await found("handles", host=settings)
    (warning,) = [each for each in findings if each.mark is Mark.WARNING]
    assert words in warning.found


async def test_a_well_kept_installation_has_nothing_to_be_warned_of() -> None:
    assert set(marks(await found("handles", host={"installation": "prod", "service_keys": KEYS[:2]}))) == {"ok"}


# --- quotas


async def test_a_name_of_replicas_that_means_nothing_is_a_problem() -> None:
    finding = only(await found("quotas", host={"replicas_dns": "no-such-name.invalid"}), "replicas")
    assert finding.mark is Mark.PROBLEM


async def test_replicas_are_counted_and_compared() -> None:
    good = only(await found("quotas", host={"replicas_dns": "localhost"}), "replicas")
    assert good.mark is Mark.OK
    odd = only(await found("quotas", host={"replicas_dns": "localhost", "replicas": 4}), "replicas")
    assert odd.mark is Mark.WARNING


@contextmanager
def page(text: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_what_waits_and_who_is_lost_is_read_from_the_metrics() -> None:
    labels = '{platform="databricks",account="databricks:x",method="runs/get"}'
    text = (
        f"# TYPE outboard_budget_waiting gauge\noutboard_budget_waiting{labels} 7\n"
        f"# TYPE outboard_budget_throttled_total counter\noutboard_budget_throttled_total{labels} 3\n"
        '# TYPE outboard_account_reachable gauge\noutboard_account_reachable{platform="b",account="bigquery:p"} 0\n'
    )
    with page(text) as url:
        findings = await found("quotas", metrics_url=url)
    waiting = only(findings, "databricks:x runs/get")
    assert waiting.mark is Mark.WARNING
    assert "7 calls wait" in waiting.found
    assert "throttled 3 times" in waiting.found
    assert only(findings, "bigquery:p").mark is Mark.PROBLEM


async def test_metrics_that_nobody_serves_are_a_problem() -> None:
    finding = only(await found("quotas", metrics_url="http://127.0.0.1:9/metrics"), "metrics")
    assert finding.mark is Mark.PROBLEM
    file = only(await found("quotas", metrics_url="file:///etc/passwd"), "metrics")
    assert "no http address" in file.found


# --- ports, certificates, machine


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        finding = only(await found("ports", service={"port": taken.getsockname()[1]}), "port")
        assert finding.mark is Mark.WARNING
        assert "--endpoint" in finding.remedy


async def test_an_address_that_is_not_ours_is_a_problem() -> None:
    finding = only(await found("ports", service={"host": "203.0.113.9", "port": 8123}), "port")
    assert finding.mark is Mark.PROBLEM


def written(folder: Path, certificate: trustme.LeafCert, other: trustme.LeafCert | None = None) -> dict[str, str]:
    files = {"certificate": folder / "tls.crt", "key": folder / "tls.key"}
    certificate.cert_chain_pems[0].write_to_path(files["certificate"])
    (other or certificate).private_key_pem.write_to_path(files["key"])
    return {name: str(path) for name, path in files.items()}


async def test_certificates_are_read_and_held_together(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    good = written(tmp_path, authority.issue_cert("outboard.test"))
    findings = await found("certificates", service={"tls": {**good, "client_ca": str(tmp_path / "ca.crt")}})
    assert marks(findings) == ["ok", "ok", "ok"]
    assert "outboard.test" in only(findings, "certificate").found
    other = written(tmp_path, authority.issue_cert("a.test"), authority.issue_cert("b.test"))
    assert only(await found("certificates", service={"tls": other}), "key").mark is Mark.PROBLEM


@pytest.mark.parametrize(
    ("days", "mark"), [(-1, Mark.PROBLEM), (3, Mark.WARNING), (60, Mark.OK)], ids=["expired", "soon", "good"]
)
async def test_the_end_of_a_certificate_is_told_in_time(tmp_path: Path, days: int, mark: Mark) -> None:
    ends = datetime.now(timezone.utc) + timedelta(days=days, hours=1)
    begins = ends - timedelta(days=90)
    files = written(tmp_path, trustme.CA().issue_cert("x.test", not_before=begins, not_after=ends))
    assert only(await found("certificates", service={"tls": files}), "certificate").mark is mark


async def test_files_that_are_no_certificates_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("nonsense")
    tls = {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "gone")}
    findings = await found("certificates", service={"tls": tls})
    assert set(marks(findings)) == {"problem"}
    assert any("no such file" in each.found for each in findings)


async def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    finding = only(await found("machine"), "open files")
    assert finding.mark is Mark.WARNING
    assert "1,024" in finding.found


async def test_a_container_that_is_too_small_for_the_settings_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{256 * 2**20}\n")
    monkeypatch.setattr("outboard.local.checkup.surroundings._LIMITS", (limit,))
    small = only(await found("machine", service={"processes": 4}), "memory")
    assert small.mark is Mark.WARNING
    limit.write_text("max\n")
    assert only(await found("machine", service={"processes": 4}), "memory").mark is Mark.OK
