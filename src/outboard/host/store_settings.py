"""What an operator decides about stores of secrets, one model for each kind, and about who may read what.

Every remote store has the same fields for its time limits and its memory. Nothing of a store's own library is imported here, and
this module itself only where the settings have stores or rules (see `secret_settings`).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from outboard.domain.secret_names import NamePattern, check_match

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def _pattern(separator: str) -> AfterValidator:
    def check(text: str) -> str:
        NamePattern(text, separator)
        return text

    return AfterValidator(check)


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if not text:
        return text
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("this must be the address of the store, as in https://vault.example.com:8200")
    if parts.username or parts.password:
        raise ValueError("this must hold no password; give the store's login in fields of its own")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("this would send secrets in the clear; use https (plain http is for the loopback only)")
    return text.rstrip("/")


Matches = Annotated[str, AfterValidator(check_match)]
Url = Annotated[str, AfterValidator(_check_url)]
NameGlob = Annotated[str, Field(pattern=r"^[A-Za-z0-9._*-]+$")]
Seconds = Annotated[timedelta, Field(gt=timedelta(0))]


class Whose(BaseModel):
    """Whose tasks are meant; each list that is empty means all.

    Attributes:
        projects: Flyte projects; `*` stands for any letters.
        domains: Flyte domains, the same way.
        task_types: Names of task types, the same way.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    projects: tuple[NameGlob, ...] = ()
    domains: tuple[NameGlob, ...] = ()
    task_types: tuple[NameGlob, ...] = ()


class SecretRule(Whose):
    """Which tasks may name which secrets.

    Attributes:
        secrets: References: `key`, `group/key`, `group/version/key`. `*` stays within a part, `**` does not; `{project}` and
            `{domain}` are those of the task.
    """

    secrets: tuple[Matches, ...] = Field(min_length=1)


class StoreSettings(Whose):
    """What every store has.

    Attributes:
        name: What logs and metrics call it; its kind where it is empty.
        names: References that are looked up here, as in a rule; none means all.
    """

    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,60}$")
    names: tuple[Matches, ...] = ()


class EnvironmentStore(StoreSettings):
    """Environment variables, `<prefix>[GROUP_][VERSION_]KEY`.

    Attributes:
        prefix: What they begin with; `env_prefix` where it is not given.
    """

    kind: Literal["environment"]
    prefix: str | None = None


class FilesStore(StoreSettings):
    """Files, `<directory>/[group/][version/]<file_prefix>key` in lower case: mounted secrets.

    Attributes:
        directory: May hold `{project}`, `{domain}` and `{namespace}`: a directory for each. `directory` of the section where it
            is not given.
        file_prefix: What the names of files begin with.
    """

    kind: Literal["files"]
    directory: str | None = None
    file_prefix: str | None = None

    @field_validator("directory")
    @classmethod
    def _check_directory(cls, text: str | None) -> str | None:
        if text is not None:
            if not text.startswith("/"):
                raise ValueError("this must be an absolute path, as in /etc/outboard/secrets/{project}-{domain}")
            pattern = NamePattern(text.strip("/"))
            if unfit := pattern.names - {"project", "domain", "namespace", "org"}:
                raise ValueError(f"this must not hold {{{min(unfit)}}}, which stands below the directory anyway")
        return text


class RemoteStore(StoreSettings):
    """What every store that is asked over the network has.

    Attributes:
        timeout: How long one question may take.
        refresh: After this a value is asked for again, behind the calls that still use it.
        outlive: For how long the last good value is used while the store does not answer.
        absent: For how long it is believed that a secret is not there.
    """

    timeout: Seconds = timedelta(seconds=5)
    refresh: Seconds = timedelta(minutes=5)
    outlive: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=1)
    absent: Seconds = timedelta(seconds=10)


class KubernetesStore(RemoteStore):
    """Secrets of Kubernetes, by its API; the pod's service account needs `get` on secrets in those namespaces.

    Attributes:
        namespace: Where a task's secrets are.
        secret: The Secret's name.
        key: The key in its data.
        ungrouped: The Secret that holds references without a group, where `secret` needs one; empty: they are not here.
        layout: `flyte2` takes Flyte 2's own names (a hash of organization, domain, project and key) in `namespace`.
        server: The API server; that of the pod's cluster where it is empty.
        token_file: The service account's token, read anew whenever it changed.
        ca_file: The cluster's certificate authority.
    """

    kind: Literal["kubernetes"]
    namespace: Annotated[str, _pattern("/")] = "{project}-{domain}"
    secret: Annotated[str, _pattern("/")] = "{group}"  # noqa: S105 - a name
    key: Annotated[str, _pattern("/")] = "{key}"
    ungrouped: str = Field(default="", pattern=r"^[a-z0-9.-]{0,253}$")
    layout: Literal["flyte1", "flyte2"] = "flyte1"
    server: Url = ""
    token_file: Path = _SERVICE_ACCOUNT / "token"
    ca_file: Path | None = _SERVICE_ACCOUNT / "ca.crt"


