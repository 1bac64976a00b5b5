"""Tokens of issuers (JWT): who they are of, if they are good.

A token is good when one of its issuer's public keys signed it, with an algorithm that the operator allows and that is the key's
own kind, when it is for one of our audiences, when it says until when it is good and that time is not over, and when it is
good already; clocks may differ by a minute. Then the first caller counts whose issuer, audience and claims it fits.

What was found good is remembered by the token, until it ends or the issuer's keys change: checking a signature takes a tenth of
a millisecond, and engines send one token with thousands of calls. What was found wrong is checked again.

PyJWT does the cryptography. It is handed keys, never a key's place, and one algorithm at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from outboard.errors import InvalidSettings
from outboard.service.access.keys import IssuerKeys, Jwk
from outboard.service.access.rules import matcher
from outboard.service.access.settings import AccessSettings, IssuerSettings, JwtSettings

_REMEMBERED: Final = 4096
_LONGEST: Final = 16 * 1024
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
_LEAST_RSA_BITS: Final = 2048
_CLAIM_VALUES: Final = 200


class WrongToken(Exception):
    """A token that is nobody's, with a word for metrics and a sentence for its sender."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class KeyWanted(Exception):
    """A token whose issuer has to be asked for a key before it can be checked."""

    def __init__(self, keys: IssuerKeys, kid: str | None) -> None:
        super().__init__()
        self.keys = keys
        self.kid = kid


class _Good(NamedTuple):
    caller: str
    until: float
    keys: IssuerKeys
    changes: int


