"""Selection: which agents a run of the suite is about, each with its case where there is one.

Named is an agent class, a platform, whose agents are all meant, or a case. Cases come from the entry points
`outboard.cases`, several for an agent if need be; what is named on the command line wins over them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from outboard.agent import Agent, Platform, discover
from outboard.agent.registry import Registry
from outboard.domain.secret_refs import redact_forms
from outboard.errors import InvalidSettings, OutboardError
from outboard.testing.conformance.cases import Case, installed_cases, load

_SAID_CHARACTERS = 200
Cases: TypeAlias = Mapping[type[Agent], Sequence[Case]]
"""The cases of each agent class; what is named on the command line stands in place of what is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An agent to check.

    Attributes:
        agent: Its class.
        instance: As its platform builds it, where that is known.
        case: How it is started; None without one.
    """

    agent: type[Agent]
    instance: Agent | None = None
    case: Case | None = None


@dataclass(slots=True)
class Selection:
    """What is to be checked, and what could not be loaded (`source` and `reason`)."""

    subjects: list[Subject] = field(default_factory=list)
    failures: list[Mapping[str, str]] = field(default_factory=list)


def select(
    specs: Sequence[str], case_specs: Sequence[str], settings: Mapping[str, Mapping[str, Any]], *, is_all: bool
) -> Selection:
    """Return what `module:name` texts name, and, where `is_all`, every agent of every installed platform or case.

    Raises:
        InvalidSettings: A text does not name an agent, a platform or a case.
    """
    selection = Selection()
    cases, broken = installed_cases()
    named = [each for spec in case_specs if (each := _loaded(spec, selection)) is not None]
    for case in named:
        if not isinstance(case, Case):
            raise InvalidSettings(f"{case!r} is no Case; name one as module:CASE")
    by_class = {**_by_class(cases), **_by_class(named)}
    if is_all:
        registry = discover(settings)
        installed = _subjects(registry, by_class)  # which loads all, or fails to
        selection.failures += [{"source": each.source, "reason": each.reason} for each in registry.failures]
        selection.failures += broken
        selection.subjects += installed
        served = {subject.agent for subject in selection.subjects}
        selection.subjects += [Subject(agent=case.agent, case=case) for case in cases if case.agent not in served]
    for spec in specs:
        found = _loaded(spec, selection)
        if found is not None:
            selection.subjects += _meant(spec, found, by_class, settings)
    return selection


def _loaded(spec: str, selection: Selection) -> Any:
    try:
        return load(spec)
    except InvalidSettings:
        raise
    except OutboardError as error:
        selection.failures.append({"source": spec, "reason": error.message})
    except ImportError as error:
        selection.failures.append({"source": spec, "reason": f"{error.name or 'a module'} cannot be imported"})
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        words = " ".join(redact_forms(str(error)).split())[:_SAID_CHARACTERS]
        selection.failures.append({"source": spec, "reason": f"{type(error).__name__} while loading: {words}"})
    return None


def _meant(spec: str, found: Any, cases: Cases, settings: Mapping[str, Mapping[str, Any]]) -> Iterable[Subject]:
    if isinstance(found, Case):
        return [Subject(agent=found.agent, case=found)]
    if isinstance(found, type) and issubclass(found, Agent) and not inspect.isabstract(found):
        return _each_case(found, _built(found, settings), cases)
    if isinstance(found, type) and issubclass(found, Platform):
        found = found.configure(settings.get(found.name, {}))
    if isinstance(found, Platform):
        return _subjects(Registry([found]), cases)
    raise InvalidSettings(f"{spec} is neither an agent class nor a platform nor a case; name one of them")


def _by_class(cases: Iterable[Case]) -> Cases:
    found: dict[type[Agent], list[Case]] = {}
    for case in cases:
        found.setdefault(case.agent, []).append(case)
    return found


def _subjects(registry: Registry, cases: Cases) -> list[Subject]:
    return [subject for agent in registry for subject in _each_case(type(agent), agent, cases)]


def _each_case(agent: type[Agent], instance: Agent | None, cases: Cases) -> list[Subject]:
    return [Subject(agent=agent, instance=instance, case=case) for case in cases.get(agent, [None])]


def _built(agent: type[Agent], settings: Mapping[str, Mapping[str, Any]]) -> Agent | None:
    """Return the agent as an installed platform, or one of its own module, builds it."""
    for each in discover(settings):
        if type(each) is agent:
            return each
    module = inspect.getmodule(agent)
    for platform in vars(module).values() if module is not None else ():
        if isinstance(platform, type) and issubclass(platform, Platform) and not inspect.isabstract(platform):
            try:
                built = platform.configure(settings.get(platform.name, {})).agents()
            except Exception:  # noqa: BLE001, S112 - a platform that needs settings is asked for by its case
                continue
            for each in built:
                if type(each) is agent:
                    return each
    return None