class AppRole(BaseModel):
    """Vault's AppRole login.

    Attributes:
        role_id: The role's id.
        secret_id_file: The file that holds the secret id, read anew at every login.
        mount: Where the method is enabled.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    role_id: str = Field(min_length=1)
    secret_id_file: Path
    mount: str = Field(default="approle", pattern=r"^[A-Za-z0-9_./-]+$")


class KubernetesLogin(BaseModel):
    """Vault's login with the pod's service account.

    Attributes:
        role: Vault's role.
        token_file: The service account's token, read anew at every login.
        mount: Where the method is enabled.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    role: str = Field(min_length=1)
    token_file: Path = _SERVICE_ACCOUNT / "token"
    mount: str = Field(default="kubernetes", pattern=r"^[A-Za-z0-9_./-]+$")


class VaultStore(RemoteStore):
    """HashiCorp Vault, or OpenBao: key-value secrets of version 2 or 1, and leases of other engines.

    Attributes:
        address: Of the server.
        namespace: Vault Enterprise's namespace.
        mount: Where the engine is mounted.
        engine: `kv2`, `kv1`, or `lease`: any path that is read and answers data with a lease, as `database/creds/...` does.
        path: Below the mount.
        field: Of the secret's data.
        token_file: A token that something else keeps fresh, read anew whenever it changed.
        app_role: Log in by AppRole.
        kubernetes: Log in with the pod's service account.
        ca_file: The server's certificate authority.
    """

    kind: Literal["vault"]
    address: Url = Field(min_length=1)
    namespace: str = Field(default="", pattern=r"^[A-Za-z0-9_./-]*$")
    mount: str = Field(default="secret", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*$")
    engine: Literal["kv2", "kv1", "lease"] = "kv2"
    path: Annotated[str, _pattern("/")] = "{group}"
    field: Annotated[str, _pattern("/")] = "{key}"
    token_file: Path | None = None
    app_role: AppRole | None = None
    kubernetes: KubernetesLogin | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if sum(each is not None for each in (self.token_file, self.app_role, self.kubernetes)) != 1:
            raise ValueError("a vault store needs one login: give token_file, app_role or kubernetes")
        return self


class AwsStore(RemoteStore):
    """AWS Secrets Manager, with the credentials that AWS's own library finds.

    Attributes:
        region: Where the secrets are; the library's own where it is empty.
        secret: The secret's name; what has no group leaves it out.
        field: A field of a secret that is JSON; empty takes the whole.
        endpoint: Another address than AWS's own: of a VPC endpoint, say.
    """

    kind: Literal["aws"]
    region: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    secret: Annotated[str, _pattern("/")] = "{group}/{key}"  # noqa: S105 - a name
    field: str = ""
    endpoint: Url = ""


class GcpStore(RemoteStore):
    """Google Secret Manager, with the credentials that Google's own library finds.

    Attributes:
        project: Google's project, where a task's secrets are.
        secret: The secret's name, its parts joined by `__`.
        field: A field of a secret that is JSON; empty takes the whole.
        credentials_file: A service account's key or a workload identity; the library's own search where it is not given.
        endpoint: Another address than Google's own.
    """

    kind: Literal["gcp"]
    project: Annotated[str, _pattern("/")]
    secret: Annotated[str, _pattern("__")] = "{group}__{key}"  # noqa: S105 - a name
    field: str = ""
    credentials_file: Path | None = None
    endpoint: Url = "https://secretmanager.googleapis.com"


class AzureStore(RemoteStore):
    """Azure Key Vault, with the credentials that Azure's own library finds.

    Attributes:
        vault: The vault's address.
        secret: The secret's name, its parts joined by `--`; `_` and `.` become `-`, which is all that Azure allows.
        field: A field of a secret that is JSON; empty takes the whole.
    """

    kind: Literal["azure"]
    vault: Url = Field(min_length=1)
    secret: Annotated[str, _pattern("--")] = "{group}--{key}"  # noqa: S105 - a name
    field: str = ""


AnyStore = Annotated[
    EnvironmentStore | FilesStore | KubernetesStore | VaultStore | AwsStore | GcpStore | AzureStore,
    Field(discriminator="kind"),
]

KINDS: Final[dict[str, type[StoreSettings]]] = {
    "environment": EnvironmentStore,
    "files": FilesStore,
    "kubernetes": KubernetesStore,
    "vault": VaultStore,
    "aws": AwsStore,
    "gcp": GcpStore,
    "azure": AzureStore,
}
