"""Signature Version 4, checked as AWS does: by computing it again from what arrived.

Written from "Create a signed AWS API request"
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, read 2026-11-22), with nothing of
the signer that agents use.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TOLERANCE: Final = timedelta(minutes=5)
_AUTHORIZATION: Final = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^/]+)/(?P<day>\d{{8}})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_MUST_BE_SIGNED: Final = {"host", "x-amz-date"}


@dataclass(slots=True)
class FakeKey:
    """Access keys that the fake platform accepts.

    Attributes:
        secret: The secret access key.
        token: The session token that must come with it; empty for keys that never end.
        who: The ARN of whom they stand for.
        denied: Actions that it may not take, as `athena:StartQueryExecution`.
        has_ended: The session is over.
    """

    secret: str
    token: str = ""
    who: str = "arn:aws:iam::123456789012:user/outboard"
    denied: set[str] = field(default_factory=set)
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a request, and for which region."""

    key_id: str
    key: FakeKey
    region: str


class NotSigned(Exception):
    """A request is not signed as it must be.

    Args:
        code: AWS's word for it.
        words: AWS's words.
    """

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def check(
    verb: str, path: str, headers: Mapping[str, str], body: bytes, *, service: str, keys: Mapping[str, FakeKey]
) -> Signed:
    """Return who signed a request; `NotSigned` says what is wrong with it.

    Args:
        verb: The HTTP method.
        path: The path, as it came; without a query.
        headers: By lower-case name.
        body: As it came.
        service: The service that it must be signed for.
        keys: Those that are accepted.
    """
    told = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if told is None:
        raise NotSigned("MissingAuthenticationTokenException", "Missing Authentication Token")
    key = keys.get(told["key"])
    if key is None:
        raise NotSigned("UnrecognizedClientException", "The security token included in the request is invalid.")
    names = told["headers"].split(";")
    if told["service"] != service or not set(names) >= _MUST_BE_SIGNED:
        raise NotSigned("InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'.")
    moment = headers.get("x-amz-date", "")
    _check_time(moment, told["day"])
    canonical = "\n".join(
        (
            *(verb, path, ""),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            *("", told["headers"], hashlib.sha256(body).hexdigest()),
        )
    )
    scope = f"{told['day']}/{told['region']}/{service}/aws4_request"
    text = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    expected = hmac.new(_signing_key(key.secret, scope), text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, told["signature"]):
        words = "The request signature we calculated does not match the signature you provided."
        raise NotSigned("InvalidSignatureException", f"{words} Check your AWS Secret Access Key and signing method.")
    if key.token != headers.get("x-amz-security-token", ""):
        raise NotSigned("UnrecognizedClientException", "The security token included in the request is invalid.")
    if key.has_ended:
        raise NotSigned("ExpiredTokenException", "The security token included in the request is expired")
    return Signed(told["key"], key, told["region"])


def _check_time(moment: str, day: str) -> None:
    try:
        signed_at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise NotSigned("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from None
    if not moment.startswith(day):
        raise NotSigned("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601.")
    if abs(datetime.now(timezone.utc) - signed_at) > _TOLERANCE:
        raise NotSigned("InvalidSignatureException", f"Signature expired: {moment} is now earlier than allowed")


def _signing_key(secret: str, scope: str) -> bytes:
    made = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return made
