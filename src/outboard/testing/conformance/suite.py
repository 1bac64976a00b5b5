"""The suite: every check of one agent, by whatever time its case runs, and a report.

Each live check has a stage of its own: a stand-in, two replicas, nothing left of the check before. In virtual time they
run one after the other; in real time they and their parts run many at once, since nearly all of them wait. What all of
them saw is judged at the end: secrets that left (`redaction`), and steps that kept the event loop (`blocking`).
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final

from outboard.agent import Agent
from outboard.errors import OutboardError
from outboard.testing.conformance.answering import ANSWERING
from outboard.testing.conformance.cases import Case
from outboard.testing.conformance.checks import Check, Kind, LiveCheck, kind_of, sets_up
from outboard.testing.conformance.declarations import DECLARATIONS, DeclarationCheck
from outboard.testing.conformance.evidence import Evidence, captured_logs
from outboard.testing.conformance.findings import AgentReport, Broken, Finding, NotApplicable, NotRun, Outcome
from outboard.testing.conformance.following import FOLLOWING
from outboard.testing.conformance.purity import PURITY
from outboard.testing.conformance.stages import Stage
from outboard.testing.conformance.starting import STARTING
from outboard.testing.conformance.travelling import TRAVELLING
from outboard.testing.conformance.watching import Interrupted, Watch
from outboard.testing.processes import empty_graves
from outboard.testing.virtual_time import Deadlock, OutOfTime, run_virtually

_SET_UP: Final = "runs/sets-up"
LIVE_CHECKS: Final = (
    Check(name=_SET_UP, run=sets_up, kinds=Kind.ALL),
    *PURITY,
    *STARTING,
    *ANSWERING,
    *FOLLOWING,
    *TRAVELLING,
)
"""All checks that start jobs."""
WRITE_A_CASE: Final = """\
write a case, and name it in the entry points `outboard.cases`, or on the command line:
    @asynccontextmanager
    async def my_platform(site):
        async with MyServer() as server:  # outboard.testing.platform_server.PlatformServer with your routes
            yield StandIn(
                platform=lambda: MyPlatform(MySettings(url=server.url)),
                jobs=lambda: jobs_of(server.ledger),  # every job that really exists
                faults=server.faults,
                quick=Task(type="my_type", config={...}), long=Task(...), failing=Task(...),
            )
    CASE = Case(MyAgent, my_platform)"""
_ALONE: Final = tuple(check.name for check in PURITY)
"""Checks that are told by their whole name where there is no case: the rest of their group is made without one."""
_COMPLETE: Final = "complete the case"
_AT_ONCE: Final = 16
_REAL_LIMIT_S: Final = 120.0
_VIRTUAL_LIMIT_S: Final = 5 * 86_400.0


def check_case(case: Case) -> AgentReport:
    """Run every check that applies to a case's agent and return what was found; call it outside of any event loop."""
    if case.missing:
        words = f"the case needs {', '.join(case.missing)}"
        return check_class(case.agent, why_not=words, remedy="install the platform's extra")
    suite = _Suite(case)
    with captured_logs(suite.evidence), suite.watch.breaking():
        findings = suite.run()
    return replace(_report(case.agent, findings, has_case=True), case=case.name)


def check_class(
    agent: type[Agent],
    instance: Agent | None = None,
    *,
    why_not: str = "there is no case",
    remedy: str = WRITE_A_CASE,
) -> AgentReport:
    """Return what can be told of an agent without starting jobs; the rest is reported as not run.

    Args:
        agent: Its class.
        instance: The agent as its platform builds it, where that is known.
        why_not: Why no jobs are started.
        remedy: What would change that.
    """
    findings = _declared(agent, instance)
    kind = kind_of(agent)
    asked = [check.name for check in LIVE_CHECKS if check.kinds & kind]
    for name in dict.fromkeys(name if name in _ALONE else name.partition("/")[0] for name in asked):
        findings.append(Finding(check=name, outcome=Outcome.NOT_RUN, message=why_not, remedy=remedy))
    return _report(agent, findings, has_case=False)


def _report(agent: type[Agent], findings: Sequence[Finding], *, has_case: bool) -> AgentReport:
    source = f"{agent.__module__}:{agent.__qualname__}"
    return AgentReport(agent=agent.name, source=source, has_case=has_case, findings=findings)


def _declared(agent: type[Agent], instance: Agent | None) -> list[Finding]:
    return [_declaration(name, check, agent, instance) for name, check in DECLARATIONS.items()]


def _declaration(name: str, check: DeclarationCheck, agent: type[Agent], instance: Agent | None) -> Finding:
    began = perf_counter()
    try:
        check(agent, instance)
    except Exception as error:  # noqa: BLE001 - an author's class may raise anything
        return _finding(name, error, perf_counter() - began)
    return _finding(name, None, perf_counter() - began)


