"""Rules hold in every worker, and for agents that run in a process of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import yaml

from access_rig import KEY, TOKENS, Tenant, bearing
from integration.service.served import served


async def test_workers_and_isolated_platforms_answer_their_tenants_alone(tmp_path: Path) -> None:
    callers = {
        name: {"token_sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), "projects": project}
        for name, project in (("alpha", "a"), ("beta", "b"))
    }
    settings = tmp_path / "outboard.yaml"
    document = {"host": {"service_keys": [KEY]}, "service": {"access": {"callers": callers}}}
    settings.write_text(yaml.safe_dump(document))
    names = ("hostile:Calm", "hostile:Hostile", "hostile:Native")
    agents = [option for name in names for option in ("--agents", name)]
    options = (*agents, "--isolate", "hostile:Hostile", "--isolate", "hostile:Native")
    async with served("--settings", str(settings), "--processes", "2", *options) as service:
        for number in range(4):
            own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, to whichever worker
            async with grpc.aio.insecure_channel(service.address, options=own) as channel:
                alpha, beta = (
                    Tenant(channel, project, bearing(TOKENS[name])) for name, project in (("alpha", "a"), ("beta", "b"))
                )
                for task_type in ("deeds", "calm"):
                    prefix = f"{tmp_path}/outputs/{task_type}/{number}/0"
                    asked: dict[str, Any] = {
                        "task_type": task_type,
                        "config": {"deed": ""},
                        "node": f"n{number}",
                        "prefix": prefix,
                    }
                    assert (await beta.create("a", **asked)).code == "PERMISSION_DENIED"
                    handle = await alpha.made(**asked)
                    for _ in range(2):
                        assert (await alpha.get(handle, task_type)).code == "OK"
                        assert (await beta.get(handle, task_type)).code == "PERMISSION_DENIED"
                        assert (await Tenant(channel, "a").get(handle, task_type)).code == "UNAUTHENTICATED"
                    assert (await beta.delete(handle)).code == "PERMISSION_DENIED"
                    assert (await alpha.delete(handle)).code == "OK"
                native = await alpha.create(
                    task_type="native", config={"deed": ""}, prefix=f"{tmp_path}/outputs/native/0"
                )
                assert native.code == "PERMISSION_DENIED"
                assert "handles of hosted connectors do not say whose job they are" in native.details
        assert service.logged("call refused", caller="beta", reason="project")
        assert not service.logged("anyone may call")
