"""HashiCorp Vault and OpenBao, by their HTTP API: https://developer.hashicorp.com/vault/api-docs.

A login lasts for a while. It is renewed before it ends (`auth/token/renew-self`), and made anew where it cannot be; a token that
something else keeps in a file (an agent beside us) is read for every question. Vault answers 403 both for a token that has
ended and for a policy that denies: `auth/token/lookup-self` tells which, since the first is an outage of our login and the second
the store's own word.

Engines that lend (`database/creds/...`, `aws/creds/...`) make a new credential at every read. What was lent is kept and its lease
renewed; a new one is asked for when the lease grants too little more, or when a platform refused what we had. Nothing is
revoked when this process ends: jobs that it started may still run on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from outboard.agent.renewal import Renewed
from outboard.domain.secret_names import NamePattern, UnfitName, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.errors import Forbidden, SecretsUnavailable, Unauthorized
from outboard.host.secrets.ports import Document, Place, Reader, as_text
from outboard.host.secrets.stores.asking import Answer, Asking, read_credential, refusal
from outboard.host.store_settings import VaultStore

_VERSION: Final = "?version="
_WORTH_S: Final = 30.0


class VaultSecrets:
    """A Vault.

    Args:
        settings: Where it is and who we are.
        learn: Takes our own credentials, which must not leave either.
    """

    def __init__(self, settings: VaultStore, learn: Callable[[str], None]) -> None:
        self._settings = settings
        self._learn = learn
        self._path = NamePattern(settings.path)
        self._field = NamePattern(settings.field)
        self._mount = settings.mount.strip("/")
        self._asking = Asking(settings.ca_file)
        self._logged_in: Renewed[str] = Renewed(self._login)
        self._held = ""
        self._leases: dict[str, tuple[str, Document]] = {}

    @property
    def is_scoped(self) -> bool:
        """Whether each project has paths of its own."""
        return self._path.is_scoped or self._field.is_scoped

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference is: `path#field`."""
        values = values_of(ref, reader.scope)
        path = self._path.render(values)
        if ref.version and "version" not in self._path.names | self._field.names:
            if self._settings.engine != "kv2" or not ref.version.isdigit():
                raise UnfitName("its version is no number of a version of kv2")
            path += f"{_VERSION}{ref.version}"
        return [Place(path, self._field.render(values))]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:
        """Return what is kept or lent at a path."""
        if is_refused:
            self._leases.pop(document, None)
        elif (lease := self._leases.get(document)) is not None:
            renewed = await self._renew_lease(*lease)
            if renewed is not None:
                return renewed
        path, _, version = document.partition(_VERSION)
        kind = "data/" if self._settings.engine == "kv2" else ""
        answer = await self._ask("GET", f"{self._mount}/{kind}{path}", {"version": version} if version else None)
        self._leases.pop(document, None)
        if answer.status == 404:
            return None
        return self._read(document, _mapping(answer.content))

    async def close(self) -> None:
        """Close the session."""
        await self._logged_in.close()
        await self._asking.close()

    def _read(self, document: str, content: Mapping[str, Any]) -> Document:
        data = _mapping(content.get("data"))
        version = ""
        if self._settings.engine == "kv2":
            version = str(_mapping(data.get("metadata")).get("version", ""))
            data = _mapping(data.get("data"))
        fields = {name: text for name, value in data.items() if (text := as_text(value)) is not None}
        if self._settings.engine != "lease":
            return Document(fields=fields, version=version)
        lifetime_s, lease = _seconds(content.get("lease_duration")), content.get("lease_id")
        made = Document(fields=fields, version=str(lease or ""), lifetime_s=lifetime_s or None)
        if lease and content.get("renewable"):
            self._leases[document] = (str(lease), made)
        return made

    async def _renew_lease(self, lease: str, made: Document) -> Document | None:
        """Return what was lent with the time that it has now; None where a new one is needed."""
        try:
            answer = await self._ask("PUT", "sys/leases/renew", body={"lease_id": lease})
        except (Forbidden, SecretsUnavailable):
            return (
                None  # it has ended, or may not be renewed, or nobody answers: the question for a new one tells which
            )
        granted_s = _seconds(_mapping(answer.content).get("lease_duration"))
        if granted_s < max(_WORTH_S, (made.lifetime_s or 0.0) / 2) and granted_s < (made.lifetime_s or 0.0):
            return None  # its longest time is near
        return Document(fields=made.fields, version=made.version, lifetime_s=granted_s)

    async def _ask(self, verb: str, path: str, params: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """Return an answer below 400 or a 404; a login that has ended is made anew once."""
        token = await self._token()
        answer = await self._send(verb, path, token, params, body)
        if answer.status == 403 and not await self._is_good(token):
            if self._settings.token_file is None:
                self._held = ""
                await self._logged_in.close()
                self._logged_in = Renewed(self._login)
            again = await self._token()
            if again == token:
                raise Unauthorized("it refuses our token; put a new one in token_file")
            answer = await self._send(verb, path, again, params, body)
        if answer.status >= 300 and answer.status != 404:
            raise refusal(answer, _words(answer))
        return answer

    async def _is_good(self, token: str) -> bool:
        answer = await self._send("GET", "auth/token/lookup-self", token)
        return answer.status not in (401, 403)

    async def _send(
        self, verb: str, path: str, token: str, params: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        return await self._asking.ask(
            verb, f"{self._settings.address}/v1/{path}", headers=headers, params=params, body=body
        )

    async def _token(self) -> str:
        if self._settings.token_file is not None:
            return read_credential(self._settings.token_file, "token_file", self._learn)
        return await self._logged_in.value()

    async def _login(self) -> tuple[str, float | None]:
        """Return a token and its seconds: the one that we have, renewed, or a new one."""
        if self._held:
            answer = await self._send("POST", "auth/token/renew-self", self._held, body={})
            granted_s = _seconds(_mapping(_mapping(answer.content).get("auth")).get("lease_duration"))
            if answer.status == 200 and granted_s > _WORTH_S:
                return self._held, granted_s
        path, body = self._proof()
        answer = await self._send("POST", path, "", body=body)
        auth = _mapping(_mapping(answer.content).get("auth"))
        token = auth.get("client_token")
        if answer.status != 200 or not isinstance(token, str) or not token:
            if answer.status in (400, 401, 403):
                raise Unauthorized(f"it refuses our login: {_words(answer)[:200] or f'HTTP {answer.status}'}")
            raise refusal(answer, _words(answer))
        self._learn(token)
        self._held = token if auth.get("renewable") else ""
        return token, _seconds(auth.get("lease_duration")) or None

    def _proof(self) -> tuple[str, Mapping[str, str]]:
        """Return where we log in and with what."""
        role, kubernetes = self._settings.app_role, self._settings.kubernetes
        if role is not None:
            secret = read_credential(role.secret_id_file, "app_role.secret_id_file", self._learn)
            return f"auth/{role.mount.strip('/')}/login", {"role_id": role.role_id, "secret_id": secret}
        assert kubernetes is not None  # noqa: S101 - the settings have one login
        jwt = read_credential(kubernetes.token_file, "kubernetes.token_file", self._learn)
        return f"auth/{kubernetes.mount.strip('/')}/login", {"role": kubernetes.role, "jwt": jwt}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _words(answer: Answer) -> str:
    """Return what Vault says is wrong."""
    errors = _mapping(answer.content).get("errors")
    return "; ".join(each.strip() for each in errors if isinstance(each, str)) if isinstance(errors, list) else ""
