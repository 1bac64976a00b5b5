"""What the operator decides about Snowflake: which accounts, as whom, and what a task may choose.

Credentials go where the operator allows and nowhere else. An account must match `allowed_accounts` or have an entry under
`accounts`; and the service's own credentials are *bound*: once there is a default account or an entry, they go to those
only, and a task that names another allowed account must bring credentials of its own (as Flyte 2's tasks do).
"""

from __future__ import annotations

import re
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from outboard.agent import Settings
from outboard.agent.platform import SecretName
from outboard.platforms.snowflake.accounts import account_of, host_of, key_of, snowsight_of

AuthType = Literal["key_pair", "oauth", "pat"]
"""A key pair that tokens are signed with; an OAuth access token; a programmatic access token."""

SDK_KEY: Final = "snowflake_private_key"
"""The name of the private key's secret: flytekit's service's, and the one under which Flyte 2 provides it."""
SDK_PASSPHRASE: Final = "snowflake_private_key_passphrase"  # noqa: S105 - a name
"""The name under which Flyte 2 provides the passphrase of an encrypted key."""

_ADDRESS: Final = re.compile(r"https://[^\s/@?#]+|http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?")
_PARAMETER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


class AccountSettings(BaseModel):
    """One account; what is not given is as for all.

    Attributes:
        url: Where its API is reached, if not at its own host: a private endpoint.
        console: Where its pages are, if not in Snowsight's public place.
        auth: How the service logs in.
        user: As whom, for tasks that name nobody.
        role: The role of tasks that name none.
        private_key_secret: The name of the secret with the private key.
        passphrase_secret: The name of the secret with its passphrase.
        token_secret: The name of the secret with the token, for `oauth` and `pat`.
        projects: Who may use it, as `project` or `project-domain`; empty is everybody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = ""
    console: str = ""
    auth: AuthType | None = None
    user: str = ""
    role: str = ""
    private_key_secret: SecretName | None = None
    passphrase_secret: SecretName | None = None
    token_secret: SecretName | None = None
    projects: tuple[str, ...] = ()

    @field_validator("url", "console")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if value and not _ADDRESS.fullmatch(value.rstrip("/")):
            raise ValueError(
                "give an address as https://host, without a path; only 127.0.0.1 and localhost may go without TLS"
            )
        return value.rstrip("/")


class SnowflakeSettings(Settings):
    """Settings of the Snowflake platform.

    Attributes:
        account: The account of tasks that name none.
        allowed_accounts: Accounts that a task may name, as patterns (`myorg-*`).
        accounts: Settings by account; these accounts are allowed too.
        auth: How the service logs in where nothing else is said.
        private_key_secret: The secret with the service's private key in PEM.
        passphrase_secret: The secret with the key's passphrase; none where it is not encrypted.
        token_secret: The secret with the token, for `oauth` and `pat`.
        longest_statement_s: No statement may run longer, whatever its task says.
        query_history: Ask the query history, in the statement's own warehouse, what each statement consumed.
        price_per_credit: With `query_history`: what a credit costs.
        session_parameters: Set for every statement, before the task's own.
    """

    account: str = ""
    allowed_accounts: tuple[str, ...] = ("*",)
    accounts: dict[str, AccountSettings] = Field(default_factory=dict)
    auth: AuthType = "key_pair"
    private_key_secret: SecretName = SDK_KEY
    passphrase_secret: SecretName | None = None
    token_secret: SecretName = "snowflake_token"  # noqa: S105 - a name
    longest_statement_s: int | None = Field(default=None, ge=1, le=604_800)
    query_history: bool = False
    price_per_credit: Decimal | None = Field(default=None, ge=0)
    session_parameters: dict[str, str] = Field(default_factory=dict)

    @field_validator("account")
    @classmethod
    def _check_default(cls, value: str) -> str:
        return account_of(value) if value else ""

    @field_validator("accounts")
    @classmethod
    def _check_accounts(cls, value: dict[str, AccountSettings]) -> dict[str, AccountSettings]:
        by_key = {key_of(account_of(account)): settings for account, settings in value.items()}
        if len(by_key) < len(value):
            raise ValueError("an account is named twice, in two spellings; keep one of its entries")
        return by_key

    @field_validator("session_parameters", mode="before")
    @classmethod
    def _spell_parameters(cls, value: Any) -> Any:
        return spelled(value)

    @field_validator("allowed_accounts")
    @classmethod
    def _fold_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key_of(pattern) for pattern in value)

    def of(self, account: str) -> AccountSettings:
        """Return what is set for an account; nothing in particular where it has no entry."""
        return self.accounts.get(key_of(account), AccountSettings())

    def is_allowed(self, account: str) -> bool:
        """Tell whether credentials may go to an account at all."""
        return self._is_named(account) or any(fnmatchcase(key_of(account), each) for each in self.allowed_accounts)

    def is_bound_elsewhere(self, account: str) -> bool:
        """Tell whether the service's own credentials belong to other accounts than this one."""
        return bool(self.accounts or self.account) and not self._is_named(account)

    def address(self, account: str) -> str:
        """Return where the API of an account is reached."""
        return self.of(account).url or f"https://{host_of(account)}"

    def console(self, account: str) -> str:
        """Return where the pages of an account are."""
        return snowsight_of(account, self.of(account).console)

    def _is_named(self, account: str) -> bool:
        return key_of(account) in self.accounts or key_of(account) == key_of(self.account)


def spelled(value: Any) -> Any:
    """Return session parameters with their names in capitals and texts as values, those that are None left out.

    Raises:
        ValueError: A name is none, or a value is no text, number or boolean.
    """
    if not isinstance(value, dict):
        return value
    found: dict[str, str] = {}
    for name, each in value.items():
        if not isinstance(name, str) or not _PARAMETER.fullmatch(name):
            raise ValueError("session parameters have names as TIMEZONE or QUERY_TAG")
        if isinstance(each, (dict, list)):
            raise ValueError(f"session parameter {name} must be a text, a number or a boolean")  # noqa: TRY004 - pydantic's
        if each is not None:
            found[name.upper()] = str(each).lower() if isinstance(each, bool) else str(each)
    return found
