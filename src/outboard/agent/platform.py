"""Platforms: what the agents of one outside system share.

A platform knows the operator's settings, opens clients, names the account that quotas are counted by, and lists its
agents. The host keeps one client per connection and closes idle ones; agents get it as `ctx.client` and never build
one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from typing_extensions import Self

from outboard.agent.context import AccountContext, Secrets
from outboard.agent.error_map import ErrorMap
from outboard.agent.http import Http
from outboard.agent.jobs import Connection
from outboard.domain.complaints import first_complaint
from outboard.domain.quotas import Quotas
from outboard.errors import ContractViolation, InvalidSettings, Unsupported

if TYPE_CHECKING:
    from outboard.agent.agents import Agent

ConnT = TypeVar("ConnT", bound=Connection)
ClientT = TypeVar("ClientT")


SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
"""A secret's key in an operator's settings or a task, as the service looks it up."""


class Settings(BaseModel):
    """Base of a platform's settings: what the operator decides. Unknown names are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Platform(ABC, Generic[ConnT, ClientT]):
    """One outside system. Subclass as `class Slurm(Platform[SlurmConnection, SlurmClient])`.

    Attributes:
        name: How it is called in settings, metrics and messages.
        settings_model: The operator's settings; an entry-point loads the platform by `configure`.
        connection_model: What its agents' `connection` returns, taken from the type arguments.
        quotas: Limits per account and method, as data with sources.
        errors: From what the client raises to errors the host understands.
        needs: Modules that its agents cannot work without, each with what to install for it. Where one is missing, its task
            types are withheld, so that the service promises nothing that it cannot do.
    """

    name: ClassVar[str]
    settings_model: ClassVar[type[Settings]] = Settings
    connection_model: ClassVar[type[Connection]] = Connection
    quotas: ClassVar[Quotas] = Quotas()
    errors: ClassVar[ErrorMap] = ErrorMap()
    needs: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Platform and isinstance(get_args(base)[0], type):
                cls.connection_model = get_args(base)[0]
        if not isinstance(getattr(cls, "name", None), str):
            raise ContractViolation(f'{cls.__name__} needs a name: add `name = "..."`')

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings if settings is not None else self.settings_model()

    @classmethod
    def configure(cls, settings: Mapping[str, Any]) -> Self:
        """Return the platform with the operator's settings; `InvalidSettings` names what does not fit."""
        try:
            return cls(cls.settings_model.model_validate(dict(settings)))
        except ValidationError as error:
            first = first_complaint(error)
            field = ".".join(("platforms", cls.name, *first.path))
            known = ", ".join(cls.settings_model.model_fields) or "none"
            raise InvalidSettings(f"{field}: {first.text} (settings of {cls.name}: {known})", field=field) from None

    @abstractmethod
    def agents(self) -> Sequence[Agent]:
        """Return the agents, each built with this platform."""

    def withheld(self) -> Mapping[str, str]:
        """Return task types that the settings keep from being served, each with the sentence that says how to allow it.

        Their agents still follow and cancel jobs that were started when it was allowed.
        """
        return {}

    def hear_secrets(self, learn: Callable[[str], None]) -> None:
        """Take note of whom to tell secrets that this platform's code reads by itself, past `ctx.secrets`.

        Args:
            learn: Redacts a value from now on. May be called from any thread.
        """

    def open(self, connection: ConnT, secrets: Secrets, http: Http) -> AbstractAsyncContextManager[ClientT]:  # noqa: ARG002
        """Return a context manager that yields a client for a connection.

        It is entered once per connection and process. The default yields `None`, for agents that need no client.
        """
        return cast("AbstractAsyncContextManager[ClientT]", contextlib.nullcontext(None))

    def account(self, connection: ConnT) -> str:
        """Return what the platform counts quota by; by default every connection is an account of its own."""
        text = json.dumps(connection.to_json(), sort_keys=True)
        return f"{self.name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def connections(self) -> Mapping[str, ConnT]:
        """Return the connections that the settings name by themselves, by names for people; tasks may have others. Pure.

        `outboard doctor` looks for their secrets and pings them. By default it is the one connection that needs nothing of a
        task, where there is such.
        """
        if any(field.is_required() for field in self.connection_model.model_fields.values()):
            return {}
        return {self.name: cast("ConnT", self.connection_model())}

    def ping(self, ctx: AccountContext[ClientT]) -> Awaitable[str] | str:  # noqa: ARG002 - those that define it need it
        """Make the cheapest call that proves that the platform answers and takes the connection's credentials.

        Optional: write `async def ping`, or `def ping` for SDKs that block, which then runs in a thread. It starts, changes and
        costs nothing, spends from the account's budget as every call, and keeps `ctx.timeout_s`. Raise what the client raises.

        Returns:
            What was found, in some words for operators: as whom, which version. No secrets.
        """
        raise Unsupported(f"platform {self.name} offers no ping")

    @property
    def is_pinging(self) -> bool:
        """Whether `ping` is defined."""
        return type(self).ping is not Platform.ping
