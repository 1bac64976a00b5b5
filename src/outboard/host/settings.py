"""What an operator decides about a host; about its secrets, see `secret_settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator

from outboard.domain.egress import Egress
from outboard.host.secret_settings import SecretSettings

_HOST: Final = re.compile(r"(?:\*\.)?(?![0-9.]+$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")

__all__ = ["HostSettings", "RateSettings", "SecretSettings"]


class RateSettings(BaseModel):
    """A rate that the operator sets in place of a declared one.

    Attributes:
        per_second: Calls per second that may go on for ever, of all replicas together.
        burst: Calls that may be made at once after a pause.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    per_second: float = Field(gt=0, allow_inf_nan=False)
    burst: int = Field(default=1, ge=1)


class EgressSettings(BaseModel):
    """Where addresses that tasks choose may lead; by default to public ones only.

    Attributes:
        allow_hosts: Hosts that may be reached wherever they are, as `hooks.corp.example` or `*.corp.example`.
        allow_networks: Networks that may be reached although they are private, as `10.20.0.0/16`.
        deny_networks: Networks that may not be reached although they are public; they win over `allow_networks`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    allow_hosts: tuple[str, ...] = ()
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    deny_networks: tuple[IPvAnyNetwork, ...] = ()

    @field_validator("allow_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not _HOST.fullmatch(pattern):
                raise ValueError(
                    f"{pattern!r} is no host; write hooks.corp.example or *.corp.example, and addresses under allow_networks"
                )
        return tuple(pattern.rstrip(".").lower() for pattern in value)

    def rules(self) -> Egress:
        """Return what follows from them."""
        return Egress(
            allow_hosts=self.allow_hosts, allow_networks=self.allow_networks, deny_networks=self.deny_networks
        )


class TracingSettings(BaseModel):
    """Whether and where calls are traced; what is left out is as OpenTelemetry's own variables (`OTEL_*`) say.

    Attributes:
        enabled: None is on where an endpoint is named, here or by `OTEL_EXPORTER_OTLP_ENDPOINT`, and the extra `otel` is there.
        endpoint: Where the collector is: `http://collector:4317` (gRPC), `http://collector:4318` (HTTP); https is with TLS.
        protocol: `grpc` or `http/protobuf`.
        sample_ratio: The share of traces that are kept, of those that begin here; callers decide for their own.
        headers: Sent with every export; secrets.
        service_name: `service.name` of the spans; `outboard` where nobody says otherwise.
        tell_platforms: Also send `traceparent` with calls to platforms over HTTP.
        export_limit: How long one export may take.
        flush: How long the end of the process may wait for what is left to be exported.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    enabled: bool | None = None
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    protocol: Literal["grpc", "http/protobuf"] | None = None
    sample_ratio: float | None = Field(default=None, ge=0, le=1)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    service_name: str | None = Field(default=None, min_length=1)
    tell_platforms: bool = False
    export_limit: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    flush: timedelta = Field(default=timedelta(seconds=3), ge=timedelta(0))


class HostSettings(BaseModel):
    """Settings of a host. Times are in seconds on the wire of YAML and environment, `timedelta` here.

    Attributes:
        installation: The installation id in every submission key: equal on all replicas, unique among installations
            that share a platform account.
        service_keys: Base64 keys of 32 bytes; the first seals handles, the others are still read.
        accept_clear_handles: Also read handles that are not sealed although there are service keys; for the time in which
            jobs are under way that were started without.
        accept_flytekit_handles: Also follow jobs that flytekit's own connector service started, by its JSON handles; for
            the time in which such jobs are under way. Anybody can write such handles.
        secrets: Where secrets are looked up.
        egress: Where addresses that tasks choose may lead.
        records: Where submission records are written, as a path or URI that all replicas share; empty puts each beside its
            task's outputs.
        submission_limit: For how long a process may submit on one claim; another one takes over 30 s later.
        status_limit: How long the first poll of a job waits for the platform; then it is answered what is certain.
        status_wait: How long a later poll waits, and only where an answer may be expected in that time; then the last
            known status is answered, and the answer is there for the next poll.
        status_call_limit: How long a question to a platform may take.
        cancel_wait: How long DeleteTask waits for the end after the platform accepted the cancel.
        cancel_watch: How long an accepted cancel is confirmed and repeated in the background.
        cancel_refusals: How many times DeleteTask of one handle may be answered with an error, by all replicas together; 0 is
            without limit, as it is for Flyte 2 anyway, whose engine counts none.
        idle_client: When an unused client is closed.
        remembered: How many jobs and answers are kept in memory.
        answer_retention: How long answers of sync agents and handles of finished submissions are kept for repeated
            requests.
        unreachable_after: Silence of a platform after which the phase says so once.
        unauthorized_after: The same for refused credentials.
        quotas: By platform and its method, rates that hold in place of the declared ones.
        replicas: How many replicas share the platforms' quotas.
        replicas_dns: The name of a headless service, whose addresses are the replicas; they are counted every 15 s, and
            `replicas` holds until they were.
        processes: How many processes share a replica's part.
        inline_limit_bytes: Outputs above this are written as `outputs.pb` instead of answered.
        tracing: Whether and where calls are traced.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    installation: str = "development"
    service_keys: tuple[SecretStr, ...] = ()
    accept_clear_handles: bool = False
    accept_flytekit_handles: bool = False
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    records: str = ""
    submission_limit: timedelta = timedelta(seconds=60)
    status_limit: timedelta = Field(default=timedelta(seconds=1), ge=timedelta(0))
    status_wait: timedelta = Field(default=timedelta(milliseconds=200), ge=timedelta(0))
    status_call_limit: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    cancel_wait: timedelta = timedelta(seconds=2)
    cancel_watch: timedelta = timedelta(minutes=30)
    cancel_refusals: int = Field(default=3, ge=0)
    idle_client: timedelta = timedelta(minutes=10)
    remembered: int = Field(default=200_000, ge=1)
    answer_retention: timedelta = timedelta(minutes=10)
    unreachable_after: timedelta = timedelta(minutes=5)
    unauthorized_after: timedelta = timedelta(minutes=1)
    quotas: Mapping[str, Mapping[str, RateSettings]] = Field(default_factory=dict)
    replicas: int = Field(default=1, ge=1)
    replicas_dns: str = ""
    processes: int = Field(default=1, ge=1)
    inline_limit_bytes: int = 3 * 1024 * 1024
    tracing: TracingSettings = Field(default_factory=TracingSettings)
