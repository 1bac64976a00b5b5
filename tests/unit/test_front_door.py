"""`outboard` offers what the authoring API offers, and each name leads there."""

import outboard
import outboard.agent


def test_the_front_door_leaves_nothing_of_the_authoring_api_out() -> None:
    assert set(outboard.agent.__all__) | {"__version__", "Host", "HostSettings"} == set(outboard.__all__)


def test_every_name_leads_to_the_same_thing() -> None:
    for name in outboard.agent.__all__:
        assert getattr(outboard, name) is getattr(outboard.agent, name)
