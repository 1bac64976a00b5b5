"""Commands that call a service with TLS: by options, by the settings file, and again when a run is resumed."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Authority, Mount
from integration.cli.shells import Shell, wait_for_line

Gate = Callable[..., list[str]]
SERVER, CLIENTS = Authority("server"), Authority("clients")


@pytest.fixture
def own(tmp_path: Path) -> Mount:
    """The client's files."""
    return Mount(tmp_path / "own", *CLIENTS.pair("alice.example"), SERVER.pem)


@pytest.fixture
def address(shell: Shell, tmp_path: Path) -> str:
    """Where a service answers who has a certificate."""
    mount = Mount(tmp_path / "served", *SERVER.pair(), CLIENTS.pem)
    options = ("--tls-certificate", mount.certificate, "--tls-key", mount.key, "--tls-client-ca", mount.ca)
    process = shell.start("serve", "--port", "0", *map(str, options))
    found = re.search(r" on \S+:(\d+)", wait_for_line(process, "outboard serves"))
    assert found
    return f"localhost:{found[1]}"


def options(own: Mount) -> list[str]:
    return ["--tls-ca", str(own.ca), "--tls-certificate", str(own.certificate), "--tls-key", str(own.key)]


def test_options_variables_and_the_settings_file_say_the_same(shell: Shell, address: str, own: Mount) -> None:
    (shell.folder / "token").write_text("abc")
    (shell.folder / "s.yaml").write_text(
        f"client: {{ca: {own.ca}, certificate: {own.certificate}, key: {own.key}, token_file: token}}"
    )
    by_option = shell.run("agents", "--endpoint", address, *options(own), "--token-file", "token")
    by_file = shell.run("agents", "--endpoint", address, "--settings", "s.yaml")
    by_name = shell.run("flyte-config", "--endpoint", address, "--settings", "s.yaml", "--address", "outboard:8000")
    assert (by_option.code, by_file.code, by_name.code) == (0, 0, 0), (by_option, by_file, by_name)
    assert "gate" in by_option.out
    assert by_option.out == by_file.out
    assert "insecure: false" in by_name.out
    refused = shell.run("agents", "--endpoint", address, "--tls-ca", str(own.ca))
    assert refused.code == 3
    assert "give client.certificate and client.key (--tls-certificate, --tls-key)" in refused.err
    by_variable = shell.run(
        *("agents", "--endpoint", address),
        OUTBOARD_TLS_CA=str(own.ca),
        OUTBOARD_TLS_CERTIFICATE=str(own.certificate),
        OUTBOARD_TLS_KEY=str(own.key),
    )
    assert (by_variable.code, by_variable.out) == (0, by_option.out)


def test_the_doctor_examines_a_service_that_asks_for_certificates(shell: Shell, address: str, own: Mount) -> None:
    done = shell.run("doctor", "--endpoint", address, *options(own))
    assert (done.code, "gate" in done.out) == (0, True), done.out + done.err
    refused = shell.run("doctor", "--endpoint", address, "--tls-ca", str(own.ca), "--limit", "5")
    assert refused.code == 3, refused.out + refused.err


def test_an_engine_configuration_is_called_with_the_same_certificates(shell: Shell, address: str, own: Mount) -> None:
    (shell.folder / "flyte.yaml").write_text(
        f"plugins: {{agent-service: {{defaultAgent: {{endpoint: '{address}', insecure: false}}}}}}"
    )
    done = shell.run("agents", "--engine-config", "flyte.yaml", *options(own))
    assert (done.code, "gate" in done.out) == (0, True), done.err


def test_a_run_is_resumed_with_the_files_that_it_was_begun_with(
    shell: Shell, gate: Gate, gates: Path, address: str, own: Mount
) -> None:
    engine = shell.start(*gate("--endpoint", address, *options(own)))
    wait_for_line(engine, "running")
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    (gates / "open").touch()
    own.put(*CLIENTS.pair("alice.example"), SERVER.pem)
    done = shell.run("resume")
    assert done.code == 0, done.err
    assert b"PRIVATE" not in next((shell.folder / "home").rglob("*.db")).read_bytes()


def test_half_a_pair_is_a_mistake_in_the_options(shell: Shell, own: Mount) -> None:
    done = shell.run("agents", "--endpoint", "localhost:1", "--tls-certificate", str(own.certificate))
    assert done.code == 2
    assert "key is missing beside certificate; give both" in done.err
