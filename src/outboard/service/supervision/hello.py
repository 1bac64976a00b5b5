"""The hello of a child: one line of JSON on its standard output, once it answers, or once it knows that it never will.

Names stand apart from agents, because handles outlive them: a child also follows jobs under the aliases of renamed agents, and
those of agents whose task types the operator withholds, and neither are listed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a child serves.

    Attributes:
        target: Where it answers, as gRPC spells it; empty when it does not serve and ends after its hello.
        agents: What is listed.
        names: Of all agents whose handles it reads, aliases included.
        failures: What it could not load.
        refusal: Why it cannot serve at all, for the operator: a wrong setting, a missing secret.
        natives: Task types for whose jobs engines keep a hosted connector's own bytes.
    """

    target: str
    agents: Sequence[AgentInfo]
    names: Sequence[str]
    failures: Sequence[LoadFailure]
    refusal: str = ""
    natives: Sequence[TaskType] = ()

    @classmethod
    def refusing(cls, reason: str) -> Hello:
        """Return the hello of a child that cannot serve."""
        return cls(target="", agents=(), names=(), failures=(), refusal=reason)

    def encode(self) -> bytes:
        """Return the line."""
        agents = [[a.name, a.is_sync, [[t.name, t.version] for t in a.task_types]] for a in self.agents]
        failures = [[failure.source, failure.reason] for failure in self.failures]
        fields = {
            "target": self.target,
            "agents": agents,
            "names": list(self.names),
            "failures": failures,
            "refusal": self.refusal,
            "natives": [[each.name, each.version] for each in self.natives],
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Hello:
        """Return what a line says; `ValueError` when it is no hello."""
        try:
            fields = json.loads(line)
            return cls(
                target=str(fields["target"]),
                agents=[
                    AgentInfo(name=name, is_sync=is_sync, task_types=tuple(TaskType(*each) for each in task_types))
                    for name, is_sync, task_types in fields["agents"]
                ],
                names=[str(name) for name in fields["names"]],
                failures=[LoadFailure(source=source, reason=reason) for source, reason in fields["failures"]],
                refusal=str(fields.get("refusal", "")),
                natives=tuple(TaskType(*each) for each in fields.get("natives", ())),
            )
        except (TypeError, ValueError, KeyError):
            raise ValueError("not a hello") from None
