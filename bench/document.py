"""Writes docs/performance.md from a report: the page holds no number that the run did not see.

What a section measures and how is prose of this module; tables, verdicts and plots are the report's. So the page is written
anew with every run, and from a saved report by `bench/run.py --render`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue import COLUMNS, FLYTEKIT, LIMIT, LINES, OURS
from environments import Environment
from places import BENCH, IMAGES, PLOTS_HOME, ROOT
from report import Report, Row, number

_PLOTS = Environment(home=PLOTS_HOME, wanted=("matplotlib==3.10.8", "numpy==2.2.6"))
_DRAW = BENCH / "plots" / "draw.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the page: what is said before its table and plot, and what its plot shows, for who cannot see it."""

    name: str
    title: str
    text: str
    plot: str = ""


_SECTIONS = (
    Section(
        name="calls",
        title="One call",
        text="""
64 calls are in flight over 200 jobs, in turns on four servers that run at once, each on the same one core while the load
generator has the other: Outboard, flytekit, and two bare `grpc.aio` servers that answer the same bytes and do nothing else,
one through protobuf and one with raw bytes. The last one is the column *limit*: what `grpc.aio` itself costs, as its
documentation starts it, on asyncio's own event loop. (Outboard runs on uvloop and sets gRPC's threads up for it, which is
how it can be below it.) The CPU is that of the server's whole process tree per call. Outboard answers these polls from
memory; flytekit's connector is an `async def` that returns at once, so neither waits for a platform. Medians of the rounds;
in brackets the extremes of the ratio, whose two sides ran one right after the other.
""",
        plot="Bars of the server CPU per GetTask.",
    ),
    Section(
        name="blocking",
        title="A client that blocks",
        text="""
Most vendors' SDKs block. Here a platform call takes 200 ms in a plain function, 200 callers ask for 1,000 jobs in turn, and
each waits for its answer, however long that takes. flytekit runs plain functions in the event loop's default executor: 6
threads on 2 cores, shared by all connectors, so 30 calls per second. Outboard asks the platform in a pool of the agent's
own, and answers from what it learned. *By job* the agent has only `get`, *by page* it has `get_many` with 100 jobs per call.

An answer from memory is fast but not new, so the lines say as well how many states were really brought from the platform per
second, as the platform counted them. The limit is the bare `grpc.aio` server with as many callers.
""",
        plot="Bars of GetTasks answered, and of states brought from the platform, per second.",
    ),
    Section(
        name="fleet",
        title="10,000 jobs and a quota",
        text="""
10,000 live jobs, each polled every 10 s in an open loop with FlytePropeller's deadline of 3 s, at a platform (a process of
its own, over HTTP) that answers a page of 100 jobs in 50 ms, allows 10 calls per second, and answers 429 to what is beyond.
Jobs end at random times, some 33 per second, and a new one takes the place of each that was answered as ended. Real time,
real sockets, after a warm-up of 20 s: at first nothing is known of 10,000 jobs, and to learn of them all takes ten seconds
of the whole quota. The lag counts from a job's end at the platform to the answer that says so; for jobs that were not
answered as ended before the run stopped it counts until then, which flatters flytekit, whose run is shorter. (The platform's
bucket holds 12 calls, the declared quota is 10 per second with a burst of 10: two may arrive bunched.)
""",
        plot="The lag's distribution, and the platform calls of every second.",
    ),
    Section(
        name="virtual",
        title="The same in virtual time",
        text="""
The host that the service runs, without sockets, for minutes that pass in seconds, at a platform that refuses the first call
beyond 10 per second and takes 50 to 200 ms. Once with polls spread evenly; once as FlytePropeller polls: everything at once
every 10 s, by ten workers that each wait for an answer before they take the next job. There slow answers add up: a round
that takes longer than 10 s holds back the next. The first minute is warm-up. A quota that is just enough asks about each job
once per period, at some point of it, and a burst comes at its end: that point is spread over the period, and so is the job's
end, so no order of questions gets p95 below 20 - sqrt(10) = 16.8 s there.
""",
    ),
    Section(
        name="growth",
        title="How cost grows",
        text="""
One process with 1,000 and 10,000 live jobs, each polled every 10 s, and 100,000, each polled every 30 s, FlytePropeller's
own interval, at a platform without a quota: what is counted is what the service asks for by itself, once it has been asked
for every job and, with up to 10,000 jobs, polled for two rounds more. The limit is each job's state once per round, in whole
pages. Memory is the resident set of the `outboard serve` process less that of the same process with 100 live jobs, when the
platform's client library is loaded and at work.
""",
        plot="CPU, platform calls and memory over the number of live jobs, on logarithmic scales.",
    ),
    Section(
        name="neighbours",
        title="A noisy neighbour",
        text="""
A quiet agent (its platform answers in 5 ms, 200 jobs, each polled once a second) shares the service with a noisy one: 50 of
its calls are under way at any time, and each blocks for 3 s. *x idle* is the quiet agent's p99 beside the noise as a
multiple of its p99 alone. Health is asked ten times a second through gRPC's health service; no answer within 3 s counts with
3 s. Plain functions are what SDKs look like. An `async def` that blocks is an author's mistake; the operator's remedy is
`--isolate`, and flytekit has none.
""",
        plot="Bars of the quiet agent's p99, alone and beside noise, for both kinds of noise.",
    ),
    Section(
        name="processes",
        title="Two processes",
        text="""
`outboard serve --processes 2` against one process, on both cores, with the load generator on the same machine. It takes its
share of the cores, so two processes cannot be twice one. The limit is what both cores could do if no cycle were idle: their
time, divided by what a call costs the server and the load generator together in the rounds with one process.
""",
        plot="Bars of the rates with one and two processes and of the limit.",
    ),
    Section(
        name="start",
        title="Start and idle memory",
        text="""
From exec until the health service says SERVING, and the resident set a second later, started in turns; the first start of
each does not count.
""",
    ),
    Section(
        name="engine",
        title="The local engine",
        text="""
10,000 no-op tasks through the in-process engine with its journal on; then again with a SIGKILL while 1,000 are in flight, and a
resume by another process, which waits a minute and a half before it takes over what the dead one was submitting. The platform's
ledger counts. Measured by `make bench ARGS="--only engine"`.
""",
    ),
)


