"""Stories: one task, from its request to the platform's last answer.

================  ============================================================================
`story`           what was found out, and what follows from it: timeline, labels, next steps
`search`          which task is meant by a journal's id, an execution's identity, or a key
`log_lines`       what a service's log says of a key or an error id
================  ============================================================================

Telling a story changes nothing: see `host.inquiries`. No SQL, no inputs, no outputs and no secrets are told.
"""
