"""Cases: what the suite needs to know of an agent to start jobs with it.

A case names the agent's class and a *stand-in*: what the platform really has, while the suite loses replies, kills
replicas and asks the same thing twice. Faults strike in one of two places:

* in the stand-in, where it has a `FaultPlan`: a fake over HTTP (`PlatformServer` with the author's routes) or a real
  emulator behind a `FaultProxy`. The agent's own client meets them for real;
* otherwise at the agent's boundary: the kit calls the agent's method, so that it takes effect, and loses the answer.

Time is virtual where it can be. A platform that lives outside of this process (other processes, an emulator), or an
SDK that blocks, needs `Clock.REAL`; limits are short then.

>>> from contextlib import asynccontextmanager
>>> from outboard.testing.ledger_agents import LedgerNamedAgent, LedgerPlatform, sample_task
>>> from outboard.testing.ledger import Ledger
>>> @asynccontextmanager
... async def ledger(site):
...     ledger = Ledger()
...     yield StandIn(
...         platform=lambda: LedgerPlatform(ledger),
...         jobs=lambda: jobs_of(ledger),
...         quick=sample_task("ledger_named"),
...         long=sample_task("ledger_named", running_s=None),
...     )
>>> Case(LedgerNamedAgent, ledger).agent.name
'ledger_named'
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from outboard.agent import Agent, Platform
from outboard.domain.tasks import RawTask
from outboard.errors import InvalidSettings
from outboard.host.stores import Store
from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Ledger
from outboard.testing.stores import MemoryStores

GROUP: Final = "outboard.cases"
"""The entry points that name cases as `module:CASE`; `outboard check --all` goes through them."""


class Clock(str, Enum):
    """By which time a case runs."""

    VIRTUAL = "virtual"
    REAL = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformJob:
    """A job that the platform really has, or had.

    Attributes:
        id: Unique on the platform.
        is_live: It is not over.
    """

    id: str
    is_live: bool


def jobs_of(ledger: Ledger) -> list[PlatformJob]:
    """Return every job of a ledger, as a stand-in that is made over one tells them."""
    live = {job.id for job in ledger.live()}
    return [PlatformJob(id=job, is_live=job in live) for job in ledger.jobs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a stand-in is set up: anew for every check.

    Attributes:
        folder: An empty folder, deleted afterwards.
        stores: The object store of the tasks' outputs, in memory.
    """

    folder: Path
    stores: MemoryStores


Jobs = Iterable[PlatformJob]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A platform to start jobs on, and the tasks to start.

    Attributes:
        platform: Makes the platform object; called once per replica, which share nothing but the stand-in.
        jobs: Returns every job that was ever started here; the truth, whatever the agent is told.
        quick: A task whose job succeeds within seconds; for a sensor one whose condition holds.
        long: A task whose job runs until it is cancelled; for a sensor one whose condition never holds.
        failing: A task whose job ends without success.
        faults: The stand-in's own plan; None lets faults strike at the agent's boundary.
        operations: How the plan calls the agent's operations, where it differs: `{"create": "sbatch"}`.
        lost_reply: What the platform's client raises when a connection breaks, for faults at the boundary.
        stores: Where outputs lie, where the jobs write them themselves; the site's otherwise.
        prefix: Below it outputs go.
    """

    platform: Callable[[], Platform[Any, Any]]
    quick: RawTask
    long: RawTask | None = None
    failing: RawTask | None = None
    jobs: Callable[[], Jobs | Awaitable[Jobs]] | None = None
    faults: FaultPlan | None = None
    operations: Mapping[str, str] = field(default_factory=dict)
    lost_reply: Callable[[], Exception] = ConnectionResetError
    stores: Store | None = None
    prefix: str = "memory://out"


MakeStandIn = Callable[[Site], AbstractAsyncContextManager[StandIn]]


@dataclass(frozen=True, slots=True)
class Case:
    """How an agent is checked.

    Attributes:
        agent: Its class.
        stand_in: Returns a context manager that sets the stand-in up; an `asynccontextmanager` of a `Site`.
        clock: By which time it runs; blocking agents run in real time whatever it says.
        old_handles: A folder of handles that earlier releases of the agent wrote, one per file, raw or in base64.
        requires: Modules that it needs; where one is not installed, nothing is started and the checks are not run.
        checks: Starts of names of checks to run; empty runs all.
        name: What it is told apart by where an agent has several; its entry point's, where an installed package names it.
    """

    agent: type[Agent]
    stand_in: MakeStandIn
    clock: Clock = Clock.VIRTUAL
    old_handles: Path | None = None
    requires: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    name: str = ""

    @property
    def missing(self) -> list[str]:
        """The modules that it needs and that are not installed."""
        return [name for name in self.requires if importlib.util.find_spec(name) is None]

    @property
    def is_virtual(self) -> bool:
        """Whether it runs in virtual time."""
        return self.clock is Clock.VIRTUAL and not self.agent.is_blocking


def installed_cases() -> tuple[list[Case], list[Mapping[str, str]]]:
    """Return the cases that installed packages name, and what could not be loaded (`source` and `reason`)."""
    cases: list[Case] = []
    failures: list[Mapping[str, str]] = []
    for point in entry_points(group=GROUP):
        try:
            case = point.load()
        except ImportError as error:
            missing = error.name or "a module"
            failures.append({"source": point.name, "reason": f"its case needs {missing}, which cannot be imported"})
            continue
        except Exception as error:  # noqa: BLE001 - somebody else's module must not stop the others
            failures.append({"source": point.name, "reason": f"its case raised {type(error).__name__} while loading"})
            continue
        if isinstance(case, Case):
            cases.append(replace(case, name=point.name))
        else:
            failures.append({"source": point.name, "reason": f"{point.value} is no Case; name one"})
    return cases, failures


def load(spec: str) -> Any:
    """Return what `module:name` names.

    Raises:
        InvalidSettings: It does not name anything.
        ImportError: The module cannot be imported.
    """
    module, colon, name = spec.partition(":")
    if not colon or not module or not name:
        raise InvalidSettings(f"{spec!r} names no agent; write module:Agent, module:Platform or module:CASE")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidSettings(f"module {module} has no {name}; check the spelling")
        found = getattr(found, part)
    return found
