"""What else is typed on a machine: containers, units of systemd, requests over HTTP, waiting.

`docker build` is held against the Dockerfile that it names, `docker run` against the image that was built. `systemctl` reads the
unit that the document saved, checks it as systemd would where that is here, and starts its command. `curl` is real, and reaches
this machine only. `sleep` lasts until a task is under way, since a busy machine takes its time to get there.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from documents.services import serve

_UNITS: Final = "etc/systemd/system"
_HOSTS: Final = {"localhost", "127.0.0.1", "[::1]"}
_CURL_VALUES: Final = {
    "-d",
    "--data",
    "-X",
    "--request",
    "-H",
    "--header",
    "-o",
    "--output",
    "--cacert",
    "--cert",
    "--key",
}
_RUN_VALUES: Final = {"--tmpfs", "--publish", "-p", "--env", "-e", "--volume", "-v", "--name", "--network", "--user"}
_LONGEST_S: Final = 60.0


def docker(arguments: Sequence[str]) -> int:
    """Hold a build against its Dockerfile, and a run against what it exposes."""
    images = Path(os.environ["READER_STATE"], "images.json")
    built: dict[str, str] = json.loads(images.read_text()) if images.exists() else {}
    action, *rest = arguments
    if action == "build":
        file = _value(rest, "--file", "-f") or "Dockerfile"
        path = next((each for each in (Path(file), Path(os.environ["READER_ROOT"], file)) if each.exists()), None)
        if path is None:
            return _refuse(f"there is no {file}")
        known = set(re.findall(r"^ARG (\w+)", path.read_text(), re.MULTILINE)) | {"SOURCE_DATE_EPOCH"}
        unknown = {rest[at + 1].partition("=")[0] for at, each in enumerate(rest) if each == "--build-arg"} - known
        if unknown:
            return _refuse(f"{file} has no argument {sorted(unknown)}")
        images.write_text(json.dumps({**built, _value(rest, "--tag", "-t") or "": path.read_text()}))
        return 0
    if action == "run":
        return _run(rest, built)
    return 0 if action == "push" and rest[-1] in built else _refuse(f"docker {action} was not expected here")


def _run(arguments: Sequence[str], built: dict[str, str]) -> int:
    words = iter(arguments)
    ports, image = [], ""
    for word in words:
        if word in _RUN_VALUES:
            value = next(words)
            ports += [value.rpartition(":")[2]] if word in {"--publish", "-p"} else []
        elif not word.startswith("-"):
            image = word
            break
    if image not in built:
        return _refuse(f"no image {image} was built")
    told: dict[str, int] = json.loads(os.environ["READER_PORTS"])
    there = {str(local): said for said, local in told.items()}
    exposed = re.findall(r"^EXPOSE (.*)$", built[image], re.MULTILINE)
    unknown = {there.get(port, port) for port in ports} - set(" ".join(exposed).split())
    return _refuse(f"{image} exposes no {sorted(unknown)}") if unknown else _has_options(list(words))


def _has_options(arguments: Sequence[str]) -> int:
    from documents.commands import parameters

    if not arguments:
        return 0
    try:
        known = parameters(arguments[0])
    except AssertionError as error:
        return _refuse(str(error))
    unknown = {each.partition("=")[0] for each in arguments if each.startswith("--")} - set(known)
    return _refuse(f"{arguments[0]} has no {sorted(unknown)}") if unknown else 0


def systemctl(arguments: Sequence[str]) -> int:
    """Start a unit that was saved; other words need one that is there."""
    words = [each for each in arguments if not each.startswith("-")]
    action, *names = words
    if action == "daemon-reload":
        return 0
    for name in names:
        path = Path(_UNITS, name if "." in name else f"{name}.service")
        if not path.exists():
            return _refuse(f"there is no {path}")
        code = _check_unit(path)
        if code == 0 and (action in {"start", "restart"} or "--now" in arguments) and path.suffix == ".service":
            code = _start(path)
        if code:
            return code
    return 0


def _check_unit(path: Path) -> int:
    program = shutil.which("systemd-analyze")
    if program is None:
        return 0
    done = subprocess.run([program, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    wrong = [
        line for line in (done.stdout + done.stderr).splitlines() if path.name in line and "not executable" not in line
    ]
    return _refuse("\n".join(wrong)) if wrong else 0


def _start(path: Path) -> int:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    section = unit["Service"]
    program, *arguments = shlex.split(section["ExecStart"])
    if Path(program).name != "outboard":
        return _refuse(f"{program} is not what this document is about")
    environment = dict(each.split("=", 1) for each in shlex.split(section.get("Environment", "")))
    file = section.get("EnvironmentFile")
    if file:
        lines = Path(file.lstrip("-")).read_text().splitlines()
        environment |= dict(each.split("=", 1) for each in lines if each and not each.startswith("#"))
    return serve(arguments, environment)


def journalctl(arguments: Sequence[str]) -> int:
    """Print what services of this document have written."""
    for log in sorted(Path(os.environ["READER_STATE"]).glob("service-*.log")):
        sys.stdout.write(log.read_text("utf-8"))
    return 0 if "--unit" in arguments or "-u" in arguments else 1


def curl(arguments: Sequence[str]) -> int:
    """Ask this machine, and no other."""
    words = iter(arguments)
    for word in words:
        if word in _CURL_VALUES:
            next(words)
        elif not word.startswith("-"):
            host = urlsplit(word if "://" in word else f"http://{word}").hostname
            if host not in _HOSTS:
                return _refuse(f"{host} is not this machine")
    return subprocess.run(["curl", "--fail-with-body", *arguments], check=False).returncode


def sleep(arguments: Sequence[str]) -> int:
    """Wait as long as is said, and on until a task is under way."""
    time.sleep(float(arguments[0]))
    command = [sys.executable, "-m", "outboard", "jobs", "--json"]
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if '"RUNNING"' in done.stdout:
            break
    return 0


def _value(arguments: Sequence[str], *names: str) -> str | None:
    return next((arguments[at + 1] for at, each in enumerate(arguments) if each in names), None)


def _refuse(words: str) -> int:
    sys.stdout.write(f"{words}\n")
    return 1
