"""The files that Flyte keeps beside an execution: `inputs.pb`, `outputs.pb` and `error.pb`, as bytes.

`inputs.pb` and `outputs.pb` are a `LiteralMap`; `error.pb` is an `ErrorDocument` (flyteidl/core/errors.proto). Its `kind` says
whether another attempt is worth it and its `origin` whose doing it was; FlytePropeller reads them so for container tasks.
Where the bytes lie is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flyteidl.core import errors_pb2, execution_pb2, literals_pb2
from google.protobuf.message import DecodeError

from outboard.domain.statuses import Cause, Failure
from outboard.domain.types import ValueType
from outboard.errors import Actor, InvalidInputs, InvalidOutputs, Retry
from outboard.wire.lazy_values import LazyValues
from outboard.wire.literals import encode_values

INPUTS_FILE: Final = "inputs.pb"
OUTPUTS_FILE: Final = "outputs.pb"
ERROR_FILE: Final = "error.pb"


def encode_inputs_file(values: Mapping[str, Any], types: Mapping[str, ValueType]) -> bytes:
    """Return the content of `inputs.pb`; `InvalidInputs` names an input that does not fit its type."""
    return _bytes(encode_values(values, types, "inputs", error=InvalidInputs))


def decode_inputs_file(data: bytes, types: Mapping[str, ValueType] | None = None) -> Mapping[str, Any]:
    """Return the values in an `inputs.pb`, each decoded when it is read; `InvalidInputs` when it is no such file."""
    try:
        literals = literals_pb2.LiteralMap.FromString(data)
    except DecodeError:
        raise InvalidInputs(f"{INPUTS_FILE} is not a map of literals; write it anew", field="inputs") from None
    return LazyValues(literals.literals, types)


def encode_outputs_file(values: Mapping[str, Any], types: Mapping[str, ValueType]) -> bytes:
    """Return the content of `outputs.pb`; `InvalidOutputs` names an output that does not fit its type."""
    return _bytes(encode_values(values, types))


def decode_outputs_file(data: bytes, types: Mapping[str, ValueType] | None = None) -> Mapping[str, Any]:
    """Return the values in an `outputs.pb`, each decoded when it is read; `InvalidOutputs` when it is no such file."""
    try:
        literals = literals_pb2.LiteralMap.FromString(data)
    except DecodeError:
        raise InvalidOutputs(
            f"{OUTPUTS_FILE} is not a map of literals; whatever wrote it must write one", field="outputs"
        ) from None
    return LazyValues(literals.literals, types, "outputs", error=InvalidOutputs)


def encode_error_file(failure: Failure) -> bytes:
    """Return the content of `error.pb` for a failure."""
    kind = (
        errors_pb2.ContainerError.RECOVERABLE
        if failure.retry is Retry.YES
        else errors_pb2.ContainerError.NON_RECOVERABLE
    )
    origin = execution_pb2.ExecutionError.USER if failure.actor is Actor.USER else execution_pb2.ExecutionError.SYSTEM
    error = errors_pb2.ContainerError(code=failure.code, message=failure.message, kind=kind, origin=origin)
    return _bytes(errors_pb2.ErrorDocument(error=error))


def decode_error_file(data: bytes) -> Failure:
    """Return the failure in an `error.pb`; one that cannot be read is a failure too, worth another attempt."""
    try:
        error = errors_pb2.ErrorDocument.FromString(data).error
    except DecodeError:
        return Failure(
            code="UnreadableError",
            message=f"the job wrote an {ERROR_FILE} that cannot be read",
            retry=Retry.YES,
            cause=Cause.PLATFORM,
        )
    is_system = error.origin == execution_pb2.ExecutionError.SYSTEM
    return Failure(
        code=error.code or "Unknown",
        message=error.message,
        retry=Retry.YES if error.kind == errors_pb2.ContainerError.RECOVERABLE else Retry.NEVER,
        cause=Cause.PLATFORM if is_system else Cause.USER,
    )


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
