"""TLS of a service: its settings, and what keeps certificates up to date while it serves.

==========  =======================================================================
`settings`  what an operator decides; imports nothing that costs
`keeper`    reads, watches, and gives gRPC and HTTP ports what is in force
`exchange`  how gRPC takes a new certificate over while handshakes begin
`contexts`  an `ssl.SSLContext` whose certificate can be replaced
==========  =======================================================================
"""
