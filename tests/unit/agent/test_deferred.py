"""A platform that is declared is listed and routed by without being loaded, and loaded by whoever needs it."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import pytest

from outboard.agent import Connection, Platform, Registry, Settings, TaskType, discover
from outboard.agent.deferred import DeclaredAgent, DeferredPlatform
from outboard.agent.discovery import installed
from outboard.errors import ContractViolation, UnknownTaskType
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerNamedAgent, LedgerPlatform, LedgerTokenAgent

_OURS = ("athena", "bigquery", "databricks", "embedded", "files", "snowflake", "sql")


class Options(Settings):
    workers: int = 1


class Late(LedgerPlatform):
    name = "late"
    settings_model = Options
    built: int = 0

    @classmethod
    def configure(cls, settings: Any) -> Any:
        Late.built += 1
        cls.settings_model.model_validate(settings)
        return cls(Ledger(), agents=[LedgerNamedAgent])

    def withheld(self) -> dict[str, str]:
        return {}


LATE = DeferredPlatform(
    name="late",
    source="late_platform:Late",
    agents=(DeclaredAgent(name="ledger_named", task_types=(TaskType("ledger_named"),)),),
)


class Early(LedgerPlatform):
    name = "early"


def early() -> Early:
    return Early(Ledger(), agents=[LedgerTokenAgent])


@pytest.fixture(autouse=True)
def late_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("late_platform")
    vars(module).update(Late=Late, LATE=LATE)
    monkeypatch.setitem(sys.modules, "late_platform", module)
    monkeypatch.setattr(Late, "built", 0)


def registry_of_both() -> Registry:
    registry = Registry()
    registry.defer(LATE)
    registry.add(early())
    return registry


@pytest.mark.parametrize("name", _OURS)
def test_what_a_platform_declares_is_what_it_has(name: str) -> None:
    declared = installed()[name].load()
    assert isinstance(declared, DeferredPlatform)
    platform = declared.load()
    has = [(each.name, tuple(each.task_types), tuple(each.aliases), each.is_sync) for each in platform.agents()]
    assert has == [(each.name, each.task_types, each.aliases, each.is_sync) for each in declared.agents]
    assert (platform.name, platform.withheld(), platform.needs) == (declared.name, declared.withheld, declared.needs)


def test_listing_loads_nothing_and_says_what_is_said_after_loading() -> None:
    registry = registry_of_both()
    before = registry.listed()
    assert [each.name for each in before] == ["ledger_named", "ledger_token"]
    assert Late.built == 0
    assert [agent.name for agent in registry] == ["ledger_named", "ledger_token"]
    assert registry.listed() == before
    assert Late.built == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.for_type(TaskType("ledger_named")),
        lambda registry: registry.named("ledger_named"),
        lambda registry: registry.readers(TaskType("ledger_named")),
        list,
        lambda registry: registry.platforms,
    ],
    ids=["a task", "a handle", "a native handle", "all agents", "all platforms"],
)
def test_whoever_needs_it_loads_it_once_and_listeners_hear_of_it(ask: Any) -> None:
    registry = registry_of_both()
    heard: list[str] = []
    registry.each_platform(lambda platform: heard.append(platform.name))
    ask(registry)
    ask(registry)
    assert Late.built == 1
    assert heard == ["early", "late"]
    assert isinstance(registry.for_type(TaskType("ledger_named")), LedgerNamedAgent)


def test_others_tasks_do_not_load_it() -> None:
    registry = registry_of_both()
    assert isinstance(registry.for_type(TaskType("ledger_token")), LedgerTokenAgent)
    with pytest.raises(UnknownTaskType, match="served: ledger_named, ledger_token"):
        registry.for_type(TaskType("nothing"))
    with pytest.raises(UnknownTaskType, match="served in version 0"):
        registry.for_type(TaskType("ledger_named", 3))
    assert Late.built == 0


def test_settings_load_it_at_once_and_wrong_ones_are_told() -> None:
    modules = ["late_platform:LATE"]
    assert discover(only=(), modules=modules).failures == []
    assert Late.built == 0
    discover({"LATE": {"workers": 2}}, only=(), modules=modules)
    assert Late.built == 1
    registry = discover({"embedded": {"allow_proces": True}}, only=["embedded"])
    assert "platforms.embedded.allow_proces" in registry.failures[0].reason


def test_a_platform_that_cannot_be_loaded_is_named_and_its_tasks_say_why() -> None:
    registry = Registry()
    registry.defer(replace(LATE, source="no_such_module:Late"))
    with pytest.raises(UnknownTaskType, match="platform late could not be loaded: no_such_module cannot be imported"):
        registry.for_type(TaskType("ledger_named"))
    assert [failure.source for failure in registry.failures] == ["late"]
    assert registry.listed() == []


def test_one_that_lacks_a_module_offers_nothing_and_says_so_without_being_loaded() -> None:
    registry = Registry()
    registry.defer(replace(LATE, needs={"no_such_module": "late[all]"}))
    with pytest.raises(UnknownTaskType, match=r"no_such_module is not installed, install late\[all\]"):
        registry.for_type(TaskType("ledger_named"))
    assert registry.notes == ["platform late is not served: no_such_module is not installed, install late[all]"]
    assert (registry.listed(), Late.built) == ([], 0)


def test_two_that_serve_the_same_are_refused_before_either_is_loaded() -> None:
    class Twin(Platform[Connection, None]):
        name = "twin"

        def agents(self) -> list[Any]:
            return [LedgerNamedAgent(self)]

    registry = registry_of_both()
    with pytest.raises(ContractViolation, match="two agents are called ledger_named: late_platform:Late and"):
        registry.add(Twin())
    with pytest.raises(ContractViolation, match="two platforms are called late"):
        registry.defer(replace(LATE, agents=()))
    assert Late.built == 0


def test_a_type_that_is_withheld_says_so_without_loading() -> None:
    registry = discover(only=["embedded"])
    with pytest.raises(UnknownTaskType, match="allow_process: true"):
        registry.for_type(TaskType("process"))
