"""Whether Flyte reaches each agent service, waits long enough but not for ever, and survives a restart of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from outboard.engine.addresses import is_cluster_only
from outboard.engine.propeller.deadlines import effective_deadline, operation_names
from outboard.engine.propeller.findings import Finding, error, warning
from outboard.engine.propeller.sections import AgentSection, alias
from outboard.engine.propeller.situation import Entry, Situation
from outboard.engine.propeller.trees import Tree

_LISTINGS: Final = frozenset({"ListAgents", "ListConnectors"})
_RETRY_KEYS: Final = ("maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes")


def check_deployments(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the agent services of all sections."""
    for written in situation.sections:
        entries = list(written.entries())
        if not entries:
            default = written.section.default_name
            yield error(
                "no-service",
                written.place_of(default),
                f"no address: neither `{default}.endpoint` nor anything below `{alias(written.section, 'named')}`",
                "no task goes to an agent service by this plugin",
                f"write `{default}.endpoint: dns:///<service>.<namespace>.svc.cluster.local:<port>`",
            )
        for entry in entries:
            yield from _address(entry, situation)
            yield from _connection(entry)
            yield from _operations(written.section, entry, situation)
            yield from _deadlines(written.section, entry, situation)


def _address(entry: Entry, situation: Situation) -> Iterator[Finding]:
    endpoint, place = entry.deployment.endpoint, entry.place_of("endpoint")
    if not endpoint:
        effect = "every task that goes there fails"
        yield error(
            "no-address", place, f"`{entry.name}` has no endpoint", effect, "write `endpoint: dns:///host:port`"
        )
    elif is_cluster_only(endpoint) and situation.is_flyte_2:
        yield error(
            "k8s-resolver",
            place,
            "Flyte 2 registers no resolver for `k8s://`, though its chart names such an address",
            "every call fails (`too many colons in address`)",
            "write dns:///<headless service>.<namespace>.svc.cluster.local:<port>",
        )
    elif is_cluster_only(endpoint):
        yield warning(
            "k8s-resolver",
            place,
            "`k8s://` makes propeller watch the Kubernetes API for addresses, and the charts give it no rule for `endpoints`",
            "without such a rule no address is found, and every call fails",
            "write dns:///<headless service>.<namespace>.svc.cluster.local:<port>, or add the rule",
        )
    elif not endpoint.startswith(("dns:", "unix:")):
        yield warning(
            "no-dns-scheme",
            place,
            "without `dns:///` the name is handed to the operating system and one connection is made",
            "round_robin has one address to choose from: one replica gets all calls, and its restart fails them",
            f"write dns:///{endpoint.rpartition('/')[2]} and give it a headless Service (clusterIP: None)",
        )


def _connection(entry: Entry) -> Iterator[Finding]:
    if entry.name is not None and "insecure" not in entry.deployment.model_fields_set:
        yield warning(
            "tls-by-default",
            entry.place,
            f"`{entry.name}` does not say `insecure`, which is false for every service but the default one",
            "TLS is spoken; a service without it answers nothing, and every task that goes there fails",
            "write `insecure: true` for a service without TLS, `insecure: false` for one with a certificate of a known CA",
        )
    config = entry.deployment.default_service_config
    parsed: Any = json.loads(config) if config else {}
    place = entry.place_of("defaultServiceConfig")
    if "round_robin" not in json.dumps(parsed.get("loadBalancingConfig") or parsed.get("loadBalancingPolicy") or ""):
        yield warning(
            "pick-first",
            place,
            "no round_robin here, so gRPC picks the first address; only the default service has it by itself",
            "one replica gets all calls; the others are idle until it goes away",
            """write `defaultServiceConfig: '{"loadBalancingConfig": [{"round_robin": {}}], ...}'`""",
        )
    yield from _retries(parsed, entry)


