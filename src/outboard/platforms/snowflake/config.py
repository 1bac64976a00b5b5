"""What a Snowflake task says: flytekit's in its template's string map, Flyte 2's in `custom`, and some fields that only we know.

Flyte 2's `connection_kwargs` are arguments of Snowflake's Python connector. Those that mean something here are taken: role,
session parameters, authenticator. Those that would send credentials elsewhere, or are secrets that lie in Flyte's database
in clear text, are refused with what to do instead. All others steer the connector's own sessions, of which there are none
here.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from outboard.agent import TaskConfig
from outboard.platforms.snowflake.settings import AuthType, spelled

_LONGEST_NAME: Final = 255
_AUTHENTICATORS: Final[dict[str, AuthType]] = {
    "snowflake_jwt": "key_pair",
    "oauth": "oauth",
    "programmatic_access_token": "pat",
}
_ELSEWHERE: Final = frozenset({"host", "port", "protocol", "region", "proxy_host", "proxy_port", "private_key_file"})
_SECRETS: Final = frozenset(
    {
        *("password", "token", "private_key", "passcode", "private_key_passphrase", "private_key_file_pwd"),
        *("proxy_user", "proxy_password", "oauth_client_secret", "token_file_path"),
    }
)


class SnowflakeConfig(TaskConfig):
    """The configuration of a `snowflake` task.

    Attributes:
        account: The account identifier; the operator's default otherwise.
        user: As whom.
        role: The user's default otherwise.
        warehouse, database, schema_name: The same.
        connection_kwargs: Flyte 2's, for Snowflake's connector.
        batch: Flyte 2's: inputs are lists, a row of the VALUES clause for each of their elements.
        secrets: Flyte 2's: which secrets it provides with each request.
        auth: How to log in.
        statement_count: How many statements the text holds; 0 is any number.
        statement_timeout_s: After how many seconds Snowflake ends the statement.
        session_parameters: Set for the statement.
    """

    account: str = ""
    user: str = Field(default="", max_length=_LONGEST_NAME)
    role: str = Field(default="", max_length=_LONGEST_NAME)
    warehouse: str = Field(default="", max_length=_LONGEST_NAME)
    database: str = Field(default="", max_length=_LONGEST_NAME)
    schema_name: str = Field(default="", alias="schema", max_length=_LONGEST_NAME)
    connection_kwargs: dict[str, Any] = Field(default_factory=dict)
    batch: bool = False
    secrets: dict[str, str | None] = Field(default_factory=dict)
    auth: AuthType | None = None
    statement_count: int | None = Field(default=None, ge=0)
    statement_timeout_s: int | None = Field(default=None, ge=1, le=604_800)
    session_parameters: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    @field_validator("connection_kwargs")
    @classmethod
    def _check_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in _SECRETS:
                raise ValueError(
                    f"{name} would lie in Flyte's database in clear text; give the task a secret (snowflake_private_key), "
                    "or the operator sets one"
                )
            if name in _ELSEWHERE:
                raise ValueError(f"{name} is the operator's to say (platforms.snowflake.accounts.<account>.url)")
        role, parameters = value.get("role") or "", value.get("session_parameters") or {}
        if not isinstance(role, str) or len(role) > _LONGEST_NAME:
            raise ValueError(f"role must be a text of at most {_LONGEST_NAME} characters")
        if not isinstance(parameters, dict):
            raise ValueError("session_parameters must be a dict of names and values")  # noqa: TRY004 - pydantic's
        spelled(parameters)
        told = str(value.get("authenticator") or "snowflake_jwt").lower()
        if told not in _AUTHENTICATORS:
            raise ValueError(
                "authenticator must be SNOWFLAKE_JWT, OAUTH or PROGRAMMATIC_ACCESS_TOKEN; the SQL API knows no other"
            )
        return value

    @field_validator("session_parameters", mode="before")
    @classmethod
    def _spell_parameters(cls, value: Any) -> Any:
        return spelled(value)

    @property
    def role_name(self) -> str:
        """The role that the task names, wherever it does."""
        return self.role or str(self.connection_kwargs.get("role") or "")

    @property
    def login(self) -> AuthType | None:
        """How the task wants to log in, wherever it says so."""
        told = self.connection_kwargs.get("authenticator")
        return self.auth or (_AUTHENTICATORS[str(told).lower()] if told else None)

    @property
    def parameters(self) -> dict[str, str]:
        """The task's session parameters by name, in capitals."""
        return {**spelled(self.connection_kwargs.get("session_parameters") or {}), **self.session_parameters}
