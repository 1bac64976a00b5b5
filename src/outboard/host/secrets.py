"""Secrets by name, as Flyte finds them, and the redactor that keeps their values from leaving.

Order of look-up for a reference, first hit wins:

0. what the engine provided with the request, by the reference's key (Flyte 2);
1. an override of the settings (`key` or `group/key`);
2. the environment variable `<prefix>[GROUP_][VERSION_]KEY`;
3. the same without the prefix, where the settings allow it (local runs);
4. the file `<directory>/[group/][version/]key`, in lower case.

References of scope `PROJECT` are tried under the groups `<project>-<domain>` and `<project>` first. Values are
stripped of surrounding white space, read anew at every resolution (so rotation needs no restart), and made known to
the redactor.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

from outboard.domain.identity import Scope
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_refs import SecretRef, SecretScope, redact_forms
from outboard.errors import AgentFault, MissingSecret
from outboard.host.settings import SecretSettings

_SHORTEST: Final = 4
_SHORTEST_LINE: Final = 12
_CERTAIN: Final = 16
_FEW: Final = 200
"""So many spellings are looked for one by one; of more, those that begin as some place of the text does."""
_SAFE: Final = re.compile(r"[A-Za-z0-9._-]*")


class Redactor:
    """Replaces every secret that this process ever resolved, and everything that has the form of a credential.

    Engines may provide thousands of secrets with one request and others an hour later, so neither learning one nor
    reading a text takes longer the more are known: they are found by their first characters. Any thread may do either.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._spellings: list[str] = []
        self._lent: set[str] = set()
        self._by_start: dict[str, list[str]] = {}

    def learn(self, value: str, *, is_lent: bool = False) -> None:
        """Redact this value from now on; values of under 4 characters would hide ordinary text and are not learned.

        Its other spellings are learned too: each line of a key file, and as it stands in JSON, in a URL and in base64.

        Args:
            value: The secret.
            is_lent: An engine provided it: it is a secret of its task, and may be ordinary text in others.
        """
        if value in self._lent and not is_lent:
            self._lent -= _spellings(value)
        if value in self._known or len(value) < _SHORTEST:
            return
        self._known.add(value)
        spellings = _spellings(value)
        if is_lent:
            self._lent.update(spellings)
        for spelling in spellings:
            self._spellings.append(spelling)
            self._by_start.setdefault(spelling[:_SHORTEST], []).append(spelling)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        # The longest first: a secret that is part of another one must not leave the other's rest behind.
        for value in sorted(self._found(text), key=len, reverse=True):
            text = text.replace(value, "[redacted]")
        return redact_forms(text)

    def holds(self, text: str, provided: Provided = NOTHING) -> bool:
        """Tell whether a text holds a resolved secret; only of secrets that no ordinary text holds by chance.

        Args:
            text: What is to leave.
            provided: Of what engines provided, only this counts: what is secret to one tenant may be another's job's name.
        """
        found = {value for value in self._found(text) if len(value) >= _CERTAIN}
        if found <= self._lent:
            found = {value for own in provided.secrets.values() for value in _spellings(own.strip()) & found}
        return bool(found)

    def _found(self, text: str) -> list[str]:
        if len(self._spellings) <= _FEW:
            return [value for value in self._spellings if value in text]
        starts = {text[i : i + _SHORTEST] for i in range(len(text) - _SHORTEST + 1)}
        return [value for start in starts for value in self._by_start.get(start, ()) if value in text]


def _spellings(value: str) -> set[str]:
    lines = [line.strip() for line in value.splitlines()]
    return {
        value,
        *(line for line in lines if len(lines) > 1 and len(line) >= _SHORTEST_LINE),
        json.dumps(value)[1:-1],
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        base64.b64encode(value.encode(errors="surrogatepass")).decode(),
    }


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
        self._settings = settings
        self._redactor = redactor
        self._environment = os.environ if environment is None else environment

    def resolve(self, ref: SecretRef, scope: Scope) -> SecretStr:
        """Return the value of a reference for a scope.

        Raises:
            MissingSecret: It is nowhere; the message lists the places by name.
        """
        looked: list[str] = []
        for candidate in _candidates(ref, scope):
            for place, value in self._places(candidate):
                looked.append(place)
                if value is not None:
                    text = value.strip()
                    self._redactor.learn(text)
                    return SecretStr(text)
        raise MissingSecret(f"secret {ref.key!r} is not set; looked for {', '.join(dict.fromkeys(looked))}")

    def learn(self, provided: Provided) -> None:
        """Redact from now on what an engine provided."""
        for value in provided.secrets.values():
            self._redactor.learn(value.strip(), is_lent=True)

    def bind(self, refs: Iterable[SecretRef], scope: Scope, provided: Provided = NOTHING) -> BoundSecrets:
        """Return the secrets that an agent declared, for one scope; they are looked up when they are read."""
        self.learn(provided)
        return BoundSecrets(self, frozenset(refs), scope, provided)

    def _places(self, ref: SecretRef) -> Iterator[tuple[str, str | None]]:
        settings = self._settings
        for name in ((f"{ref.group}/{ref.key}",) if ref.group else ()) + (ref.key,):
            override = settings.overrides.get(name)
            if override is not None:
                yield f"override {name}", override.get_secret_value()
        parts = [part for part in (ref.group, ref.version, ref.key) if part]
        variable = "_".join(part.upper() for part in parts)
        yield f"variable {settings.env_prefix}{variable}", self._environment.get(f"{settings.env_prefix}{variable}")
        if settings.allow_plain_environment:
            yield f"variable {variable}", self._environment.get(variable)
        path = settings.directory.joinpath(
            *(part.lower() for part in parts[:-1]), settings.file_prefix + ref.key.lower()
        )
        try:
            yield f"file {path}", path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            yield f"file {path}", None


class BoundSecrets:
    """The declared secrets of one call: `ctx.secrets[ref].get_secret_value()`."""

    __slots__ = ("_refs", "_scope", "_source", "provided")

    def __init__(self, source: SecretSource, refs: frozenset[SecretRef], scope: Scope, provided: Provided) -> None:
        self._source = source
        self._refs = refs
        self._scope = scope
        self.provided = provided

    def __getitem__(self, ref: SecretRef) -> SecretStr:
        """Return the value; a reference that was not declared is refused."""
        if ref not in self._refs:
            raise AgentFault(
                f"secret {ref.key!r} was not declared; add it to the agent's `secrets` or to its connection"
            )
        return self._resolve(ref)

    def check(self) -> None:
        """Raise `MissingSecret` unless every declared secret is there."""
        for ref in self._refs:
            self._resolve(ref)

    def _resolve(self, ref: SecretRef) -> SecretStr:
        value = self.provided.secrets.get(ref.key)
        return self._source.resolve(ref, self._scope) if value is None else SecretStr(value.strip())


def _candidates(ref: SecretRef, scope: Scope) -> Iterator[SecretRef]:
    for part in (ref.key, ref.group, ref.version):
        if not _SAFE.fullmatch(part) or ".." in part:
            raise MissingSecret(f"{part!r} cannot be part of a secret's name; use letters, digits, '.', '_' and '-'")
    if ref.scope is SecretScope.PROJECT and scope.project:
        for group in (f"{scope.project}-{scope.domain}", scope.project):
            if _SAFE.fullmatch(group) and ".." not in group:
                yield SecretRef(ref.key, group, ref.version)
    yield ref
