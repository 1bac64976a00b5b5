"""What the operator decides about the files platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import field_validator

from outboard.agent import Settings


class FilesSettings(Settings):
    """Settings of the files platform.

    Attributes:
        roots: What sensors may look at, by its beginning: folders (`/data`) and buckets or folders in them
            (`s3://landing`). None allows whatever the service's user and credentials can see; an empty list nothing.
    """

    roots: tuple[str, ...] | None = None

    @field_validator("roots")
    @classmethod
    def _check_roots(cls, roots: Sequence[str] | None) -> Any:
        odd = [root for root in roots or () if not root.startswith("/") and "://" not in root]
        if odd:
            raise ValueError(f"{odd[0]!r} is neither an absolute path nor a store's address")
        return roots
