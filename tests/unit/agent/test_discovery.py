"""One broken platform is named and skipped; the others are served."""

import sys
import types
from typing import Any

import pytest

from outboard.agent import Connection, Platform, Registry, Settings, TaskType, discover
from outboard.errors import InvalidSettings, UnknownTaskType
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerPlatform


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


def test_a_platform_that_lacks_a_module_leaves_its_task_types_to_others_and_says_what_to_install() -> None:
    lacking = LedgerPlatform(Ledger())
    lacking.needs = {"json": "nothing", "no_such.module": "outboard[ledger]"}  # type: ignore[misc]  # this one only
    registry = Registry([lacking])
    (agent, *_) = registry
    assert registry.served(agent) == ()
    (note,) = registry.notes
    assert note == "platform ledger is not served: no_such.module is not installed, install outboard[ledger]"
    with pytest.raises(UnknownTaskType, match=r"ledger_named.*install outboard\[ledger\]"):
        registry.for_type(TaskType("ledger_named"))


def test_wrong_settings_name_the_field_and_the_fields_there_are() -> None:
    with pytest.raises(InvalidSettings, match=r"platforms\.fine\.worker.*settings of fine: workers") as caught:
        Fine.configure({"worker": 2})
    assert caught.value.field == "platforms.fine.worker"


def test_a_ready_made_platform_is_taken_as_it_is() -> None:
    assert len(discover(only=(), modules=["some_platforms:made"]).platforms) == 1


class Panic(BaseException):
    """What extensions written in Rust raise."""


def panics(_settings: object) -> object:
    raise Panic("a thread panicked, token=abc123")


def unspeakable(_settings: object) -> object:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Unspeakable


class Hollow(Platform[Connection, None]):
    name = "hollow"

    def agents(self) -> Any:
        return [object()]


class Twin(Fine):
    """Another author's platform of the same name."""


def test_whatever_a_module_raises_it_is_named_without_secrets_and_the_others_are_served() -> None:
    vars(sys.modules["some_platforms"]).update(panics=panics, unspeakable=unspeakable, Hollow=Hollow, Twin=Twin)
    broken = [f"some_platforms:{name}" for name in ("panics", "unspeakable", "Hollow", "Twin")]
    registry = discover(only=(), modules=["some_platforms:Fine", *broken])
    assert [platform.name for platform in registry.platforms] == ["fine"]
    reasons = {failure.source: failure.reason for failure in registry.failures}
    assert list(reasons) == broken
    assert "abc123" not in str(reasons)
    assert "two platforms are called fine" in reasons["some_platforms:Twin"]


@pytest.mark.parametrize("settings", [3, "text", ["x"]])
def test_settings_that_are_none_stop_only_their_platform(settings: Any) -> None:
    registry = discover({"Fine": settings}, only=(), modules=["some_platforms:Fine", "some_platforms:made"])
    assert [failure.source for failure in registry.failures] == ["some_platforms:Fine"]
    assert "write settings by name" in registry.failures[0].reason
    assert len(registry.platforms) == 1


def test_a_platform_without_settings_in_the_file_is_loaded_with_defaults() -> None:
    assert len(discover({"Fine": None}, only=(), modules=["some_platforms:Fine"]).platforms) == 1  # type: ignore[dict-item]


def test_a_platform_that_is_switched_off_is_not_even_imported() -> None:
    registry = discover({"Gone": {"enabled": False}}, only=(), modules=["no.such:Gone"])
    assert not registry.failures
