"""The service: a host behind a socket.

===============  =======================================================================
`serving`        `Service` and `run_service`: socket, signals, drain
`handlers`       the methods of Flyte 1's three services
`edge`           around every call: errors to codes, metrics, log lines
`answers`        statuses to bytes; nothing that harms an engine gets out
`health`         what is SERVING, and what is not
`reflection`     the schema, for grpcurl and its like
`metrics`        Prometheus
`watchdog`       names the code that blocks the event loop
`event_loops`    the loop that somebody's `sys.exit` does not end
`isolation`      platforms in processes of their own, behind the same port
`settings`       what an operator decides
===============  =======================================================================
"""

from outboard.service.edge import ServedHost
from outboard.service.serving import Service, run_service, serve
from outboard.service.settings import ServiceSettings

__all__ = ["ServedHost", "Service", "ServiceSettings", "run_service", "serve"]
