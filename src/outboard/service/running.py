"""Running a service: from the start of its process to the end, with the signals between them.

A signal that comes before the service answers ends its start; one that comes later drains it (`Service.end`); a second one ends
the process where it stands, with the code that shells expect (128 + signal). All of it is bounded (see `ending`).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from outboard.service import event_loops
from outboard.service.closing import close_host
from outboard.service.ending import CLOSING_S, SERVICE_MARGIN_S, LastResort
from outboard.service.served_host import ServedHost
from outboard.service.serving import Service
from outboard.service.settings import ServiceSettings
from outboard.service.signals import told_to_end, unless_told

if TYPE_CHECKING:
    from outboard.service.admin.admin import Admin
    from outboard.service.supervision.child import ChildSpec


async def run_service(
    host: ServedHost,
    settings: ServiceSettings | None = None,
    *,
    isolated: Sequence[ChildSpec] = (),
    on_ready: Callable[[Service], None] | None = None,
    admin: Admin | None = None,
    last_resort: LastResort | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, drain, close the host, and return the process's exit code, 0.

    A signal that comes before the service answers ends its start.

    Args:
        host: What is served; it is closed at the end.
        settings: What the operator decided.
        isolated: Platforms that run in a process of their own each.
        on_ready: Called once with the service when it answers; without one, a line is written to stderr.
        admin: The admin port, where one is open already; it is closed at the end. Without, `settings.admin_port` opens one.
        last_resort: What ends this process when its end takes too long; without, whoever calls sees to that.

    Raises:
        InvalidSettings: It cannot listen there.
    """
    try:
        served = Service(host, settings, isolated=isolated)
        admin = admin if admin is not None else _open_admin(served.settings)
        with told_to_end(last_resort) as told:
            async with AsyncExitStack() as opened:
                service = await unless_told(told, opened.enter_async_context(served))
                if service is None:
                    await close_host(host, CLOSING_S)
                    return 0
                (on_ready or _announce)(service)
                if admin is not None:
                    admin.ready(service, port=service.port, has_tls=service.settings.tls is not None)
                name = await told
                if admin is not None:
                    admin.draining()
                await service.end(name)
    except BaseException:
        await close_host(host, CLOSING_S)
        raise
    finally:
        if admin is not None:
            admin.close()
    return 0


def serve(
    open_host: Callable[[], Awaitable[ServedHost]],
    settings: ServiceSettings | None = None,
    *,
    isolated: Sequence[ChildSpec] = (),
    on_ready: Callable[[Service], None] | None = None,
) -> int:
    """Serve on an event loop of its own until told to end; return the exit code.

    Args:
        open_host: Makes the host, inside the loop.
        settings: What the operator decided.
        isolated: Platforms that run in a process of their own each.
        on_ready: As for `run_service`.
    """
    decided = settings if settings is not None else ServiceSettings()
    last_resort = LastResort(decided.linger_s + decided.drain_s + SERVICE_MARGIN_S)

    async def run() -> int:
        admin = _open_admin(decided)  # before platforms are loaded, which may take a while
        try:
            host = await open_host()
        except BaseException:
            if admin is not None:
                admin.close()
            raise
        return await run_service(
            host, decided, isolated=isolated, on_ready=on_ready, admin=admin, last_resort=last_resort
        )

    code = event_loops.run(run())
    last_resort.finished(code)
    return code


def _open_admin(settings: ServiceSettings) -> Admin | None:
    if settings.admin_port is None:
        return None
    from outboard.service.admin.admin import Admin  # noqa: PLC0415 - only who asks for the port pays for it

    return Admin(settings)


def _announce(service: Service) -> None:
    sys.stderr.write(service.describe() + "\n")
    sys.stderr.flush()
