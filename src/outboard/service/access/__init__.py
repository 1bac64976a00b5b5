"""Who may call, and what they may do. Without `service.access`, nothing of this package is loaded but its settings.

=================  ===================================================
`settings`         what the operator decides
`access`           who, how much, what: the three steps of a call
`callers`          who makes a call
`identities`       what a call shows of itself
`certificates`     client certificates, and whether their time is over
`tokens`           bearer tokens that are known beforehand
`jwts`, `keys`     tokens of issuers, and the issuers' keys
`rules`            what a caller may do
`subjects`         what handles bind
`limits`           how much a caller may ask for
`refusals`         counted, logged, bounded
`watched_files`    files that are rotated
=================  ===================================================
"""

from outboard.service.access.settings import AccessSettings

__all__ = ["AccessSettings"]
