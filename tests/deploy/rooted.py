"""Builds the stages of a Dockerfile without a container engine and runs what they make; for root, in namespaces of its own.

The base image is this machine: each stage is an overlay of its root, so that the stage's own RUN lines work as they are
written, and nothing of the machine changes. The result is then run as the image says: its user, its entry point, a root that
cannot be written to, no capabilities, as process 1. What this cannot show is what the real base holds.

`python rooted.py PLAN.json` prints one JSON object; see `image`, which makes the plan.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_LIMIT_S = 400


def main() -> None:
    """Carry out a plan."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    home = Path(plan["home"])
    _call("mount", "--make-rprivate", "/")
    _call("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(home))
    roots: dict[str, Path] = {}
    for stage in plan["stages"]:
        roots[stage["name"]] = root = _overlay(home / stage["name"], plan["unreadable"])
        _build(root, stage, roots, Path(plan["context"]))
    final, stage = roots[plan["stages"][-1]["name"]], plan["stages"][-1]
    answer = {"digest": _digest(final / "opt/outboard"), "files": _census(final / "opt/outboard")}
    if plan["serve"]:
        answer["served"] = _serve(final, stage, plan)
    json.dump(answer, sys.stdout)


def _overlay(folder: Path, unreadable: list[str]) -> Path:
    for name in ("up", "work", "root"):
        (folder / name).mkdir(parents=True)
    root = folder / "root"
    _call(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir=/,upperdir={folder / 'up'},workdir={folder / 'work'}",
        str(root),
    )
    _call("mount", "-t", "proc", "proc", str(root / "proc"))
    _call("mount", "--rbind", "/dev", str(root / "dev"))
    for path in unreadable:  # where this machine's Python lies may be closed to others; a base image's is not
        (root / path.lstrip("/")).chmod(0o755)
    return root


def _build(root: Path, stage: dict[str, Any], roots: dict[str, Path], context: Path) -> None:
    environment, folder = dict(stage["environment"]), "/"
    for instruction, value in stage["steps"]:
        if instruction in ("ENV", "ARG"):
            for name, given in _pairs(value).items():
                environment[name] = os.path.expandvars(given) if "$" in given else given
        elif instruction == "WORKDIR":
            folder = value
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            _copy(root, folder, value, roots, context, environment)
        elif instruction == "RUN":
            shell = [str(shutil.which("chroot")), str(root), "/bin/sh", "-ec", f"cd {shlex.quote(folder)}; {value}"]
            _call(*shell, environment=environment)


def _copy(
    root: Path, folder: str, value: str, roots: dict[str, Path], context: Path, environment: dict[str, str]
) -> None:
    words = [word.replace("${REQUIREMENTS}", environment.get("REQUIREMENTS", "")) for word in value.split()]
    source, ignored = context, ["__pycache__"]  # as .dockerignore says
    if words[0].startswith("--from="):
        source, ignored = roots[words.pop(0).partition("=")[2]], []
    *names, target = words
    into = root / (target if target.startswith("/") else f"{folder}/{target}").lstrip("/")
    for name in names:
        path = source / name.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*ignored))
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into)


def _serve(root: Path, stage: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Run the image; return what was found."""
    environment = dict(stage["environment"])
    for instruction, value in stage["steps"]:
        if instruction == "ENV":
            environment.update(_pairs(value))
    environment["PATH"] += f":{plan['python']}"
    uid, _, gid = stage["user"].partition(":")
    for place in ("tmp", "var/lib/outboard"):
        _call("mount", "-t", "tmpfs", "-o", f"uid={uid},gid={gid},mode=0700", "tmpfs", str(root / place))
    Path(root / "tmp/settings.yaml").write_text(plan["settings"])
    (root / "tmp/settings.yaml").chmod(0o644)
    _call("mount", "-o", "remount,ro", str(root))
    confined = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    inside = [str(shutil.which("chroot")), str(root), *confined]
    found: dict[str, Any] = {name: _said(inside, environment, script) for name, script in plan["questions"].items()}
    namespaces = [str(shutil.which("unshare")), "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc"]
    log = Path(plan["home"]) / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*namespaces, *inside, *stage["entrypoint"], *plan["serve"]],
            env=environment,
            stderr=written,
            stdout=written,
        )
    try:
        found["probed"] = _probed(plan, process)
    finally:
        began = time.monotonic()
        for child in _children(process.pid):
            os.kill(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        found["ended"] = process.poll()
        found["ended_s"] = round(time.monotonic() - began, 1)
        process.kill()
    found["log"] = log.read_text(errors="replace")[-2000:]
    return found


def _probed(plan: dict[str, Any], process: subprocess.Popen[bytes]) -> str:
    """Ask the service from outside until it answers; return the answer."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        done = subprocess.run(plan["probe"], capture_output=True, text=True, check=False, timeout=30)
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.5)
    return ""


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _said(inside: list[str], environment: dict[str, str], script: str) -> str:
    done = subprocess.run(
        [*inside, "/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    return f"{done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}"


def _digest(folder: Path) -> str:
    """Return a digest of all names, contents, modes and times."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        whole.update(repr((str(path.relative_to(folder)), status.st_mode, int(status.st_mtime))).encode())
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def _census(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    compiled = {path.parent.parent / f"{path.name.partition('.')[0]}.py" for path in files if path.suffix == ".pyc"}
    sources = [path for path in files if path.suffix == ".py" and "site-packages" in path.parts]
    return {
        "files": len(files),
        "MiB": sum(path.stat().st_size for path in files) // 2**20,
        "modules": len(sources),
        "modules without bytecode": len([path for path in sources if path not in compiled]),
        "writable by others": len([path for path in files if path.stat().st_mode & 0o022]),
        "setuid": len([path for path in files if path.stat().st_mode & 0o6000]),
    }


def _pairs(value: str) -> dict[str, str]:
    return {name: rest for name, _, rest in (each.partition("=") for each in shlex.split(value))}


def _call(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:200]}: {(done.stdout + done.stderr).strip()[-500:]}")


if __name__ == "__main__":
    main()
