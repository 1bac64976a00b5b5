"""Values, types and interfaces between Flyte's protobuf and ours: the one door to the `literal_*` modules.

Types: `literal_types`. Values out: `literal_encoding`. Values in: `literal_decoding`, read lazily by `lazy_values`.
What fits what is decided without protobuf, in `domain.conformity`.

For every type and every value that fits it exactly, `decode_value(encode_value(v, t), t) == v`.
"""

from outboard.domain.conformity import guess_type
from outboard.wire.lazy_values import LazyValues
from outboard.wire.literal_decoding import decode_value
from outboard.wire.literal_encoding import encode_value, encode_values
from outboard.wire.literal_types import decode_interface, decode_type, encode_interface, encode_type

__all__ = [
    "LazyValues",
    "decode_interface",
    "decode_type",
    "decode_value",
    "encode_interface",
    "encode_type",
    "encode_value",
    "encode_values",
    "guess_type",
]
