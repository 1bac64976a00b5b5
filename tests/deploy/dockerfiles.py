"""deploy/Dockerfile as data; `python dockerfiles.py FILE` runs in the environment of the part `deploy` and prints it as JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage.

    Attributes:
        name: After AS.
        base: After FROM.
        steps: Instruction and value, in order.
    """

    name: str
    base: str
    steps: Sequence[tuple[str, str]]

    def values(self, instruction: str) -> list[str]:
        """Return the values of an instruction."""
        return [value for found, value in self.steps if found == instruction]

    def last(self, instruction: str) -> str:
        """Return the value that holds at the end; empty where there is none."""
        return ["", *self.values(instruction)][-1]


def stages(parsed: Sequence[tuple[str, str]]) -> list[Stage]:
    """Return the stages of a file's instructions."""
    found: list[Stage] = []
    steps: list[tuple[str, str]] = []
    for instruction, value in parsed:
        if instruction == "FROM":
            words = value.split()
            steps = []
            found.append(Stage(name=words[-1] if len(words) > 2 else "", base=words[0], steps=steps))
        elif instruction != "COMMENT":
            steps.append((instruction, value))
    return found


def pairs(value: str) -> dict[str, str]:
    """Return what ENV, LABEL or ARG assign."""
    return {name: rest for name, _, rest in (each.partition("=") for each in shlex.split(value))}


def main() -> None:
    """Print the instructions of a file."""
    from dockerfile_parse import DockerfileParser

    with Path(sys.argv[1]).open("rb") as file:
        parsed = DockerfileParser(fileobj=file).structure
    json.dump([(each["instruction"], each["value"]) for each in parsed], sys.stdout)


if __name__ == "__main__":
    main()
