"""What this service writes for itself and for its replicas, all sealed with the same keys."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import Self

from outboard.domain.handles import HandleCodec
from outboard.domain.owed import OwedCodec
from outboard.domain.records import RecordCodec
from outboard.domain.seals import ServiceKey
from outboard.host.settings import HostSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """The forms of handles, of records of submissions, and of cancels that are owed."""

    handles: HandleCodec
    records: RecordCodec
    owed: OwedCodec

    @classmethod
    def of(cls, settings: HostSettings) -> Self:
        """Return the codecs by the operator's keys."""
        keys = [ServiceKey.parse(key.get_secret_value()) for key in settings.service_keys]
        clear = settings.accept_clear_handles
        return cls(
            handles=HandleCodec(keys, accepts_clear=clear),
            records=RecordCodec(keys, accepts_clear=clear),
            owed=OwedCodec(settings.installation, keys, accepts_clear=clear),
        )
