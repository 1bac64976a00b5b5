"""Collects the blocks of code in the documents beside the tests; see `tests/documents`."""

from documents.blocks import pytest_collect_file

__all__ = ["pytest_collect_file"]