def _retries(parsed: Any, entry: Entry) -> Iterator[Finding]:
    place = entry.place_of("defaultServiceConfig")
    methods = parsed.get("methodConfig")
    found = [each.get("retryPolicy") for each in methods if isinstance(each, dict)] if isinstance(methods, list) else []
    policies = [policy for policy in found if isinstance(policy, dict)]
    if not any("UNAVAILABLE" in str(policy.get("retryableStatusCodes")).upper() for policy in policies):
        yield warning(
            "no-retry",
            place,
            "no retryPolicy for UNAVAILABLE",
            "a replica that restarts fails the creates in flight, and each burns one of a task's retries, of which it has none",
            "take `defaultServiceConfig` from `outboard flyte-config` (a service that creates twice when asked twice must not "
            "be retried: Outboard's keys make it safe)",
        )
    for policy in policies:
        missing = [key for key in _RETRY_KEYS if not policy.get(key)]
        if missing or policy["maxAttempts"] in (0, 1):
            yield error(
                "bad-service-config",
                place,
                f"the retryPolicy lacks {', '.join(missing) or 'a second attempt'}",
                "gRPC refuses the whole configuration, and no connection is made",
                f"write all of {', '.join(_RETRY_KEYS)}, with at least 2 attempts",
            )


def _operations(section: AgentSection, entry: Entry, situation: Situation) -> Iterator[Finding]:
    timeouts = entry.tree.get("timeouts") if entry.tree is not None else None
    if timeouts is None:
        return
    known = list(operation_names(section, is_flyte_2=situation.is_flyte_2))
    if timeouts.entries:
        rest = entry.deployment.default_timeout
        then = f"the default of {rest.total_seconds():g} s holds for all" if rest else "no call has a deadline"
        yield warning(
            "timeouts-as-map",
            timeouts.place,
            "operations in a map: the loader writes them in lower case and the plugin looks for `CreateTask`",
            f"none of these deadlines holds, {then}",
            f"write a list, one operation each: `- {next(iter(timeouts.entries))}: ...`",
        )
    for name, tree in timeouts.pairs():
        if name not in known:
            yield _unknown_operation(name, tree, section, known)


def _unknown_operation(name: str, tree: Tree, section: AgentSection, known: list[str]) -> Finding:
    remedy = f"write one of {', '.join(known)}"
    if name in _LISTINGS:
        remedy = f"write {section.listing}: plugins.{section.section} looks for this name"
    near = next((each for each in known if each.lower() == name.lower()), None)
    if near is not None:
        remedy = f"write {near}"
    effect = "this deadline is ignored in silence, the default holds"
    return warning("wrong-operation", tree.place, f"the plugin knows no operation `{name}`", effect, remedy)


def _deadlines(section: AgentSection, entry: Entry, situation: Situation) -> Iterator[Finding]:
    operations = operation_names(section, is_flyte_2=situation.is_flyte_2)
    waits = {name: effective_deadline(entry.deployment, entry.tree, name) for name in operations}
    endless = [name for name, wait in waits.items() if wait is None]
    if endless:
        yield error(
            "no-deadline",
            entry.place_of("defaultTimeout"),
            f"{', '.join(endless)} may wait for ever; only the default service has a `defaultTimeout` by itself",
            "one call that hangs holds a worker of the engine until it restarts; ten such polls stop all polling",
            "write `defaultTimeout: 10s`",
        )
    for name, deadline in operations.items():
        wait = waits[name]
        if wait is None or entry.tree is None:
            continue
        timeouts = entry.tree.get("timeouts")
        stated = timeouts.get(name) if timeouts is not None and timeouts.items is not None else None
        place = stated.place if stated is not None else entry.place_of("defaultTimeout")
        is_sync_unused = name == "ExecuteTaskSync" and not any(each.is_sync for each in situation.served or ())
        if wait < timedelta(seconds=deadline.least_s) and not is_sync_unused:
            yield warning(
                "short-deadline",
                place,
                f"{name} is given up after {wait.total_seconds():g} s",
                _given_up(name),
                f"write at least {deadline.least_s:g}s, better {deadline.advised_s}s: {deadline.why}",
            )
        if wait > timedelta(seconds=deadline.most_s):
            yield warning(
                "long-deadline",
                place,
                f"{name} may take {wait.total_seconds():g} s",
                "a service that hangs holds a worker of the engine for that long, and other tasks wait for it",
                f"write {deadline.advised_s}s: {deadline.why}",
            )


def _given_up(operation: str) -> str:
    effects = {
        "CreateTask": "a create that takes longer burns one of the task's retries, though its job may run",
        "GetTask": "polls that take longer count as failed, and after maxSystemFailures of them nobody asks any more",
        "DeleteTask": "cancels that take longer fail the round of the workflow",
        "ExecuteTaskSync": "calls that take longer fail their task",
    }
    return effects.get(operation, "a listing that takes longer drops the service's task types until the next one")
