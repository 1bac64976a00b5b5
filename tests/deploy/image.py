"""The image without a container engine: its file against rules and a linter, its steps carried out, its service run in them.

The stages are carried out by `rooted`, twice, to see whether the same files come of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from deploy.dockerfiles import Stage, pairs, stages
from deploy.tools import ROOT, free_ports, run
from outboard._version import __version__
from real_parts import NotToBeHad, install
from tables.sections import Section

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
_HERE: Final = Path(__file__).parent
_TOOLS: Final = ("apt", "apk ", "curl", "wget", "gcc", "git ", "make ")
_TMP: Final = "/tmp"  # noqa: S108 - the image's own
_QUESTIONS: Final = {
    "user": "id -u; id -g",
    "root is written to": "touch /x",
    "its code is written to": "touch /opt/outboard/x",
    "scratch is written to": f"touch {_TMP}/x",
    "its home is written to": "touch /var/lib/outboard/x",
    "pip": "python -m pip --version",
    "version": "outboard --version",
    "capabilities": "grep -E 'Cap(Eff|Bnd|Prm)|NoNewPrivs' /proc/self/status",
    "chart": f"outboard deploy chart --output {_TMP} && head -1 {_TMP}/outboard/files/alerts.yaml",
}


def sections() -> Iterator[Section]:
    """Try the image."""
    try:
        yield ruled()
        yield built(times=2)
    except NotToBeHad as error:
        yield Section(title="The image", skipped=str(error))


@cache
def parsed() -> tuple[Stage, ...]:
    """Return the stages of deploy/Dockerfile.

    Raises:
        NotToBeHad: The parser cannot be installed.
    """
    done = run(install("deploy"), _HERE / "dockerfiles.py", DOCKERFILE)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return tuple(stages([(instruction, value) for instruction, value in json.loads(done.stdout)]))


def ruled() -> Section:
    """Hold the file against the rules and hadolint."""
    rows = [{"rule": rule, "kept": is_kept} for rule, is_kept in rules(parsed()).items()]
    done = run(install("deploy").with_name("hadolint"), "--no-color", DOCKERFILE)
    rows.append({"rule": "hadolint", "kept": done.returncode == 0})
    failures = [f"the Dockerfile: {row['rule']}" for row in rows if not row["kept"]]
    return Section(
        title="deploy/Dockerfile", columns=("rule", "kept"), rows=rows, failures=failures + done.stdout.splitlines()
    )


def rules(found: tuple[Stage, ...]) -> Mapping[str, bool]:
    """Return which rules a file keeps."""
    build, last = found[0], found[-1]
    steps = [step for stage in found for step in stage.steps]
    labels = {name for value in last.values("LABEL") for name in pairs(value)}
    uid, _, gid = last.last("USER").partition(":")
    installs = [line for value in build.values("RUN") for line in value.split("&&") if " install " in line]
    copied = [word for value in build.values("COPY") for word in value.split()[:-1] if not word.startswith(("--", "$"))]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = tuple(each[1:].partition("*")[0] for each in ignored if each.startswith("!"))
    return {
        "two stages, each from the base that is given": len(found) == 2 and {stage.base for stage in found} == {"${BASE}"},
        "the user is a number, and not root": uid.isdigit() and int(uid) >= 10_000 and gid == uid,
        "nothing is added from an address": not [value for name, value in steps if name == "ADD" or "://" in value],
        "the last stage has no tools to build with": not [t for v in last.values("RUN") for t in _TOOLS if t in v],
        "the last stage copies from the first alone": [v.split()[0] for v in last.values("COPY")] == [f"--from={build.name}"],
        "pip is gone": any("pip uninstall --yes" in value and value.endswith("/ensurepip") for value in last.values("RUN")),
        "packages come by hash, or are ours": all("--require-hashes" in line or "--no-index" in line for line in installs),
        "the entry point is a list": last.last("ENTRYPOINT") == '["outboard"]' and last.last("CMD").startswith("["),
        "it ends by SIGTERM": last.last("STOPSIGNAL") == "SIGTERM",
        "it is labelled": {f"org.opencontainers.image.{name}" for name in ("title", "version", "revision", "licenses")} <= labels,
        "its version is the package's": f"VERSION={__version__}" in last.values("ARG"),
        "the context is what is copied": ignored[1] == "*" and all(each.startswith(admitted) for each in copied),
    }  # fmt: skip


def built(*, times: int) -> Section:
    """Carry out the stages, and run the service of the last one.

    Raises:
        NotToBeHad: This user may not make namespaces, or packages cannot be had.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        raise NotToBeHad("the image's steps are carried out in namespaces that only root may make here")
    answers = [_carried_out(serve=turn == 0) for turn in range(times)]
    served, files = answers[0]["served"], answers[0]["files"]
    rows = [{"what": name, "found": value} for name, value in files.items()]
    rows += [{"what": name, "found": value} for name, value in served.items() if name != "log"]
    digests = {answer["digest"] for answer in answers}
    rows.append({"what": f"different results of {times} builds", "found": len(digests) if times > 1 else None})
    failures = [*_faults(files, served)] + ([f"{times} builds made {len(digests)} results"] if len(digests) > 1 else [])
    notes = [
        "the base is this machine, as no container engine can fetch one here: what python:3.13-slim holds was not seen"
    ]
    return Section(
        title="The image's steps, carried out", columns=("what", "found"), rows=rows, failures=failures, notes=notes
    )


