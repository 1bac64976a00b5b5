"""The dashboard that ships: every name is a metric of ours, and a real Prometheus that scrapes a running service answers it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from integration.observing.names import metric_names_of, unknown_names
from integration.service.guarded import guarded
from integration.service.probe import make_task
from integration.service.served import read
from metric_documents import metric_rows
from outboard import errors
from prometheus_tools import program

DEPLOY: Final = Path(__file__).resolve().parents[3] / "deploy"
BOARD: Final[Mapping[str, Any]] = json.loads((DEPLOY / "dashboards" / "outboard.json").read_text(encoding="utf-8"))
CALM, HOSTILE = "hostile:Calm", "hostile:Hostile"
LABELS: Final = frozenset({"job", "instance", "le", "process"})


def queries() -> Iterator[tuple[str, str]]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_every_metric_on_the_board_is_documented_and_nearly_every_documented_one_is_on_it() -> None:
    assert {title: names for title, query in queries() if (names := unknown_names(query))} == {}
    shown = {name for _, query in queries() for name in metric_names_of(query)}
    assert [name for name, row in metric_rows().items() if not shown & set(row.samples)] == []


def test_labels_on_the_board_are_those_of_the_metrics() -> None:
    rows = {sample: row for row in metric_rows().values() for sample in row.samples}
    for title, query in queries():
        names = metric_names_of(query) & set(rows)
        labels = {label for name in names for label in rows[name].labels} | LABELS
        if names:
            used = {each for group in re.findall(r"by \(([^)]*)\)", query) for each in re.split(r",\s*", group)}
            assert used - labels == set(), title


def test_panels_do_not_lie_on_each_other_and_say_what_they_show() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        assert panel["type"] == "row" or panel["description"], panel["title"]
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert place not in taken, (panel["title"], taken.get(place))
            taken[place] = panel["title"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[str]:
    """A real Prometheus with our alert rules, which scrapes a service every second; the address where it answers."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "alerts" / "outboard.yaml")],
        "scrape_configs": [{"job_name": "outboard", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = await asyncio.to_thread(_free_port)
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        *arguments,
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


async def asked(address: str, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers to a query."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    answer = json.loads(await asyncio.to_thread(read, url))
    assert answer["status"] == "success", (query, answer)
    return list(answer["data"]["result"])


async def until(address: str, query: str) -> None:
    """Wait until Prometheus has something to answer."""
    for _ in range(300):
        try:
            if await asked(address, query):
                return
        except OSError:  # it is not up yet
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(query)


def filled(query: str) -> str:
    return query.replace("$job", ".+").replace("$instance", ".+").replace("$__rate_interval", "30s")


SILENT: Final = (
    "outboard_access_unenforced", "outboard_account_", "outboard_budget_", "outboard_usage", "outboard_callbacks",
    "outboard_status_absorbed", "outboard_jobs_unclaimed", "outboard_cancel_unconfirmed", "outboard_unknown_states",
    "outboard_hanging_calls", "outboard_platform_call", "outboard_pool_", "outboard_log_lines", "outboard_job_claimed",
    "outboard_status_jobs",
)  # fmt: skip
"""What a service of two calm minutes without a platform over HTTP has nothing to say of."""


async def test_a_real_prometheus_answers_every_query_of_the_board(tmp_path: Path) -> None:
    program("prometheus")
    agents = ("--agents", CALM, "--agents", HOSTILE, "--isolate", HOSTILE, "--processes", "2")
    async with guarded(tmp_path, *agents, "--metrics-port", "0") as guard:
        (line,) = guard.service.logged("metrics are served")
        async with prometheus(tmp_path, f"127.0.0.1:{line['port']}") as address, guard.known() as remote:
            await until(address, "outboard_build_info")
            await guard.busy()
            task = make_task("calm", config={"deed": "", "file": "/nowhere"}, output_prefix=f"{tmp_path}/n0/0")
            handle = await remote.create_task(task)
            with pytest.raises(errors.UnknownTaskType):
                await remote.create_task(make_task("nobody's"))
            await remote.get_task(handle, task_type=task.task_type)
            await until(address, 'flyte_connector_requests_success_total{operation="get"} > 0')
            for _ in range(3):
                await remote.get_task(handle, task_type=task.task_type)
                await asyncio.sleep(1.2)  # two scrapes apart, or nothing has a rate
            answers = {query: await asked(address, filled(query)) for _, query in queries()}
            rules = json.loads(await asyncio.to_thread(read, f"{address}/api/v1/rules"))
    empty = [query for query, found in answers.items() if not found and not any(each in query for each in SILENT)]
    assert empty == []
    assert sum(bool(found) for found in answers.values()) > 35
    health = {rule["name"]: rule["health"] for group in rules["data"]["groups"] for rule in group["rules"]}
    assert set(health.values()) <= {"ok", "unknown"}, health
