from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.engine.propeller.config import parse_propeller_config
from outboard.engine.routing import IN_PROCESS, Route, Routes, Served, served_by
from outboard.errors import UnknownTaskType

CONFIG = parse_propeller_config("""
plugins:
  agent-service:
    supportedTaskTypes: [listed_by_nobody]
    defaultAgent: {endpoint: "default:1"}
    agents:
      one: {endpoint: "one:1", insecure: true, defaultTimeout: 1s}
      two: {endpoint: "two:1", insecure: true, defaultTimeout: 1s}
    agentForTaskTypes: {pinned: two}
""")


def routes(**listings: list[Served]) -> Routes:
    found = Routes.of(CONFIG)
    for endpoint, served in listings.items():
        found = found.with_listing(endpoint, served)
    return found


def test_the_endpoint_that_lists_the_type_and_version_serves_it() -> None:
    found = routes(one=[Served("a", 0)], two=[Served("a", 1, is_sync=True)], defaultAgent=[])
    assert found.route("a", 0) == Route(endpoint="one", is_sync=False)
    assert found.route("a", 1) == Route(endpoint="two", is_sync=True)


def test_the_configuration_wins_over_every_listing() -> None:
    assert routes(one=[Served("pinned")], defaultAgent=[]).route("pinned").endpoint == "two"
    found = routes(one=[Served("pinned")], two=[Served("pinned", is_sync=True)])
    assert found.route("pinned") == Route(endpoint="two", is_sync=True)


def test_a_configured_route_that_its_endpoint_does_not_list_is_a_warning() -> None:
    assert routes(two=[Served("pinned", 3)]).warnings == ()
    (warning,) = routes(two=[Served("x")]).warnings
    assert "pinned is sent to two" in warning


def test_of_two_endpoints_the_first_in_the_configuration_serves_with_a_warning() -> None:
    found = routes(two=[Served("a")], one=[Served("a")], defaultAgent=[Served("a")])
    assert found.route("a").endpoint == "one"
    assert any(warning.startswith("a (version 0) is listed by one, two, defaultAgent") for warning in found.warnings)
    assert not any("is listed by" in warning for warning in routes(two=[Served("a")], one=[Served("b")]).warnings)


def test_a_failed_listing_keeps_the_last_good_one() -> None:
    found = routes(one=[Served("a")], defaultAgent=[]).with_listing("one", None)
    assert found.route("a").endpoint == "one"


def test_a_new_listing_replaces_the_old_one() -> None:
    found = routes(one=[Served("a")], defaultAgent=[]).with_listing("one", [Served("b")])
    assert found.route("b").endpoint == "one"
    with pytest.raises(UnknownTaskType):
        found.route("a")


def test_a_default_endpoint_that_never_listed_anything_gets_what_no_other_serves() -> None:
    assert routes(one=[Served("a")]).route("mystery", 7) == Route(endpoint="defaultAgent", is_sync=False)


def test_a_type_that_the_configuration_gives_to_the_default_goes_there_unlisted() -> None:
    assert routes(one=[], two=[], defaultAgent=[]).route("listed_by_nobody").endpoint == "defaultAgent"


def test_an_unknown_type_lists_what_is_served_and_by_whom() -> None:
    found = routes(one=[Served("a", 0), Served("a", 1), Served("b")], defaultAgent=[])
    with pytest.raises(UnknownTaskType) as caught:
        found.route("c")
    for words in ("c (version 0)", "one serves a (0, 1), b (0)", "defaultAgent serves nothing", "two has not answered"):
        assert words in caught.value.message


def test_an_unknown_version_names_the_versions_there_are() -> None:
    found = routes(one=[Served("a", 0)], two=[Served("a", 2)], defaultAgent=[])
    with pytest.raises(UnknownTaskType, match=r"version 1\), only version 0 \(by one\), 2 \(by two\)"):
        found.route("a", 1)


def test_a_host_in_this_process_is_routed_alike() -> None:
    found = Routes.in_process([Served("echo"), Served("quick", is_sync=True)])
    assert found.route("echo") == Route(endpoint=IN_PROCESS, is_sync=False)
    assert found.route("quick").is_sync
    with pytest.raises(UnknownTaskType, match="in-process serves echo"):
        found.route("other")


def test_a_listing_of_agents_says_what_is_served() -> None:
    agents = [AgentInfo(name="x", task_types=(TaskType("a"), TaskType("a", 1)), is_sync=True)]
    assert served_by(agents) == [Served("a", 0, is_sync=True), Served("a", 1, is_sync=True)]


def test_without_any_endpoint_the_message_says_so() -> None:
    with pytest.raises(UnknownTaskType, match="no endpoint is configured"):
        Routes(order=()).route("a")


TYPES = st.sampled_from(["a", "b", "pinned"])
LISTING = st.lists(st.builds(Served, TYPES, st.integers(0, 2), st.booleans()))
EVENTS = st.lists(st.tuples(st.sampled_from(["one", "two", "defaultAgent"]), st.none() | LISTING))


@given(EVENTS, TYPES, st.integers(0, 3))
def test_a_route_is_always_configured_listed_or_the_silent_default(
    events: list[tuple[str, list[Served] | None]], task_type: str, version: int
) -> None:
    """Whatever was listed or failed to, a task goes only where somebody said it is served, by the last good word."""
    found = Routes.of(CONFIG)
    last: dict[str, list[Served]] = {}
    for endpoint, listing in events:
        found = found.with_listing(endpoint, listing)
        if listing is not None:
            last[endpoint] = listing
    lists = [n for n in found.order if any((s.task_type, s.version) == (task_type, version) for s in last.get(n, []))]
    try:
        endpoint = found.route(task_type, version).endpoint
    except UnknownTaskType:
        assert task_type != "pinned"
        assert not lists
        assert "defaultAgent" in last
    else:
        assert endpoint == ("two" if task_type == "pinned" else [*lists, "defaultAgent"][0])
