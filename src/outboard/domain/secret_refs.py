"""Secrets by reference, and how to tell that something is a secret.

Configuration, connections and handles hold a `SecretRef`, never a value. A field whose *name* or a value whose *form*
gives it away as a secret is refused where it would travel: handles lie in the engine's database in clear text for days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class SecretScope(str, Enum):
    """For whom a secret is looked up."""

    SERVICE = "service"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The name of a secret, as Flyte names them: key, and optionally group and version.

    Attributes:
        scope: `PROJECT` looks under the execution's project and domain first.
    """

    key: str
    group: str = ""
    version: str = ""
    scope: SecretScope = SecretScope.SERVICE


_SECRET_NAME: Final = re.compile(
    r"(?:^|[_-])(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api_?key|apikey|access_?key|private_?key"
    r"|auth(?:orization)?|bearer|jwt|cookie|signature)(?:$|[_-])",
    re.IGNORECASE,
)
# The half of a token before `.eyJ` is looked for from the start of a run of its characters only: from every `eyJ` within a
# run, a hostile text of one megabyte would take minutes, and the event loop with it.
_SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bdapi[0-9a-f]{32}|\bA(?:KIA|SIA)[0-9A-Z]{16}|\bgh[pousr]_[A-Za-z0-9]{36}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|(?<![\w-])[\w-]{11,}\.eyJ[\w-]{8,}|\bya29\.[\w-]{20,}"
    r"|://[^/\s:@]+:[^/\s@]+@|\bBearer +[\w.~+/-]{16,}"
)
_SECRET_PAIR: Final = re.compile(
    r"""((?:password|passwd|passphrase|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|signature|\bsig|\bjwt)"""
    r"""(?:=["']?|["']\s?:\s?["']))[^\s"'&,;)]+""",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name would hold a secret (camel case counts as words too).

    >>> is_secret_name("accessToken"), is_secret_name("token_uri_hint"), is_secret_name("tokenizer")
    (True, True, False)
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return bool(_SECRET_NAME.search(words))


def is_secret_value(value: str) -> bool:
    """Tell whether a text has the form of a well-known credential (keys, tokens, URLs with a password)."""
    return bool(_SECRET_VALUE.search(value))


def redact_forms(text: str) -> str:
    """Return the text with everything that has the form of a credential, or is named as one, replaced.

    >>> redact_forms("GET /x?token=abc&page=2 failed")
    'GET /x?token=[redacted]&page=2 failed'
    """
    redacted = _SECRET_VALUE.sub("[redacted]", text)
    if "=" in redacted or ":" in redacted:  # most texts name nothing, and every poll's message comes through here
        redacted = _SECRET_PAIR.sub(r"\1[redacted]", redacted)
    return redacted
