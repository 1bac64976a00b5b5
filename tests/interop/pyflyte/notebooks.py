"""The same workflows in a real Jupyter kernel: its loop runs, and its interrupt button is a SIGINT.

The kernel's packages are installed into `.interop/notebook`, whose interpreter sees this one's packages too. `kernel.py` drives
it there, told by lines on its standard input; here the ledger is read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from interop.pyflyte.scenarios import stage
from interop.pyflyte.stages import FOR_EVER, PROJECT, ROOT, WITH, Stage
from tables.sections import Section

HOME: Final = ROOT / ".interop" / "notebook"
_WANTED: Final = ("ipykernel>=6.29,<8",)
_COLUMNS: Final = ("cell", "ends as", "output", "jobs started", "left running", "shown")
_TITLE: Final = "The workflow in a Jupyter kernel"


def section() -> Section:
    """Return the table; skipped, with the reason, where no kernel is to be had."""
    began = time.monotonic()
    missing = install()
    if missing:
        return Section(title=_TITLE, skipped=missing)
    rows = run_cells()
    return Section(
        title=_TITLE,
        columns=_COLUMNS,
        rows=rows,
        failures=complaints(rows),
        seconds=time.monotonic() - began,
        versions={"flytekit": version("flytekit")},
    )


def install() -> str:
    """Make the kernel's environment unless it is there; return why it cannot be made, or nothing."""
    mark = HOME / ".installed"
    if mark.exists() and mark.read_text(encoding="utf-8").split() == list(_WANTED):
        return ""
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True, capture_output=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *_WANTED], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a Jupyter kernel cannot be installed here ({type(error).__name__})"
    folder = next((HOME / "lib").glob("python*")) / "site-packages"
    # A `.pth` file, so that the kernel sees what is installed in editable form too.
    (folder / "interop.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8"
    )
    mark.write_text("\n".join(_WANTED), encoding="utf-8")
    return ""


def run_cells() -> list[dict[str, Any]]:
    """Run a workflow, interrupt a job that never ends, and run another one in the same kernel."""
    with stage() as here:
        course = json.dumps(FOR_EVER)
        environment = here.environment(WITH, INTEROP_COURSE=course)
        command = [str(HOME / "bin" / "python"), str(Path(__file__).with_name("kernel.py"))]
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as driver:
            try:
                _ask(driver, "run", "import workflow")
                flow = f"print(workflow.flow(folder={str(here.folder / 'data')!r}, n=100))"
                rows = [_row(here, "flow()", _ask(driver, "run", flow))]
                _tell(driver, "run", "print(workflow.one())")
                here.await_started(2)
                here.await_polls(here.server.faults.calls["get"] + 2)
                _tell(driver, "interrupt", "")
                rows.append(_row(here, "one(), interrupted", _heard(driver)))
                rows.append(_row(here, "score(), afterwards", _ask(driver, "run", "print(workflow.score(rows=1))")))
                alone = "import os; os.environ['OUTBOARD_FLYTEKIT'] = 'off'; print(workflow.score(rows=1))"
                rows.append(_row(here, "score(), flytekit alone", _ask(driver, "run", alone)))
                _tell(driver, "end", "")
                driver.wait(30)
            finally:
                driver.kill()
        return rows


def complaints(rows: list[dict[str, Any]]) -> list[str]:
    """Return what is not as promised."""
    wanted = [
        ("ok", "100 rows, sum 328350, answer 42", 0),
        ("Interrupted", "", 0),
        ("ok", "42", 0),
    ]
    found = []
    for row, (end, output, left) in zip(rows, wanted, strict=False):  # the last row is flytekit's own
        if (row["ends as"], row["output"], row["left running"]) != (end, output, left):
            found.append(f"{row['cell']} in a notebook ended as {row['ends as']} with {row['output']!r}")
        if not row["shown"]:
            found.append(f"{row['cell']} in a notebook showed nothing of what happened")
    return found


def _row(here: Stage, cell: str, answer: dict[str, Any]) -> dict[str, Any]:
    lines = answer["stderr"].splitlines()
    return {
        "cell": cell,
        "ends as": answer["end"],
        "output": answer["stdout"].strip(),
        "jobs started": here.started,
        "left running": here.live,
        "shown": lines[-1] if lines else "",
    }


def _ask(driver: subprocess.Popen[str], what: str, code: str) -> dict[str, Any]:
    _tell(driver, what, code)
    return _heard(driver)


def _tell(driver: subprocess.Popen[str], what: str, code: str) -> None:
    if driver.stdin is None:
        raise AssertionError("the driver has a standard input")
    driver.stdin.write(json.dumps({"do": what, "code": code}) + "\n")
    driver.stdin.flush()


def _heard(driver: subprocess.Popen[str]) -> dict[str, Any]:
    if driver.stdout is None:
        raise AssertionError("the driver has a standard output")
    answer: dict[str, Any] = json.loads(driver.stdout.readline())
    return answer
