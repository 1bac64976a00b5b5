"""What an operator decides about TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

SECTION = "service.tls"
_File = Annotated[Path, AfterValidator(Path.expanduser)]


class TlsSettings(BaseModel):
    """TLS of a service's ports; all files are PEM, and may be replaced while it serves.

    Attributes:
        certificate: The service's certificate, intermediate ones after it (`tls.crt`).
        key: Its key, without a passphrase (`tls.key`).
        client_ca: Authorities of clients (`ca.crt`): whoever connects must show a certificate of one of these.
        require_client_certificate: False does not ask for certificates although `client_ca` is there. None asks where it is.
            There is no third way, because gRPC for Python has none: a certificate is required, or not looked at.
        callbacks: Whether the port for callbacks speaks TLS too, with the same certificate and without asking for any. False
            is for an ingress that speaks plain HTTP to it.
        reload_s: How often the files are looked at.
        handshake_s: How long a client may take from connecting to its first frames.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    certificate: _File
    key: _File
    client_ca: _File | None = None
    require_client_certificate: bool | None = None
    callbacks: bool = True
    reload_s: float = Field(default=10.0, gt=0, le=86400)
    handshake_s: float = Field(default=10.0, ge=1, le=600)

    @model_validator(mode="after")
    def _check_authorities(self) -> Self:
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError("require_client_certificate needs client_ca; name the file with the clients' authorities")
        return self

    @property
    def asks_clients(self) -> bool:
        """Whether clients must show a certificate."""
        return self.client_ca is not None and self.require_client_certificate is not False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that count."""
        ca = (self.client_ca,) if self.client_ca is not None and self.asks_clients else ()
        return (self.certificate, self.key, *ca)
