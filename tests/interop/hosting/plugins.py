"""The plugins that are tried, each in a virtual environment of its own under `.interop/`: their versions bend nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
SCRATCH: Final = ROOT / ".interop"
_PATIENCE_S: Final = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A distribution with connectors.

    Attributes:
        name: The distribution.
        task_types: What its connectors serve.
        needs: Versions that it works with and does not say itself.
    """

    name: str
    task_types: Sequence[str]
    needs: Sequence[str] = ()

    @property
    def wanted(self) -> list[str]:
        """What pip installs besides this project; a lower bound of the SDK keeps its resolver from trying every older one."""
        sdk = ["flytekit>=1.16.31,<2", "httpx"] if self.name.startswith("flytekit") else ["flyte>=2.0"]
        return [self.name, *sdk, *self.needs]

    @property
    def home(self) -> Path:
        """Its environment."""
        return SCRATCH / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"

    @property
    def outboard(self) -> Path:
        """Its command."""
        return self.home / "bin" / "outboard"

    def install(self) -> str:
        """Make the environment unless it is there; return what went wrong, in a sentence, or nothing."""
        mark = self.home / ".installed"
        if mark.exists() and mark.read_text().split("\n") == self.wanted:
            return ""
        SCRATCH.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.home)], check=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        made = subprocess.run(
            [*pip, "--editable", str(ROOT), *self.wanted],
            check=False, capture_output=True, text=True, timeout=_PATIENCE_S, env={**os.environ, "PIP_NO_INPUT": "1"},
        )  # fmt: skip
        if made.returncode != 0:
            said = [line for line in made.stderr.splitlines() if line.startswith("ERROR")]
            return (said or made.stderr.splitlines() or ["pip failed without a word"])[0][:200]
        mark.write_text("\n".join(self.wanted))
        return ""

    def versions(self) -> dict[str, str]:
        """Return the versions of the plugin and of its SDK."""
        script = (
            "import importlib.metadata as m\n"
            f"for n in ({self.name!r}, 'flytekit', 'flyte'):\n"
            "    try: print(n, m.version(n))\n"
            "    except m.PackageNotFoundError: pass\n"
        )
        told = subprocess.run([str(self.python), "-c", script], check=True, capture_output=True, text=True)
        return dict(line.split() for line in told.stdout.splitlines())


PLUGINS: Final = (
    Plugin(name="flytekitplugins-bigquery", task_types=("bigquery_query_job_task",)),
    Plugin(name="flytekitplugins-openai", task_types=("chatgpt", "openai-batch")),
    Plugin(name="flytekitplugins-spark", task_types=("spark", "databricks")),
    Plugin(name="flytekitplugins-snowflake", task_types=("snowflake",)),
    Plugin(name="flytekitplugins-slurm", task_types=("slurm", "slurm_fn")),
    Plugin(name="flytekitplugins-awssagemaker", task_types=("boto", "sagemaker-endpoint")),
    Plugin(name="flytekitplugins-mmcloud", task_types=("mmcloud_task",)),
    Plugin(name="flytekitplugins-k8sdataservice", task_types=("dataservicetask",)),
    Plugin(name="flytekitplugins-perian-job", task_types=("perian_task",), needs=("perian<0.3",)),
    Plugin(name="flytekitplugins-airflow", task_types=("airflow",)),
    Plugin(name="flyteplugins-bigquery", task_types=("bigquery_query_job_task",)),
    Plugin(name="flyteplugins-snowflake", task_types=("snowflake",)),
    Plugin(name="flyteplugins-databricks", task_types=("databricks",)),
)
