"""Rulings: who serves a task type where several can.

An agent of ours, a connector of flytekit and one of Flyte 2's SDK may know the same type. One serves it, by the operator's
choice or by the default order; the others start nothing, and still follow and cancel the jobs whose handles are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outboard.domain.tasks import TaskType
from outboard.errors import InvalidSettings
from outboard.flytekit.hosting.settings import ORDER, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Who serves a task type.

    Attributes:
        task_type: Which.
        winner: Who serves it.
        losers: Who else could.
        is_chosen: The operator said so.
    """

    task_type: TaskType
    winner: Side
    losers: Sequence[Side]
    is_chosen: bool

    def __str__(self) -> str:
        why = "as the settings say" if self.is_chosen else f"choose another by flytekit.prefer.{self.task_type.name}"
        others = " and ".join(self.losers)
        return f"task type {self.task_type} is served by {self.winner}, not by {others}; {why}"


def rule(contenders: Mapping[TaskType, Sequence[Side]], prefer: Mapping[str, Side]) -> list[Ruling]:
    """Return who serves each task type that somebody can.

    Raises:
        InvalidSettings: The operator prefers somebody who does not have the type.
    """
    names = {task_type.name for task_type in contenders}
    for name, side in prefer.items():
        able = sorted({each for kind, sides in contenders.items() if kind.name == name for each in sides})
        if name not in names or side not in able:
            known = f"it is served by {', '.join(able)}" if able else "nobody here serves it"
            raise InvalidSettings(
                f"flytekit.prefer: {side} does not serve task type {name}; {known}", field=f"flytekit.prefer.{name}"
            )
    return [_ruled(task_type, sides, prefer.get(task_type.name)) for task_type, sides in contenders.items()]


def _ruled(task_type: TaskType, sides: Sequence[Side], wish: Side | None) -> Ruling:
    winner = wish if wish is not None and wish in sides else next(side for side in ORDER if side in sides)
    losers = [side for side in ORDER if side in sides and side != winner]
    return Ruling(task_type=task_type, winner=winner, losers=losers, is_chosen=wish == winner)
