"""What an operator decides about who may call: the section `service.access`.

Nothing secret stands in it: tokens are in files, or here as their SHA-256. What is wrong is found when it is read, not by the
first caller. Names of sections and callers become labels of metrics and fields of log lines, so they are plain and few.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the holder of a private key can make. Whoever can check HS256 can make it, and anybody can make `none`."""
ANONYMOUS: Final = "anonymous"
UNKNOWN: Final = "unknown"
KUBERNETES: Final = "https://kubernetes.default.svc"
_MOST_CALLERS: Final = 200
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_PLACEHOLDERS: Final = frozenset({"project", "domain"})
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _listed(value: Any) -> Any:
    """Take one value for a list of it."""
    return (value,) if isinstance(value, (str, Mapping, Path)) else value


def _network(value: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(value).strip()))
    except ValueError:
        raise ValueError(f"{str(value)[:60]!r} is no network; write one as 10.0.0.0/8 or fd00::/8") from None


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _url(value: str) -> str:
    """Refuse what anybody on the way could answer: keys decide who is let in."""
    parts = urlsplit(value)
    if not (parts.scheme == "https" or (parts.scheme == "http" and _is_local(value))) or not parts.hostname:
        raise ValueError("keys are only taken over https (http on this machine alone); give an https:// URL")
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Patterns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)]
Networks = Annotated[tuple[Annotated[str, BeforeValidator(_network)], ...], BeforeValidator(_listed)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_listed)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, BeforeValidator(_url)]


class _Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class IssuerSettings(_Section):
    """Where the keys of an issuer of tokens are found, and which tokens of it are taken; by the issuer's name (`iss`).

    Attributes:
        jwks_uri: Where its keys are; without one and without a file, its discovery document says so.
        jwks_file: A file with its keys, read anew when it changes; then nothing is fetched.
        ca_file: Certificates that its server is checked with, in place of the system's.
        token_file: A token to fetch the keys with, as Kubernetes' API server may ask for one.
        kubernetes: The issuer is the cluster that this process runs in: the keys are the API server's, fetched with the pod's
            own token and certificates. Understood by itself for issuers that begin with https://kubernetes.default.svc.
        algorithms: Signatures that are taken.
        leeway_s: How far clocks may differ.
        refresh_s: How old keys may grow until they are asked for again.
    """

    jwks_uri: Url | None = None
    jwks_file: Path | None = None
    ca_file: Path | None = None
    token_file: Path | None = None
    kubernetes: bool = False
    algorithms: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("RS256", "ES256", "PS256", "EdDSA")
    leeway_s: float = Field(default=60.0, ge=0, le=600)
    refresh_s: float = Field(default=300.0, ge=10)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.jwks_uri and self.jwks_file:
            raise ValueError("jwks_uri and jwks_file are both given; keep one")
        wrong = [name for name in self.algorithms if name not in ALGORITHMS]
        if wrong or not self.algorithms:
            raise ValueError(
                f"algorithms: {', '.join(wrong) or 'none'} cannot be taken; choose of {', '.join(ALGORITHMS)}"
            )
        return self


class JwtSettings(_Section):
    """Tokens of an issuer that stand for a caller.

    Attributes:
        issuer: The `iss` of the tokens, to the letter.
        audience: The `aud` that they must be for, one of these. A token for another service is no token for this one.
        claims: Further claims and what they must be (`*` stands for anything); of a claim with several values one must fit.
    """

    issuer: str = Field(min_length=1)
    audience: Texts = Field(min_length=1)
    claims: Mapping[str, Patterns] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        empty = [name for name, patterns in self.claims.items() if not patterns]
        if empty:
            raise ValueError(f"claims.{empty[0]} lists no value, so no token would fit; give one")
        return self


class RuleSettings(_Section):
    """What a caller may do, and how much. An empty list is no rule; in patterns, `*` stands for anything.

    Attributes:
        task_types: Task types.
        projects: Projects of executions.
        domains: Their domains.
        namespaces: Kubernetes namespaces of executions.
        output_prefixes: Where outputs may go: URIs up to any `/`, `{project}` and `{domain}` are the execution's, `*` is
            anything without a `/`.
        calls_per_second: Of each process. More creates wait for their turn, and are RESOURCE_EXHAUSTED when that does not come
            in half of their time; statuses and cancels are never refused for it.
        burst: How many may come at once after a pause; without one, as many as in two seconds.
        concurrent_calls: How many calls may run at once, in each process.
        request_bytes: The largest request.
    """

    task_types: Patterns = ()
    projects: Patterns = ()
    domains: Patterns = ()
    namespaces: Patterns = ()
    output_prefixes: Patterns = ()
    calls_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(default=None, ge=1)
    concurrent_calls: int | None = Field(default=None, ge=1)
    request_bytes: int | None = Field(default=None, ge=1024)

    @model_validator(mode="after")
    def _check_prefixes(self) -> Self:
        for prefix in self.output_prefixes:
            wrong = [name for name in re.findall(r"\{([^}]*)\}", prefix) if name not in _PLACEHOLDERS]
            if wrong:
                raise ValueError(f"output_prefixes: {{{wrong[0]}}} is not known; use {{project}} and {{domain}}")
        if self.burst is not None and self.calls_per_second is None:
            raise ValueError("burst is given without calls_per_second; give both")
        return self

    @property
    def is_binding(self) -> bool:
        """Whether anything depends on what a handle says."""
        return bool(self.task_types or self.is_scoped)

    @property
    def is_scoped(self) -> bool:
        """Whether anything depends on whose execution it is."""
        return bool(self.projects or self.domains or self.namespaces or self.output_prefixes)


