"""What an engine provides with a request: values of secrets and settings, which Flyte 2 calls a connection.

Flyte 2 resolves a task's secrets itself and sends their values with every CreateTask, GetTask and DeleteTask
(flyteidl2/core/security.proto, `Connection`). They live as long as the request and what this process remembers of its job:
no handle, record or log line holds them, and another replica gets them with the next request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """Secrets and settings by name, as the engine sent them.

    False where there are none.

    Attributes:
        secrets: Values by the name that the task gave them.
        configs: Settings that are no secrets.

    >>> Provided(secrets={"token": "t0p"}, configs={"region": "eu"})
    Provided(secrets of token; configs of region)
    """

    secrets: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.secrets or self.configs)

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        names = (f"{kind} of {', '.join(sorted(values))}" for kind, values in self._parts() if values)
        return f"Provided({'; '.join(names)})"

    def _parts(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        return ("secrets", self.secrets), ("configs", self.configs)

    def digest(self, secrets: frozenset[str] | None = None) -> str:
        """Return what differs where the values differ; for memory only.

        Args:
            secrets: Count only secrets of these names, and no configs; None counts everything.
        """
        counted = [dict(self.secrets), dict(self.configs)]
        if secrets is not None:
            counted = [{name: value for name, value in self.secrets.items() if name in secrets}]
        if not any(counted):
            return ""
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


NOTHING: Final = Provided()
"""Flyte 1, and a task of Flyte 2 without a connection."""
