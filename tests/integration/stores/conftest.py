"""The places that every store test runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.stores.seaweed import BUCKET, running_seaweed


@pytest.fixture(scope="session")
def s3_variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as variables:
        yield variables


@pytest.fixture(params=["path", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a fresh folder in each kind of store."""
    if request.param == "path":
        return str(tmp_path / "outputs")
    if request.param == "memory":
        return f"memory://{BUCKET}/{tmp_path.name}"
    return s3_root(request, tmp_path, monkeypatch)


@pytest.fixture(params=["path", "s3"])
def shared_root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a fresh folder that several processes see."""
    return str(tmp_path) if request.param == "path" else s3_root(request, tmp_path, monkeypatch)


def s3_root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in request.getfixturevalue("s3_variables").items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"
