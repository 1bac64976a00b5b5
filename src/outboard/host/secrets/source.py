"""Where secrets are found: the stores in the operator's order, the rules before them.

For a reference, first hit wins:

0. what the engine provided with the request, by the reference's key (Flyte 2);
1. an override of the settings (`key` or `group/key`);
2. the stores, in order; without any, the environment variable `<prefix>[GROUP_][VERSION_]KEY`, the same without the prefix
   where the settings allow it (local runs), and the file `<directory>/[group/][version/]key`.

References of scope `PROJECT` are tried under the groups `<project>-<domain>` and `<project>` first. What no rule grants is not
looked for. A store that does not answer ends the look-up: what another one holds under this name may be another value.

`resolve` is for agents' code and waits for nothing: local stores are read anew each time, and of remote ones it knows what was
fetched. `fetch` fetches; it is awaited before an agent's method runs and before a platform's client is opened. Every value is
stripped of surrounding white space and made known to the redactor.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from outboard.domain.identity import Scope
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_names import candidates, name_of, unfit_part
from outboard.domain.secret_refs import SecretRef
from outboard.errors import AgentFault, MissingSecret, OutboardError, SecretsUnavailable
from outboard.host.secret_settings import SecretSettings
from outboard.host.secrets.opening import OpenStore, open_stores
from outboard.host.secrets.ports import Place, Reader
from outboard.host.secrets.redactor import Redactor
from outboard.host.secrets.rules import Rules

_PRESENCE_S: Final = 10.0
_SHOWN_PLACES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a secret is there.

    Attributes:
        name: The reference, as rules write it.
        store: Where it was found; empty where it was not.
        problem: Why it was not: one sentence.
        is_certain: False where a store could not be asked.
    """

    name: str
    store: str = ""
    problem: str = ""
    is_certain: bool = True


