"""Fixtures of the embedded platform's tests."""

from embedded_jobs import jobs

__all__ = ["jobs"]
