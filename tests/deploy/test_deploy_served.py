"""The manifests before the real service and, where it is built, a real API server: what `make deploy-check` promises."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deploy import api_server, served
from deploy.cluster import Cluster, binaries, running
from deploy.tools import programs
from real_parts import tried
from tables.sections import assert_kept


@pytest.mark.parametrize("release", ["defaults", "restricted", "two_services_mtls", "without_flyte"])
def test_the_service_takes_what_is_rendered_and_answers_the_probes(release: str) -> None:
    tried(programs)
    assert_kept(served.served(release))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if not os.environ.get("OUTBOARD_KUBERNETES"):
        pytest.skip(
            "no real API server was tried: `make deploy-check KUBERNETES=build` does it, or OUTBOARD_KUBERNETES=build"
        )
    tried(binaries)
    with running() as started:
        api_server.prepare(started)
        yield started


@pytest.mark.timeout(300)
def test_a_real_api_server_takes_every_release(cluster: Cluster) -> None:
    assert_kept(api_server.applied(cluster))


@pytest.mark.timeout(300)
def test_a_real_api_server_refuses_what_is_not_restricted(cluster: Cluster) -> None:
    assert_kept(api_server.enforced(cluster))


@pytest.mark.timeout(300)
def test_both_helms_install_upgrade_roll_back_and_remove(cluster: Cluster) -> None:
    assert_kept(api_server.installed(cluster))
