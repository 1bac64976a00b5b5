"""Fixtures of the tests of detached jobs."""

from embedded_jobs import jobs

__all__ = ["jobs"]