class SecretSource:
    """Resolves references.

    Args:
        settings: Where to look.
        redactor: Learns every value.
        environment: The process environment.
    """

    def __init__(
        self, settings: SecretSettings, redactor: Redactor, environment: Mapping[str, str] | None = None
    ) -> None:
        self._redactor = redactor
        self._rules = Rules(settings.rules)
        variables = os.environ if environment is None else environment
        self._stores = open_stores(settings, self._rules, variables, redactor)
        self.is_remote = any(each.remote is not None for each in self._stores)
        self.is_scoped = bool(self._rules) or any(each.is_scoped for each in self._stores)
        self.by_task_type = self._rules.by_task_type or any(
            each.whose is not None and each.whose.task_types for each in self._stores
        )

    def resolve(self, ref: SecretRef, scope: Scope, task_type: str = "") -> SecretStr:
        """Return the value of a reference for a task.

        Raises:
            MissingSecret: It is nowhere, or no rule grants it; the message lists the places by name.
            SecretsUnavailable: A store that comes first has not been asked, or does not answer.
        """
        return self._resolve(ref, Reader(scope=scope, task_type=task_type))[0]

    def resolve_own(self, ref: SecretRef) -> SecretStr:
        """Return the value of a reference for the installation itself, which no task stands behind; raises the same."""
        return self._resolve(ref, _INSTALLATION)[0]

    async def fetch(
        self, refs: Iterable[SecretRef], reader: Reader, timeout_s: float, asked_after: float | None = None
    ) -> None:
        """Ask remote stores for references, so that `resolve` finds them.

        Args:
            refs: Which.
            reader: For whom.
            timeout_s: How long to wait for all of them.
            asked_after: What a store said before this, in monotonic time, will not do; for credentials that were refused.

        Raises:
            MissingSecret: One is nowhere.
            SecretsUnavailable: A store does not answer, and nothing it said is still usable.
        """
        if not self.is_remote:
            return
        if asked_after is None:  # most calls find everything at hand, and a poll must not pay for tasks
            refs = [ref for ref in refs if not self._is_at_hand(ref, reader)]
        give_up = time.monotonic() + timeout_s
        outcomes = await asyncio.gather(*(self._fetch(ref, reader, give_up, asked_after) for ref in refs))
        for outcome in sorted(filter(None, outcomes), key=lambda each: isinstance(each, SecretsUnavailable)):
            raise outcome  # that one is missing waits for no store

    async def fetch_own(self, refs: Iterable[SecretRef], timeout_s: float) -> None:
        """Ask remote stores for references of the installation itself; raises what `fetch` raises."""
        await self.fetch(refs, _INSTALLATION, timeout_s)

    async def presence(
        self, refs: Iterable[SecretRef], scope: Scope | None = None, task_type: str = "", timeout_s: float = _PRESENCE_S
    ) -> Sequence[Presence]:
        """Return whether secrets are there and in which store, without their values.

        Args:
            refs: Which.
            scope: Whose task would read them; None is the installation itself.
            task_type: Of which type that task would be.
            timeout_s: How long remote stores may take.
        """
        reader = _INSTALLATION if scope is None else Reader(scope=scope, task_type=task_type)
        return await asyncio.gather(*(self._presence(ref, reader, timeout_s) for ref in refs))

    def renew_at(self, refs: Iterable[SecretRef], reader: Reader) -> float:
        """Return when the first of these values should be replaced, in monotonic time."""
        if not self.is_remote:
            return float("inf")
        return min((self._renew_at(ref, reader) for ref in refs), default=float("inf"))

    def tenant(self, scope: Scope, task_type: str) -> str:
        """Return what must be the same for two readers to find the same values; empty where all do."""
        if not self.is_scoped:
            return ""
        parts = (scope.org, scope.project, scope.domain, scope.namespace, task_type if self.by_task_type else "")
        return "/".join(parts)

    def learn(self, provided: Provided) -> None:
        """Redact from now on what an engine provided."""
        for value in provided.secrets.values():
            self._redactor.learn(value.strip(), is_lent=True)

    def bind(
        self, refs: Iterable[SecretRef], scope: Scope, provided: Provided = NOTHING, task_type: str = ""
    ) -> BoundSecrets:
        """Return the secrets that an agent declared, for one task; they are looked up when they are read."""
        self.learn(provided)
        return BoundSecrets(self, frozenset(refs), Reader(scope=scope, task_type=task_type), provided)

    async def close(self) -> None:
        """Let go of what the stores hold open."""
        for each in self._stores:
            if each.remote is not None:
                await each.remote.close()

    def _is_at_hand(self, ref: SecretRef, reader: Reader) -> bool:
        try:
            self._resolve(ref, reader)
        except SecretsUnavailable:
            return False
        return True

    async def _fetch(
        self, ref: SecretRef, reader: Reader, give_up: float, asked_after: float | None
    ) -> OutboardError | None:
        try:
            for each, place in self._walk(ref, reader, []):
                if each.remote is not None:
                    await each.remote.ask(place.document, give_up - time.monotonic(), asked_after)
                if self._read(each, place, []) is not None:
                    break
            self._resolve(ref, reader)  # tells what is missing, and lets the redactor learn
        except OutboardError as error:
            return error
        return None

    async def _presence(self, ref: SecretRef, reader: Reader, timeout_s: float) -> Presence:
        try:
            await self.fetch([ref], reader, timeout_s)
            store = self._resolve(ref, reader)[1]
        except OutboardError as error:
            is_certain = not isinstance(error, SecretsUnavailable)
            return Presence(name=name_of(ref), problem=error.message, is_certain=is_certain)
        return Presence(name=name_of(ref), store=store)

    def _resolve(self, ref: SecretRef, reader: Reader) -> tuple[SecretStr, str]:
        looked: list[str] = []
        for each, place in self._walk(ref, reader, looked):
            value = self._read(each, place, looked)
            if value is not None:
                text = value.strip()
                self._redactor.learn(text)
                return SecretStr(text), each.name
        places = list(dict.fromkeys(looked))
        more = f" and {len(places) - _SHOWN_PLACES} more places" if len(places) > _SHOWN_PLACES else ""
        raise MissingSecret(
            f"secret {ref.key!r} is not set; looked for {', '.join(places[:_SHOWN_PLACES]) or 'no store that takes it'}{more}"
        )

    def _read(self, each: OpenStore, place: Place, looked: list[str]) -> str | None:
        if each.local is not None:
            looked.append(each.local.spell(place))
            return each.local.read(place)
        assert each.remote is not None  # noqa: S101 - one of the two
        found = each.remote.recall(place.document)
        why = ", which denies it" if found is None and each.remote.is_denied(place.document) else ""
        looked.append(f"{place} in {each.name}{why}")
        return None if found is None else found.value(place.field)

    def _renew_at(self, ref: SecretRef, reader: Reader) -> float:
        try:
            for each, place in self._walk(ref, reader, []):
                if self._read(each, place, []) is not None:
                    return float("inf") if each.remote is None else each.remote.renew_at(place.document)
        except OutboardError:
            pass  # whoever needs it is told
        return float("inf")

    def _walk(self, ref: SecretRef, reader: Reader, looked: list[str]) -> Iterator[tuple[OpenStore, Place]]:
        """Give the places of a reference, in order; what has none in a store is told in `looked`.

        Raises:
            MissingSecret: Its name cannot be one, or no rule grants it.
        """
        unfit = unfit_part(ref)
        if unfit is not None:
            raise MissingSecret(
                f"{unfit!r} cannot be part of a secret's name; use letters, digits, '.', '_' and '-', and give a key"
            )
        granted = [each for each in candidates(ref, reader.scope) if self._rules.grant(each, reader)]
        if not granted:
            whose = f"{reader.scope.project}-{reader.scope.domain}"
            raise MissingSecret(
                f"no rule lets tasks of type {reader.task_type!r} of {whose} name the secret {name_of(ref)!r}; "
                "add one under host.secrets.rules, or name another"
            )
        for candidate in granted:
            for each in self._stores:
                if each.takes(candidate, reader):
                    places = each.places(candidate, reader, looked)
                    yield from ((each, place) for place in places)


