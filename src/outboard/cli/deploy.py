"""`outboard deploy`: the Helm chart for those without Helm, or without a checkout."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

from outboard.cli.exits import Exit
from outboard.cli.printing import write_result
from outboard.errors import InvalidSettings
from outboard.local.notes import write_note

EXAMPLES: Final = (
    "outboard deploy render --namespace flyte --values production.yaml | kubectl apply -f -",
    "outboard deploy render --set defaults.replicas=3 --output manifests/",
    "outboard deploy values > values.yaml",
    "outboard deploy chart --output . && helm install outboard ./outboard --namespace flyte",
)


class Action(str, Enum):
    """What is wanted of the chart."""

    RENDER = "render"
    VALUES = "values"
    CHART = "chart"


What = Annotated[
    Action,
    typer.Argument(
        help="`render` prints plain manifests, `values` the chart's values, `chart` writes the chart itself."
    ),
]
ValuesFiles = Annotated[
    list[str] | None,
    typer.Option("--values", "-f", metavar="FILE", help="Values of the chart; repeatable, later files win."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A single value, as Helm reads it; repeatable."),
]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The release, after which objects are named.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Where it is deployed.")]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="DIR", help="A folder to write to, a file per object; - is standard output."
    ),
]


def command(
    *,
    what: What,
    values: ValuesFiles = None,
    sets: Sets = None,
    name: Name = "outboard",
    namespace: Namespace = "default",
    output: Output = "-",
) -> int:
    """Print what `helm template` would make of the chart that comes with this version, or the chart itself."""
    from outboard.deploying.charts import copy_chart, default_values  # noqa: PLC0415 - only for this command

    if what is Action.RENDER:
        return _render(values or [], sets or [], name=name, namespace=namespace, output=output)
    if values or sets:
        raise InvalidSettings(f"--values and --set are for `outboard deploy render`; leave them out of `{what.value}`")
    if what is Action.VALUES:
        write_result(default_values().rstrip("\n"))
    else:
        write_note(f"the chart is in {copy_chart(Path('.' if output == '-' else output))}")
    return Exit.SUCCESS


def _render(values: list[str], sets: list[str], *, name: str, namespace: str, output: str) -> int:
    from outboard.deploying.rendering import as_text, render  # noqa: PLC0415 - only for this command

    manifests = render(files=values, sets=sets, name=name, namespace=namespace)
    if output == "-":
        write_result(as_text(manifests).rstrip("\n"))
        return Exit.SUCCESS
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, found in enumerate(manifests, start=1):
            parts = [
                f"{place:02}",
                found.kind.lower(),
                *([found.namespace] if found.namespace != namespace else []),
                found.name,
            ]
            (folder / f"{'-'.join(filter(None, parts))}.yaml").write_text(as_text([found]), encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"{folder} cannot be written ({error.strerror}): name another folder") from None
    write_note(f"{len(manifests)} manifests are in {folder}")
    return Exit.SUCCESS
