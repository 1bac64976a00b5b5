"""TLS as Flyte's engines speak it, by Go's own gRPC: the system's authorities, no client certificate, no token.

FlytePropeller 1.16 with `insecure: false` makes its credentials of Go's system certificate pool and no override of the name
(flyteplugins, `webapi/agent/client.go`). The program in `go_tls` does the same with the same libraries. `SSL_CERT_FILE` is
what Go reads in place of the system's bundle: the way to a private authority.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from certificates import Authority, Mount
from integration.service.served import served
from interop.go_programs import GoProgram, NotToBeHad
from tables.sections import Section

CLIENT: Final = GoProgram(
    name="go-tls",
    source=Path(__file__).resolve().parent / "go_tls",
    title="a client on Go's gRPC",
    workspaces=("OUTBOARD_GO_WORK_TLS",),
)
TITLE: Final = "Go's gRPC, with TLS as FlytePropeller speaks it"
_SERVER, _CLIENTS, _STRANGERS = Authority("server"), Authority("clients"), Authority("strangers")
_SECONDS: Final = 6


def sections() -> Iterator[Section]:
    """Make the table."""
    yield calls()


def calls() -> Section:
    """What comes of calls, and of a renewal under way."""
    try:
        client = CLIENT.build()
    except NotToBeHad as reason:
        return Section(title=TITLE, skipped=str(reason))
    rows = asyncio.run(_rows(client))
    return Section(
        title=TITLE,
        columns=("scenario", "calls", "failed", "Go says", "as promised"),
        rows=rows,
        failures=[f"{row['scenario']}: {row['Go says'] or 'it was served'}" for row in rows if not row["as promised"]],
        notes=[f"A renewal replaces the certificate three times in {_SECONDS} s; connections last 1 s at most."],
    )


async def _rows(client: Path) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []

    def add(scenario: str, found: Mapping[str, Any], words: str | None = None) -> None:
        is_served = not found["failed"]
        kept = is_served if words is None else not is_served and words in found["words"]
        shown = found["words"].replace("rpc error: ", "")[-110:]
        counts = {"calls": found["calls"], "failed": found["failed"]}
        rows.append({"scenario": scenario, **counts, "Go says": shown, "as promised": kept})

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mount = Mount(folder / "tls", *_SERVER.pair("localhost"), _CLIENTS.pem)
        bundle, other = folder / "bundle.pem", folder / "other.pem"
        bundle.write_bytes(_STRANGERS.pem + _SERVER.pem)
        other.write_bytes(_STRANGERS.pem)
        async with _serving(mount, folder, "") as service:
            port = service.address.rpartition(":")[2]
            add("our authority in SSL_CERT_FILE", await _run(client, f"localhost:{port}", bundle))
            add("another authority", await _run(client, f"localhost:{port}", other), "unknown authority")
            add(
                "another name",
                await _run(client, f"127.0.0.1:{port}", bundle),
                "cannot validate certificate for 127.0.0.1",
            )
            add("plain text", await _run(client, f"localhost:{port}", bundle, "-insecure"), "Unavailable")
            going = asyncio.ensure_future(_run(client, f"localhost:{port}", bundle, "-for", f"{_SECONDS}s"))
            for number in range(3):
                await asyncio.sleep(_SECONDS / 4)
                mount.put(*_SERVER.pair("localhost", is_rsa=number % 2 == 0), _CLIENTS.pem)
            add("three renewals under calls", await going)
            renewals = len(service.logged("tls certificate is renewed"))
            if renewals != 3:
                rows.append(
                    {"scenario": "renewals", "calls": renewals, "failed": 0, "Go says": "", "as promised": False}
                )
        async with _serving(mount, folder, f"client_ca: {mount.ca}, ") as service:
            port = service.address.rpartition(":")[2]
            add("client certificates are required", await _run(client, f"localhost:{port}", bundle), "Unavailable")
    return rows


def _serving(mount: Mount, folder: Path, more: str) -> Any:
    settings = folder / "settings.yaml"
    settings.write_text(
        "service: {max_connection_age_s: 1, "
        f"tls: {{{more}certificate: {mount.certificate}, key: {mount.key}, reload_s: 0.1}}}}"
    )
    return served("--settings", str(settings), "--agents", "hostile:Calm")


async def _run(client: Path, address: str, bundle: Path, *options: str) -> Mapping[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(str(client), "-address", address, *options),
        env={**os.environ, "SSL_CERT_FILE": str(bundle), "SSL_CERT_DIR": str(bundle.parent / "none")},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    found: Mapping[str, Any] = json.loads(out)
    return found