def _faults(files: Mapping[str, int], served: Mapping[str, Any]) -> Iterator[str]:
    wanted = {
        "user": "0: 65532\n65532",
        "root is written to": "1: ",
        "its code is written to": "1: ",
        "scratch is written to": "0: ",
        "its home is written to": "0: ",
        "pip": "1: ",
        "version": f"0: outboard {__version__}",
        "chart": "0: # Alert rules",
    }
    for question, start in wanted.items():
        if not str(served[question]).startswith(start):
            yield f"{question}: {served[question]}"
    if "0000000000000000" not in served["capabilities"] or "NoNewPrivs:\t1" not in served["capabilities"]:
        yield f"capabilities: {served['capabilities']}"
    if "duckdb" not in served["probed"]:
        yield f"the service did not answer: {served['log']}"
    if served["ended"] != 0:
        yield f"it ended with {served['ended']} after {served['ended_s']} s: {served['log']}"
    for what in ("modules without bytecode", "writable by others", "setuid"):
        if files[what]:
            yield f"{what}: {files[what]}"


def _carried_out(*, serve: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="outboard-image-") as scratch:
        plan = Path(scratch) / "plan.json"
        plan.write_text(json.dumps(_plan(Path(scratch), serve=serve)))
        (Path(scratch) / "home").mkdir()
        done = run(
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            sys.executable,
            _HERE / "rooted.py",
            plan,
        )
    if done.returncode:
        words = done.stderr.strip()[-500:]
        if "permitted" in words or "denied" in words:
            raise NotToBeHad(f"the image's steps cannot be carried out here: {words}")
        raise RuntimeError(words)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _plan(scratch: Path, *, serve: bool) -> dict[str, Any]:
    base, [port] = Path(sys.base_prefix) / "bin", free_ports(1)
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.upper().endswith(("_PROXY", "_CERT_FILE", "_CA_BUNDLE")) or name.startswith("PIP_")
    }
    environment = {**passed, "PATH": f"{base}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    whole = [
        {
            "name": stage.name,
            "steps": [("ARG", "REQUIREMENTS=requirements/service.txt"), *stage.steps],
            "environment": environment,
            "user": stage.last("USER"),
            "entrypoint": json.loads(stage.last("ENTRYPOINT") or "[]"),
        }
        for stage in parsed()
    ]
    return {
        "home": str(scratch / "home"),
        "context": str(ROOT),
        "stages": whole,
        "python": str(base),
        "unreadable": [str(path) for path in base.parents if path != Path("/") and not path.stat().st_mode & 0o001],
        "settings": f"service: {{port: {port}, linger_s: 0, drain_s: 5}}\n",
        "serve": ["serve", "--settings", f"{_TMP}/settings.yaml", "--platforms", "embedded"] if serve else [],
        "questions": _QUESTIONS,
        "probe": [str(Path(sys.executable).with_name("outboard")), "agents", "--endpoint", f"localhost:{port}"],
    }
