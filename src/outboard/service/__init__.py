"""The service: a host behind a socket.

===============  =======================================================================
`running`        `serve` and `run_service`: a service's process from its start to its end
`serving`        `Service`: the socket, what answers at it, drain and end; `listening`, `closing` are parts of it
`signals`        what tells a service to end
`readiness`      the line that says it is ready
`handlers`       the methods of Flyte 1's three services
`edge`           around every call: errors to codes, metrics, log lines
`served_host`    what all of these need of a host
`access`         who may call, and do what; `openness`: everybody, which is said
`answers`        statuses to bytes; nothing that harms an engine gets out
`polls`          a GetTask that is answered from memory is not even read
`health`         what is SERVING, and what is not
`reflection`     the schema, for grpcurl and its like
`metrics`        Prometheus
`admin`          the port of probes and operators
`ending`         the end, bounded in all circumstances; `departure`: how clients leave before it
`watchdog`       names the code that blocks the event loop
`event_loops`    the loop that somebody's `sys.exit` does not end
`grpc_threads`   gRPC's own threads, told not to interrupt Python
`processes`      several services on one port, for more than one core
`isolation`      platforms in processes of their own, behind the same port
`supervision`    a child process: started, watched, asked, started again
`tls`            certificates that are replaced while it serves
`own_port`       where our own port is, and what its clients say first; `descriptors`: the sockets that are open
`settings`       what an operator decides
===============  =======================================================================

What is offered here is imported when it is asked for: a parent of workers serves nothing itself, and needs no gRPC.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outboard.service.running import run_service, serve
    from outboard.service.served_host import ServedHost
    from outboard.service.serving import Service
    from outboard.service.settings import ServiceSettings

__all__ = ["ServedHost", "Service", "ServiceSettings", "run_service", "serve"]

_HOMES = {
    "ServedHost": "served_host",
    "Service": "serving",
    "ServiceSettings": "settings",
    "run_service": "running",
    "serve": "running",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'outboard.service' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"outboard.service.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