class Jwts:
    """Whose tokens are good.

    Args:
        settings: Of all callers and issuers.

    Raises:
        InvalidSettings: PyJWT is not installed, or a file with keys makes no sense.
    """

    def __init__(self, settings: AccessSettings) -> None:
        try:
            import jwt  # noqa: PLC0415 - only who takes tokens of an issuer pays for it
        except ImportError:
            raise InvalidSettings(
                "tokens of an issuer need PyJWT; install outboard[jwt]", field="service.access.callers.*.jwt"
            ) from None
        self._jwt = jwt
        self._settings = {issuer: settings.issuers.get(issuer, IssuerSettings()) for issuer in settings.used_issuers}
        self.keys = {issuer: IssuerKeys(issuer, found) for issuer, found in self._settings.items()}
        self._callers = [(name, _Fits(each)) for name, caller in settings.callers.items() for each in caller.jwt]
        self._good: dict[str, _Good] = {}

    def find(self, token: str, keys_of: Mapping[str, Sequence[Jwk]] | None = None) -> str:
        """Return whose token this is.

        Args:
            token: As it came.
            keys_of: Keys by issuer, where they were asked for; else those that are known.

        Raises:
            WrongToken: It is nobody's.
            KeyWanted: It cannot be said without asking its issuer.
        """
        good = self._good.get(token)
        if good is not None:
            good.keys.look()
            if time.time() < good.until and good.changes == good.keys.changes:
                return good.caller
            del self._good[token]
        header, issuer = self._read(token)
        keys, settings = self.keys[issuer], self._settings[issuer]
        kid = header.get("kid")
        kid = kid if isinstance(kid, str) else None
        algorithm = header.get("alg")
        if algorithm not in settings.algorithms:
            raise WrongToken(
                "algorithm", "the token is signed in a way that is not allowed here; see access.issuers.*.algorithms"
            )
        found = keys_of[issuer] if keys_of is not None else self._known(keys, kid)
        claims = self._verified(token, str(algorithm), found, issuer, settings)
        caller = next((name for name, fits in self._callers if fits(claims)), None)
        if caller is None:
            raise WrongToken("claims", "the token is good, but no caller of access.callers has its claims; add one")
        if len(self._good) >= _REMEMBERED:
            self._good.clear()
        self._good[token] = _Good(caller, float(claims["exp"]) + settings.leeway_s, keys, keys.changes)
        return caller

    @staticmethod
    def _known(keys: IssuerKeys, kid: str | None) -> Sequence[Jwk]:
        from outboard.service.access.keys import KeysUnknown  # noqa: PLC0415 - see above

        try:
            return keys.find(kid)
        except KeysUnknown:
            raise KeyWanted(keys, kid) from None

    def _read(self, token: str) -> tuple[Mapping[str, Any], str]:
        """Return the header and the issuer that a token names, neither of which is proven."""
        if len(token) > _LONGEST or token.count(".") != 2:
            raise WrongToken("token", "the bearer token is none that is known here; send a caller's own")
        try:
            header = self._jwt.get_unverified_header(token)
            issuer = self._jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (self._jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise WrongToken("token", "the bearer token cannot be read; send a caller's own") from None
        if "crit" in header:
            raise WrongToken("token", "the token demands (crit) what is not understood here; issue one without")
        if not isinstance(issuer, str) or issuer not in self.keys:
            raise WrongToken("issuer", "the token is of no issuer that access.callers names; get one of theirs")
        return header, issuer

    def _verified(
        self, token: str, algorithm: str, keys: Sequence[Jwk], issuer: str, settings: IssuerSettings
    ) -> Mapping[str, Any]:
        audiences = [text for _, fits in self._callers if fits.issuer == issuer for text in fits.audience]
        error = WrongToken("key", "the token is signed with a key that its issuer does not have; get a new one")
        for key in keys:
            public = self._public(key, algorithm)
            if public is None:
                continue
            try:
                return dict(
                    self._jwt.decode(
                        token,
                        key=public,
                        algorithms=[algorithm],
                        audience=audiences,
                        issuer=issuer,
                        leeway=settings.leeway_s,
                        options={"require": ["exp", "iss", "aud"]},
                    )
                )
            except self._jwt.PyJWTError as raised:
                error = self._wrong(raised)
                if error.reason != "signature":
                    raise error from None
            except (ValueError, TypeError, OverflowError):
                error = WrongToken("token", "the bearer token cannot be read; send a caller's own")
        raise error from None

    def _public(self, key: Jwk, algorithm: str) -> Any:
        """Return a key for an algorithm; None where it is of another kind, or weak."""
        if not algorithm.startswith(_KINDS.get(str(key.get("kty")), ())) or key.get("alg", algorithm) != algorithm:
            return None
        try:
            public = self._jwt.get_algorithm_by_name(algorithm).from_jwk(
                {name: value for name, value in key.items() if name in ("kty", "n", "e", "crv", "x", "y")}
            )
        except (self._jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            return None
        return (
            None if getattr(public, "key_size", _LEAST_RSA_BITS) < _LEAST_RSA_BITS and key["kty"] == "RSA" else public
        )

    def _wrong(self, error: Exception) -> WrongToken:
        jwt = self._jwt
        for kind, reason, words in (
            (jwt.ExpiredSignatureError, "expired", "the token has expired; get a new one"),
            (jwt.ImmatureSignatureError, "not_yet_valid", "the token is not good yet; compare the clocks"),
            (jwt.InvalidAudienceError, "audience", "the token is for another audience; get one for this service"),
            (jwt.InvalidSignatureError, "signature", "the token was not signed by its issuer; get a new one"),
            (jwt.MissingRequiredClaimError, "claims", "the token lacks exp, iss or aud; issue one that has them"),
        ):
            if isinstance(error, kind):
                return WrongToken(reason, words)
        return WrongToken("token", "the bearer token is not good; send a caller's own")


class _Fits:
    """Tells whether a good token is a caller's."""

    def __init__(self, settings: JwtSettings) -> None:
        self.issuer = settings.issuer
        self.audience = settings.audience
        self._claims = tuple((name, matcher(patterns)) for name, patterns in settings.claims.items())

    def __call__(self, claims: Mapping[str, Any]) -> bool:
        if claims["iss"] != self.issuer or not set(_texts(claims["aud"])) & set(self.audience):
            return False
        return all(any(fits(text) for text in _texts(claims.get(name))) for name, fits in self._claims)


def _texts(value: Any) -> Sequence[str]:
    """Return what a claim says: one text, or several."""
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed[:_CLAIM_VALUES] if isinstance(each, str)]
