"""FlytePropeller's own plugins drive the service: every promise, counted from the platform's ledger.

The lean scenarios are run here, `make interop` runs all of them and flytekit's service beside. They need `go` and Flyte's
modules; where these are not to be had, every test says so and is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from interop.go_programs import NotToBeHad
from interop.propeller import calm
from interop.propeller.building import PROGRAM
from interop.propeller.engines import AGENT, CONNECTOR, PLUGINS
from interop.propeller.rows import Promise, Row, take
from interop.propeller.running import LEAN, run
from interop.propeller.scenarios import Scenario
from interop.propeller.sites import Setting, Site, node
from proof import peers
from proof.scenarios import FLYTEKIT, OUTBOARD

pytestmark = pytest.mark.timeout(3600)  # the first test builds the program and runs the scenarios


@pytest.fixture(scope="session")
def settings() -> Mapping[str, Setting]:
    """Return Outboard driven by each plugin."""
    try:
        built = PROGRAM.build()
    except NotToBeHad as reason:
        pytest.skip(f"FlytePropeller is not to be had here: {reason}")
    return {plugin.id: Setting(system=OUTBOARD, plugin=plugin, program=built) for plugin in PLUGINS}


@pytest.fixture(scope="session")
def rows(settings: Mapping[str, Setting]) -> Mapping[str, Mapping[str, Row]]:
    """Return the rows by plugin and scenario."""
    return dict(zip(settings, run(list(settings.values()), LEAN), strict=True))


@pytest.mark.parametrize("plugin", [CONNECTOR.id, AGENT.id])
@pytest.mark.parametrize("scenario", LEAN, ids=[each.name for each in LEAN])
def test_the_promise_is_kept_under_the_real_plugin(
    scenario: Scenario, plugin: str, rows: Mapping[str, Mapping[str, Row]]
) -> None:
    """See the scenario's own sentence."""
    row = rows[plugin][scenario.name]
    assert not row.broken, row


def test_users_read_the_platforms_words(rows: Mapping[str, Mapping[str, Row]]) -> None:
    """What the platform says of a failed job is what flyteadmin stores."""
    for found in rows.values():
        assert "failed to run the job: the table sales.orders is gone" in found["fail"].words
        assert "failed to run the job: the table sales.orders is gone" in found["answer_failure"].words


def test_polls_are_counted(rows: Mapping[str, Mapping[str, Row]]) -> None:
    """The plugin's cache asked, so its silence about errors means something; planted errors are seen."""
    for found in rows.values():
        assert found["succeed_inline"].polls >= 2
        assert found["lose_get_replies"].errors == 3


def test_a_job_too_many_breaks_a_row(settings: Mapping[str, Setting]) -> None:
    """The judge sees a second job that lives on, also where propeller notices nothing."""

    async def double(site: Site) -> Row:
        await site.engine.start("double", [node("rest_token")])
        job = await site.job("double")
        site.ledger.create(output_prefix=job.output_prefix, course=job.course.model_copy(update={"running_s": None}))
        await site.engine.ended("double")
        return await take(site, "a job too many", ["double"], Promise(), 0.0)

    async def visit() -> Row:
        async with Site(settings[CONNECTOR.id], patience_s=1) as site:
            return await double(site)

    row = asyncio.run(visit())
    assert row.broken == "2 jobs instead of 1; 1 live at the end instead of 0"


def test_flytekits_service_doubles_jobs_under_the_same_program(settings: Mapping[str, Setting]) -> None:
    """The same requests that start one job with us start several there: the program can fail."""
    if not (peers.HOME / "bin" / "python").exists():
        pytest.skip("flytekit's own environment is not installed; `make interop` installs it")
    chosen = [each for each in calm.SCENARIOS if each.name == "send_again_after_conflict"]
    built = settings[CONNECTOR.id].program
    (found,) = run([Setting(system=FLYTEKIT, plugin=CONNECTOR, program=built)], chosen)
    assert found["send_again_after_conflict"].jobs == 12
