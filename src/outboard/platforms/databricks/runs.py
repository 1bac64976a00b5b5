"""What a run's JSON says: state, facts, failure, consumption.

A run has one task (what Flyte sends) or several (what a user wrote). A task that was repaired or retried is listed once per
attempt; the latest one counts. A repaired run is the same run: its id stays, its state goes back to RUNNING, and `repair_history`
grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from outboard.agent import Failure, Link, Status, Usage
from outboard.domain.statuses import State
from outboard.platforms.databricks.client import Json, objects
from outboard.platforms.databricks.states import ENDED, SOURCE, failure_of

RUN_PAGE: Final = "Databricks run page"
_MS_PER_HOUR: Final = Decimal(3_600_000)
_WORDS: Final = 1_500
_DURATIONS: Final = ("queue_duration", "setup_duration", "execution_duration", "cleanup_duration", "run_duration")
_FINE: Final = ("SUCCESS", "SUCCESS_WITH_FAILURES")


def state_of(run: Json) -> State:
    """Return where a run, or a task of one, stands; see `states`."""
    older, newer = _part(run, "state"), _part(run, "status")
    details = _part(newer, "termination_details")
    life = _text(older, "life_cycle_state") or _text(newer, "state")
    if life in ENDED:
        return life, _text(older, "result_state") or _text(details, "code")
    is_stopped = _text(details, "code") == "USER_CANCELED" or _text(older, "result_state") == "CANCELED"
    if life == "TERMINATING" and (is_stopped or older.get("user_cancelled_or_timedout") is True):
        return "TERMINATING", "CANCELED"
    return life


def has_ended(run: Json) -> bool:
    """Tell whether nothing follows."""
    state = state_of(run)
    return isinstance(state, tuple) and state[0] in ENDED


def has_succeeded(run: Json) -> bool:
    """Tell whether it ended well."""
    state = state_of(run)
    return isinstance(state, tuple) and state[0] == "TERMINATED" and state[1] in _FINE


def words_of(run: Json) -> str:
    """Return Databricks' words about where a run stands."""
    older, newer = _part(run, "state"), _part(run, "status")
    told = (
        _text(_part(newer, "termination_details"), "message"),
        _text(older, "state_message"),
        _text(_part(newer, "queue_details"), "message"),
        _text(older, "queue_reason"),
    )
    return next((text for text in told if text), "")


def tasks_of(run: Json) -> list[Json]:
    """Return the tasks of a run, of each its latest attempt."""
    latest: dict[str, Json] = {}
    for task in objects(run.get("tasks")):
        name = _text(task, "task_key")
        before = latest.get(name)
        if before is None or _order(task) >= _order(before):
            latest[name] = task
    return list(latest.values())


def failed_tasks(run: Json) -> list[Json]:
    """Return the tasks that failed by themselves, which say why; those that were skipped because of them do not."""
    ended = [task for task in tasks_of(run) if has_ended(task) and not has_succeeded(task)]
    return [task for task in ended if _result(task) not in ("UPSTREAM_FAILED", "UPSTREAM_CANCELED", "EXCLUDED")]


def is_notebook(run: Json) -> bool:
    """Tell whether the run is one notebook."""
    tasks = tasks_of(run)
    return len(tasks) == 1 and "notebook_task" in tasks[0]


def status_of(run: Json, outputs: Mapping[str, Json | None], price: Decimal | None = None) -> Status:
    """Return the status of a run.

    Args:
        run: As `runs/get` or `runs/list` has it.
        outputs: Of its failed tasks, by their run ids.
        price: As `usage_of`.
    """
    links = [Link(name=RUN_PAGE, url=url)] if (url := _text(run, "run_page_url")).startswith("https://") else []
    is_over = has_ended(run)
    failure = _failure(run, outputs) if is_over and not has_succeeded(run) else None
    return Status(
        state=state_of(run),
        message=failure.message if failure is not None else words_of(run),
        links=links,
        failure=failure,
        usage=usage_of(run, price) if is_over else None,
        custom_info=facts_of(run),
    )


