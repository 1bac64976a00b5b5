"""The wire: Flyte's protobuf and gRPC codes to plain values and back; nobody else touches them."""
