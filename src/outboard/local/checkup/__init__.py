"""The checkup: what keeps a service from doing its work, found before its users find it.

================  ============================================================================
`findings`        what a check found, how bad that is, and what to do about it
`subject`         what is examined: settings, the host that they make, a running service
`checkup`         all checks, side by side, each within a bound of its own
`settings`        the settings file, section by section
`versions`        what is installed here
`platforms`       agents load, secrets are there, platforms answer and take our credentials
`clocks`          our clock against those of whoever answered
`quotas`          rates, replicas, and what is throttled now
`records`         the store of submission records, and whether it keeps conditions
`handles`         whether handles can be read, by us and by other replicas
`certificates`    TLS certificates that the settings name
`surroundings`    ports, limits, disk, event loop
`services`        a running service in place of what is here
================  ============================================================================

A checkup looks, and leaves everything as it was: nothing is started, no job is touched, and the one object that it writes is
deleted again. It tells secrets by their names alone.
"""