def facts_of(run: Json) -> dict[str, Any]:
    """Return what people look for: ids, durations in milliseconds, clusters, repairs."""
    facts: dict[str, Any] = {name: run[name] for name in ("run_id", "job_id") if run.get(name)}
    if _text(run, "run_page_url"):
        facts["run_page_url"] = run["run_page_url"]
    facts.update({f"{name}_ms": value for name in _DURATIONS if (value := _count(run, name))})
    clusters = [_text(_part(each, "cluster_instance"), "cluster_id") for each in (run, *tasks_of(run))]
    if any(clusters):
        facts["clusters"] = list(dict.fromkeys(each for each in clusters if each))
    repairs = [each for each in objects(run.get("repair_history")) if each.get("type") == "REPAIR"]
    if repairs:
        facts["repairs"] = len(repairs)
        facts["latest_repair_id"] = repairs[-1].get("id")
    details = _part(_part(run, "status"), "termination_details")
    facts.update({f"termination_{name}": _text(details, name) for name in ("code", "type") if _text(details, name)})
    return facts


def usage_of(run: Json, price: Decimal | None = None) -> Usage:
    """Return what a run took: how long, and hours of the clusters that were made for it. Databricks tells no price here.

    A cluster of a fixed size also tells hours of its machines (workers and driver). Existing clusters and serverless compute
    are billed apart from the run, so nothing is told of them.

    Args:
        run: As `runs/get` has it.
        price: What the operator pays for an hour of a machine, on the average; None estimates no cost.
    """
    holders = tasks_of(run) or [run]
    cluster_hours = node_hours = Decimal(0)
    for each in holders:
        cluster = _part(each, "new_cluster") or _part(_part(run, "cluster_spec"), "new_cluster")
        if not cluster:
            continue
        spent_ms = sum(_count(each, name) for name in ("setup_duration", "execution_duration", "cleanup_duration"))
        hours = (Decimal(spent_ms) / _MS_PER_HOUR).quantize(Decimal("0.0001"))
        cluster_hours += hours
        workers = cluster.get("num_workers")
        if isinstance(workers, int) and not isinstance(workers, bool):
            node_hours += hours * (workers + 1)
    billed = {"cluster_hours": cluster_hours, "node_hours": node_hours}
    return Usage(
        duration=timedelta(milliseconds=_elapsed_ms(run)),
        billed={unit: amount for unit, amount in billed.items() if amount},
        currency_amount=price * node_hours if price is not None and node_hours else None,
        source=SOURCE,
    )


def error_of(output: Json | None) -> str:
    """Return why a task failed, as its output tells: the error, and the last line of its trace where that says more."""
    if output is None:
        return ""
    error = _text(output, "error")
    trace = _text(output, "error_trace").strip().splitlines()
    last = trace[-1].strip() if trace else ""
    return f"{error} ({last})" if error and last and last not in error else error or last


def _failure(run: Json, outputs: Mapping[str, Json | None]) -> Failure:
    details = _part(_part(run, "status"), "termination_details")
    state = state_of(run)
    told = []
    for task in failed_tasks(run) if tasks_of(run) else [run]:
        error = error_of(outputs.get(str(task.get("run_id", "")))) or words_of(task)
        told.append(error if len(tasks_of(run)) == 1 else f"{_text(task, 'task_key')}: {error}")
    words = list(dict.fromkeys(text[:_WORDS] for text in (*told, words_of(run)) if text))
    code = _text(details, "code")
    first = failed_tasks(run)[:1]
    if code in ("", "RUN_EXECUTION_ERROR") and first:
        # A run "was completed with task failures": its task knows which.
        own = _part(_part(first[0], "status"), "termination_details")
        code, details = _text(own, "code") or code, own or details
    life, result = state if isinstance(state, tuple) else (state, "")
    return failure_of(result if life == "TERMINATED" else life, code, _text(details, "type"), "; ".join(words))


def _result(task: Json) -> str:
    state = state_of(task)
    return state[1] if isinstance(state, tuple) else ""


def _elapsed_ms(run: Json) -> int:
    whole = _count(run, "run_duration")
    parts = sum(_count(run, name) for name in ("setup_duration", "execution_duration", "cleanup_duration"))
    span = _count(run, "end_time") - _count(run, "start_time") if _count(run, "end_time") else 0
    return whole or parts or max(0, span)


def _order(task: Json) -> tuple[int, int]:
    return _count(task, "start_time"), _count(task, "attempt_number")


def _part(value: Json, name: str) -> Json:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _text(value: Json, name: str) -> str:
    text = value.get(name)
    return text if isinstance(text, str) else ""


def _count(value: Json, name: str) -> int:
    count = value.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) else 0
