"""The access tokens of a fake BigQuery: who gets them, for what, how long they last, and whether a call's token is good.

Written from Google's documentation, apart from the agent:

* a service account's signed assertion at OAuth's token address
  (https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests);
* a workload's own token at the Security Token Service (https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token);
* `generateAccessToken` of the IAM Credentials API.

Signatures are not verified here; tests that care verify them by the key that they made.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import Refusal, operation

METHOD: Final = "tokens"
"""What all of this counts as."""
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name of OAuth
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - same


class TokenIssuer:
    """Gives out access tokens and knows which are good.

    Attributes:
        accepted: Access tokens that are good; None accepts any, and none at all.
        issued: Access tokens that were given out, each with whom it stands for: an assertion, a workload, an account.
        token_lifetime_s: How long they last.
        revoked_keys: Ids of service-account keys that get none any more.
        workloads: Subject tokens that get one, each with its audience.
        refused: How many calls came with a token that is not good.
    """

    def __init__(self) -> None:
        self.accepted: set[str] | None = None
        self.issued: dict[str, str] = {}
        self.token_lifetime_s = 3600
        self.revoked_keys: set[str] = set()
        self.workloads: dict[str, str] = {}
        self.refused = 0
        self._until: dict[str, float] = {}

    def token_routes(self) -> Iterable[web.RouteDef]:
        """Return the addresses where tokens are had."""
        return (
            web.post("/token", self._exchange_assertion),
            web.post("/v1/token", self._exchange_workload),
            web.post("/v1/projects/-/serviceAccounts/{email:[^:/]+}:generateAccessToken", self._impersonate),
        )

    def check_token(self, request: web.Request) -> None:
        """Refuse a call whose token is not good."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.accepted is not None and not (
            token in self.accepted and platform_time() < self._until.get(token, 2**62)
        ):
            self.refused += 1
            raise refusal(401, "authError", "Request had invalid authentication credentials.")

    @operation("token", method=METHOD)
    async def _exchange_assertion(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("grant_type") != _JWT_BEARER:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        assertion = str(form.get("assertion", ""))
        if _header_of(assertion).get("kid") in self.revoked_keys:
            words = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return web.json_response(words, status=400)
        return self._token_answer(assertion)

    @operation("token", method=METHOD)
    async def _exchange_workload(self, request: web.Request) -> web.Response:
        form = await request.post()
        subject, audience = str(form.get("subject_token", "")), str(form.get("audience", ""))
        if form.get("grant_type") != _TOKEN_EXCHANGE or form.get("requested_token_type") != _ACCESS_TOKEN:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if not subject or self.workloads.get(subject) != audience:
            words = {"error": "invalid_grant", "error_description": "The ID Token is not for this audience."}
            return web.json_response(words, status=400)
        return self._token_answer(subject, issued_token_type=_ACCESS_TOKEN)

    @operation("impersonate", method=METHOD)
    async def _impersonate(self, request: web.Request) -> web.Response:
        self.check_token(request)
        token = self._issue(request.match_info["email"])
        ends = time.gmtime(platform_time() + self.token_lifetime_s)
        return web.json_response({"accessToken": token, "expireTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", ends)})

    def _token_answer(self, whom: str, **more: str) -> web.Response:
        lifetime = self.token_lifetime_s
        answer = {"access_token": self._issue(whom), "expires_in": lifetime, "token_type": "Bearer", **more}
        return web.json_response(answer)

    def _issue(self, whom: str) -> str:
        token = f"fake-token-{len(self.issued) + 1}"
        self.issued[token] = whom
        self._until[token] = platform_time() + self.token_lifetime_s
        if self.accepted is not None:
            self.accepted.add(token)
        return token


def refusal(status: int, reason: str, words: str) -> Refusal:
    """Return an error as Google's API writes it."""
    error = {"message": words, "domain": "global", "reason": reason}
    return Refusal(web.json_response({"error": {"code": status, "message": words, "errors": [error]}}, status=status))


def _header_of(assertion: str) -> dict[str, Any]:
    first = assertion.partition(".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
