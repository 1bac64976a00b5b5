"""Where a task runs and as whom: decided once, at submission, from the task and the settings.

The connection travels with the handle and holds names only. Its account is checked again when it is opened, so a handle
that somebody made up cannot send credentials elsewhere either. Secrets are looked up for the task's project first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outboard.agent import Connection, SecretRef, SecretScope, Task
from outboard.errors import InvalidTask
from outboard.platforms.snowflake.accounts import account_of
from outboard.platforms.snowflake.config import SnowflakeConfig
from outboard.platforms.snowflake.settings import SDK_KEY, SDK_PASSPHRASE, AuthType, SnowflakeSettings


class SnowflakeConnection(Connection):
    """An account and as whom to talk to it.

    Attributes:
        account: The account identifier, as the task writes it.
        user: Whose key signs, or whose token it is.
        login: How to log in.
        private_key: For `key_pair`.
        passphrase: The key's, where it is encrypted.
        token: For `oauth` and `pat`.
    """

    account: str
    user: str = ""
    login: AuthType = "key_pair"
    private_key: SecretRef | None = None
    passphrase: SecretRef | None = None
    token: SecretRef | None = None


def connection_of(task: Task[SnowflakeConfig], settings: SnowflakeSettings) -> SnowflakeConnection:
    """Return where and as whom a task runs.

    Raises:
        InvalidTask: It names no account or user, or an account that is not allowed or not for it.
    """
    config = task.config
    account = _account(config.account or settings.account, settings)
    if not task.identity.belongs_to(settings.of(account).projects):
        raise InvalidTask(
            f"account: {account} is not for project {task.identity.project or '(none)'}; "
            "the operator lists projects under platforms.snowflake.accounts",
            field="account",
        )
    user = config.user or settings.of(account).user
    provided = task.provided.secrets
    if SDK_KEY in config.secrets or SDK_KEY in provided:
        has_passphrase = SDK_PASSPHRASE in config.secrets or SDK_PASSPHRASE in provided
        own = SecretRef(SDK_PASSPHRASE) if has_passphrase else None
        return SnowflakeConnection(account=account, user=_named(user), private_key=SecretRef(SDK_KEY), passphrase=own)
    if settings.is_bound_elsewhere(account):
        raise InvalidTask(
            f"account: the service has no credentials for {account}; give the task a key of its own "
            "(Flyte 2: snowflake_private_key), or add the account to platforms.snowflake.accounts",
            field="account",
        )
    return _with_login(account, user, config.login, settings)


def own_connection(account: str, settings: SnowflakeSettings) -> SnowflakeConnection | None:
    """Return the service's own connection to an account of the settings; None where it is the tasks that name the user."""
    try:
        return _with_login(account, settings.of(account).user, None, settings)
    except InvalidTask:
        return None


def connection_of_flytekit(meta: Mapping[str, Any], settings: SnowflakeSettings) -> SnowflakeConnection | None:
    """Return the connection of a handle that an SDK's own connector wrote; None where it names none.

    Account and user are read, nothing else: the service's own credentials for that account are used.

    Raises:
        InvalidTask: The account is not allowed, or the service has no credentials for it.
    """
    account, user = meta.get("account"), meta.get("user")
    if not (isinstance(account, str) and isinstance(user, str) and account):
        return None
    name = _account(account, settings)
    if settings.is_bound_elsewhere(name):
        raise InvalidTask(f"the service has no credentials for the account {name} of this handle")
    return _with_login(name, user, None, settings)


def _with_login(account: str, user: str, auth: AuthType | None, settings: SnowflakeSettings) -> SnowflakeConnection:
    own = settings.of(account)
    kind = auth or own.auth or settings.auth
    if kind != "key_pair":
        token = _secret(own.token_secret or settings.token_secret)
        return SnowflakeConnection(account=account, user=user, login=kind, token=token)
    passphrase = own.passphrase_secret or (settings.passphrase_secret if own.private_key_secret is None else None)
    return SnowflakeConnection(
        account=account,
        user=_named(user),
        private_key=_secret(own.private_key_secret or settings.private_key_secret),
        passphrase=_secret(passphrase) if passphrase else None,
    )


def _account(text: str, settings: SnowflakeSettings) -> str:
    if not text:
        raise InvalidTask(
            "account is missing: name one in the task, or set platforms.snowflake.account", field="account"
        )
    try:
        account = account_of(text)
    except ValueError as error:
        raise InvalidTask(f"account: {error}", field="account") from None
    if not settings.is_allowed(account):
        raise InvalidTask(
            f"account: {account} is no account that this service talks to; "
            "the operator allows it by platforms.snowflake.allowed_accounts",
            field="account",
        )
    return account


def _named(user: str) -> str:
    if not user:
        raise InvalidTask(
            "user is missing: a key pair belongs to a user; name one in the task, or in platforms.snowflake.accounts",
            field="user",
        )
    return user


def _secret(name: str) -> SecretRef:
    return SecretRef(name, scope=SecretScope.PROJECT)