def write(report: Report, path: Path) -> None:
    """Write the page, and its plots beside it."""
    _draw(report)
    parts = [_head(report), _summary(report), *(_section(report, each) for each in _SECTIONS), _repeat()]
    path.write_text("\n".join(part.strip() + "\n" for part in parts if part), encoding="utf-8")


def _draw(report: Report) -> None:
    _PLOTS.install()
    saved = PLOTS_HOME / "report.json"
    report.save(saved)
    subprocess.run([str(_PLOTS.python), str(_DRAW), str(saved), str(IMAGES)], check=True)


def _head(report: Report) -> str:
    facts = report.facts
    ours = ", ".join(f"{name} {version}" for name, version in facts["ours"].items())
    peer = ", ".join(f"{name} {version}" for name, version in facts.get("peer", {}).items())
    return f"""
# Performance

Outboard beside flytekit's own connector service, in one run of `make bench` of {facts["date"]}: the same machine, the same
load, the same jobs, and equal agents. The page is generated from that run; nothing on it was written by hand but what is
measured, and how.

| | |
|---|---|
| machine | {facts["machine"]} |
| Python | {facts["Python"]} |
| Outboard | {ours} |
| peer | {peer} |
| run | {facts["took"]} |
"""


def _summary(report: Report) -> str:
    judged = [row for row in report.rows if LINES[row.key].target is not None]
    missed = [row for row in judged if row.is_met is False]
    lines = ["## What must be reached", "", f"{len(judged) - len(missed)} of {len(judged)} targets are met.", ""]
    lines += _table(judged, lambda row: [f"[{row_title(row)}](#{_anchor(row)})"])
    for row in missed:
        lines += ["", f"**Missed: {row_title(row)}.** {_distance(row)}"]
    return "\n".join(lines)


def row_title(row: Row) -> str:
    """Return a row's title."""
    return LINES[row.key].title


def _distance(row: Row) -> str:
    """Return how far a row is from its target, and whether its limit allows it at all."""
    line = LINES[row.key]
    said = f"It is {number(row.measured)}, and must be {line.target}."
    needed = line.target.value * row.medians.get(FLYTEKIT, 0) if line.target and line.target.kind == "at least" else 0
    limit = row.medians.get(LIMIT)
    if line.compared == (OURS, FLYTEKIT) and limit is not None and needed > limit:
        said += (
            f" That would be {number(needed)} {line.unit}; the limit ({line.limit}) did {number(limit)} in this run."
        )
    return said


def _section(report: Report, section: Section) -> str:
    rows = [row for row in report.rows if LINES[row.key].section == section.name]
    if not rows:
        return ""
    lines = [f"## {section.title}", "", section.text.strip(), ""]
    if section.plot and (IMAGES / f"{section.name}.svg").exists():
        image = os.path.relpath(IMAGES / f"{section.name}.svg", ROOT / "docs")
        lines += [f"![{section.plot}]({image})", ""]
    lines += _table(rows, lambda row: [row_title(row)])
    limits = {LINES[row.key].limit: None for row in rows if LIMIT in row.medians and LINES[row.key].limit}
    if limits:
        lines += ["", f"Limit: {'; '.join(limits)}."]
    return "\n".join(lines)


def _table(rows: Sequence[Row], head: Callable[[Row], list[str]]) -> list[str]:
    lines = [f"| what | unit | {' | '.join(COLUMNS)} | ratio | target | |", "|---|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        line = LINES[row.key]
        ratio = "" if not line.compared or row.measured is None else f"{number(row.measured)} ({_spread(row)})"
        verdict = {True: "met", False: "**missed**", None: ""}[row.is_met]
        target = f"{line.target}{' x ' + line.compared[1] if line.compared else ''}" if line.target else ""
        values = [number(row.medians[column]) if column in row.medians else "" for column in COLUMNS]
        cells = [*head(row), line.unit, *values, ratio.replace(" ()", ""), target, verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(row: Row) -> str:
    return f"{number(row.low)} to {number(row.high)}" if row.low is not None else ""


def _anchor(row: Row) -> str:
    title = next(each.title for each in _SECTIONS if each.name == LINES[row.key].section)
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter == "-")


def _repeat() -> str:
    return """
## How to repeat it

```sh
make bench                              # everything, under ten minutes on two cores; writes this page anew
make bench ARGS="--only fleet,growth"   # some sections; the others keep the last run's numbers
make bench ARGS="--quick --only calls"  # a short look, too noisy to judge by; leaves this page alone
make bench ARGS="--render"              # this page again, from build/reports/bench.json
```

The first run installs flytekit and matplotlib from PyPI into environments of their own under `.bench/` and builds the load
generator, a Go program with grpc-go in `bench/load/`. Every round, latency quantile and second of the run is in
`build/reports/bench.json`. What each line compares and must reach is `bench/catalogue.py`; agents and connectors are in
`bench/agents/` and `bench/peers/`.

Servers run on one core and the load generator with the platform on the other, the same for all; only *Two processes* has
both cores for all. Everything is on loopback: a real network adds the same to every side. Timings of a machine that others
use at the same time move; the ratios move less, which is why they are judged.
"""
