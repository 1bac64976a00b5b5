"""One who reads a document from the top and types what it says, in a folder of their own.

Commands are run by bash, with `outboard` and its neighbours as they are installed here. Some words are stood in for:

* `outboard serve` returns once the service answers, and the service ends with the document;
* `make TARGET` and `pip install` are only looked at: the target must be there, and so must an extra of ours;
* programs of other projects mean what `clusters` and `machines` say: what they would be told is held against the real ones;
* a port that a document names is another one here, the same in all of its blocks, since tests run side by side;
* `/etc/outboard`, `/var/lib/outboard`, `/opt/outboard` and systemd's units are below the document's folder.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.tools import free_ports, programs
from documents.commands import parameters
from documents.stand_ins import LACKING, PROGRAMS
from real_parts import NotToBeHad, install, tried

if TYPE_CHECKING:
    from sybil import Example

_SECONDS: Final = 90
_END_S: Final = 10
_NEXT: Final = "-- next --"
_PLACES: Final = re.compile(r"(?<![\w./}-])(?=/(?:(?:etc|var/lib|opt)/outboard|etc/systemd/system)\b)")
_PORTS: Final = re.compile(r"\b(8000|8001|8080|8443|9090|9091|5000|9050)\b")
_OF_CLUSTERS: Final = re.compile(r"\b(helm|kubectl|deploy render)\b")
_STAND_INS: Final = "\n".join(
    (
        'stand_in() { local it=("$READER_PYTHON" -m documents.stand_ins "$@")',
        '  if [ $BASHPID = $$ ]; then "${it[@]}"; else exec "${it[@]}"; fi; }  # in the background `$!` is the program itself',
        *(f'{name}() {{ stand_in {name} "$@"; }}' for name in PROGRAMS),
    )
)


class Reader:
    """Types in what one document shows.

    Args:
        root: The repository.

    Attributes:
        folder: Where the reader works.
        next_file: The name under which the next block is saved; empty where it has none.
        has_saved: Whether the last block was saved.
        is_script: Whether the next block of Python is for a command to run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Path(tempfile.mkdtemp(prefix="outboard-reader-"))
        self.next_file = ""
        self.has_saved = False
        self.is_script = False
        self._ports: dict[str, int] = {}
        self._modules = set(sys.modules)
        self._were = Path.cwd()
        self._state = self.folder / ".state"
        self._state.mkdir()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))

    def leave(self) -> None:
        """End what was started, and leave nothing behind."""
        groups = [int(path.read_text()) for path in self._state.glob("*.pid")]
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while any(map(_is_alive, groups)) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.chdir(self._were)
        sys.path.remove(str(self.folder))
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(self.folder):
                del sys.modules[name]
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, text: str) -> Path | None:
        """Save a block under the name that it was given; return where, or None where it was given none."""
        name, self.next_file = self.next_file, ""
        self.has_saved = bool(name)
        if not name:
            return None
        path = self.folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._as_here(text), "utf-8")
        return path

    def run_python(self, text: str, example: Example) -> None:
        """Run Python: a block with a file's name as that module, any other in the document's namespace."""
        path = self.save(text)
        is_script, self.is_script = self.is_script, False
        if path is not None and is_script:
            compile(text, path.name, "exec")
            return
        if path is not None:
            importlib.invalidate_caches()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(path.stem)
            return
        padded = "\n" * (example.line + example.parsed.line_offset) + text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries that a document imports may be old
            exec(compile(padded, str(example.path), "exec", dont_inherit=True), example.namespace)  # noqa: S102 - its purpose

    def run_script(self, text: str) -> str:
        """Run a script, and return what it printed."""
        self.save(text)
        return self.run(text)

    def type_in(self, text: str) -> None:
        """Type the lines after `$`; what the others show must be printed, where `...` stands for anything."""
        self.save(text)
        first, *steps = re.split(r"^\$ ", text, flags=re.MULTILINE)
        assert not first.strip(), "a console begins with a command, after `$ `"
        divided = [_divide(step) for step in steps]
        printed_by = self.run(f"\necho {_NEXT}\n".join(command for command, _ in divided)).split(f"{_NEXT}\n")
        for (_, shown), printed in zip(divided, printed_by, strict=True):
            for line in filter(None, (line.strip() for line in shown)):
                pattern = ".*".join(re.escape(part) for part in self._as_here(line).split("..."))
                assert re.search(pattern, printed), f"{line!r} is shown, and this was printed:\n{printed}"

    def check_usage(self, text: str) -> None:
        """Hold a synopsis against the command's own options."""
        for synopsis in re.split(r"\n(?=outboard )", text.strip()):
            words = synopsis.split()
            assert words[0] == "outboard", synopsis
            unknown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", synopsis)) - set(parameters(words[1]))
            assert not unknown, f"{words[1]} has no {sorted(unknown)}"

    def run(self, command: str) -> str:
        """Run shell commands; return what they printed on both streams.

        Raises:
            AssertionError: One of them failed, with all that was printed.
        """
        if _OF_CLUSTERS.search(command):
            tried(self._make_parts)  # before the command's time begins
        kept = self._state / "variables"
        script = "\n".join(
            (
                f"[ -f {kept} ] && . {kept}",
                _STAND_INS,
                "set -euo pipefail",
                self._as_here(_in_turn(command)),
                f"set +u; export -p > {kept}",
            )
        )
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "READER_PYTHON": sys.executable,
            "READER_ROOT": str(self.root),
            "READER_STATE": str(self._state),
            "OUTBOARD_HOME": str(self.folder / ".outboard"),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(self.root / "tests")]),
            "COLUMNS": "200",
            "OUTBOARD_LISTEN_PORT": self._as_here("8000"),
            "READER_PORTS": json.dumps(self._ports),
        }
        output = self._state / f"{time.monotonic_ns()}.log"
        with output.open("wb") as written:  # no pipe: what goes on in the background would hold it open
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        output.with_suffix(".pid").write_text(str(shell.pid))
        code = shell.wait(_SECONDS)
        printed = output.read_text("utf-8")
        if code:
            tried(self._look_for_what_is_lacking)
        assert code == 0, f"{command}\nended with {code}:\n{printed}"
        return printed

    def _make_parts(self) -> None:
        try:
            programs()
            install("deploy")
        except NotToBeHad as error:
            (self._state / LACKING).write_text(" ".join(str(error).split()))
            raise

    def _look_for_what_is_lacking(self) -> None:
        """Raise where this block, or one before it, could not be tried on this machine."""
        lacking = self._state / LACKING
        if lacking.exists():
            raise NotToBeHad(lacking.read_text())

    def _as_here(self, text: str) -> str:
        text = _PLACES.sub(str(self.folder), text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - it is what no test listens on
        return _PORTS.sub(lambda found: str(self._ports.setdefault(found[1], free_ports(1)[0])), text)


def _divide(step: str) -> tuple[str, list[str]]:
    """Return a command, which may go on after a backslash or in an open quotation, and the lines shown below it."""
    lines = step.splitlines()
    for count in range(1, len(lines) + 1):
        command = "\n".join(lines[:count])
        with contextlib.suppress(ValueError):
            shlex.split(command, comments=True)
            if not lines[count - 1].endswith("\\"):
                return command, lines[count:]
    return step, []


def _in_turn(command: str) -> str:
    """Return a command whose services answer before the next line is typed."""
    return re.sub(r"(?m)^((?:outboard serve|kubectl port-forward)\b[^\n]*?)\s*&\s*(#.*)?$", r"\1", command)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
