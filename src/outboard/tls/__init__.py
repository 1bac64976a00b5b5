"""Certificates as files that somebody replaces: what both ends of a TLS connection need.

Certificates are short-lived, and whoever renews them (cert-manager, Kubernetes, a script) writes new files in the place of the
old ones while connections stand. `outboard.files` watches them; what is read is believed only when it is whole (`pairs`): a key
that is the certificate's, certificates that are complete and valid now.

Who keeps them up to date: `outboard.service.tls` for services, `outboard.engine.connecting` for clients.
"""
