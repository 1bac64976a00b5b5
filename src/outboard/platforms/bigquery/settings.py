"""What the operator decides about BigQuery, and what of it travels with a job's handle."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from outboard.agent import Connection, SecretRef, SecretScope, Settings

GOOGLE_API: Final = "https://bigquery.googleapis.com"
IAM_API: Final = "https://iamcredentials.googleapis.com"
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
SDK_SECRET: Final = "google_application_credentials"  # noqa: S105 - the name by which Flyte 2's task asks for it
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

ProjectId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
Location = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
ServiceAccount = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,63}@[A-Za-z0-9.-]+\.gserviceaccount\.com$")]
Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Login(str, Enum):
    """How access tokens are had.

    `GOOGLE`: from a service account's JSON key where a secret holds one, else from what the machine offers (workload
    identity, metadata server, `GOOGLE_APPLICATION_CREDENTIALS`). `TOKEN`: the secret is an access token itself, which
    somebody else renews. `NONE`: no token is sent; for emulators.
    """

    GOOGLE = "google"
    TOKEN = "token"  # noqa: S105 - a way to log in
    NONE = "none"


class BigQuerySettings(Settings):
    """Settings of the BigQuery platform.

    Attributes:
        endpoint: Where the API is; another one for private endpoints and emulators. Tasks cannot choose it.
        iam_endpoint: Where the IAM Credentials API is, which impersonation asks for tokens.
        token_uri: Where service-account keys are exchanged for tokens; a key that names another address is refused.
        console: Where links lead.
        login: How access tokens are had.
        secret: The key of the secret with the service account's JSON key, or the token; empty uses the machine's own identity.
            What Flyte 2 sends as `google_application_credentials` goes before it.
        secret_scope: `project` looks the secret up per Flyte project and domain first.
        impersonate: The service account to act as, where nothing below says another; empty acts as who logged in.
        impersonate_by_project: The same by Flyte `project` or `project-domain`.
        allowed_service_accounts: Patterns of those that a task may ask for by its `run_as` (`security_context`); none by default.
        allowed_projects: Patterns of Google Cloud projects that jobs may be billed to.
        location: For tasks that name none; without it a dry run finds out where the query's data are.
        maximum_bytes_billed: No job may be billed for more; a task may ask for less.
        preflight: Estimate each query that has a byte limit by a dry run first, so that one beyond it is never started.
        datetime_parameter: What a datetime input is for BigQuery unless the task declares it; `DATETIME` is what flytekit sends.
        price_per_tib: The on-demand price; None estimates none.
        price_per_tib_by_location: The same where it differs, by location.
        price_per_slot_hour: For jobs that ran in a reservation.
        labels: Put on every job, beside its provenance.
    """

    endpoint: str = GOOGLE_API
    iam_endpoint: str = IAM_API
    token_uri: str = TOKEN_URI
    console: str = "https://console.cloud.google.com"
    login: Login = Login.GOOGLE
    secret: str = ""
    secret_scope: SecretScope = SecretScope.SERVICE
    impersonate: ServiceAccount | Literal[""] = ""
    impersonate_by_project: Mapping[str, ServiceAccount] = Field(default_factory=dict)
    allowed_service_accounts: tuple[str, ...] = ()
    allowed_projects: tuple[str, ...] = ("*",)
    location: Location | None = None
    maximum_bytes_billed: int | None = Field(default=None, gt=0)
    preflight: bool = False
    datetime_parameter: Literal["DATETIME", "TIMESTAMP"] = "DATETIME"
    price_per_tib: Price | None = None
    price_per_tib_by_location: Mapping[str, Price] = Field(default_factory=dict)
    price_per_slot_hour: Price | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("endpoint", "iam_endpoint", "token_uri", "console")
    @classmethod
    def _check_address(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return address.rstrip("/")
        raise ValueError(f"{address!r} is no https address; only 127.0.0.1 and localhost may be asked without TLS")

    @model_validator(mode="after")
    def _check_login(self) -> Any:
        if self.login is Login.TOKEN and not self.secret:
            raise ValueError("login: token needs `secret`, the key of the secret that holds the access token")
        if self.login is Login.NONE and (urlsplit(self.endpoint).hostname or "").endswith("googleapis.com"):
            raise ValueError("login: none is for emulators; Google's own endpoint needs a login")
        return self

    def allows_project(self, project: str) -> bool:
        """Tell whether jobs may be billed to a Google Cloud project."""
        return any(fnmatchcase(project, pattern) for pattern in self.allowed_projects)

    def allows_service_account(self, email: str) -> bool:
        """Tell whether a task may ask to act as a service account."""
        return any(fnmatchcase(email, pattern) for pattern in self.allowed_service_accounts)


class BigQueryConnection(Connection):
    """Where and as whom a job runs.

    Attributes:
        project: The Google Cloud project that the job is billed to.
        endpoint: Where the API is.
        login: How access tokens are had.
        credentials: The secret to log in with; None is the machine's own identity.
        impersonate: The service account to act as; empty acts as who logged in.
    """

    project: str
    endpoint: str = GOOGLE_API
    login: Login = Login.GOOGLE
    credentials: SecretRef | None = None
    impersonate: str = ""
