"""One broken platform is named and skipped; the others are served."""

import sys
import types
from typing import Any

import pytest

from outboard.agent import Connection, Platform, Settings, discover
from outboard.errors import InvalidSettings


class Options(Settings):
    workers: int = 1


class Fine(Platform[Connection, None]):
    name = "fine"
    settings_model = Options

    def agents(self) -> list[Any]:
        return []


def exits(_settings: object) -> object:
    sys.exit(3)


@pytest.fixture(autouse=True)
def platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("some_platforms")
    vars(module).update(Fine=Fine, number=3, exits=exits, wrong=lambda _settings: "text", made=Fine())
    monkeypatch.setitem(sys.modules, "some_platforms", module)


def test_broken_platforms_are_named_and_the_good_one_is_served() -> None:
    broken = [
        "some_platforms:number",
        "some_platforms:exits",
        "some_platforms:wrong",
        "some_platforms:gone",
        "no.such:X",
        "x",
    ]
    registry = discover(only=(), modules=[*broken, "some_platforms:Fine"])
    assert [platform.name for platform in registry.platforms] == ["fine"]
    assert [failure.source for failure in registry.failures] == broken
    assert all(failure.reason for failure in registry.failures)


def test_a_platform_that_is_not_installed_is_named_with_those_that_are() -> None:
    registry = discover(only=("bigqery",))
    assert registry.failures[0].source == "bigqery"
    assert "no such platform is installed" in registry.failures[0].reason


def test_wrong_settings_name_the_field_and_the_fields_there_are() -> None:
    with pytest.raises(InvalidSettings, match=r"platforms\.fine\.worker.*settings of fine: workers") as caught:
        Fine.configure({"worker": 2})
    assert caught.value.field == "platforms.fine.worker"


def test_a_ready_made_platform_is_taken_as_it_is() -> None:
    assert len(discover(only=(), modules=["some_platforms:made"]).platforms) == 1
