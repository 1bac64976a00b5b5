"""One module per kind of database behind one port; see `port`."""
