"""How a client knows the service that it calls, and shows who it is.

All of it is files, which are read anew when they change: certificates at the next call, which then goes over a new connection,
and a token with every call. Nothing of them is kept in the journal but their paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

SECTION: Final = "client"
_File = Annotated[Path, AfterValidator(Path.expanduser)]


class Credentials(BaseModel):
    """What a client has for one service, or for all; the section `client` of the settings file.

    Attributes:
        ca: Authorities that vouch for the service (PEM); None is the system's own.
        certificate: The client's certificate (PEM), for services that require one.
        key: Its key.
        server_name: The name that the service's certificate must have, where the address is not it.
        token_file: A file whose text is sent with each call, as `authorization: Bearer`.
        token_in_clear: Send it also where nothing encrypts it: in plain text, to another machine.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    ca: _File | None = None
    certificate: _File | None = None
    key: _File | None = None
    server_name: str | None = Field(default=None, min_length=1)
    token_file: _File | None = None
    token_in_clear: bool = False

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            missing, other = ("key", "certificate") if self.key is None else ("certificate", "key")
            raise ValueError(f"{missing} is missing beside {other}; give both, they may be in one file")
        return self

    @property
    def is_about_tls(self) -> bool:
        """Whether anything here makes sense with TLS only."""
        return any((self.ca, self.certificate, self.server_name))

    def over(self, other: Credentials) -> Self:
        """Return these, with what they do not say from others."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if "certificate" not in said and "key" not in said:
            said |= {"certificate": other.certificate, "key": other.key}
        rest = ("ca", "server_name", "token_file", "token_in_clear")
        return self.model_copy(update={name: getattr(other, name) for name in rest if name not in said} | said)


NOTHING: Final = Credentials()
"""The system's authorities, and no word about who calls."""


class ClientSettings(Credentials):
    """The section `client`: what holds for all services, and for some by name.

    Attributes:
        services: By the name in a FlytePropeller configuration, or by address as it is typed: what is different there.
    """

    services: Mapping[str, Credentials] = Field(default_factory=dict)

    def of(self, *names: str, is_only: bool, is_plain: bool) -> Credentials:
        """Return what there is for a service.

        Args:
            names: What it is called.
            is_only: It was named by the user. Among the services of a configuration a token goes only to those that `services`
                gives it to: each could use it elsewhere in this client's name.
            is_plain: It is called in plain text, so what holds for all and is about TLS is not for it.
        """
        wanted = [*(("ca", "certificate", "key", "server_name") if not is_plain else ()), "token_in_clear"]
        if is_only:
            wanted.append("token_file")
        common = Credentials(**{name: value for name in wanted if (value := getattr(self, name))})
        named = next((self.services[name] for name in names if name in self.services), None)
        return common if named is None else named.over(common)
