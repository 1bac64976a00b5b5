"""The HTTP session that platforms talk through.

One per connection, shared by all its jobs. Every call names the platform's *method* (`runs/get`), which is what
quotas count, spends from the account's budget, has a time limit, and answers either a decoded response or an error
that the platform's `ErrorMap` classified: a refused connection was certainly not sent, a reset or a time-out may
have been. A redirect is never followed, since it would take our login elsewhere, and is no answer: somebody on the
way gives it, a login page or a proxy, and the platform may have heard nothing. An answer that means "slow down"
slows the account's next calls, whatever its status (see `spending`).

The addresses it talks to are the operator's: a setting, or what a setting makes of a checked name. For one that a task wrote
there is `outward`, a session of its own that reaches the public internet and nothing inside (see `agent.outward`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from outboard.agent.error_facts import facts_of_answer
from outboard.agent.error_map import ErrorMap
from outboard.agent.platform_calls import Fact, http_facts
from outboard.agent.spending import Budget, Spending
from outboard.domain.egress import Egress
from outboard.errors import Sent, Unavailable

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_DEFAULT_TIMEOUT_S: Final = 30.0
_REDIRECT_STATUS: Final = 300
_ERROR_STATUS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer below 300, or a redirect that was asked for.

    Attributes:
        headers: By lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; `Unavailable` when it is none (the platform answered nonsense)."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            raise Unavailable("the platform answered something that is not JSON") from None

    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", "replace")


def _json_payload(content: Any) -> Any:
    """Return a JSON body; as a stream, since aiohttp warns of bodies that are a megabyte of bytes."""
    from aiohttp.payload import BytesIOPayload  # noqa: PLC0415 - see `request`

    return BytesIOPayload(BytesIO(json.dumps(content).encode()), content_type="application/json")


class Http:
    """A session for one connection of one platform.

    Args:
        budget: Where calls are paid from.
        errors: The platform's error map.
        headers: Sent with every call.
        egress: What addresses that tasks choose may reach.

    Attributes:
        budget: The same, for clients that do not talk through this session (see `sdk_budgets`).
    """

    def __init__(
        self,
        *,
        budget: Budget,
        errors: ErrorMap,
        headers: Mapping[str, str] | None = None,
        egress: Egress | None = None,
    ) -> None:
        self.budget = budget
        self._errors = errors
        self._headers = dict(headers or {})
        self._egress = egress if egress is not None else Egress()
        self._session: ClientSession | None = None
        self._dated: tuple[str, float] | None = None
        self._outward: Http | None = None

    @property
    def clock_skew(self) -> timedelta | None:
        """How far the platform's clock was ahead of ours when it answered last, to the second; None where it does not say."""
        if self._dated is None:
            return None
        header, heard_at = self._dated
        try:
            return timedelta(seconds=round(parsedate_to_datetime(header).timestamp() - heard_at))
        except (ValueError, TypeError, OverflowError):
            return None

    @property
    def outward(self) -> Http:
        """The session for addresses that a task chose: it reaches public ones only, or what `host.egress` allows.

        Same budget and error map, none of this session's headers. An address inside is `Rejected`, and nothing is sent. Give
        it no credentials that are not the task's own.
        """
        if self._outward is None:
            from outboard.agent.outward import OutwardHttp  # noqa: PLC0415 - only agents whose tasks choose addresses need it

            self._outward = OutwardHttp(budget=self.budget, errors=self._errors, egress=self._egress)
        return self._outward

    async def request(  # noqa: PLR0913 - the parts of an HTTP call
        self,
        verb: str,
        url: str,
        *,
        method: str,
        params: Mapping[str, str] | None = None,
        json_body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        takes_redirects: bool = False,
    ) -> Response:
        """Make one call.

        Args:
            verb: GET, POST ...
            url: The whole address.
            method: The platform's name of the call, as quotas and metrics count it.
            params: The query.
            json_body: Sent as JSON.
            data: Sent as it is.
            headers: Beside the session's own.
            timeout_s: For the wait for budget and the whole exchange.
            takes_redirects: A redirect is an answer too, of platforms that tell an address so; it is in `headers["location"]`.

        Raises:
            AgentError: As the platform's error map says.
        """
        from aiohttp import ClientError, ClientTimeout  # noqa: PLC0415 - services without HTTP platforms never load it

        give_up = time.monotonic() + timeout_s
        refused_from = _ERROR_STATUS if takes_redirects else _REDIRECT_STATUS
        async with Spending(self.budget, method, timeout_s) as spending:
            session = self._open_session(url)
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise Unavailable(f"no time was left for {method}; nothing was sent", sent=Sent.NO)
            if spending.span is not None:
                spending.span.note(self._facts(verb, url))
                headers = {**(headers or {}), **spending.span.headers()}
            try:
                async with session.request(
                    verb,
                    url,
                    params=params,
                    data=data if json_body is None else _json_payload(json_body),
                    headers=headers,
                    timeout=ClientTimeout(total=left_s),
                    allow_redirects=False,
                ) as answer:
                    spending.came(answer.status)
                    return await self._heard(answer, refused_from)
            except (ClientError, OSError, asyncio.TimeoutError) as error:
                raise self._transport_error(error) from None

    async def get(self, url: str, *, method: str, **options: Any) -> Response:
        """GET; see `request`."""
        return await self.request("GET", url, method=method, **options)

    async def post(self, url: str, *, method: str, **options: Any) -> Response:
        """POST; see `request`."""
        return await self.request("POST", url, method=method, **options)

    async def close(self) -> None:
        """Close the session; it opens again when it is used again."""
        session, self._session = self._session, None
        outward, self._outward = self._outward, None
        if session is not None:
            await session.close()
        if outward is not None:
            await outward.close()

    def _open_session(self, url: str) -> ClientSession:  # noqa: ARG002 - see `outward`
        from aiohttp import ClientSession  # noqa: PLC0415 - see above

        if self._session is None or self._session.closed:
            self._session = ClientSession(headers=self._headers)
        return self._session

    def _facts(self, verb: str, url: str) -> Mapping[str, Fact]:
        return http_facts(verb, url)

    async def _heard(self, answer: ClientResponse, refused_from: int) -> Response:
        """Return what the platform answered; raises what an answer means that is none."""
        body = await self._read(answer)
        received = {name.lower(): value for name, value in answer.headers.items()}
        if "date" in received:
            self._dated = received["date"], time.time()
        if answer.status >= refused_from:
            raise self._refusal(answer.status, received, body)
        return self._accepted(Response(status=answer.status, headers=received, body=body))

    async def _read(self, answer: ClientResponse) -> bytes:
        return await answer.read()

    def _accepted(self, response: Response) -> Response:
        if self._errors.in_body is not None and response.body:
            try:
                content = json.loads(response.body)
            except ValueError:
                return response
            refusal = self._errors.refusal_in(content)
            if refusal is not None:
                raise refusal
        return response

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        facts = facts_of_answer(status, headers, body)
        is_redirect = status < _ERROR_STATUS
        said = f"HTTP {status}, a redirect, which is not followed; check the platform's address"
        return self._errors.classify(
            status=status,
            code=facts.codes,
            words=said if is_redirect else facts.words or f"HTTP {status}",
            retry_after=facts.retry_after,
        )

    def _transport_error(self, error: Exception) -> Exception:
        from aiohttp import ClientConnectorError  # noqa: PLC0415 - see above

        if isinstance(error, ClientConnectorError):
            # Nothing was connected, so nothing was sent, whatever the reason.
            return self._errors.classify(ConnectionRefusedError(error.os_error.strerror or str(error.os_error)))
        return self._errors.classify(error, words=f"{type(error).__name__} while talking to the platform")
