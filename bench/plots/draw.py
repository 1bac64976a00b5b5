"""Draws the plots of docs/performance.md from a report: `python draw.py REPORT FOLDER`, run in the plots' own environment.

The same report gives the same bytes: no dates, and ids from a fixed salt. Nothing is drawn behind, and lines and words are
of a grey that can be read on a light page and on a dark one. A plot whose section is not in the report is left out.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

_OURS, _FLYTEKIT, _GREY, _LIMIT = "#3b82f6", "#e08a1e", "#808080", "#9a9a9a"
_STYLE = {
    "svg.hashsalt": "outboard",
    "svg.fonttype": "path",
    "font.size": 9,
    "text.color": _GREY,
    "axes.labelcolor": _GREY,
    "axes.edgecolor": _GREY,
    "axes.titlecolor": _GREY,
    "axes.titlesize": 8,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.transparent": True,
    "figure.constrained_layout.use": True,
}
Report = dict[str, Any]


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _bars(axis: Any, bars: list[tuple[str, float, str]], unit: str, *, is_log: bool = True) -> None:
    """Draw horizontal bars, the first on top, each with its number at its end."""
    names, values, colours = zip(*reversed(bars), strict=True)
    axis.barh(names, values, color=colours, height=0.6)
    if is_log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(min(values) / 3, max(values) * 4)
    else:
        axis.set_xlim(0, max(values) * 1.18)
    axis.xaxis.set_major_formatter(FuncFormatter(_plain))
    for place, value in enumerate(values):
        axis.annotate(
            f"{value:,.0f}" if value >= 10 else f"{value:.2g}",
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axis.set_xlabel(unit)
    axis.grid(visible=False, axis="y")


def _median(rounds: list[dict[str, float]], field: str) -> float:
    return statistics.median(one[field] for one in rounds)


def calls(report: Report) -> Any:
    """Server CPU per GetTask."""
    rounds = report["details"]["calls"]["GetTask"]
    known = (
        ("ours", "Outboard", _OURS),
        ("flytekit", "flytekit", _FLYTEKIT),
        ("echo", "bare grpc.aio, protobuf", _LIMIT),
        ("raw echo", "bare grpc.aio, raw bytes", _LIMIT),
    )
    figure, axis = plt.subplots(figsize=(7.2, 2.1))
    _bars(
        axis,
        [(words, _median(rounds[name], "cpu_us"), colour) for name, words, colour in known if name in rounds],
        "server CPU per GetTask from memory, microseconds",
        is_log=False,
    )
    return figure


def blocking(report: Report) -> Any:
    """GetTasks per second and states learned per second with a blocking client."""
    seen = report["details"]["blocking"]
    known = (
        ("flytekit", "flytekit", _FLYTEKIT),
        ("slow_by_job", "Outboard, by job", _OURS),
        ("slow_by_page", "Outboard, by page", _OURS),
        ("limit", "bare grpc.aio", _LIMIT),
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.2))
    here = [one for one in known if seen.get(one[0])]
    _bars(
        left,
        [(words, _median(seen[name], "rate"), colour) for name, words, colour in here],
        "GetTasks answered per second",
    )
    _bars(
        right,
        [(words, _median(seen[name], "states"), colour) for name, words, colour in here if name != "limit"],
        "states learned per second",
    )
    return figure


def fleet(report: Report) -> Any:
    """How late ends are told, and what the platform is asked, second by second."""
    seen = report["details"]["fleet"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for name, words, colour in (("ours", "Outboard", _OURS), ("flytekit", "flytekit", _FLYTEKIT)):
        if name not in seen:
            continue
        lags = seen[name]["lags"]
        left.plot([lag for lag, _ in lags], [share for _, share in lags], color=colour, label=words)
        right.plot(seen[name]["platform_calls"], color=colour, label=words)
    left.axvline(15, color=_LIMIT, linestyle="--", linewidth=1)
    left.annotate("15 s", (15, 3), xytext=(3, 0), textcoords="offset points")
    left.set_xlabel("seconds from a job's end to the answer")
    left.set_ylabel("% of the ended jobs answered")
    left.set_ylim(0, 103)
    left.legend(loc="center right")
    right.axhline(10, color=_LIMIT, linestyle="--", linewidth=1)
    right.annotate("quota", (0, 10), xytext=(0, -11), textcoords="offset points")
    right.set_yscale("log")
    right.set_ylim(1, 3_000)
    right.yaxis.set_major_formatter(FuncFormatter(_plain))
    right.set_xlabel("seconds since the start")
    right.set_ylabel("platform calls per second")
    right.legend(loc="center right")
    return figure


def growth(report: Report) -> Any:
    """CPU, platform calls and memory by live jobs."""
    seen = report["details"]["growth"]
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    panels = (("cpu_per_minute", "CPU seconds per minute"), ("calls_per_minute", "platform calls per minute"))
    for axis, (field, words) in zip(axes, panels, strict=False):
        for name, label, colour in (("ours", "Outboard", _OURS), ("flytekit", "flytekit", _FLYTEKIT)):
            stages = seen.get(name, [])
            axis.plot(
                [s["jobs"] for s in stages],
                [s[field] for s in stages],
                marker="o",
                markersize=4,
                color=colour,
                label=label,
            )
        axis.set_yscale("log")
        axis.set_title(words)
    axes[0].legend(loc="lower right")
    stages = seen.get("ours", [])
    axes[2].plot(
        [s["jobs"] for s in stages], [s["memory_bytes"] / 2**20 for s in stages], marker="o", markersize=4, color=_OURS
    )
    axes[2].plot(
        [s["jobs"] for s in stages],
        [s["jobs"] * 2048 / 2**20 for s in stages],
        linestyle="--",
        linewidth=1,
        color=_LIMIT,
    )
    axes[2].set_yscale("log")
    axes[2].set_title("MiB of memory (dashed: 2 KiB a job)")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlabel("live jobs")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
    return figure


def neighbours(report: Report) -> Any:
    """The quiet agent's p99, alone and beside noise."""
    seen = report["details"]["neighbours"]
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.2), sharex=True)
    for axis, noise in zip(axes, ("plain functions", "async def that blocks"), strict=True):
        bars = []
        for name, words, colour in (("ours", "Outboard", _OURS), ("flytekit", "flytekit", _FLYTEKIT)):
            if name in seen[noise]:
                bars.append((f"{words}, alone", seen[noise][name]["quiet alone"]["p99_ms"], colour))
                bars.append((f"{words}, beside", seen[noise][name]["quiet beside noise"]["p99_ms"], colour))
        _bars(axis, bars, "p99 of the quiet agent, ms")
        axis.set_title(f"noise: {noise}")
    return figure


def processes(report: Report) -> Any:
    """GetTask rates of one and two processes."""
    rows = {row["key"]: row["medians"] for row in report["rows"]}
    one, two = rows["processes.one"], rows["processes.two"]
    figure, axis = plt.subplots(figsize=(7.2, 1.7))
    bars = [("1 process", one["ours"], _OURS), ("2 processes", two["ours"], _OURS)]
    _bars(
        axis, [*bars, ("both cores, all CPU", two["limit"], _LIMIT)], "GetTasks per second, load included", is_log=False
    )
    return figure


PLOTS: tuple[Callable[[Report], Any], ...] = (calls, blocking, fleet, growth, neighbours, processes)


def main() -> None:
    """Draw what the report has data for."""
    report = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update(_STYLE)
    for draw in PLOTS:
        if report["details"].get(draw.__name__):
            figure = draw(report)
            figure.savefig(folder / f"{draw.__name__}.svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
