"""Whether tasks reach the agent service that serves them.

In Flyte 1 the services' own listings route, joined with `supportedTaskTypes` (to the default service) and with the routes by
task type; the two plugins compete with all others, and who claims what must be settled at start. In Flyte 2 the executor
knows only the configuration: what is not in `supportedTaskTypes` goes to the container plugin, whatever is listed
(`executor/pkg/plugin/registry.go`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from outboard.engine.propeller.findings import Finding, error, warning
from outboard.engine.propeller.plugins import CLAIMS
from outboard.engine.propeller.sections import SECTIONS, alias
from outboard.engine.propeller.situation import Entry, Situation, Written

_OURS = frozenset(kind.section for kind in SECTIONS)


def check_routing(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the ways of task types."""
    for written in situation.sections:
        yield from _task_types(written, situation)
        yield from _routes(written)
        if situation.served is not None:
            yield from _against_the_service(written, situation)
    yield from _plugins(situation)


def _task_types(written: Written, situation: Situation) -> Iterator[Finding]:
    place = written.place_of("supportedTaskTypes")
    listed = written.section.supported_task_types
    is_written = "supported_task_types" in written.section.model_fields_set
    placeholders = [each for kind in SECTIONS for each in kind.placeholders if each in listed]
    if placeholders:
        yield warning(
            "placeholder",
            place,
            f"{', '.join(placeholders)}: the names that Flyte's defaults hold the place with",
            "no task has these types; the real ones are missing here",
            "write the task types that the service serves",
        )
    if situation.is_flyte_2 and not is_written:
        yield error(
            "placeholder",
            place,
            "no supportedTaskTypes, so Flyte's placeholders hold: task_type_3, task_type_4",
            "Flyte 2 routes by this list alone: every task goes to the container plugin",
            "write the task types that the service serves",
        )
    if is_written and not written.task_types():
        yield error(
            "no-task-types",
            place,
            "an empty list, and no routes by task type",
            "the engine panics at start while the service cannot be listed (`at least one task type`)",
            "write the task types that the service serves, or remove the key",
        )


def _routes(written: Written) -> Iterator[Finding]:
    section = written.section
    key = alias(section, "for_task_types")
    routes = written.tree.get(key)
    is_map = routes is not None and routes.entries is not None
    named = dict(_named_trees(written))
    for task_type, name in section.for_task_types.items():
        place = written.place_of(key, task_type)
        if is_map and _is_lost(task_type):
            yield error(
                "lost-case",
                place,
                f"the loader writes keys of a map in lower case, and `{task_type}` has capital letters",
                f"the route holds for `{task_type.lower()}`, which no task has",
                f"write a list: `- {task_type}: {name}`",
            )
        if name not in named:
            effect = "the route is ignored in silence"
            known = ", ".join(named) or "none"
            near = next((each for each in named if each.lower() == name.lower()), None)
            remedy = f"write {near}" if near else f"define it below `{alias(section, 'named')}`, or choose of {known}"
            yield error("unknown-service", place, f"there is no service `{name}`", effect, remedy)
        elif named[name] and _is_lost(name):
            yield error(
                "lost-case",
                place,
                f"the loader writes the name `{name}` in lower case where it is defined, and not here",
                "the route is ignored in silence",
                f"write {name.lower()} in both places",
            )


def _is_lost(key: str) -> bool:
    """Tell whether the loader changes a key of a map; keys with a dot are restored as they were written."""
    return key != key.lower() and "." not in key


def _named_trees(written: Written) -> Iterator[tuple[str, bool]]:
    """Yield the names of services, and whether they are keys of a map."""
    tree = written.tree.get(alias(written.section, "named"))
    for name in written.section.named:
        yield name, tree is not None and tree.entries is not None


