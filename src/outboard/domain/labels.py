"""Provenance labels: who a job belongs to, spelled by the rules of each platform.

Text that users choose can never make a submission fail: what a platform does not allow is replaced, what is too long
is cut with a short hash so that different values stay different, and when there are too many labels the provenance
ones stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    key_pattern: str
    value_pattern: str
    key_limit: int
    value_limit: int
    count: int
    lower: bool = False
    edges: str = ""


class LabelRules(Enum):
    """What a platform allows in labels or tags.

    Sources: AWS "Tag naming limits and requirements" (50 tags, 128/256 characters), Google Cloud "Requirements for
    labels" (64 labels, 63 characters, lower case), Databricks "Monitor usage using tags" (ASCII without ``<>*&%;/=+-``
    trouble makers), Kubernetes "Labels and Selectors" (63 characters, alphanumeric at both ends).
    """

    AWS = _Rule(
        key_pattern=r"[^\w +\-=.:/@]", value_pattern=r"[^\w +\-=.:/@]", key_limit=128, value_limit=256, count=50
    )
    GCP = _Rule(
        key_pattern=r"[^a-z0-9_-]", value_pattern=r"[^a-z0-9_-]", key_limit=63, value_limit=63, count=64, lower=True
    )
    DATABRICKS = _Rule(key_pattern=r"[^\w.-]", value_pattern=r"[^\w .:@-]", key_limit=127, value_limit=255, count=45)
    K8S = _Rule(
        key_pattern=r"[^A-Za-z0-9_.-]",
        value_pattern=r"[^A-Za-z0-9_.-]",
        key_limit=63,
        value_limit=63,
        count=64,
        edges="_.-",
    )


_HASH_CHARS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of one job: provenance first, then the user's own.

    Attributes:
        provenance: Always on the job: `outboard-key`, project, domain, execution, node, attempt, task.
        user: Labels that the execution carried.
    """

    provenance: Mapping[str, str]
    user: Mapping[str, str]

    def fit(self, rules: LabelRules) -> dict[str, str]:
        """Return labels that the platform accepts; provenance wins over the user's where names or room collide.

        >>> Labels(provenance={"outboard-key": "ob-1"}, user={"Team Name": "Größe/1"}).fit(LabelRules.GCP)
        {'outboard-key': 'ob-1', 'team-name': 'gr--e-1'}
        """
        rule = rules.value
        fitted: dict[str, str] = {}
        for name, value in (*self.provenance.items(), *self.user.items()):
            key = _fit(name, rule.key_pattern, rule.key_limit, rule)
            if rule is LabelRules.GCP.value and key and not key[0].isalpha():
                key = _fit(f"l-{key}", rule.key_pattern, rule.key_limit, rule)
            if key and key not in fitted and len(fitted) < rule.count:
                fitted[key] = _fit(value, rule.value_pattern, rule.value_limit, rule)
        return fitted


def _fit(text: str, pattern: str, limit: int, rule: _Rule) -> str:
    cleaned = re.sub(pattern, "-", text.lower() if rule.lower else text, flags=re.ASCII).strip(rule.edges or None)
    if len(cleaned) > limit:
        tail = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_HASH_CHARS]
        cleaned = f"{cleaned[: limit - _HASH_CHARS - 1]}-{tail}"
    return cleaned
