"""The admin port: what probes and operators may ask of a running service, over plain HTTP.

It answers in a thread of its own, with an event loop of its own, so it can tell that the service's loop stands still; and it
answers from before the first platform is loaded until the process has drained.

===============  =======================================================================
`http_server`    HTTP for strangers: one request per connection, and little of everything
`liveness`       whether the loop turns and the port answers
`pages`          which page answers what
`changes`        who may change something
`descriptions`   what is served, and which accounts answer
`levels`         the log level of all processes
`admin`          the port of one process, from its start to its end
===============  =======================================================================
"""
