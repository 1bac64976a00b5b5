"""FlytePropeller, for real: its published code drives a service of ours, and flytekit's own beside it.

`program/` is propeller without Kubernetes, in Go: what it runs of Flyte and what it stands in for is told in its `main.go`.
`engines` speaks to it, `sites` puts it between a platform with a ledger and services as processes, `roads` are what lies
between; `calm`, `troubles` and `replacements` hold the scenarios; `rows` counts and judges, `tables` prints.
"""

from __future__ import annotations

from tables.sections import Section


def sections() -> list[Section]:
    """Return the tables of `make interop`."""
    # `outboard serve` imports this package for its agents alone.
    from interop.propeller import tables

    return tables.sections()
