"""Callbacks: what an agent declares so that its platform may call back when a job changes.

A callback hastens the next look at a job and does nothing else: it carries no state, ends no job and starts none. So one that
is lost, repeated, late or forged costs a look at most, and an agent without callbacks only hears of an end later. An agent
declares who may call (`callbacks`) and says which jobs a call is about (`called_back`), a pure function of the request.

The host verifies before the agent sees anything: the scheme (`agent.signatures`) is data, the keys are `SecretRef`s of the
installation, and several of them are several valid keys, which is how they are rotated. Platforms call for all projects at one
address, before anybody knows whose job it is about; so keys cannot be a project's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from typing_extensions import Self

from outboard.agent.signatures import Hmac, Scheme, SharedSecret
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.errors import ContractViolation

TOLERANCE: Final = timedelta(minutes=5)
"""Standard Webhooks, Slack and OpenAI all say five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One request of a platform.

    Attributes:
        body: The bytes as they came; signatures are over these.
        headers: By name in lower case; several of one name are joined by ", ".
        query: The parameters of the URL.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str:
        """Return a header, in whatever case its name is given; empty where there is none."""
        return self.headers.get(name.lower(), "")

    def json(self) -> Any:
        """Return the body as JSON; `ValueError` where it is none."""
        return json.loads(self.body)

    def form(self) -> Mapping[str, str]:
        """Return the fields of a body that a form, or `curl --data name=value`, sent; `ValueError` where it is no text.

        >>> Callback(body=b"job=17&state=COMPLETED").form()
        {'job': '17', 'state': 'COMPLETED'}
        """
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Who may call an agent back. Made by the constructors below, or with a `Scheme` of one's own.

    Attributes:
        scheme: How a caller proves who it is.
        keys: What it proves it with; any of those that are set is good.
        tolerance: How far a signed time may be from ours, either way.

    >>> Callbacks.github(SecretRef("hook_key")).scheme.header
    'x-hub-signature-256'
    """

    scheme: Scheme
    keys: tuple[SecretRef, ...]
    tolerance: timedelta = TOLERANCE

    def __post_init__(self) -> None:
        if not self.keys or not all(isinstance(key, SecretRef) for key in self.keys):
            raise ContractViolation('callbacks need at least one key: Callbacks.github(SecretRef("..."))')
        if any(key.scope is not SecretScope.SERVICE for key in self.keys):
            raise ContractViolation(
                "a callback's key is the installation's: leave out its scope, nobody knows a project yet"
            )
        if self.tolerance <= timedelta(0):
            raise ContractViolation("the tolerance of callbacks must be longer than nothing")

    @classmethod
    def standard_webhooks(cls, *keys: SecretRef, prefix: str = "webhook-", tolerance: timedelta = TOLERANCE) -> Self:
        """Return Standard Webhooks, as OpenAI and many others send them; Svix' own headers have the prefix `svix-`.

        Keys are `whsec_` and base64. Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
        """
        scheme = Hmac(
            content=f"{{{prefix}id}}.{{{prefix}timestamp}}.{{body}}",
            header=f"{prefix}signature",
            prefix="v1,",
            separator=" ",
            encoding="base64",
            timestamp=f"{prefix}timestamp",
            event_id=f"{prefix}id",
            key_prefix="whsec_",
            key_encoding="base64",
        )
        return cls(scheme=scheme, keys=keys, tolerance=tolerance)

    @classmethod
    def github(cls, *keys: SecretRef, header: str = "x-hub-signature-256") -> Self:
        """Return a signature over the body alone, as GitHub and many others send it; a time is not signed.

        Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries.
        """
        return cls(scheme=Hmac(content="{body}", header=header, prefix="sha256="), keys=keys)

    @classmethod
    def slack(cls, *keys: SecretRef, tolerance: timedelta = TOLERANCE) -> Self:
        """Return Slack's scheme. Source: https://api.slack.com/authentication/verifying-requests-from-slack."""
        scheme = Hmac(
            content="v0:{x-slack-request-timestamp}:{body}",
            header="x-slack-signature",
            prefix="v0=",
            timestamp="x-slack-request-timestamp",
        )
        return cls(scheme=scheme, keys=keys, tolerance=tolerance)

    @classmethod
    def bearer(cls, *keys: SecretRef) -> Self:
        """Return `Authorization: Bearer <key>` (RFC 6750)."""
        return cls(scheme=SharedSecret(header="authorization", prefix="Bearer "), keys=keys)

    @classmethod
    def basic(cls, *keys: SecretRef) -> Self:
        """Return `Authorization: Basic` (RFC 7617), as Databricks and EventBridge send it; a key is `user:password`."""
        return cls(scheme=SharedSecret(header="authorization", prefix="Basic ", encoding="base64"), keys=keys)

    @classmethod
    def in_header(cls, header: str, *keys: SecretRef) -> Self:
        """Return a header that holds the key, as EventBridge's API keys are, or what a script sends with curl."""
        return cls(scheme=SharedSecret(header=header), keys=keys)

    @classmethod
    def in_query(cls, name: str, *keys: SecretRef) -> Self:
        """Return a parameter of the URL that holds the key, for senders that can do no better.

        URLs are written into logs on the way; prefer anything else.
        """
        return cls(scheme=SharedSecret(query=name), keys=keys)
