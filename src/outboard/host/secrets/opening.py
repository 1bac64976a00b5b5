"""Stores from settings. A remote store's own library is imported when the store is opened, so only where it is configured."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from outboard.domain.secret_names import UnfitName, matches, name_of
from outboard.domain.secret_refs import SecretRef
from outboard.errors import InvalidSettings
from outboard.host.secret_settings import SecretSettings
from outboard.host.secrets.local_stores import Environment, Files, Overrides
from outboard.host.secrets.ports import LocalStore, Place, Reader, SecretStore
from outboard.host.secrets.redactor import Redactor
from outboard.host.secrets.rules import Rules, is_meant

if TYPE_CHECKING:
    from outboard.host.secrets.remembering import Remembered
    from outboard.host.store_settings import RemoteStore, StoreSettings

_KINDS: Final = {
    "kubernetes": ("kubernetes", "KubernetesSecrets"),
    "vault": ("vault", "VaultSecrets"),
    "aws": ("aws", "AwsSecrets"),
    "gcp": ("gcp", "GcpSecrets"),
    "azure": ("azure", "AzureSecrets"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenStore:
    """A store in its place in the order: `local`, or `remote` with its memory.

    Attributes:
        name: What logs, metrics and messages call it.
        whose: What is looked up in it, and for whom; None is everything, for everybody.
    """

    name: str
    whose: StoreSettings | None = None
    local: LocalStore | None = None
    remote: Remembered | None = None

    @property
    def is_scoped(self) -> bool:
        """Whether two projects may find different values in it under one name."""
        whose = self.whose
        if whose is None:
            return self._store.is_scoped
        is_for_some = whose.projects or whose.domains or whose.task_types or any("{" in each for each in whose.names)
        return self._store.is_scoped or bool(is_for_some)

    def takes(self, ref: SecretRef, reader: Reader) -> bool:
        """Tell whether a reference is looked up here for a reader."""
        if self.whose is None:
            return True
        names, name = self.whose.names, name_of(ref)
        if names and not any(matches(each, name, reader.scope) for each in names):
            return False
        return is_meant(self.whose, reader)

    def places(self, ref: SecretRef, reader: Reader, looked: list[str]) -> Sequence[Place]:
        """Return where a reference may be; why it has no place here is told in `looked`."""
        try:
            return self._store.places(ref, reader)
        except UnfitName as error:
            looked.append(f"{self.name} ({error})")
            return ()

    @property
    def _store(self) -> LocalStore | SecretStore:
        if self.local is not None:
            return self.local
        assert self.remote is not None  # noqa: S101 - one of the two
        return self.remote.store


def open_stores(
    settings: SecretSettings, rules: Rules, variables: Mapping[str, str], redactor: Redactor
) -> Sequence[OpenStore]:
    """Return the stores of the settings in their order, overrides first.

    Raises:
        InvalidSettings: A store's own library is not installed, or does not take what the settings say.
    """
    overrides = OpenStore(name="override", local=Overrides(settings.overrides))
    if not settings.stores:
        environment = Environment(variables, settings.env_prefix, rules, allows_plain=settings.allow_plain_environment)
        files = Files(str(settings.directory), settings.file_prefix)
        return [overrides, OpenStore(name="environment", local=environment), OpenStore(name="files", local=files)]
    return [overrides, *(_opened(each, settings, rules, variables, redactor) for each in settings.stores)]


def _opened(
    store: StoreSettings, settings: SecretSettings, rules: Rules, variables: Mapping[str, str], redactor: Redactor
) -> OpenStore:
    from outboard.host.store_settings import EnvironmentStore, FilesStore, RemoteStore  # noqa: PLC0415 - read by now

    name = store.name or getattr(store, "kind", "")
    if isinstance(store, EnvironmentStore):
        prefix = settings.env_prefix if store.prefix is None else store.prefix
        environment = Environment(variables, prefix, rules, allows_plain=settings.allow_plain_environment)
        return OpenStore(name=name, whose=store, local=environment)
    if isinstance(store, FilesStore):
        directory = str(settings.directory) if store.directory is None else store.directory
        prefix = settings.file_prefix if store.file_prefix is None else store.file_prefix
        return OpenStore(name=name, whose=store, local=Files(directory, prefix, is_pattern=store.directory is not None))
    assert isinstance(store, RemoteStore)  # noqa: S101 - there are no others
    from outboard.host.secrets.remembering import Remembered  # noqa: PLC0415 - only where a remote store is configured

    return OpenStore(name=name, whose=store, remote=Remembered(_remote(store, name, redactor), store, name, redactor))


def _remote(store: RemoteStore, name: str, redactor: Redactor) -> SecretStore:
    module, kind = _KINDS[getattr(store, "kind", "")]
    try:
        made = getattr(importlib.import_module(f"outboard.host.secrets.stores.{module}"), kind)
        opened: SecretStore = made(store, redactor.learn)
    except ImportError as error:
        raise InvalidSettings(
            f"host.secrets.stores: {name} needs {error.name or 'a library'}; install outboard[{module}]",
            field="host.secrets.stores",
        ) from error
    return opened
