"""Pure values and decisions: no I/O, no event loop, no protobuf.

Everything here can be built in a test with plain arguments and compared with `==`. Rooms above hand these values
to each other; `wire` turns them into protobuf and back.
"""
