"""Files that rendered settings name, made on this machine as a cluster has them: tokens, issuers' keys, authorities."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

_MOUNTED: Final = "/etc/outboard/"
_ISSUED: Final = ("tls.crt", "tls.key")


class Placed:
    """Files below a folder.

    Args:
        home: The folder.

    Attributes:
        authority: Who issues every certificate.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.authority = trustme.CA()
        self._service = self.authority.issue_cert("localhost")
        self._clients: dict[str, trustme.LeafCert] = {}

    def moved(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings that name files of this machine, which are there."""
        return {key: self._moved(value) for key, value in settings.items()}

    def _moved(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(_MOUNTED):
            return str(self._written(value))
        if isinstance(value, dict):
            return self.moved(value)
        return [self._moved(each) for each in value] if isinstance(value, list) else value

    def _written(self, path: str) -> Path:
        file = self._home / path.removeprefix("/")
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self._content(path))
        return file

    def _content(self, path: str) -> bytes:
        name = path.rpartition("/")[2]
        if name in _ISSUED:
            own = self._service if "/files/" not in path else self._client(path)
            return own.cert_chain_pems[0].bytes() if name == "tls.crt" else own.private_key_pem.bytes()
        if name.endswith((".crt", ".pem")):
            return self.authority.cert_pem.bytes()
        if name == "jwks.json":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
            shown = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
            return json.dumps({"keys": [{**shown, "kid": "1", "alg": "RS256", "use": "sig"}]}).encode()
        return secrets.token_urlsafe(32).encode()

    def _client(self, path: str) -> trustme.LeafCert:
        """Return the certificate of the Secret that a path is of, always the same one."""
        name = Path(path).parent.name
        if name not in self._clients:
            self._clients[name] = self.authority.issue_cert(f"{name}.example.com", common_name=name)
        return self._clients[name]
