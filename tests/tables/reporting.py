"""Reports: the parts of a `make` target are run one after the other, shown as tables and written as JSON.

A part is a module of the target's folder with `sections() -> Iterable[Section]`. A part that is not to be had on this machine
says why and does not fail the run; anything that is not as promised does, and so does a part that breaks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tables.sections import Section

_WIDTH: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A `make` target that shows tables.

    Attributes:
        target: Its name.
        about: What it does, for `--help`.
        parts: The modules of the package of that name under `tests/`, in order, with a title each.
    """

    target: str
    about: str
    parts: Mapping[str, str]

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run the parts that were asked for; return 1 where anything is not as promised."""
        options = self._options(arguments)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # tables only
        console = Console(width=None if sys.stdout.isatty() else _WIDTH)
        sections: list[tuple[str, Section]] = []
        for part in options.only:
            console.rule(self.parts[part])
            for section in self._sections(part):
                _show(console, section)
                sections.append((part, section))
        _write(Path(options.report), sections)
        failures = [failure for _, section in sections for failure in section.failures]
        skipped = [section.title for _, section in sections if section.skipped]
        console.rule()
        tried = len(sections) - len(skipped)
        console.print(f"{tried} tables, {len(failures)} failures, {len(skipped)} not to be had here: {options.report}")
        for failure in failures:
            console.print(f"[red]failed:[/] {escape(failure)}", highlight=False)
        return 1 if failures or not tried else 0

    def _options(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(prog=f"make {self.target}", description=self.about)
        parser.add_argument("--only", default=",".join(self.parts), help=f"parts, of {', '.join(self.parts)}")
        report = f"build/reports/{self.target}.json"
        parser.add_argument("--report", default=report, help="where the tables go as JSON")
        options = parser.parse_args(arguments)
        options.only = [part.strip() for part in options.only.split(",") if part.strip()]
        unknown = sorted(set(options.only) - set(self.parts))
        if unknown:
            parser.error(f"there is no part {unknown[0]!r}; choose of {', '.join(self.parts)}")
        return options

    def _sections(self, part: str) -> Iterator[Section]:
        began = time.monotonic()
        try:
            for section in importlib.import_module(f"{self.target}.{part}").sections():
                yield section if section.seconds else replace(section, seconds=round(time.monotonic() - began, 1))
                began = time.monotonic()
        except Exception as error:  # noqa: BLE001 - one that breaks is a failure, and the others are run all the same
            yield Section(title=self.parts[part], failures=[f"{part} broke: {type(error).__name__}: {error}"])


def _show(console: Console, section: Section) -> None:
    if section.skipped:
        console.print(f"[yellow]not to be had here:[/] {escape(section.title)}: {escape(section.skipped)}")
        return
    table = Table(title=f"{escape(section.title)} ({section.seconds:g} s)", title_justify="left")
    for column in section.columns:
        table.add_column(column, overflow="fold")
    for row in section.rows:
        table.add_row(*(_cell(row.get(column)) for column in section.columns))
    console.print(table)
    for note in section.notes:
        console.print(f"  {escape(note)}", highlight=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else escape(str(value))


def _write(report: Path, sections: Sequence[tuple[str, Section]]) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "outboard": version("outboard"),
        "python": platform.python_version(),
        "sections": [{"part": part, **asdict(section)} for part, section in sections],
    }
    report.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
