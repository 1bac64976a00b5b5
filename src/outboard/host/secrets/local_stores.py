"""Stores of this machine: overrides of the settings, environment variables, files. They are read anew each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import SecretStr

from outboard.domain.secret_names import NamePattern, UnfitName, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.host.secrets.ports import Place, Reader
from outboard.host.secrets.rules import Rules

_LARGEST_BYTES: Final = 1024 * 1024


class Overrides:
    """Values of the settings, by `group/key` or key."""

    is_scoped: ClassVar[bool] = False

    def __init__(self, values: Mapping[str, SecretStr]) -> None:
        self._values = values

    def places(self, ref: SecretRef, _reader: Reader) -> Sequence[Place]:
        """Return the names that may be overridden."""
        names = ((f"{ref.group}/{ref.key}",) if ref.group else ()) + (ref.key,)
        return [Place(name) for name in names if name in self._values]

    def read(self, place: Place) -> str | None:
        """Return a value."""
        return self._values[place.document].get_secret_value()

    def spell(self, place: Place) -> str:
        """Return its name."""
        return f"override {place}"


class Environment:
    """Environment variables.

    Args:
        variables: The process's own.
        prefix: What their names begin with.
        allows_plain: The same names without it are read too.
        rules: What tasks may name.
    """

    is_scoped: ClassVar[bool] = False

    def __init__(self, variables: Mapping[str, str], prefix: str, rules: Rules, *, allows_plain: bool) -> None:
        self._variables = variables
        self._prefixes = (prefix, "") if allows_plain and prefix else (prefix,)
        self._rules = rules

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return the variables' names."""
        if self._rules.keeps_from(ref, reader):
            raise UnfitName("its variable is also that of a secret which the rules keep for others")
        name = "_".join(part.upper() for part in (ref.group, ref.version, ref.key) if part)
        return [Place(f"{prefix}{name}") for prefix in self._prefixes]

    def read(self, place: Place) -> str | None:
        """Return a variable."""
        return self._variables.get(place.document)

    def spell(self, place: Place) -> str:
        """Return its name."""
        return f"variable {place}"


class Files:
    """Files below a directory, which may be another one for each project.

    Args:
        directory: Where.
        prefix: What the names of files begin with.
        is_pattern: The directory may hold placeholders.
    """

    def __init__(self, directory: str, prefix: str, *, is_pattern: bool = False) -> None:
        self._prefix = prefix
        self._directory = Path(directory)
        self._pattern = NamePattern(directory.strip("/")) if is_pattern and "{" in directory else None

    @property
    def is_scoped(self) -> bool:
        """Whether each project has a directory of its own."""
        return self._pattern is not None

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return the file's path."""
        directory = self._directory
        if self._pattern is not None:
            directory = Path("/", self._pattern.render(values_of(ref, reader.scope)))
        folders = [part.lower() for part in (ref.group, ref.version) if part]
        return [Place(str(directory.joinpath(*folders, self._prefix + ref.key.lower())))]

    def read(self, place: Place) -> str | None:
        """Return what the file holds; a mounted secret that is being replaced is one or the other, never half."""
        try:
            with Path(place.document).open("rb") as file:
                return file.read(_LARGEST_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def spell(self, place: Place) -> str:
        """Return its path."""
        return f"file {place}"
