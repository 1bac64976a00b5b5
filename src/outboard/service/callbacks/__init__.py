"""Callbacks over HTTP: where platforms call when a job changes, on a port of its own.

=========  =======================================================================
`server`   the port: connections, sizes, times, and requests as `Callback`s
`desk`     whose callback it is, what is answered, counted and logged
`relay`    to the process that has the agent, and to those that may have the job
=========  =======================================================================

What is verified and what follows from it is the host's (`outboard.host.callbacks`). A callback hastens a poll and nothing
else, so this port may be closed, flooded or lied to, and no task notices more than that its end is told at the next poll.
"""
