"""Names of secrets that lead elsewhere: out of a folder, into another project's, to another question of a store's server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attack.canaries import CANARIES
from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef
from outboard.errors import MissingSecret
from outboard.host import SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.host.secrets.ports import Reader
from secret_servers import KubernetesStandIn
from tables.sections import Section

_HOSTILE: Final = {
    "climbs": "../b-production/warehouse",
    "climbs, URL-encoded": "..%2fb-production%2fwarehouse",
    "climbs, encoded twice": "%252e%252e%252fb-production",
    "climbs, backslashes": "..\\b-production\\warehouse",
    "absolute": "/etc/passwd",
    "NUL": "warehouse\0",
    "line break": "warehouse\r\nX-Vault-Token: root",
    "query": "warehouse?version=1",
    "fragment": "warehouse#password",
    "full-width dots": "．．/b-production",  # noqa: RUF001 - that is the attack
    "two-dot leader": "‥/b-production",
    "division slash": "b-production∕warehouse",  # noqa: RUF001 - same
    "placeholder": "{project}",
    "very long": "a" * 5_000,
    "nothing but dots": "..",
}


def names() -> Section:
    """Name secrets that lead elsewhere, in every part of a reference, in every kind of store."""
    rows, failures = asyncio.run(_try_names())
    return Section(
        title="path traversal in secrets' names",
        columns=("store", "tries", "refused", "requests", "values"),
        rows=rows,
        failures=failures,
        notes=[
            f"{len(_HOSTILE)} spellings as key, group and version; requests: what the store's server was asked",
            "another project's group, named outright: refused by a rule, in every spelling of a variable's name",
        ],
    )


async def _try_names() -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    cluster = KubernetesStandIn("token-of-the-test")
    cluster.allowed |= {"a-production", "b-production"}
    cluster.secrets["b-production", "warehouse"] = {"password": CANARIES["cluster"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("a-production/own", "b-production/warehouse"):
            (folder / place).mkdir(parents=True)
        (folder / "b-production/warehouse/password").write_text(CANARIES["file"])
        (folder / "token").write_text("token-of-the-test")
        async with cluster.listening():
            login = {"token_file": str(folder / "token"), "ca_file": None}
            stores: dict[str, dict[str, Any]] = {
                "environment": {"kind": "environment"},
                "files": {"kind": "files", "directory": f"{folder}/{{project}}-{{domain}}"},
                "kubernetes": {"kind": "kubernetes", "server": cluster.url, **login},
                "vault": {"kind": "vault", "address": cluster.url, "path": "{project}/{group}", **login},
            }
            for kind, store in stores.items():
                rows.append(await _try_store(kind, store, cluster, failures))
            rows.append(await _try_rules(failures))
    return rows, failures


async def _try_store(
    kind: str, store: Mapping[str, Any], cluster: KubernetesStandIn, failures: list[str]
) -> dict[str, Any]:
    variables = {"_FSEC_B-PRODUCTION_WAREHOUSE_PASSWORD": CANARIES["env"]}
    source = SecretSource(SecretSettings(stores=[store]), Redactor(), variables)
    cluster.seen.clear()
    refs = [
        (how, ref)
        for how, part in _HOSTILE.items()
        for ref in (SecretRef(part, "warehouse"), SecretRef("password", part), SecretRef("password", "warehouse", part))
    ]
    refused, values = 0, 0
    for how, ref in refs:
        reader = Reader(scope=Scope(project="a", domain="production"))
        try:
            await source.fetch([ref], reader, 2.0)
            source.resolve(ref, reader.scope)
        except MissingSecret:
            refused += 1
        else:
            values += 1
            failures.append(f"{kind}: a name that {how} was looked up")
    await source.close()
    if cluster.seen:
        failures.append(f"{kind}: the server was asked {cluster.seen[0]}")
    return {"store": kind, "tries": len(refs), "refused": refused, "requests": len(cluster.seen), "values": values}


async def _try_rules(failures: list[str]) -> dict[str, Any]:
    variables = {"_FSEC_B-PRODUCTION_WAREHOUSE_PASSWORD": CANARIES["env"]}
    rules = [{"secrets": ["{project}-{domain}/**"]}, {"secrets": ["*"]}]
    source = SecretSource(SecretSettings(rules=rules), Redactor(), variables)
    refs = [
        SecretRef("password", "b-production", "warehouse"),
        SecretRef("PASSWORD", "B-Production", "Warehouse"),
        SecretRef("warehouse_password", "b-production"),
        SecretRef("password", "b-production_warehouse"),
        SecretRef("b-production_warehouse_password"),
    ]
    refused, values = 0, 0
    for ref in refs:
        try:
            source.resolve(ref, Scope(project="a", domain="production"))
        except MissingSecret:
            refused += 1
        else:
            values += 1
            failures.append(f"rules: project a read {ref}")
    own = source.resolve(refs[0], Scope(project="b", domain="production")).get_secret_value()
    if own != CANARIES["env"]:
        failures.append("rules: project b cannot read its own secret, so nothing was tried")
    return {
        "store": "another project's, by rules",
        "tries": len(refs),
        "refused": refused,
        "requests": 0,
        "values": values,
    }
