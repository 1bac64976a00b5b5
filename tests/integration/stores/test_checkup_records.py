"""The checkup's look at the record store: on each kind of place, on a real S3 server, and on servers that keep no conditions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.stores.frail_s3 import Fault, FrailS3, serving
from outboard.agent import Registry
from outboard.host import Host, HostSettings
from outboard.local.checkup.checkup import examine
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject
from outboard.local.settings_files import AgentChoice


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FrailS3]:
    s3 = FrailS3()
    with serving(s3) as endpoint:
        for name, value in {"ENDPOINT_URL": endpoint, "ALLOW_HTTP": "true", "SKIP_SIGNATURE": "true"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield s3


async def looked(root: str) -> dict[str, Finding]:
    async with Host(Registry(), HostSettings(records=root)) as host:
        subject = Subject(choice=AgentChoice(), host=host, limit_s=10.0)
        found = await examine(subject, ["records", "clock"])
        return {f"{each.check} {each.about}".strip(): each for each in found}


async def test_every_kind_of_store_is_good_and_its_clock_is_compared(root: str) -> None:
    found = await looked(root)
    expected = Mark.WARNING if root.startswith("memory:") else Mark.OK
    assert found["records"].mark is expected, found["records"]
    assert "records probe" not in found, "nothing is left behind"
    assert found["clock"].mark is Mark.OK, found["clock"]


@pytest.mark.parametrize("fault", [Fault.CARELESS, Fault.OLD])
async def test_a_server_that_keeps_no_conditions_is_a_problem(s3: FrailS3, fault: Fault) -> None:
    s3.always = fault
    found = await looked("s3://bucket/records")
    finding = found["records"]
    assert finding.mark is Mark.PROBLEM
    assert "condition" in finding.found
    assert "two replicas may start one job" in finding.remedy
    assert "could not be deleted" in found["records probe"].found, "this server knows no DELETE"
