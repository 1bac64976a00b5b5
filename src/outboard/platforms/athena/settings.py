"""What the operator decides about Athena, and what of it travels with a query's handle."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from outboard.agent import Connection, SecretRef, SecretScope, Settings

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
PROVIDED_ID: Final = "aws_access_key_id"
PROVIDED_KEY: Final = "aws_secret_access_key"
PROVIDED_TOKEN: Final = "aws_session_token"  # noqa: S105 - names by which an engine may send keys

Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$", max_length=32)]
Workgroup = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]
Role = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+$", max_length=640)
]
Bucket = Annotated[
    str, StringConstraints(pattern=r"^s3://[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}(/[^'\"\s]*)?$", max_length=1024)
]
Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Login(str, Enum):
    """Where access keys come from.

    `CHAIN`: from what the machine offers, looked for in AWS's own order: environment, shared profile, web identity
    (IRSA), container and instance metadata. `KEYS`: a secret holds them.
    """

    CHAIN = "chain"
    KEYS = "keys"


class ResultFormat(str, Enum):
    """How the rows of a SELECT are written: `PARQUET` by an UNLOAD around it, `CSV` as Athena does by itself."""

    PARQUET = "parquet"
    CSV = "csv"


class AthenaSettings(Settings):
    """Settings of the Athena platform.

    Attributes:
        region: For tasks that name none.
        region_by_project: The same by Flyte `project` or `project-domain`.
        allowed_regions: Patterns of those that a task may name; by default only what the settings name.
        endpoint: Where the API is, `{region}` in it is filled in; for VPC endpoints and tests. Empty is AWS's own.
        sts_endpoint: The same for the STS API, which acting as a role asks.
        console: Where links lead; empty is AWS's own console.
        login: Where access keys come from.
        profile: The shared profile of `chain`.
        secret: The key of the secret for `keys`: access keys as JSON, or the secret access key alone.
        access_key_id: Whose secret access key that is, in the second case.
        secret_scope: `project` looks the secret up per Flyte project and domain first.
        role: The role to act as, where nothing below says another; empty acts as who logged in.
        role_by_project: The same by Flyte `project` or `project-domain`.
        allowed_roles: Patterns of those that a task may ask for by its `run_as` (`security_context`); none by default.
        external_id: Sent with it, where the roles' trust policies ask for one.
        workgroup: For tasks that name none.
        workgroup_by_project: The same by Flyte `project` or `project-domain`; a workgroup's tags are what AWS bills by.
        allowed_workgroups: Patterns of those that queries may run in.
        catalog: For tasks that name none.
        database: For tasks that name none.
        output_location: Where results go; empty is the task's own output prefix where that is on S3.
        uses_workgroup_location: Leave the place of result files to the workgroup.
        result_format: What a SELECT writes whose task declares a table.
        encryption: How result files are encrypted; None is the workgroup's or the bucket's way.
        kms_key: With which key.
        bucket_owner: The account that the result bucket must belong to.
        result_reuse_minutes: How old a result may be that is given again; 0 is never. Queries then carry no provenance.
        price_per_tb: For the estimated price; None estimates none. A TB is 2**40 bytes.
        price_per_dpu_hour: For queries on reserved capacity.
        labels: Put into the comment that says whose query it is, beside its provenance.
    """

    region: Region | None = None
    region_by_project: Mapping[str, Region] = Field(default_factory=dict)
    allowed_regions: tuple[str, ...] = ()
    endpoint: str = ""
    sts_endpoint: str = ""
    console: str = ""
    login: Login = Login.CHAIN
    profile: str = ""
    secret: str = ""
    access_key_id: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]*$", max_length=128)] = ""
    secret_scope: SecretScope = SecretScope.SERVICE
    role: Role | Literal[""] = ""
    role_by_project: Mapping[str, Role] = Field(default_factory=dict)
    allowed_roles: tuple[str, ...] = ()
    external_id: str = ""
    workgroup: Workgroup = "primary"
    workgroup_by_project: Mapping[str, Workgroup] = Field(default_factory=dict)
    allowed_workgroups: tuple[str, ...] = ("*",)
    catalog: str = "AwsDataCatalog"
    database: str = ""
    output_location: Bucket | Literal[""] = ""
    uses_workgroup_location: bool = False
    result_format: ResultFormat = ResultFormat.PARQUET
    encryption: Literal["SSE_S3", "SSE_KMS", "CSE_KMS"] | None = None
    kms_key: str = ""
    bucket_owner: Annotated[str, StringConstraints(pattern=r"^(\d{12})?$")] = ""
    result_reuse_minutes: int = Field(default=0, ge=0, le=10_080)
    price_per_tb: Price | None = Decimal(5)
    price_per_dpu_hour: Price | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("endpoint", "sts_endpoint", "console")
    @classmethod
    def _check_address(cls, address: str) -> str:
        parts = urlsplit(address.replace("{region}", "region"))
        if not address or parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return address.rstrip("/")
        raise ValueError(f"{address!r} is no https address; only 127.0.0.1 and localhost may be asked without TLS")

    @model_validator(mode="after")
    def _check_together(self) -> Any:
        if self.login is Login.KEYS and not self.secret:
            raise ValueError("login: keys needs `secret`, the key of the secret that holds the access keys")
        if (self.encryption in ("SSE_KMS", "CSE_KMS")) != bool(self.kms_key):
            raise ValueError("encryption with KMS and `kms_key` belong together; set both or none")
        return self

    def allows_region(self, region: str) -> bool:
        """Tell whether queries may run in a region."""
        named = (self.region, *self.region_by_project.values())
        return region in named or any(fnmatchcase(region, pattern) for pattern in self.allowed_regions)

    def allows_workgroup(self, workgroup: str) -> bool:
        """Tell whether queries may run in a workgroup."""
        return any(fnmatchcase(workgroup, pattern) for pattern in self.allowed_workgroups)

    def allows_role(self, role: str) -> bool:
        """Tell whether a task may ask to act as a role."""
        return any(fnmatchcase(role, pattern) for pattern in self.allowed_roles)

    def uses_role(self, role: str) -> bool:
        """Tell whether any task may act as a role, asked for or by its project."""
        return role in ("", self.role, *self.role_by_project.values()) or self.allows_role(role)


class AthenaConnection(Connection):
    """Where and as whom a query runs; checked again when it is opened, as it comes from handles too.

    Attributes:
        region: The AWS region.
        role: The role to act as; empty acts as who logged in.
        credentials: The secret that holds access keys; None is what the machine offers.
        is_provided: The keys come with the engine's requests, by the names of AWS's own variables.
        secret_key: The secret access key among them.
        session: The session token among them.
    """

    region: Region
    role: Role | Literal[""] = ""
    credentials: SecretRef | None = None
    is_provided: bool = False
    secret_key: SecretRef | None = None
    session: SecretRef | None = None
