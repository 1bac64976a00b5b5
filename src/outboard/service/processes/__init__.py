"""Processes: several services on one port, for more than one core.

`serve --processes N` starts N workers, each a whole service with an event loop, a host and a status board of its own. They
listen on the same port (SO_REUSEPORT), among which the kernel spreads connections, not calls. A parent serves nothing itself: it
holds the port, starts the workers and starts them again (see `supervision`), passes signals on, and answers Prometheus for all.

Two workers are two replicas: submissions agree through records, any of them follows and cancels any job from its handle, and
each has its share of an account's quota. Nothing else is shared, so there is nothing to get wrong.

===============  =======================================================================
`parent`         what `serve --processes` runs: start, readiness, signals, end
`workers`        the workers of one parent
`ports`          one port for all of them, and for nobody else
`metrics`        how many workers there are, and how often they were started again
===============  =======================================================================
"""
