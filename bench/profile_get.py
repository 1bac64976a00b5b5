"""Shows where a call's time goes: our service (or flytekit's) under load.

`.venv/bin/python bench/profile_get.py --parts` prints where the time of a GetTask from memory goes: transport, threads, and our
own code step by step, beside bare servers of the same run (see `profile_parts`); `--json FILE` writes the same down.

Without `--parts` the top functions by own time are printed: py-spy (installed into `.bench/`) samples the running server from
outside, who holds the interpreter lock, as shares of the CPU per call. Time in compiled code shows as the Python function that
called it; `Handle._run` is grpc's compiled part. `--exact` starts the server under cProfile instead: it counts every Python call,
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
import profile_parts
import servers
from outboard.cli import grpc_environment
from places import SCRATCH

_SAMPLES = SCRATCH / "profile.raw"
_SAMPLES_PER_SECOND = 50
"""Each one halts all threads; at 250 those of gRPC hardly get to run in between."""
_SAMPLED_S = 12.0
_EXACT = SCRATCH / "profile.pstats"
_SAME = "bare, raw bytes, our loop and gRPC settings"
_BARE = {
    "bare grpc.aio, raw bytes, as it comes": (),
    "bare, raw bytes, our loop": ("--loop", "uvloop"),
    _SAME: ("--loop", "uvloop", "--patient"),
}
_PACKAGE = re.compile(r"(?:site-packages/|/lib/python3\.\d+/|/src/(?=outboard))")


def main() -> None:
    """Load the chosen server and print what it does."""
    options = _options()
    loader.build()
    if options.parts:
        breakdown = _breakdown(options)
        print(breakdown.show())
        if options.json is not None:
            breakdown.save(options.json)
        return
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
    parser.add_argument("--parts", action="store_true", help="print where the time of a GetTask from memory goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --parts: write it down as well")
    parser.add_argument("--rounds", type=int, default=3, help="with --parts: rounds per server (default %(default)s)")
    parser.add_argument("--exact", action="store_true", help="count every call with cProfile instead of sampling")
    return parser.parse_args()


def _breakdown(options: argparse.Namespace) -> profile_parts.Breakdown:
    """Load ours and the bare servers in turns; look at the threads in the first stretch of ours, sample an extra one."""
    with cores.apart() as placing, contextlib.ExitStack() as stack:
        ours = stack.enter_context(servers.running(servers.ours("resting:Resting"), cores=placing.server))
        prepared = calls.prepare(ours, 200)
        answers = messages.write_answers(SCRATCH / "profile-answers.json", prepared.answers)
        bodies = SCRATCH / "profile.bin"
        messages.write_bodies(bodies, prepared.polls)
        load = loader.Load(method=messages.GET, bodies=bodies, seconds=options.seconds, callers=options.callers)
        bare = {name: servers.echo(answers, "--raw", *flags, name="bare") for name, flags in _BARE.items()}
        bare[_SAME] = replace(bare[_SAME], environment={grpc_environment.SWITCH: grpc_environment.OFF})
        started = {"ours": ours}
        for name, launch in bare.items():
            started[name] = stack.enter_context(servers.running(launch, cores=placing.server))
        seen: dict[str, list[loader.Stretch]] = {name: [] for name in started}
        for server in started.values():
            loader.apply(server, load)
        watched = profile_parts.Threads(ours.pid)
        seen["ours"].append(loader.apply(ours, load))
        threads = watched.since(seen["ours"][0].calls, seen["ours"][0].cpu_us)
        for _ in range(options.rounds):
            for name, server in started.items():
                seen[name].append(loader.apply(server, load))
        with _sampling(ours.pid, _SAMPLED_S):
            loader.apply(ours, replace(load, seconds=_SAMPLED_S))
    return profile_parts.Breakdown(
        servers=profile_parts.medians(seen), threads=threads, parts=profile_parts.divide(_samples()[0], threads)
    )


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
    command += [
        "--nonblocking",
        "--gil",
        "--rate",
        str(_SAMPLES_PER_SECOND),
        "--format",
        "raw",
        "--output",
        str(_SAMPLES),
    ]
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


def _samples() -> tuple[Counter[str], Counter[str]]:
    """Return how often each function was innermost, and how often it was anywhere."""
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in _SAMPLES.read_text().splitlines():
        stack, _, seen = line.rpartition(" ")
        frames = [_short(re.sub(r":\d+\)$", ")", frame)) for frame in stack.split(";")]
        own[frames[-1]] += int(seen)
        inclusive.update(dict.fromkeys(set(frames), int(seen)))
    return own, inclusive


def _print_samples(stretch: loader.Stretch, top: int) -> None:
    own, inclusive = _samples()
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
    """Cut a frame's path down to the package: `get (outboard/host/statuses/statuses.py)`."""
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
