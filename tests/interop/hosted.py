"""Connectors of flytekit and of Flyte 2's SDK, unmodified, on our service; and jobs that are in flight when services change.

Each plugin is installed from PyPI into an environment of its own under `.interop/`, and `outboard serve --flytekit` is started in
it as a process. What an engine sends goes over a real socket. Platforms are played by one small HTTP server (`hosting.cloud`);
where that is out of reach, it is said how far the calls come and which words come back.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import grpc

from interop.hosting.cases import CASES, Case, google, make_certificate
from interop.hosting.cloud import Cloud
from interop.hosting.plugins import PLUGINS, Plugin
from interop.hosting.services import Engine, Service, outboard, phase_of, pyflyte, words_of
from tables.sections import Section

_COLUMNS: Final = (
    "plugin", "version", "task type", "hosted", "listed", "create", "get", "delete", "jobs", "live", "what fails, and why",
)  # fmt: skip
_FLIGHT: Final = ("from", "to", "handle", "get", "finished", "aborted", "jobs started", "jobs live")
_YES: Final = "yes"


def sections() -> list[Section]:
    """Return the tables."""
    return [_timed(_plugins), _timed(_in_flight)]


def _timed(make: Callable[[], Section]) -> Section:
    began = time.monotonic()
    made = make()
    return replace(made, seconds=round(time.monotonic() - began, 1))


def _plugins() -> Section:
    rows: list[Mapping[str, Any]] = []
    for plugin in PLUGINS:
        cases = [case for case in CASES if case.plugin == plugin.name]
        if problem := plugin.install():
            rows += [
                {"plugin": plugin.name, "task type": case.task_type, "hosted": "no", _COLUMNS[-1]: problem}
                for case in cases
            ]
            continue
        versions = plugin.versions()
        # Cases of one plugin share a service where they ask for the same environment.
        for _, together in groupby(cases, key=lambda case: (case.env, case.pickles)):
            rows += _tried(plugin, list(together), versions)
    return Section(
        title="flytekit's plugins from PyPI on `outboard serve --flytekit`",
        columns=_COLUMNS,
        rows=rows,
        failures=[failure for row in rows for failure in _failures(row)],
        notes=[
            "create, get and delete: the phase or answer that the engine got; in brackets what it reached",
            "jobs: started on the faked platform, by two equal requests; live: after the abort",
        ],
    )


def _failures(row: Mapping[str, Any]) -> Iterator[str]:
    who = f"{row['plugin']} {row['task type']}"
    if row.get("hosted") == "no" and "No matching distribution" not in row[_COLUMNS[-1]]:
        yield f"{who} is not hosted: {row[_COLUMNS[-1]]}"
    if row.get("jobs") not in (None, "", 1):
        yield f"{who}: {row['jobs']} jobs for one task"
    if row.get("live") not in (None, "", 0):
        yield f"{who}: {row['live']} jobs left after the abort"


def _tried(plugin: Plugin, cases: list[Case], versions: Mapping[str, str]) -> list[Mapping[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = Cloud(make_certificate(folder))
        settings = {"accept_pickled_handles": cases[0].pickles}
        try:
            with outboard(plugin, cases[0].env(cloud, folder), settings) as service:
                return [_row(case, service, cloud, folder, versions) for case in cases]
        finally:
            cloud.close()


def _row(case: Case, service: Service, cloud: Cloud, folder: Path, versions: Mapping[str, str]) -> Mapping[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row.update({"plugin": case.plugin, "version": versions.get(case.plugin, ""), "task type": case.task_type})
    row[_COLUMNS[-1]] = case.note
    if not service.address:
        return {**row, "hosted": "no", _COLUMNS[-1]: "; ".join(service.lines[-2:])[:200] or "the service did not start"}
    secrets = case.secrets(folder) if case.secrets is not None else None
    cloud.jobs.clear()
    cloud.done.clear()
    with Engine(service.address, secrets) as engine:
        listed = engine.listed()
        row["hosted"] = row["listed"] = _YES if case.task_type in listed else "no"
        if case.task_type not in listed:
            return {**row, _COLUMNS[-1]: service.ready.rpartition("not loaded: ")[2][:200]}
        request = case.request(cloud, folder)
        if listed[case.task_type]:
            return {**row, **_answered(engine, request, cloud, case)}
        return {**row, **_followed(engine, request, cloud, case, service, folder)}


def _answered(engine: Engine, request: Any, cloud: Cloud, case: Case) -> Mapping[str, Any]:
    try:
        resource = engine.do(request)
    except grpc.RpcError as error:
        return {"create": "error", _COLUMNS[-1]: words_of(error)}
    why = resource.message if phase_of(resource) != "SUCCEEDED" else case.note
    return {"create": f"sync: {phase_of(resource)}", "jobs": cloud.count("start"), _COLUMNS[-1]: why[:200]}


def _followed(
    engine: Engine, request: Any, cloud: Cloud, case: Case, service: Service, folder: Path
) -> Mapping[str, Any]:
    """Start, follow and finish a task; start and abort another one."""
    try:
        handle = engine.create(request)
        again = engine.create(request)
    except grpc.RpcError as error:
        return {"create": "refused", _COLUMNS[-1]: words_of(error)}
    first = engine.until(request, handle, "RUNNING", "SUCCEEDED", "FAILED", "RETRYABLE_FAILED")
    if not case.faked:
        words = words_of(Exception(engine.get(request, handle).message or service.words("status not answered")))
        with contextlib.suppress(grpc.RpcError):
            engine.delete(request, handle)
        return {
            "create": "reached",
            "get": first,
            "delete": "answered",
            _COLUMNS[-1]: "; ".join(filter(None, (words, case.note))),
        }
    jobs = cloud.count("start")
    cloud.finish()
    second = engine.until(request, handle)
    aborted = case.request(cloud, folder)
    other = engine.create(aborted)
    engine.until(aborted, other, "RUNNING")
    engine.delete(aborted, other)
    live = sum(1 for state in cloud.jobs.values() if state == "running")
    ended = engine.until(aborted, other)
    native = "flytekit's bytes" if not handle.startswith(b"\xff") else "an intent"
    return {
        "create": native if handle == again else "two handles",
        "get": f"{first}, {second}",
        "delete": ended,
        "jobs": jobs,
        "live": live,
        _COLUMNS[-1]: case.note or _why(engine, request, handle, second, service),
    }


def _why(engine: Engine, request: Any, handle: bytes, phase: str, service: Service) -> str:
    """Return why a task did not succeed: its message, or what its polls met."""
    if phase == "SUCCEEDED":
        return ""
    return words_of(Exception(engine.get(request, handle).message or service.words("status not answered")))


def _in_flight() -> Section:
    plugin = next(each for each in PLUGINS if each.name == "flytekitplugins-bigquery")
    case = next(each for each in CASES if each.plugin == plugin.name)
    title = "BigQuery jobs in flight while one service takes the other's place"
    if problem := plugin.install():
        return Section(title=title, skipped=problem)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for there, back in (("flytekit", "outboard"), ("outboard", "flytekit")):
            cloud = Cloud()
            rows.append(_moved(plugin, case, cloud, folder, there, back))
            cloud.close()
    failures = [
        f"in flight from {row['from']} to {row['to']}: {row}"
        for row in rows
        if row["jobs started"] != 2 or row["jobs live"] != 0 or row["finished"] != "SUCCEEDED"
    ]
    return Section(title=title, columns=_FLIGHT, rows=rows, failures=failures, versions=plugin.versions())


def _moved(plugin: Plugin, case: Case, cloud: Cloud, folder: Path, there: str, back: str) -> Mapping[str, Any]:
    env = google(cloud, folder)
    requests = [case.request(cloud, folder) for _ in range(2)]
    with _serving(there, plugin, env) as service, Engine(service.address) as engine:
        handles = [engine.create(request) for request in requests]
    with _serving(back, plugin, env) as service, Engine(service.address) as engine:
        first = engine.until(requests[0], handles[0], "RUNNING")
        engine.delete(requests[1], handles[1])
        aborted = cloud.jobs.get(list(cloud.jobs)[1])
        cloud.finish()
        finished = engine.until(requests[0], handles[0])
    return {
        "from": there,
        "to": back,
        "handle": handles[0].decode(errors="replace")[:60],
        "get": first,
        "finished": finished,
        "aborted": aborted,
        "jobs started": cloud.count("start"),
        "jobs live": sum(1 for state in cloud.jobs.values() if state == "running"),
    }


@contextlib.contextmanager
def _serving(who: str, plugin: Plugin, env: Mapping[str, str]) -> Iterator[Service]:
    with pyflyte(plugin, env) if who == "flytekit" else outboard(plugin, env, {}) as service:
        if not service.address:
            raise RuntimeError(f"{who} did not start: {'; '.join(service.lines[-3:])}")
        yield service
