"""Account identifiers: which host one names, and how it is written in tokens and in addresses of Snowsight.

======================================  ==========================================  ======================
identifier                              host                                        in a token
======================================  ==========================================  ======================
`org-account`                           `org-account.snowflakecomputing.com`        `ORG-ACCOUNT`
`xy12345` (a locator)                   `xy12345.snowflakecomputing.com`            `XY12345`
`xy12345.eu-central-1`                  `xy12345.eu-central-1.snowflake...com`      `XY12345`
`org-account.privatelink`               `org-account.privatelink.snowflake...com`   `ORG-ACCOUNT`
`xy12345.cn-northwest-1`                `xy12345.cn-northwest-1.snowflake...cn`     `XY12345`
======================================  ==========================================  ======================

Whatever a task writes, its host ends in one of Snowflake's own domains; only the operator can say otherwise. Underscores become
hyphens in hosts, as certificates want it.

Source: https://docs.snowflake.com/en/user-guide/admin-account-identifier and, for tokens,
https://docs.snowflake.com/en/developer-guide/sql-api/authenticating (read 2026-11-22).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_IDENTIFIER: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,4}"
)
_DOMAINS: Final = (".snowflakecomputing.com", ".snowflakecomputing.cn")
_PRIVATE: Final = "privatelink"
_LONGEST_HOST: Final = 253


def account_of(text: str) -> str:
    """Return the account identifier that somebody wrote, or whose address they did; `ValueError` when it is none.

    >>> account_of("https://MyOrg-Prod.snowflakecomputing.com/")
    'MyOrg-Prod'
    """
    name = text.strip().removeprefix("https://").rstrip("/")
    for domain in _DOMAINS:
        if name.lower().endswith(domain):
            name = name[: -len(domain)]
    if not _IDENTIFIER.fullmatch(name) or len(name) > _LONGEST_HOST - len(_DOMAINS[0]):
        raise ValueError("give an account identifier, as in myorg-account or xy12345.eu-central-1")
    return name


def key_of(account: str) -> str:
    """Return what two spellings of one identifier have in common.

    >>> key_of("MyOrg-Prod_1")
    'myorg-prod-1'
    """
    return account.lower().replace("_", "-")


def host_of(account: str) -> str:
    """Return the host of an account's API.

    >>> host_of("xy12345.cn-northwest-1"), host_of("MyOrg-Prod_1")
    ('xy12345.cn-northwest-1.snowflakecomputing.cn', 'myorg-prod-1.snowflakecomputing.com')
    """
    key = key_of(account)
    return f"{key}{_DOMAINS[1] if _is_chinese(key) else _DOMAINS[0]}"


def token_name_of(account: str) -> str:
    """Return how a token names the account: without its region, in capitals.

    >>> token_name_of("xy12345.eu-central-1.privatelink"), token_name_of("myorg-prod_1")
    ('XY12345', 'MYORG-PROD_1')
    """
    return account.partition(".")[0].upper()


def snowsight_of(account: str, console: str = "") -> str:
    """Return the address of the account's pages in Snowsight.

    Args:
        account: The identifier.
        console: What the operator set instead.

    >>> snowsight_of("myorg-prod"), snowsight_of("xy12345.eu-central-1")
    ('https://app.snowflake.com/myorg/prod', 'https://app.snowflake.com/eu-central-1/xy12345')
    """
    if console:
        return console
    name, _, region = key_of(account).partition(".")
    if region.endswith(_PRIVATE):
        return f"https://app-{key_of(account)}.snowflakecomputing.com"
    site = "https://app.snowflake.cn" if _is_chinese(key_of(account)) else "https://app.snowflake.com"
    if region:
        return f"{site}/{quote(region)}/{quote(name)}"
    organization, hyphen, rest = account.lower().partition("-")
    return f"{site}/{quote(organization)}/{quote(rest)}" if hyphen else f"{site}/us-west-2/{quote(name)}"


def _is_chinese(key: str) -> bool:
    return any(part.startswith("cn-") for part in key.split(".")[1:])
