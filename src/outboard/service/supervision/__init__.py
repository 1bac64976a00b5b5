"""Supervision: a process that this one starts, watches, asks and starts again; a *child*.

Two rooms have children: `isolation` (platforms in processes of their own) and `processes` (workers that share a port). What a
child serves is theirs; how it lives is the same, and stands here.

===============  =======================================================================
`child`          one child: start, health, end, start again
`backoff`        when it is started again
`hello`          what it says when it is up
`output`         what it writes, as log lines here
`control`        questions to it while it lives, answered by a thread of its own
`childhood`      what a child answers, and what it tells its siblings
`samples`        its metrics as JSON
`totals`         the metrics of all as one page
`folders`        the private folder of the sockets
===============  =======================================================================
"""
