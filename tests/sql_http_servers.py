"""ClickHouse and Trino for tests.

Trino is the real server, put together from its own modules as Maven Central has them (release 435, the last that Java 17 runs;
130 MB, kept under `.parts/`), with its `memory` and `tpch` catalogs. ClickHouse is the real engine behind the HTTP interface of
`outboard.testing.platforms.sql_clickhouse`: no registry of packages has its server.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from outboard.testing.platforms import sql_clickhouse
from real_parts import HOME, NotToBeHad, install, making

PASSWORD: Final = "canary-pässword'"  # noqa: S105 - of a server that lives for a test
TRINO: Final = "435"
_HOME: Final = HOME / f"trino-{TRINO}"
_PLUGINS: Final = {
    "memory": ("trino-memory", "io.trino.plugin.memory.MemoryPlugin"),
    "tpch": ("trino-tpch", "io.trino.plugin.tpch.TpchPlugin"),
}
_MODULE: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>parts</groupId><artifactId>parts</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>io.trino</groupId><artifactId>{module}</artifactId><version>{version}</version></dependency>
</dependencies></project>"""
_START: Final = (
    "public class Start { public static void main(String[] a) { new io.trino.server.Server().start(a[0]); } }"
)
_START_S: Final = 90.0
_FETCH_S: Final = 240.0
_JAVA: Final = ("-Xmx768M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djol.skipHotspotSAAttach=true")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server that listens on this machine."""

    kind: str
    port: int
    database: str
    schema: str
    has_password: bool

    def connection(self, **more: Any) -> Mapping[str, Any]:
        """Return the settings of a connection to it."""
        basic = {"kind": self.kind, "host": "127.0.0.1", "port": self.port, "user": "checks", "tls": "disable"}
        secret = {"password_secret": "sql_checks"} if self.has_password else {}
        return {**basic, **secret, "database": self.database, "schema": self.schema, **more}

    def trusting(self) -> Mapping[str, Any]:
        """Return the settings of a connection that takes any password, as the kit's canaries are (Trino: none)."""
        return {**self.connection(), "user": "trusted"}


@contextmanager
def clickhouse() -> Iterator[HttpServer]:
    """Start the engine behind HTTP; `NotToBeHad` where it cannot be installed."""
    python = install("sql_http")
    command = [str(python), sql_clickhouse.__file__, json.dumps({"checks": PASSWORD, "trusted": None})]
    with (
        tempfile.TemporaryDirectory(prefix="outboard-clickhouse-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": folder},  # the engine leaves files there
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise NotToBeHad("chdb does not run on this machine")
        yield HttpServer(kind="clickhouse", port=int(line), database="checks", schema="", has_password=True)
        process.terminate()


@contextmanager
def trino() -> Iterator[HttpServer]:
    """Start a Trino server; `NotToBeHad` where there is no Java 17 or no Maven."""
    _install_trino()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="outboard-trino-"))
    try:
        (folder / "catalog").mkdir()
        for name in _PLUGINS:
            (folder / "catalog" / f"{name}.properties").write_text(f"connector.name={name}\n")
        (folder / "config.properties").write_text(
            f"node.id=checks\nnode.environment=checks\nnode.internal-address=127.0.0.1\nhttp-server.http.port={port}\n"
            f"discovery.uri=http://127.0.0.1:{port}\nnode-scheduler.include-coordinator=true\n"
            f"plugin.dir={_HOME}/plugin\ncatalog.config-dir={folder}/catalog\ncatalog.management=static\n"
            "query.max-memory=200MB\nquery.max-memory-per-node=200MB\nmemory.heap-headroom-per-node=100MB\n"
        )
        command = [
            "java",
            *_JAVA,
            f"-Dconfig={folder}/config.properties",
            "-cp",
            f"{_HOME}/lib/*",
            f"{_HOME}/Start.java",
            TRINO,
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _await_trino(port, process, folder / "log")
            yield HttpServer(kind="trino", port=port, database="memory", schema="default", has_password=False)
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_trino(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/info", timeout=5) as answer:
                if json.load(answer)["starting"] is False:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > give_up:
            raise NotToBeHad(f"Trino does not start: {log.read_text()[-300:]}")
        time.sleep(0.1)


def _install_trino() -> None:
    mark = _HOME / ".installed"
    if shutil.which("java") is None:
        raise NotToBeHad("Trino needs Java 17 on this machine")
    if mark.exists():
        return
    if shutil.which("mvn") is None:
        raise NotToBeHad("Trino's modules are fetched by Maven, which this machine has not")
    with making(f"trino-{TRINO}"):
        if mark.exists():
            return
        shutil.rmtree(_HOME, ignore_errors=True)
        _modules("trino-main", _HOME / "lib")
        for name, (module, plugin) in _PLUGINS.items():
            folder = _HOME / "plugin" / name
            _modules(module, folder)
            with zipfile.ZipFile(folder / "services.jar", "w") as jar:
                jar.writestr("META-INF/services/io.trino.spi.Plugin", f"{plugin}\n")
        (_HOME / "Start.java").write_text(_START)
        mark.touch()


def _modules(module: str, folder: Path) -> None:
    """Put a module and what it needs into a folder."""
    folder.mkdir(parents=True)
    file = folder.parent / f"{folder.name}.xml"
    file.write_text(_MODULE.format(module=module, version=TRINO))
    command = ["mvn", "-q", "-B", "-f", str(file), "dependency:copy-dependencies"]
    options = [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=_FETCH_S)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"Maven did not fetch Trino {TRINO} within {_FETCH_S:g} s") from None
    finally:
        file.unlink()
    if done.returncode:
        raise NotToBeHad(f"Maven cannot fetch Trino {TRINO}: {done.stdout.strip()[-300:]}")
