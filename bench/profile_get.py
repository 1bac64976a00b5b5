"""Shows where a call's time goes: profiles our service (or flytekit's) under load and prints the top functions by own time.

`.venv/bin/python bench/profile_get.py` samples the running server from outside with py-spy (installed into `.bench/`): who
holds the interpreter lock, as shares of the CPU per call. Time in compiled code shows as the Python function that called it;
`Handle._run` is grpc's compiled part. `--exact` starts the server under cProfile instead: it counts every Python call,
and slows Python code down two- to threefold, so its times are only good for comparing functions with each other.
"""

from __future__ import annotations

import argparse
import contextlib
import pstats
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import calls
import cores
import loader
import messages
import servers
from places import SCRATCH

_SAMPLES = SCRATCH / "profile.raw"
_SAMPLES_PER_SECOND = 250
_EXACT = SCRATCH / "profile.pstats"
_PACKAGE = re.compile(r"(?:site-packages/|/lib/python3\.\d+/|/src/(?=outboard))")


def main() -> None:
    """Load the chosen server and print what it does."""
    options = _options()
    loader.build()
    launch = {"ours": servers.ours, "flytekit": servers.flytekit}[options.server]()
    if options.exact:
        launch = _under_cprofile(launch)
    with cores.apart() as placing:
        with servers.running(launch, cores=placing.server) as server:
            load = _load(server, options)
            loader.apply(server, load)
            with contextlib.nullcontext() if options.exact else _sampling(server.pid, options.seconds):
                stretch = loader.apply(server, load)
        print(
            f"{stretch.calls} calls, {stretch.rate:.0f}/s, {stretch.cpu_us:.0f} us CPU each, p99 {stretch.p99_ms:.1f} ms\n"
        )
    if options.exact:
        _print_exact(options.top)
    else:
        _print_samples(stretch, options.top)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("ours", "flytekit"), default="ours")
    parser.add_argument("--method", choices=("get", "create"), default="get")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--top", type=int, default=30, help="functions to print")
    parser.add_argument("--exact", action="store_true", help="count every call with cProfile instead of sampling")
    return parser.parse_args()


def _load(server: servers.Running, options: argparse.Namespace) -> loader.Load:
    bodies = SCRATCH / "profile.bin"
    if options.method == "get":
        messages.write_bodies(bodies, calls.prepare(server, 200).polls)
        return loader.Load(method=messages.GET, bodies=bodies, seconds=options.seconds, callers=options.callers)
    messages.write_bodies(bodies, [messages.create_request()])
    return loader.Load(
        method=messages.CREATE,
        bodies=bodies,
        seconds=options.seconds,
        callers=options.callers,
        serial=messages.SERIAL,
    )


def _under_cprofile(launch: servers.Launch) -> servers.Launch:
    """Run the same console script under cProfile; the profile is written when SIGTERM has drained the server."""

    def command(port: int) -> list[str]:
        script, *arguments = launch.command(port)
        return [str(Path(script).parent / "python"), "-m", "cProfile", "-o", str(_EXACT), script, *arguments]

    return replace(launch, command=command)


@contextlib.contextmanager
def _sampling(pid: int, seconds: float) -> Iterator[None]:
    command = [str(_py_spy()), "record", "--pid", str(pid), "--duration", str(max(1, round(seconds) - 1))]
    command += ["--gil", "--rate", str(_SAMPLES_PER_SECOND), "--format", "raw", "--output", str(_SAMPLES)]
    sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    yield
    _, said = sampler.communicate(timeout=60)
    if sampler.returncode:
        sys.exit(f"py-spy failed, try --exact: {said.decode().strip()[-300:]}")


def _py_spy() -> Path:
    environment = SCRATCH / "py-spy"
    program = environment / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "py-spy"], check=True)
    return program


def _print_samples(stretch: loader.Stretch, top: int) -> None:
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in _SAMPLES.read_text().splitlines():
        stack, _, seen = line.rpartition(" ")
        frames = [_short(re.sub(r":\d+\)$", ")", frame)) for frame in stack.split(";")]
        own[frames[-1]] += int(seen)
        inclusive.update(dict.fromkeys(set(frames), int(seen)))
    total = sum(own.values())
    print(f"{'own us':>8}{'own %':>7}{'incl %':>8}  function")
    for frame, count in own.most_common(top):
        share = count / total
        print(f"{share * stretch.cpu_us:8.1f}{share:7.1%}{inclusive[frame] / total:8.1%}  {frame}")
    packages: Counter[str] = Counter()
    for frame, count in own.items():
        packages[_package(frame)] += count
    print(
        "\nown time by package: " + ", ".join(f"{name} {count / total:.0%}" for name, count in packages.most_common(10))
    )


def _short(frame: str) -> str:
    """Cut a frame's path down to the package: `get (outboard/host/statuses.py)`."""
    return _PACKAGE.sub("", re.sub(r"\(/.*?(?=site-packages/|lib/python3|src/outboard)", "(/", frame)).replace(
        "(/", "("
    )


def _package(frame: str) -> str:
    place = re.search(r"\(([^)]*)\)", frame)
    parts = place.group(1).split("/") if place else [frame]
    return "/".join(parts[:2]) if parts[0] == "outboard" else parts[0]


def _print_exact(top: int) -> None:
    stats = pstats.Stats(str(_EXACT))
    stats.strip_dirs().sort_stats("tottime").print_stats(top)


if __name__ == "__main__":
    main()