def _against_the_service(written: Written, situation: Situation) -> Iterator[Finding]:
    entries = list(written.entries())
    entry = _entry_of(entries, situation.service)
    if entry is None:
        if situation.service is not None:
            names = ", ".join(each.name or "the default" for each in entries) or "none"
            yield error(
                "unknown-service",
                written.tree.place,
                f"plugins.{written.plugin} has no service `{situation.service}`",
                "what the endpoint serves is not routed by it",
                f"add it, or choose of {names} with --name",
            )
        return
    served = {each.task_type for each in situation.served or ()}
    yield from _unrouted(written, entry, situation, served)
    yield from _unserved(written, entry, served)
    yield from _as_sync(written, situation)
    if not situation.is_flyte_2:
        yield from _versions(written, entry, situation)


def _entry_of(entries: list[Entry], name: str | None) -> Entry | None:
    if len(entries) == 1 and name is None:
        return entries[0]
    return next((each for each in entries if each.name == name), None)


def _unrouted(written: Written, entry: Entry, situation: Situation, served: set[str]) -> Iterator[Finding]:
    listed, routed = set(written.section.supported_task_types), set(written.section.for_task_types)
    place = written.place_of("supportedTaskTypes")
    missing = sorted(served - listed - (set() if situation.is_flyte_2 else routed))
    if missing and situation.is_flyte_2:
        yield error(
            "unrouted-type",
            place,
            f"the service serves {', '.join(missing)}, which this list lacks",
            "Flyte 2 routes by this list alone: these tasks go to the container plugin",
            f"add {', '.join(missing)}",
        )
    elif missing:
        yield warning(
            "unrouted-type",
            place,
            f"the service serves {', '.join(missing)}, which only its listing tells",
            "while a listing fails, or at a start without the service, these tasks go to the container plugin",
            f"add {', '.join(missing)}" if entry.name is None else f"route them to `{entry.name}` or add them here",
        )
    for task_type, name in written.section.for_task_types.items():
        if task_type in served and name != entry.name:
            yield warning(
                "routed-elsewhere",
                written.place_of(alias(written.section, "for_task_types"), task_type),
                f"the service serves {task_type}, and its tasks are sent to `{name}`",
                "the service gets none of them",
                f"send them to {entry.name or 'the default, by removing the route'}, or ignore this if it is meant",
            )


def _unserved(written: Written, entry: Entry, served: set[str]) -> Iterator[Finding]:
    section = written.section
    key = alias(section, "for_task_types")
    ours: dict[str, tuple[str, ...]] = {
        task_type: (key, task_type) for task_type, name in section.for_task_types.items() if name == entry.name
    }
    if len(list(written.entries())) == 1:
        elsewhere = set(section.for_task_types) - set(ours)
        ours |= {each: ("supportedTaskTypes",) for each in section.supported_task_types if each not in elsewhere}
    placeholders = {each for kind in SECTIONS for each in kind.placeholders}
    for task_type, keys in ours.items():
        if task_type not in served and task_type not in placeholders:
            yield warning(
                "unserved-type",
                written.place_of(*keys),
                f"{task_type} is sent to the service, which does not serve it",
                "these tasks fail with `unknown task type`",
                "add an agent for it there, or remove it here",
            )


def _as_sync(written: Written, situation: Situation) -> Iterator[Finding]:
    sync = {each.task_type for each in situation.served or () if each.is_sync}
    key = alias(written.section, "for_task_types")
    for task_type in written.section.for_task_types:
        if task_type in sync and not situation.is_flyte_2:
            yield warning(
                "sync-by-route",
                written.place_of(key, task_type),
                f"{task_type} is answered at once, and a route by task type makes Flyte send CreateTask for it",
                "Outboard answers that too, with a poll more; flytekit's service fails it",
                "remove the route and leave the type to the listing",
            )


def _versions(written: Written, entry: Entry, situation: Situation) -> Iterator[Finding]:
    counted = Counter(each.task_type for each in situation.served or ())
    several = sorted(name for name, count in counted.items() if count > 1)
    if several and (entry.name is not None):
        yield warning(
            "several-versions",
            entry.place,
            f"{', '.join(several)} has several versions, and Flyte 1 remembers the one that is listed last",
            f"tasks of the others go to `{written.section.default_name}`, as CreateTask, not to `{entry.name}`",
            f"make this service the default, by `{written.section.default_name}`",
        )