class _Suite:
    """One run of one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.evidence = Evidence()
        self.watch = Watch()
        self._instance: Agent | None = None

    def run(self) -> list[Finding]:
        kind = kind_of(self.case.agent)
        checks = [check for check in LIVE_CHECKS if check.kinds & kind and self._is_wanted(check.name)]
        live = self._virtually(checks) if self.case.is_virtual else asyncio.run(self._really(checks))
        declared = [each for each in _declared(self.case.agent, self._instance) if self._is_wanted(each.check)]
        return [*declared, *live, *self._seen()]

    def _is_wanted(self, name: str) -> bool:
        return name == _SET_UP or not self.case.checks or name.startswith(self.case.checks)

    def _virtually(self, checks: Sequence[Check]) -> list[Finding]:
        return [self._virtual(check) for check in checks]

    def _virtual(self, check: Check) -> Finding:
        began = perf_counter()
        try:
            return run_virtually(lambda: self._make(check, check.run), limit_s=_VIRTUAL_LIMIT_S)
        except (Deadlock, OutOfTime) as error:
            reason = Broken(f"nothing happened any more: {error}", "see what the agent waits for without a limit")
            return _finding(check.name, reason, perf_counter() - began)
        finally:
            if check.kills:
                _bury()

    async def _really(self, checks: Sequence[Check]) -> list[Finding]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def make(check: Check, run: LiveCheck) -> Finding:
            async with slots:
                began = perf_counter()
                try:
                    return await asyncio.wait_for(self._make(check, run), _REAL_LIMIT_S)
                except (asyncio.TimeoutError, TimeoutError):
                    reason = Broken(f"it did not end within {_REAL_LIMIT_S:g} s", "see what waits without a limit")
                    return _finding(check.name, reason, perf_counter() - began)

        async def made(check: Check) -> Finding:
            if check.needs_virtual_time:
                return _finding(check.name, NotApplicable("it needs virtual time"), 0.0)
            return _worst(await asyncio.gather(*(make(check, run) for run in check.parts or (check.run,))))

        return list(await asyncio.gather(*map(made, checks)))

    async def _make(self, check: Check, run: LiveCheck) -> Finding:
        began = perf_counter()
        try:
            async with Stage.open(self.case, self.evidence, self.watch) as stage:
                self._instance = stage.agent
                await run(stage)
        except (Exception, Interrupted) as error:  # noqa: BLE001 - what agents and stand-ins raise is a finding
            self.evidence.see_error(error)
            return _finding(check.name, error, perf_counter() - began)
        return _finding(check.name, None, perf_counter() - began)

    def _seen(self) -> list[Finding]:
        leaks, slow = self.evidence.leaks, self.watch.slow
        leaked = Broken(
            f"a secret's value was in {', '.join(leaks)}",
            "keep SecretRefs, resolve them through ctx.secrets in each call, and put no value into jobs, errors or logs",
        )
        blocked = Broken(
            f"the event loop stood still in {', '.join(f'{name} ({took:.1f} s)' for name, took in sorted(slow.items()))}",
            "await an asynchronous client instead, or derive from the Blocking twin",
        )
        ignored = NotApplicable("its methods may block; they run in a pool of their own")
        unseen = NotApplicable("it declares no secret, and has no connection with one")
        return [
            _finding("redaction/canary", leaked if leaks else None if self.evidence.is_offered else unseen, 0.0),
            _finding("blocking/steps", ignored if self.case.agent.is_blocking else blocked if slow else None, 0.0),
        ]


def _bury() -> None:
    """Collect what a killed replica left open: its sessions would be told of when nobody expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty_graves()
        gc.collect()


def _worst(parts: Sequence[Finding]) -> Finding:
    """Return the finding of a check that was made in parts: the first of the worst, and the time of all."""
    outcomes = (Outcome.FAILED, Outcome.NOT_RUN, Outcome.NOT_APPLICABLE, Outcome.PASSED)
    worst = min(parts, key=lambda part: outcomes.index(part.outcome))
    return replace(worst, seconds=sum(part.seconds for part in parts))


def _finding(name: str, error: BaseException | None, seconds: float) -> Finding:
    if error is None:
        return Finding(check=name, outcome=Outcome.PASSED, seconds=seconds)
    if isinstance(error, NotRun):
        return Finding(check=name, outcome=Outcome.NOT_RUN, message=str(error), remedy=_COMPLETE, seconds=seconds)
    if isinstance(error, NotApplicable):
        return Finding(check=name, outcome=Outcome.NOT_APPLICABLE, message=str(error), seconds=seconds)
    if isinstance(error, Broken):
        what, remedy = error.what, error.remedy
    elif isinstance(error, OutboardError):
        what, remedy = error.message, f"the {error.actor.value} must act: see where this comes from"
    else:
        what = f"{type(error).__name__}: {error}"
        remedy = "see where the agent or the case's stand-in raises this"
    return Finding(check=name, outcome=Outcome.FAILED, message=what, remedy=remedy, seconds=seconds)
