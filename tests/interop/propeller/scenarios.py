"""What a scenario is: a function that puts a site through something and returns its row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interop.propeller.rows import Row
from interop.propeller.sites import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        site: Scenarios of one name share a site and run at the same time; "" has a site of its own.
        run: Does it.
        is_lean: Whether the tests run it too, and not only `make interop`.
        is_faulty: Whether calls go over a faulty road.
        make: What makes the site.
        is_alone: Whether nothing else may run meanwhile, since it keeps the machine busy.
    """

    run: Callable[[Site], Awaitable[Row]]
    site: str = ""
    is_lean: bool = False
    is_faulty: bool = False
    make: type[Site] = Site
    is_alone: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return self.run.__name__
