"""Secrets of Kubernetes, read by its API: `GET /api/v1/namespaces/{namespace}/secrets/{name}`.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/. One GET reads all keys of a Secret.
The kubelet replaces the service account's token while we run, so its file is read for every question; after a 401 it is read once
more. Namespaces are a boundary only as far as RBAC makes them one: see docs/secrets.md for the Role.

Flyte 2 keeps its secrets under names of its own (flyteplugins/go/tasks/pluginmachinery/secret: `EncodeSecretName`,
`EncodeK8sSecretName`): for project and domain, then for the domain, then for the organization.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from outboard.domain.secret_names import NamePattern, UnfitName, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.host.secrets.ports import Document, Place, Reader
from outboard.host.secrets.stores.asking import Answer, Asking, read_credential, refusal, setting_error
from outboard.host.store_settings import KubernetesStore

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_FLYTE2_ORG: Final = "flyte"
"""What open-source Flyte 2 takes for the organization that it does not have (`DefaultOrganization`)."""


class KubernetesSecrets:
    """A cluster's Secrets.

    Args:
        settings: Where they are.
        learn: Takes our own credentials, which must not leave either.
    """

    def __init__(self, settings: KubernetesStore, learn: Callable[[str], None]) -> None:
        self._settings = settings
        self._learn = learn
        self._server = settings.server or _in_cluster()
        self._namespace = NamePattern(settings.namespace)
        self._secret = NamePattern(settings.secret)
        self._key = NamePattern(settings.key)
        self._asking = Asking(settings.ca_file if self._server.startswith("https:") else None)

    @property
    def is_scoped(self) -> bool:
        """Whether each project has Secrets of its own."""
        patterns = (self._namespace, self._secret, self._key)
        return self._settings.layout == "flyte2" or any(each.is_scoped for each in patterns)

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference is: `namespace/secret#key`."""
        values = values_of(ref, reader.scope)
        namespace = self._namespace.render(values)
        if not _NAMESPACE.fullmatch(namespace):
            raise UnfitName("its project and domain make no namespace")
        if self._settings.layout == "flyte2":
            return [_flyte2_place(namespace, ref, *where) for where in _flyte2_scopes(reader)]
        if ref.version and "version" not in self._secret.names | self._key.names:
            raise UnfitName("it has a version, which Secrets have not")
        is_grouped = bool(ref.group) or "group" not in self._secret.names
        secret = self._secret.render(values) if is_grouped else self._settings.ungrouped
        if not secret:
            raise UnfitName("it has no group")
        if not _NAME.fullmatch(secret):
            raise UnfitName(f"{secret!r} is no name of a Secret, which are in lower case without underscores")
        return [Place(f"{namespace}/{secret}", self._key.render(values))]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:  # noqa: ARG002 - nothing to renew here
        """Return a Secret's data."""
        namespace, _, secret = document.partition("/")
        url = f"{self._server}/api/v1/namespaces/{namespace}/secrets/{secret}"
        token = self._token()
        answer = await self._get(url, token)
        if answer.status == 401 and (newer := self._token()) != token:
            answer = await self._get(url, newer)
        if answer.status == 404:
            return None
        content = answer.content
        if answer.status != 200 or not isinstance(content, dict):
            words = content.get("message") if isinstance(content, dict) else ""
            raise refusal(answer, words if isinstance(words, str) else "")
        metadata = content.get("metadata")
        version = metadata.get("resourceVersion", "") if isinstance(metadata, dict) else ""
        return Document(fields=_decoded(content.get("data")), version=str(version))

    async def close(self) -> None:
        """Close the session."""
        await self._asking.close()

    def _token(self) -> str:
        return read_credential(self._settings.token_file, "token_file", self._learn)

    async def _get(self, url: str, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return await self._asking.ask("GET", url, headers=headers)


def _decoded(data: Any) -> Mapping[str, str]:
    """Return a Secret's fields; what is not text is none of ours."""
    fields = {}
    for name, value in (data or {}).items() if isinstance(data, dict) or data is None else ():
        try:
            fields[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            continue
    return fields


def _in_cluster() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise setting_error("server", "this process runs in no cluster; give the API server's address")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _flyte2_scopes(reader: Reader) -> Sequence[tuple[str, str, str]]:
    scope = reader.scope
    org = scope.org or _FLYTE2_ORG
    found = [(org, scope.domain, scope.project), (org, scope.domain, ""), (org, "", "")]
    return [each for at, each in enumerate(found) if each not in found[:at]]


def _flyte2_place(namespace: str, ref: SecretRef, org: str, domain: str, project: str) -> Place:
    parts = (org, domain, project, ref.key)
    if ref.group or ref.version:
        raise UnfitName("it has a group, which Flyte 2's secrets have not")
    if any("__" in part for part in parts):
        raise UnfitName("it holds '__', which separates the parts of Flyte 2's names")
    name = f"u__org__{org}__domain__{domain}__project__{project}__key__{ref.key}"
    return Place(f"{namespace}/{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}", name)
