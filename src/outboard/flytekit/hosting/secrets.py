"""Secrets that flytekit's connectors look up by themselves.

`get_connector_secret` reads `_FSEC_` variables and files below /etc/secrets at every call, past our own look-up. It goes on doing
so; but what it finds is told to the redactors of this process's hosts, and what it does not find is a missing secret (the
operator must act) rather than an error about which nobody knows whether a job was started.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from outboard.errors import MissingSecret


class _Listener(Protocol):
    def __call__(self, value: str, /) -> None: ...


class MissingConnectorSecret(MissingSecret, ValueError):
    """What flytekit raises as `ValueError`, which its connectors may catch."""


_listeners: Final[list[weakref.WeakMethod[Any]]] = []
_MARK: Final = "_outboard_listens"


def tell_secrets(learn: Callable[[str], None]) -> None:
    """Tell `learn`, a bound method, every secret that flytekit finds from now on; it is forgotten with its object."""
    from flytekit.core.context_manager import SecretsManager  # noqa: PLC0415 - where flytekit is hosted

    _listeners[:] = [each for each in _listeners if each() is not None]
    _listeners.append(weakref.WeakMethod(learn))
    if hasattr(SecretsManager.get, _MARK):
        return
    found: Any = SecretsManager.get

    @functools.wraps(found)
    def get(self: Any, group: str | None = None, key: str | None = None, *args: Any, **kwargs: Any) -> Any:
        try:
            value = found(self, group, key, *args, **kwargs)
        except ValueError as error:
            name = "/".join(each for each in (group, key) if each)
            raise MissingConnectorSecret(
                f"secret {name!r} is not set; looked for environment variable {self.get_secrets_env_var(group, key)} "
                f"and file {self.get_secrets_file(group, key)}"
            ) from error
        _tell(value if isinstance(value, str) else bytes(value).decode(errors="replace"))
        return value

    setattr(get, _MARK, True)
    SecretsManager.get = get


def _tell(value: str) -> None:
    for each in tuple(_listeners):  # other threads open hosts
        learn: _Listener | None = each()
        if learn is not None:
            learn(value)