def _plugins(situation: Situation) -> Iterator[Finding]:
    if situation.is_flyte_2:
        for written in situation.sections:
            if written.plugin != "connector-service":
                yield error(
                    "no-such-plugin",
                    written.tree.place,
                    f"Flyte 2 has no plugin {written.plugin}",
                    "the whole section is ignored in silence",
                    "write plugins.connector-service; `outboard flyte-config --flyte 2` prints it",
                )
        return
    enabled = situation.enabled_plugins()
    yield from _defaults(situation, enabled)
    if enabled is None:
        return
    listed = situation.root.nearest(("tasks", "task-plugins", "enabled-plugins"))
    for written in situation.sections:
        if written.plugin not in enabled and list(written.entries()):
            yield error(
                "plugin-disabled",
                listed.place,
                f"{written.plugin} is not among the enabled plugins",
                f"plugins.{written.plugin} is read and never used: tasks go to the container plugin",
                f"add {written.plugin} to the list",
            )
    if enabled >= _OURS and len(situation.sections) == len(_OURS):
        yield warning(
            "both-plugins",
            listed.place,
            "agent-service and connector-service are both enabled, and both have a section",
            "the engine does not start once both claim one task type, and lists every service twice",
            "keep connector-service (agent-service is deprecated), and move what the other section has",
        )
    yield from _claims(situation, enabled)


def _defaults(situation: Situation, enabled: frozenset[str] | None) -> Iterator[Finding]:
    for task_type, tree in situation.default_plugins().items():
        plugin = str(tree.scalar).strip().lower()
        if enabled is not None and plugin not in enabled:
            yield error(
                "default-disabled",
                tree.place,
                f"{task_type} goes to {plugin}, which is not among the enabled plugins",
                "the engine does not start (`cannot set default plugin`)",
                f"add {plugin} to enabled-plugins, or remove this",
            )
        if plugin in _OURS and task_type != task_type.lower():
            yield error(
                "lost-case",
                tree.place,
                f"Flyte 1 compares `{task_type.lower()}` here with the task's type `{task_type}`",
                "this choice never holds; two plugins that claim the type keep the engine from starting",
                "disable the other plugin that claims the type",
            )
        elif plugin not in _OURS and task_type in {each.task_type for each in situation.served or ()}:
            ours = situation.sections[0].plugin if situation.sections else "connector-service"
            yield warning(
                "routed-elsewhere",
                tree.place,
                f"the service serves {task_type}, and its tasks go to the plugin {plugin}",
                "the service gets none of them",
                f"write `{task_type}: {ours}`, or ignore this if it is meant",
            )


def _claims(situation: Situation, enabled: frozenset[str]) -> Iterator[Finding]:
    """Yield task types that two enabled plugins claim without a choice between them."""
    chosen = {task_type.lower() for task_type in situation.default_plugins()}
    claims: dict[str, list[str]] = {}
    for plugin in sorted(enabled & CLAIMS.keys()):
        for task_type in CLAIMS[plugin]:
            claims.setdefault(task_type, []).append(plugin)
    for written in situation.sections:
        if written.plugin in enabled:
            listed = {each.task_type for each in situation.served or ()}
            for task_type in sorted({*written.task_types(), *listed}):
                claims.setdefault(task_type, []).append(written.plugin)
                others = [each for each in claims[task_type] if each != written.plugin]
                if others and task_type.lower() not in chosen:
                    yield error(
                        "claimed-twice",
                        written.place_of("supportedTaskTypes"),
                        f"{task_type} is claimed by {written.plugin} and by {', '.join(others)}",
                        "the engine does not start (`Multiple plugins registered to handle task type`)",
                        f"write `tasks.task-plugins.default-for-task-types: {{{task_type}: {written.plugin}}}`",
                    )
