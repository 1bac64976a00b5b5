"""Certificates as files that somebody replaces: what both ends of a TLS connection need.

Certificates are short-lived, and whoever renews them (cert-manager, Kubernetes, a script) writes new files in the place of the
old ones while connections stand. Nothing tells us: Kubernetes swaps a symbolic link, others write in place, one file after the
other. So files are looked at again and again, and what is read is believed only when it is whole: a key that is the
certificate's, certificates that are complete and valid now. Until then, what was read before stays in force.

===========  =======================================================================
`files`      whether files have changed, and what they hold at one moment
`pairs`      a certificate chain and its key, and authorities, checked
===========  =======================================================================

Who keeps them up to date: `outboard.service.tls` for services, `outboard.engine.connecting` for clients.
"""
