"""Where the chart lies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from outboard.errors import InvalidSettings

_PACKAGED: Final = Path(__file__).with_name("chart")
_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "deploy" / "chart"


def chart() -> Path:
    """Return the chart's folder.

    Raises:
        InvalidSettings: This installation has none.
    """
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / "Chart.yaml").is_file():
            return folder
    raise InvalidSettings("this installation of outboard holds no chart: install its wheel, or use a checkout")


@contextmanager
def whole_chart() -> Iterator[Path]:
    """Have the chart without links: in a checkout, alert rules and dashboard are linked, which Helm tells at length."""
    folder = chart()
    if not any(path.is_symlink() for path in folder.rglob("*")):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="outboard-chart-") as scratch:
        yield copy_chart(Path(scratch))


def default_values() -> str:
    """Return the chart's values as YAML."""
    return (chart() / "values.yaml").read_text(encoding="utf-8")


def copy_chart(folder: Path) -> Path:
    """Copy the chart to a new folder `outboard` and return that; files are whole ones, never links.

    Raises:
        InvalidSettings: It is there already, or cannot be written.
    """
    target = folder / "outboard"
    try:
        shutil.copytree(chart(), target)
    except FileExistsError:
        raise InvalidSettings(f"{target} exists already: remove it, or name another folder") from None
    except OSError as error:
        raise InvalidSettings(f"{target} cannot be written ({error.strerror}): name another folder") from None
    return target
