"""The test kit that ships with Outboard: virtual time, replicas that can be killed, stores and platforms with faults.

==================  =========================================================================
`virtual_time`      an event loop on which a day passes in a moment
`processes`         what a kill ends, and the world outside that goes on
`replicas`          hosts that are killed, restarted and reached over a faulty network
`crashes`           the same scenario once per step, with a kill there
`stores`            an object store in memory, with outages, lost replies and latency
`propeller`         how FlytePropeller drives tasks
`conformance`       one set of checks that every agent passes, `outboard check`
`cases`             how the agents that ship are checked
`flyte_names`       how Flyte names nodes, and where it puts their outputs
==================  =========================================================================

Import from the modules; this package itself loads nothing.
"""