class BoundSecrets:
    """The declared secrets of one call: `ctx.secrets[ref].get_secret_value()`."""

    __slots__ = ("_reader", "_refs", "_source", "is_remote", "provided")

    def __init__(self, source: SecretSource, refs: frozenset[SecretRef], reader: Reader, provided: Provided) -> None:
        self._source = source
        self._refs = refs
        self._reader = reader
        self.provided = provided
        self.is_remote = source.is_remote and any(ref.key not in provided.secrets for ref in refs)

    def __getitem__(self, ref: SecretRef) -> SecretStr:
        """Return the value; a reference that was not declared is refused."""
        if ref not in self._refs:
            raise AgentFault(
                f"secret {ref.key!r} was not declared; add it to the agent's `secrets` or to its connection"
            )
        return self._resolve(ref)

    @property
    def tenant(self) -> str:
        """What two calls must share to find the same values."""
        return self._source.tenant(self._reader.scope, self._reader.task_type)

    @property
    def renew_at(self) -> float:
        """When the first of them should be replaced, in monotonic time; infinity where none ends."""
        return self._source.renew_at(self._asked, self._reader)

    def check(self) -> None:
        """Raise `MissingSecret` unless every declared secret is there, or may be in a store that is yet to be asked."""
        for ref in self._refs:
            try:
                self._resolve(ref)
            except SecretsUnavailable:
                continue

    async def fetch(self, timeout_s: float, asked_after: float | None = None) -> None:
        """Ask remote stores for all of them; see `SecretSource.fetch`."""
        await self._source.fetch(self._asked, self._reader, timeout_s, asked_after)

    @property
    def _asked(self) -> list[SecretRef]:
        return [ref for ref in self._refs if ref.key not in self.provided.secrets]

    def _resolve(self, ref: SecretRef) -> SecretStr:
        value = self.provided.secrets.get(ref.key)
        if value is not None:
            return SecretStr(value.strip())
        return self._source.resolve(ref, self._reader.scope, self._reader.task_type)


_INSTALLATION: Final = Reader(scope=Scope(), is_task=False)
