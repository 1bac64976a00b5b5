"""The surroundings: what this machine or container leaves a service room for."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from outboard.errors import InvalidSettings, OutboardError
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject
from outboard.local.settings_files import read_service_settings

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings

PORTS: Final = "ports"
MACHINE: Final = "machine"
ENGINE: Final = "engine"
_MIB: Final = 2**20
_FEWEST_FILES: Final = 4_096
"""A connection each for engines, platforms and stores, and their sockets; containers' usual 1,024 end in the midst of a storm."""
_PROCESS_BYTES: Final = 90 * _MIB
"""A worker without platforms takes 62 MB (docs/service.md); drivers and inputs under way come on top."""
_JOB_BYTES: Final = 2_048
_LEAST_FREE_BYTES: Final = 1_024 * _MIB
_LEAST_FREE_PART: Final = 0.05
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_LIMIT: Final = 2**60
_ROOTS: Final = ("embedded", "sql")


async def check_ports(subject: Subject) -> AsyncIterator[Finding]:
    """Tell which of the service's ports are free, taken, or not ours to take."""
    settings = _service(subject)
    if settings is None:
        return
    if settings.host.startswith("unix:"):
        yield Finding(check=PORTS, mark=Mark.SKIPPED, found=f"the service listens on the socket {settings.host}")
    numbers = {"port": None if settings.host.startswith("unix:") else settings.port}
    numbers |= {name: getattr(settings, name, None) for name in ("metrics_port", "admin_port", "callbacks_port")}
    for name, number in numbers.items():
        if number == 0:
            yield Finding(check=PORTS, mark=Mark.OK, about=name, found=f"service.{name}: the system chooses one")
        elif number is not None:
            yield await _port(
                subject, name, "127.0.0.1" if settings.host.startswith("unix:") else settings.host, number
            )


async def check_machine(subject: Subject) -> AsyncIterator[Finding]:
    """Tell about the event loop, open files, memory and disks."""
    if find_spec("uvloop") is None and sys.platform != "win32":
        yield Finding(
            check=MACHINE,
            mark=Mark.WARNING,
            about="event loop",
            found="uvloop is not installed: asyncio's own loop takes more processor time",
            remedy="pip install uvloop",
        )
    yield _open_files()
    memory = _memory(subject)
    if memory is not None:
        yield memory
    for root in _roots(subject):
        yield await _disk(subject, root)


async def check_engine(subject: Subject) -> AsyncIterator[Finding]:  # noqa: ARG001 - the signature of all checks
    """Point at the check of the engine's own configuration."""
    yield Finding(
        check=ENGINE,
        mark=Mark.SKIPPED,
        found="FlytePropeller's configuration is not looked at here",
        remedy="`outboard flyte-config --check FILE` holds it against the service",
    )


def _service(subject: Subject) -> ServiceSettings | None:
    if subject.choice is None:
        return None
    try:
        found: ServiceSettings = read_service_settings(subject.choice)
    except InvalidSettings:
        return None  # told by the check of the settings
    return found


async def _port(subject: Subject, name: str, host: str, number: int) -> Finding:
    about = f"service.{name} {number}"
    try:
        await subject.in_thread(lambda: _bind(host, number), f"listening on {about}")
    except OutboardError as error:
        return Finding(check=PORTS, mark=Mark.PROBLEM, about=name, found=error.message, error=error)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            words = f"{about} is taken on {host}"
            remedy = "if it is this service that runs there, ask it with --endpoint; otherwise choose another port"
            return Finding(check=PORTS, mark=Mark.WARNING, about=name, found=words, remedy=remedy)
        words = f"{about} cannot be listened on at {host} ({(error.strerror or type(error).__name__).lower()})"
        remedy = "choose a port above 1023, and an address of this machine"
        failure = InvalidSettings(words, field=f"service.{name}")
        return Finding(check=PORTS, mark=Mark.PROBLEM, about=name, found=words, remedy=remedy, error=failure)
    return Finding(check=PORTS, mark=Mark.OK, about=name, found=f"{about} is free on {host}")


def _bind(host: str, number: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FEWEST_FILES:
        return Finding(check=MACHINE, mark=Mark.OK, about="open files", found=f"{soft:,} files may be open at once")
    words = f"only {soft:,} files may be open at once, connections included"
    remedy = f"raise it to {_FEWEST_FILES:,}: `ulimit -n`, LimitNOFILE, or the container runtime's default"
    mark = Mark.WARNING if hard == resource.RLIM_INFINITY or hard > 0 else Mark.PROBLEM
    return Finding(check=MACHINE, mark=mark, about="open files", found=words, remedy=remedy)


def _memory(subject: Subject) -> Finding | None:
    limit, host, service = _memory_limit(), subject.host, _service(subject)
    if host is None or service is None:
        return None
    if limit is None:
        return Finding(check=MACHINE, mark=Mark.OK, about="memory", found="no limit of the container is known")
    isolated = (service.isolate_memory_bytes or _PROCESS_BYTES) * len(service.isolate)
    each = _PROCESS_BYTES + host.settings.remembered * _JOB_BYTES + isolated
    needed = each * service.processes + (_PROCESS_BYTES if service.processes > 1 else 0)
    told = f"the container may take {limit / _MIB:,.0f} MiB, and the settings may need {needed / _MIB:,.0f} MiB"
    if needed > limit:
        remedy = "raise the limit, or lower host.remembered, service.processes or the isolated platforms"
        return Finding(check=MACHINE, mark=Mark.WARNING, about="memory", found=told, remedy=remedy)
    return Finding(check=MACHINE, mark=Mark.OK, about="memory", found=told)


def _memory_limit() -> int | None:
    for path in _LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit():
            return int(text) if int(text) < _NO_LIMIT else None
    return None


def _roots(subject: Subject) -> Iterator[Path]:
    if subject.host is None:
        return
    served = {agent.platform.name for agent in subject.host.registry if subject.host.registry.served(agent)}
    found: dict[Path, None] = {}
    for platform in subject.host.registry.platforms:
        options: Any = platform.settings
        if platform.name in served and platform.name in _ROOTS and isinstance(getattr(options, "root", None), Path):
            found[options.root.expanduser().absolute()] = None
    yield from found


async def _disk(subject: Subject, root: Path) -> Finding:
    def measured() -> tuple[int, int]:
        nearest = next(folder for folder in (root, *root.parents) if folder.exists())
        usage = shutil.disk_usage(nearest)
        return usage.free, usage.total

    try:
        free, total = await subject.in_thread(measured, f"looking at {root}")
    except (OSError, OutboardError) as error:
        words = error.message if isinstance(error, OutboardError) else f"{root}: {error.strerror or 'unreadable'}"
        return Finding(check=MACHINE, mark=Mark.PROBLEM, about=str(root), found=words, remedy="see the disk of jobs")
    words = f"{free / 2**30:,.1f} of {total / 2**30:,.1f} GiB are free for jobs at {root}"
    if free < _LEAST_FREE_BYTES or free < total * _LEAST_FREE_PART:
        return Finding(check=MACHINE, mark=Mark.WARNING, about=str(root), found=words, remedy="make room there")
    return Finding(check=MACHINE, mark=Mark.OK, about=str(root), found=words)
