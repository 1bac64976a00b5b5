"""The configuration that suits an agent service, each line with why it is there and what happens without it.

A draft is text rather than data, because its comments are half of it. Where Flyte's loader loses capital letters in the keys
of maps (see the package) a list of maps is written. `packaging` puts the text where it is to go.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from outboard.domain.endpoints import AgentInfo
from outboard.engine.addresses import is_cluster_only
from outboard.engine.propeller.deadlines import DEFAULT_DEADLINE_S, operation_names
from outboard.engine.propeller.rates import SILENCE, Rates, rates_for
from outboard.engine.propeller.sections import AgentSection, AgentService, ConnectorService, alias
from outboard.engine.routing import Served, served_by
from outboard.errors import InvalidSettings

SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.5s",
                    "maxBackoff": "4s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
_CHARTS_PLUGINS: Final = ("container", "sidecar", "k8s-array", "echo")
_WORKFLOW_RETRIES: Final = 30
_COLUMNS: Final = 110


class Engine(Enum):
    """For which plugin of which Flyte a draft is."""

    AGENT_SERVICE = "agent-service"
    CONNECTOR_SERVICE = "connector-service"
    FLYTE_2 = "2"

    @property
    def generation(self) -> int:
        """1 or 2."""
        return 2 if self is Engine.FLYTE_2 else 1

    @property
    def section(self) -> type[AgentSection]:
        """The plugin's section."""
        return AgentService if self is Engine.AGENT_SERVICE else ConnectorService

    @property
    def title(self) -> str:
        """Which Flyte this is for, in words."""
        titles = {
            Engine.AGENT_SERVICE: "Flyte 1 before 1.15 (plugin agent-service; deprecated, still there in 1.16)",
            Engine.CONNECTOR_SERVICE: "Flyte 1.15 and later (plugin connector-service)",
            Engine.FLYTE_2: "Flyte 2 (plugin connector-service of the executor)",
        }
        return titles[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a draft is to be about.

    Attributes:
        engine: For whom.
        address: The service as the engine reaches it: `dns:///name:port`.
        agents: What it serves.
        insecure: Plain text instead of TLS.
        live_jobs: How many jobs are live at a time.
        name: The service's name among several; None makes it the default.

    Raises:
        InvalidSettings: Nothing is served, Flyte would lose the name or cannot use the address, or there are too many jobs.
    """

    engine: Engine
    address: str
    agents: Sequence[AgentInfo]
    insecure: bool = True
    live_jobs: int = 1000
    name: str | None = None

    def __post_init__(self) -> None:
        if not served_by(self.agents):
            raise InvalidSettings("nothing is served there: an engine needs a task type to route", field="agents")
        if self.name is not None and (self.name != self.name.lower() or not self.name.replace("-", "").isalnum()):
            raise InvalidSettings(
                f"--name {self.name}: Flyte loses capital letters in it; write lower case letters, digits and hyphens",
                field="name",
            )
        if is_cluster_only(self.address) and self.engine is Engine.FLYTE_2:
            raise InvalidSettings(
                f"--address {self.address}: Flyte 2 cannot resolve it; write dns:///name:port", field="address"
            )
        rates_for(self.live_jobs)


def draft(wanted: Wanted) -> str:
    """Return the configuration as YAML with comments, as the engine itself reads it."""
    page = _Page()
    _Draft(wanted, page).write()
    return page.text()


@dataclass
class _Page:
    """Lines of YAML, and comments over them."""

    lines: list[str] = field(default_factory=list)

    def put(self, depth: int, text: str, why: str = "") -> None:
        """Write a line at a depth, below its reason."""
        indent = "  " * depth
        for line in textwrap.wrap(why, _COLUMNS - len(indent) - 2, break_long_words=False, break_on_hyphens=False):
            self.lines.append(f"{indent}# {line}")
        self.lines.append(f"{indent}{text}")

    def note(self, depth: int, why: str) -> None:
        """Write a comment alone."""
        self.put(depth, "", why)
        self.lines.pop()

    def text(self) -> str:
        """Return the whole text."""
        return "\n".join(self.lines) + "\n"


class _Draft:
    """Writes one draft, part by part."""

    def __init__(self, wanted: Wanted, page: _Page) -> None:
        self._wanted = wanted
        self._page = page
        self._section = wanted.engine.section
        self._is_flyte_2 = wanted.engine is Engine.FLYTE_2
        self._rates: Rates = rates_for(wanted.live_jobs)
        self._served: list[Served] = sorted(set(served_by(wanted.agents)))
        self._types = sorted({each.task_type for each in self._served})

    def write(self) -> None:
        """Write everything."""
        self._head()
        self._page.put(0, "plugins:")
        self._page.put(1, f"{self._section.section}:")
        depth = 2
        if self._wanted.name is None:
            default = alias(self._section, "default")
            why = "Takes the tasks of every type listed below, and of every other that it says it serves."
            self._page.put(depth, f"{default}:", "" if self._is_flyte_2 else why)
            self._deployment(depth + 1)
        else:
            self._page.put(depth, f"{alias(self._section, 'named')}:")
            self._page.put(depth + 1, f"{json.dumps(self._wanted.name)}:")
            self._deployment(depth + 2)
            self._routes(depth)
        self._task_types(depth)
        self._page.put(
            depth,
            "pollInterval: 10s",
            "How often the service is asked what it serves. A new task type is known after at most this time"
            + (", but routed only when it is listed above." if self._is_flyte_2 else "."),
        )
        self._web_api(depth)
        self._constraints(depth)
        self._tasks()
        if not self._is_flyte_2:
            self._page.put(0, "propeller:")
            self._page.put(
                1,
                f"max-workflow-retries: {_WORKFLOW_RETRIES}",
                "A cancel that fails costs its whole workflow one of these rounds; when none is left, jobs are left running. "
                "Flyte's own default is 10.",
            )

    def _head(self) -> None:
        self._page.note(0, f"For {self._wanted.engine.title}; written by `outboard flyte-config`.")
        self._page.note(
            0, f"Suits {self._rates.live_jobs} live jobs. Served at {self._wanted.address}: {', '.join(self._types)}."
        )
        several = [name for name, count in Counter(each.task_type for each in self._served).items() if count > 1]
        if several and not self._is_flyte_2:
            where = "this service, as CreateTask" if self._wanted.name is None else "the default service"
            self._page.note(
                0,
                f"Note: {', '.join(several)} has several versions. Flyte 1 remembers the one listed last and sends tasks of "
                f"the others to {where}.",
            )

    def _deployment(self, depth: int) -> None:
        put, is_named = self._page.put, self._wanted.name is not None
        put(
            depth,
            f"endpoint: {json.dumps(self._wanted.address)}",
            "dns:/// with a headless Service (clusterIP: None) gives every replica's address; a name without dns:/// or a "
            "Service with an IP gives one, and one replica gets everything."
            + (" Flyte 2 cannot read k8s:// addresses, though its chart has one." if self._is_flyte_2 else ""),
        )
        put(
            depth,
            f"insecure: {str(self._wanted.insecure).lower()}",
            (
                "Plain text. "
                if self._wanted.insecure
                else "TLS, with a certificate of a CA that the engine's image knows and with this name in it; for a private "
                "CA, mount a bundle with it into the engine's pod and name that in the variable SSL_CERT_FILE. "
            )
            + (
                "Without this line a named service is called by TLS."
                if is_named
                else "The engine has no client certificate."
            ),
        )
        put(
            depth,
            f"defaultServiceConfig: '{SERVICE_CONFIG}'",
            "round_robin spreads calls over the replicas; without it the first one gets all. The retryPolicy repeats what a "
            "restarting replica refused (UNAVAILABLE): without it each such create burns one of the task's retries, of which "
            "it has none by default. Repeating is safe here because Outboard starts a job once per key, however often it is "
            "asked; do not copy it for a service that creates twice when asked twice, as flytekit's does.",
        )
        put(
            depth,
            f"defaultTimeout: {DEFAULT_DEADLINE_S}s",
            "For operations without their own."
            + (" Named services have none: a hanging call would never end." if is_named else ""),
        )
        put(
            depth,
            "timeouts:",
            "A list, because Flyte's loader writes the keys of maps in lower case and then misses them: "
            "`timeouts: {GetTask: 10s}` has no effect, in any version.",
        )
        for name, deadline in operation_names(self._section, is_flyte_2=self._is_flyte_2).items():
            put(depth + 1, f"- {name}: {deadline.advised_s}s", f"{deadline.why[0].upper()}{deadline.why[1:]}.")

    def _routes(self, depth: int) -> None:
        """Write routes by type; a sync agent or one of another version is left to the listing, which a route would override."""
        sync = {each.task_type for each in self._served if each.is_sync}
        other = {each.task_type for each in self._served if each.version}
        routed = [each for each in self._types if self._is_flyte_2 or each not in sync | other]
        if not routed:
            return
        why = "Sends these types here whatever is listed, so also while a listing fails."
        left = sorted((sync | other) - set(routed))
        if left:
            why += f" Not {', '.join(left)}: a route makes Flyte 1 send CreateTask, in version 0, where its listing knows better."
        is_list = any(each != each.lower() or "." in each for each in routed)
        if is_list:
            why += " A list, because capital letters in the keys of a map are lost, and dots before 1.16.7."
        self._page.put(depth, f"{alias(self._section, 'for_task_types')}:", why)
        for each in routed:
            self._page.put(depth + 1, f"{'- ' if is_list else ''}{json.dumps(each)}: {json.dumps(self._wanted.name)}")

    def _task_types(self, depth: int) -> None:
        why = (
            "This list IS the routing in Flyte 2's executor: a type that is missing here goes to the container plugin, whatever "
            "the service lists. Add new task types here."
            if self._is_flyte_2
            else "Known from the start, and kept while the service cannot be listed. Without it these tasks go to the container "
            "plugin in that time; an empty list keeps the engine from starting. New types are found by themselves."
        )
        self._page.put(depth, "supportedTaskTypes:", why)
        for each in self._types:
            self._page.put(depth + 1, f"- {json.dumps(each)}")

    def _web_api(self, depth: int) -> None:
        rates, put = self._rates, self._page.put
        put(depth, "webApi:")
        put(
            depth + 1,
            "readRateLimiter:",
            f"Polls of all live jobs together: {rates.live_jobs} every {rates.resync_s} s, and half as much again. Flyte's "
            "default (10 a second) carries 300 jobs at 30 s; beyond that every poll is late. "
            "(writeRateLimiter is read by nobody.)",
        )
        put(
            depth + 2,
            f"qps: {rates.qps}",
            "A whole number: Flyte 2 cuts off what follows the point." if self._is_flyte_2 else "",
        )
        put(depth + 2, f"burst: {rates.burst}")
        put(depth + 1, "caching:")
        put(
            depth + 2,
            f"resyncInterval: {rates.resync_s}s",
            "How often each job is asked about; at least 5s. Outboard answers from memory, so polls cost the platforms nothing.",
        )
        put(
            depth + 2,
            f"workers: {rates.workers}",
            "Polls at the same time; each waits for its answer, a fifth of a second at most.",
        )
        put(
            depth + 2,
            f"size: {rates.cache_size}",
            "Live jobs that are remembered; beyond it they push each other out. This is the most.",
        )
        hours = SILENCE.total_seconds() / 3600
        put(
            depth + 2,
            f"maxSystemFailures: {rates.max_system_failures}",
            f"Failed polls are counted over a task's whole life and never reset. With the default of 5 a task hangs for ever "
            f"after three minutes of outages, added up; this is {hours:g} hours' worth.",
        )
        why = "Live jobs at a time, engine-wide."
        why += (
            " Flyte 2 grants everything."
            if self._is_flyte_2
            else " Holds only with propeller.resourcemanager.type redis."
        )
        put(depth + 1, "resourceQuotas:", why)
        put(depth + 2, f"default: {rates.quota}")

    def _constraints(self, depth: int) -> None:
        put = self._page.put
        put(
            depth,
            "resourceConstraints:",
            "The same, per project and per namespace; Flyte's defaults are 100 and 50, which with redis is "
            "where tasks would wait.",
        )
        for key in ("ProjectScopeResourceConstraint", "NamespaceScopeResourceConstraint"):
            put(depth + 1, f"{key}:")
            put(depth + 2, f"Value: {self._rates.quota}")

    def _tasks(self) -> None:
        put, plugin = self._page.put, self._section.section
        put(0, "tasks:")
        put(1, "task-plugins:")
        if not self._is_flyte_2:
            other = "agent-service" if plugin == "connector-service" else "connector-service"
            put(
                2,
                "enabled-plugins:",
                "This list replaces the one that is there: add what else you use. A plugin that is not in it is not "
                "used, whatever "
                f"its section says. Not {other} as well: two that claim one type keep the engine from starting.",
            )
            for each in (*_CHARTS_PLUGINS, plugin):
                put(3, f"- {each}")
        chosen = [each for each in self._types if each == each.lower() and "." not in each]
        if not chosen:
            return
        put(
            2,
            "default-for-task-types:",
            "Who takes a type that several plugins claim (spark, snowflake and bigquery_query_job_task have plugins of "
            "their own). "
            + (
                "Written over those of before, type by type."
                if self._is_flyte_2
                else "Without it the engine does not start then."
            ),
        )
        for each in chosen:
            put(3, f"{json.dumps(each)}: {plugin}")
