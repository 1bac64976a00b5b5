"""`make interop`: everything that is tried against real engines and real SDKs."""

from __future__ import annotations

from typing import Final

from tables.reporting import Report

REPORT: Final = Report(
    target="interop",
    about=__doc__ or "",
    parts={
        "propeller": "FlytePropeller's connector plugins drive our service",
        "flyte2": "Flyte 2's SDK and connector plugin drive our service",
        "hosted": "flytekit's connectors on our service, and jobs in flight",
        "pyflyte": "flytekit's tasks on our engine",
        "tls": "Go's gRPC with TLS as FlytePropeller speaks it",
    },
)
