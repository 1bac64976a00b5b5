"""Native handles: the bytes that a connector chose for its jobs, byte for byte.

Engines keep exactly what the connector's `encode` wrote, so that flytekit's own service can follow our jobs, and we its.
Most connectors write the JSON of a dataclass. Some override `decode` and unpickle, which runs whatever the bytes say. JSON that
begins with a brace is no pickle (there is no such opcode: docs.python.org/3/library/pickletools.html); anything else goes to an
overridden `decode` only where the operator allows it. Whether a `decode` pickles is read off the names that its code uses.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Collection
from typing import Any, Final

from outboard.agent.jobs import JobRef
from outboard.errors import AgentFault, UnreadableHandle

SETTING: Final = "flytekit.accept_pickled_handles"
_LARGEST_BYTES: Final = 1024 * 1024
_PICKLERS: Final = frozenset({"pickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "shelve"})


class HostedJob(JobRef):
    """A job of a hosted connector.

    Attributes:
        id: A digest of the connector's bytes, which may hold more than a log line should.
        meta: These bytes, in base64.
    """

    meta: str

    @classmethod
    def of(cls, encoded: bytes) -> HostedJob:
        """Return the job that a connector's bytes stand for."""
        return cls(id=hashlib.sha256(encoded).hexdigest()[:16], meta=base64.b64encode(encoded).decode())

    def native(self) -> bytes:
        """Return the connector's bytes."""
        return base64.b64decode(self.meta)


class Metas:
    """Reads and writes the resource metas of one connector.

    Args:
        connector: The connector's name, for messages.
        meta_type: Its class of resource metas.
        plain_type: Its SDK's base class, whose `decode` reads JSON.
        accepts_pickles: `HostingSettings.accept_pickled_handles`.

    Attributes:
        is_refused: Whether jobs could be started whose handles would not be read again.
    """

    def __init__(self, connector: str, meta_type: Any, plain_type: type, *, accepts_pickles: bool) -> None:
        self._connector = connector
        self._type = meta_type
        self._accepts_pickles = accepts_pickles
        self._is_own_format = _function(meta_type, "decode") is not _function(plain_type, "decode")
        self.is_refused = not accepts_pickles and self._is_own_format and _pickles(_function(meta_type, "decode"))

    def encode(self, meta: Any) -> bytes:
        """Return the bytes of what `create` returned.

        Raises:
            AgentFault: It returned nothing that can be followed, or failed to write it.
            UnreadableHandle: They could not be read again without the operator's permission.
        """
        try:
            encoded = meta.encode() if hasattr(meta, "encode") else None
        except Exception as error:
            # flytekit's own encode() writes JSON, which has no form for a date.
            words = f"connector {self._connector} could not write the handle of its job ({type(error).__name__})"
            raise AgentFault(words) from error
        if not isinstance(encoded, bytes) or not encoded or len(encoded) > _LARGEST_BYTES:
            raise AgentFault(
                f"connector {self._connector} returned {type(meta).__name__}, whose encode() makes no bytes to follow a job by"
            )
        if not self.reads(encoded):
            raise AgentFault(f"connector {self._connector} could not read back the handle that it wrote")
        return encoded

    def reads(self, encoded: bytes) -> bool:
        """Tell whether bytes look like this connector's.

        Raises:
            UnreadableHandle: They may be a pickle, and the operator does not allow to read such.
        """
        if len(encoded) > _LARGEST_BYTES:
            return False
        if encoded.startswith(b"{"):
            names = _names(encoded)
            return names is not None and (self._is_own_format or _fits(self._type, names))
        if not self._is_own_format:
            return False
        if not self._accepts_pickles:
            raise UnreadableHandle(self.remedy)
        return True

    def decode(self, encoded: bytes) -> Any:
        """Return the resource meta in bytes that `reads` takes for this connector's."""
        if not self.reads(encoded):
            raise AgentFault(f"these bytes are no handle of connector {self._connector}")
        return self._type.decode(encoded)

    @property
    def remedy(self) -> str:
        """What to say where a pickle is not read."""
        return (
            f"connector {self._connector} keeps its jobs as Python pickles, which run whatever they say when they are read; "
            f"set {SETTING} where all callers are trusted, or use an agent that keeps plain values"
        )


def _function(owner: Any, name: str) -> Any:
    method = getattr(owner, name, None)
    return getattr(method, "__func__", method)


def _pickles(function: Any) -> bool:
    """Tell whether a function's code names a module that unpickles, or something out of one."""
    code = getattr(function, "__code__", None)
    if code is None:
        return True  # nobody can look into it
    known = getattr(function, "__globals__", {})
    for name in code.co_names:
        value = known.get(name)
        origin = getattr(value, "__module__", None) or getattr(value, "__name__", None) or name
        if {name, str(origin).partition(".")[0]} & _PICKLERS:
            return True
    return False


def _names(encoded: bytes) -> Collection[str] | None:
    try:
        found = json.loads(encoded.decode())
    except (ValueError, RecursionError):
        return None
    return found.keys() if isinstance(found, dict) else None


def _fits(meta_type: Any, names: Collection[str]) -> bool:
    if not dataclasses.is_dataclass(meta_type):
        return True
    missing = dataclasses.MISSING
    every = {each.name: each for each in dataclasses.fields(meta_type) if each.init}
    needed = {name for name, each in every.items() if each.default is missing and each.default_factory is missing}
    return needed <= set(names) <= every.keys()
