"""Isolation: platforms whose agents run in a process of their own, behind the same port.

Code that calls `os._exit`, crashes the interpreter, leaks or keeps the event loop takes the process with it that runs it, and
no care of ours can keep it from that. `serve --isolate PLATFORM` gives such a platform a child process. The parent never
imports it; it takes all calls, and passes those about the child's agents on as bytes.

===============  =======================================================================
`isolation`      what a service holds of all this
`child`          one child: a supervised process (see `supervision`) with a channel to it
`children`       all of a service, and which of them serves what
`forwarding`     calls to children, and what is answered while one is down
`memory`         what was answered last, per handle
`metrics`        up, restarts and memory
===============  =======================================================================

The unit is the platform and not the agent: agents of one platform share its clients and its quotas, which are counted in one
process.
"""

from outboard.service.isolation.isolation import Isolation

__all__ = ["Isolation"]
