"""What agents' code writes to the streams of a process holds no secret, whenever it took hold of them."""

from __future__ import annotations

import pytest

from integration.service.probe import make_task
from integration.service.served import served
from outboard.domain.phases import Phase
from outboard.engine.remote import RemoteEndpoint

CANARY = "blurted-canary-0123456789"


@pytest.mark.parametrize("options", [(), ("--isolate", "blurting:Blurting")], ids=["here", "isolated"])
async def test_streams_held_since_the_import_and_streams_of_bytes_tell_no_secret(options: tuple[str, ...]) -> None:
    async with served("--agents", "blurting:Blurting", *options, _FSEC_BLURTED=CANARY) as service:
        async with RemoteEndpoint.at(service.address, timeout_s=30) as remote:
            status = await remote.execute_task(make_task("blurting", config={}), timeout_s=30)
        assert status.phase is Phase.SUCCEEDED, status.message

        def told() -> str:
            return "\n".join([*service.texts, *map(str, service.lines)])

        await service.until(lambda: "told" in told())
        assert "handler: [redacted]" in told()
        assert "bytes: [redacted]" in told()
        assert CANARY not in told()
