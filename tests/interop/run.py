"""`make interop`: everything that is tried against real engines and real SDKs, as tables and as `build/reports/interop.json`.

The parts are modules beside this one. A part that is not to be had on this machine says why and does not fail the run;
anything that is not as promised does.

    python tests/interop/run.py
    python tests/interop/run.py --only propeller,pyflyte
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

_ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT)]

from interop.sections import Section  # noqa: E402 - found only now

PARTS: Final[Mapping[str, str]] = {
    "propeller": "FlytePropeller's connector plugins drive our service",
    "flyte2": "Flyte 2's SDK and connector plugin drive our service",
    "hosted": "flytekit's connectors on our service, and jobs in flight",
    "pyflyte": "flytekit's tasks on our engine",
}
_WIDTH: Final = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for; return 1 where anything is not as promised."""
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    sections: list[tuple[str, Section]] = []
    for part in options.only:
        console.rule(PARTS[part])
        for section in _run(part):
            _show(console, section)
            sections.append((part, section))
    _write(Path(options.report), sections)
    failures = [failure for _, section in sections for failure in section.failures]
    skipped = [section.title for _, section in sections if section.skipped]
    console.rule()
    tried = len(sections) - len(skipped)
    console.print(f"{tried} tables, {len(failures)} failures, {len(skipped)} not to be had here: {options.report}")
    for failure in failures:
        console.print(f"[red]failed:[/] {failure}", markup=True, highlight=False)
    return 1 if failures or not tried else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make interop", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--report", default="build/reports/interop.json", help="where the tables go as JSON")
    options = parser.parse_args(arguments)
    options.only = [part.strip() for part in options.only.split(",") if part.strip()]
    unknown = sorted(set(options.only) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; choose of {', '.join(PARTS)}")
    return options


def _run(part: str) -> Iterator[Section]:
    """Yield a part's sections; one that breaks is a failure, and the others are run all the same."""
    began = time.monotonic()
    try:
        found = importlib.import_module(f"interop.{part}").sections()
    except Exception as error:  # noqa: BLE001 - see above
        yield Section(title=PARTS[part], failures=[f"{part} broke: {type(error).__name__}: {error}"])
        return
    for section in found:
        yield section if section.seconds else replace(section, seconds=round(time.monotonic() - began, 1))


def _show(console: Console, section: Section) -> None:
    if section.skipped:
        console.print(f"[yellow]not to be had here:[/] {section.title}: {section.skipped}")
        return
    table = Table(title=f"{section.title} ({section.seconds:g} s)", title_justify="left")
    for column in section.columns:
        table.add_column(column, overflow="fold")
    for row in section.rows:
        table.add_row(*(_cell(row.get(column)) for column in section.columns))
    console.print(table)
    for note in section.notes:
        console.print(f"  {note}", highlight=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _write(report: Path, sections: Sequence[tuple[str, Section]]) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "outboard": version("outboard"),
        "python": platform.python_version(),
        "sections": [{"part": part, **asdict(section)} for part, section in sections],
    }
    report.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