class CallerSettings(RuleSettings):
    """A caller: how it is known, what it may do, and how much. Any of its identities will do.

    Attributes:
        certificate: Client certificates, by `spiffe://...` or another URI, `dns:NAME`, `email:NAME`, `cn:NAME` or
            `subject:NAME` (RFC 4514, as the proxy spells it); a bare name is a DNS name. `*` stands for anything.
        token_file: Files with bearer tokens, one a line; all are good at once, and files are read anew when they change.
        token_sha256: SHA-256 of bearer tokens, in hexadecimal.
        jwt: Tokens of an issuer.
        networks: Addresses that it calls from: of its pods, or of its proxy.
    """

    certificate: Patterns = ()
    token_file: Paths = ()
    token_sha256: Annotated[tuple[Sha256, ...], BeforeValidator(_listed)] = ()
    jwt: Annotated[tuple[JwtSettings, ...], BeforeValidator(_listed)] = ()
    networks: Networks = ()

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if not (self.certificate or self.token_file or self.token_sha256 or self.jwt or self.networks):
            raise ValueError("nobody is this caller; give it a certificate, token_file, token_sha256, jwt or networks")
        return self

    @property
    def is_certified_alone(self) -> bool:
        """Whether nothing but a certificate makes somebody this caller."""
        return bool(self.certificate) and not (self.token_file or self.token_sha256 or self.jwt or self.networks)


class ProxySettings(_Section):
    """A proxy beside this process that ends TLS and says whose certificate it saw.

    Attributes:
        networks: Where it calls from: loopback addresses only, for others could be anybody; a Unix socket is always one.
        header: Where it says so, in Envoy's form; it must remove what clients send under this name.
    """

    networks: Networks = ("127.0.0.0/8", "::1/128")
    header: Literal["x-forwarded-client-cert"] = "x-forwarded-client-cert"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for text in self.networks:
            network = ipaddress.ip_network(text)
            if not any(network.version == own.version and network.subnet_of(own) for own in _LOOPBACK):  # type: ignore[arg-type]
                raise ValueError(f"{text} is not on this machine, and others could send the header too; use loopback")
        return self


class AccessSettings(_Section):
    """Who may call, and do what. Without this section, whoever reaches the port may do everything.

    Attributes:
        callers: By name; of several that fit, the first one counts.
        anonymous: What callers may do that are none of these; without it they are refused. Health is always answered.
        issuers: How tokens of an issuer are checked, by its `iss`; one that is not here is asked where its keys are.
        proxy: Trust what a proxy on this machine says of client certificates.
        metadata: Who may list agents and read the schema (reflection): `callers`, or `anyone`.
        enforce: False lets everybody do everything, and tells in the log and the metrics who would be refused.
    """

    callers: Mapping[str, CallerSettings] = Field(default_factory=dict)
    anonymous: RuleSettings | None = None
    issuers: Mapping[str, IssuerSettings] = Field(default_factory=dict)
    proxy: ProxySettings | None = None
    metadata: Literal["callers", "anyone"] = "callers"
    enforce: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.callers) > _MOST_CALLERS:
            raise ValueError(
                f"there are {len(self.callers)} callers, and each is a label of metrics: at most {_MOST_CALLERS}"
            )
        for name in self.callers:
            if not _NAME.fullmatch(name) or name in (ANONYMOUS, UNKNOWN):
                raise ValueError(f"a caller cannot be called {name[:60]!r}; use a-z, 0-9, dots, dashes and underscores")
        if not self.callers and self.anonymous is None:
            raise ValueError("nobody may call; name callers, or say what anonymous ones may do")
        for issuer in self.used_issuers:
            found = self.issuers.get(issuer)
            if found is None or not (found.jwks_file or found.jwks_uri or found.kubernetes):
                try:
                    _url(issuer)
                except ValueError:
                    raise ValueError(
                        f"issuer {issuer[:100]!r} is no https:// URL; give issuers its jwks_file or jwks_uri"
                    ) from None
        return self

    @property
    def used_issuers(self) -> tuple[str, ...]:
        """The issuers that callers name, each once."""
        return tuple(dict.fromkeys(jwt.issuer for caller in self.callers.values() for jwt in caller.jwt))

    @property
    def is_binding(self) -> bool:
        """Whether anything depends on what a handle says."""
        rules: list[RuleSettings] = [*self.callers.values(), *([] if self.anonymous is None else [self.anonymous])]
        return any(each.is_binding for each in rules)
