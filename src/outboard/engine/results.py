"""Results: the outputs of a task whose job succeeded.

A status that brings outputs, even none, is trusted once names and types fit the interface. One without is completed from
files: `error.pb` first, because a job that ended well may still have failed, then `outputs.pb`. FlytePropeller does not look
at `error.pb` where a task declares no outputs; here it is read, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outboard.domain.conformity import check_outputs
from outboard.domain.statuses import Failure, TaskStatus
from outboard.domain.types import ValueType
from outboard.errors import InvalidOutputs, Retry
from outboard.host.stores import Store, join_uri
from outboard.wire.files import ERROR_FILE, OUTPUTS_FILE, decode_error_file, decode_outputs_file
from outboard.wire.statuses import with_types


async def collect_outputs(
    status: TaskStatus, *, types: Mapping[str, ValueType], prefix: str, stores: Store
) -> Mapping[str, Any] | Failure:
    """Return the outputs, or why there are none.

    Args:
        status: Of a task that succeeded.
        types: The declared outputs; where none are declared, what is there is returned as it is.
        prefix: Where the attempt wrote its files.
        stores: Reads them.

    Raises:
        StoreUnavailable: The place cannot be read at present.
    """
    try:
        if status.outputs is not None:
            return _checked(with_types(status.outputs, types), types)
        error = await stores.read(join_uri(prefix, ERROR_FILE))
        if error is not None:
            return decode_error_file(error)
        data = await stores.read(join_uri(prefix, OUTPUTS_FILE))
        if data is None and types:
            words = f"the job succeeded but wrote no {OUTPUTS_FILE} at {prefix}: check what it writes there"
            return Failure(code="OutputsNotFound", message=words, retry=Retry.YES)
        return {} if data is None else _checked(decode_outputs_file(data, types), types)
    except InvalidOutputs as refused:
        return Failure(code=refused.code, message=refused.message)


def _checked(outputs: Mapping[str, Any], types: Mapping[str, ValueType]) -> Mapping[str, Any]:
    values = {name: outputs[name] for name in outputs}
    if types:
        check_outputs(values, types)
    return values
