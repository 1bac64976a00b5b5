"""Versions: what runs here, for whoever reads a report elsewhere."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from outboard._version import __version__
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

CHECK: Final = "versions"
_SHOWN: Final = ("grpcio", "protobuf", "flyteidl", "flyteidl2", "pydantic", "aiohttp", "obstore", "cryptography")


async def check(subject: Subject) -> AsyncIterator[Finding]:
    """Tell versions of Python, Outboard, its libraries, and of what the platforms need."""
    told = [f"python {platform.python_version()}", f"outboard {__version__}", *_versions(_SHOWN)]
    yield Finding(check=CHECK, mark=Mark.OK, found=", ".join(told))
    if subject.host is None:
        return
    named = {*subject.section("settings"), *subject.wanted}
    for each in subject.host.registry.platforms:
        if not each.needs:
            continue
        missing = {module: remedy for module, remedy in each.needs.items() if not _is_installed(module)}
        if not missing:
            found = ", ".join(_versions(_distributions(each.needs))) or "all that it needs is installed"
            yield Finding(check=CHECK, mark=Mark.OK, about=each.name, found=f"{each.name}: {found}")
            continue
        yield Finding(
            check=CHECK,
            mark=Mark.PROBLEM if each.name in named else Mark.SKIPPED,
            about=each.name,
            found=f"{each.name} is not served: {', '.join(missing)} is not installed",
            remedy=f"install {', '.join(dict.fromkeys(missing.values()))}",
        )


def _versions(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _distributions(modules: Iterable[str]) -> list[str]:
    """Return the names under which modules are likely to be installed: their own, or their outermost package's."""
    return list(dict.fromkeys(name for each in modules for name in (each.replace(".", "-"), each.partition(".")[0])))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
