"""Canaries planted in every source of secrets that a service or a command reads, and what it is told to find them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import yaml

from attack.canaries import CANARIES, CREDENTIALS, Haul
from attack.gossips import CALLED
from attack.onlookers import collector
from secret_servers import Bao, KubernetesStandIn

_TESTS: Final = Path(__file__).resolve().parents[1]


@asynccontextmanager
async def planted(server: Bao, folder: Path, haul: Haul) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    """Plant the canaries and give the settings' file and the environment."""
    server.put("p/d/gossip", vault_canary=CANARIES["vault"])
    token = server.token("gossip", {"secret/data/p/d/*": ["read"]})
    haul.canaries["vault token"] = token
    (folder / "vault-token").write_text(token)
    (folder / "cluster-token").write_text(CREDENTIALS["cluster token"])
    filed = folder / "mounted" / "p-d" / "gossip"
    filed.mkdir(parents=True)
    (filed / "file_canary").write_text(CANARIES["file"])
    (filed / "connection_canary").write_text(CANARIES["connection"])
    cluster = KubernetesStandIn(CREDENTIALS["cluster token"])
    cluster.allowed.add("p-d")
    cluster.secrets["p-d", "gossip"] = {"cluster_canary": CANARIES["cluster"]}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster.listening())
        tracing = stack.enter_context(collector(haul.take, CREDENTIALS["collector's login"]))
        document = {
            "host": {
                "tracing": tracing,
                "service_keys": [CREDENTIALS["service key"]],
                "records": str(folder / "records"),
                "submission_limit": 3,
                "secrets": {
                    "overrides": {
                        "gossip/override_canary": CANARIES["override"],
                        "gossip/provided_canary": "of nobody",
                    },
                    "rules": [{"secrets": ["gossip/*"], "projects": ["p"]}],
                    "stores": [
                        {"kind": "environment"},
                        {"kind": "files", "directory": f"{folder}/mounted/{{project}}-{{domain}}"},
                        {
                            "kind": "kubernetes",
                            "names": ["gossip/cluster_*"],
                            "server": cluster.url,
                            "token_file": str(folder / "cluster-token"),
                            "ca_file": None,
                        },
                        {
                            "kind": "vault",
                            "address": server.url,
                            "path": "{project}/{domain}/{group}",
                            "token_file": str(folder / "vault-token"),
                        },
                    ],
                },
            }
        }
        path = folder / "outboard.yaml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True))
        environment = {
            "_FSEC_GOSSIP_ENV_CANARY": CANARIES["env"],
            "PYTHONPATH": str(_TESTS),
            CALLED: cluster.url,
            "OUTBOARD_HOME": str(folder / "home"),
        }
        yield path, {**os.environ, **environment, "OUTBOARD_HOME": str(folder / "home")}
