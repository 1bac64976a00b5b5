"""The trace that an engine's process is part of, for the services that it calls.

Whoever starts the process passes it on in variables: OpenTelemetry's, see
https://opentelemetry.io/docs/specs/otel/context/env-carriers/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_STATE: Final = 512


def trace_metadata(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what lets a service go on with the trace of these variables, as gRPC metadata; a broken one is left out.

    >>> trace_metadata({"TRACEPARENT": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "TRACESTATE": "vendor=x"})
    (('traceparent', '00-11111111111111111111111111111111-2222222222222222-01'), ('tracestate', 'vendor=x'))
    """
    parent, state = environment.get("TRACEPARENT", ""), environment.get("TRACESTATE", "")
    if not _PARENT.fullmatch(parent):
        return ()
    is_sound = state.isascii() and state.isprintable() and 0 < len(state) <= _LONGEST_STATE
    return (("traceparent", parent), *((("tracestate", state),) if is_sound else ()))
