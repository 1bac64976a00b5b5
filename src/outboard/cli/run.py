"""`outboard run`: tasks from a file or from options, driven to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import (
    Agents,
    AsJson,
    EndpointAddress,
    EngineConfig,
    Insecure,
    Installation,
    JournalFile,
    OutputBase,
    Platforms,
    Quiet,
    SettingsFile,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
)
from outboard.cli.loops import run_loop
from outboard.errors import InvalidTask
from outboard.local.settings_files import client_options, read_choice

if TYPE_CHECKING:
    from outboard.cli.specs import NamedTask
    from outboard.cli.task_options import TaskOptions

EXAMPLES: Final = (
    "outboard run task.yaml",
    "outboard run task.yaml --endpoint localhost:8000 --json",
    "outboard run duckdb --sql 'select count(*) as n from t' -i t=t.parquet --input-type t=dataset -o result=dataset",
    "outboard run nightly.yaml --engine-config propeller.yaml --retries 3",
)

What = Annotated[
    str,
    typer.Argument(metavar="FILE|TASK_TYPE", help="A task file (YAML or JSON; - is standard input), or a task type."),
]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", "-c", metavar="KEY=VALUE", help="A field of the task's configuration; a.b=1 nests."),
]
Sql = Annotated[str | None, typer.Option("--sql", metavar="TEXT", help="The task's SQL statement.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; the value is read as YAML."),
]
InputTypes = Annotated[
    list[str] | None,
    typer.Option("--input-type", metavar="NAME=TYPE", help="An input's type: int, list[str], dataset(parquet), ..."),
]
Outputs = Annotated[
    list[str] | None, typer.Option("--output", "-o", metavar="NAME=TYPE", help="An output that the task declares.")
]
Version = Annotated[int | None, typer.Option("--task-version", metavar="N", help="The task type's version.")]
Name = Annotated[str | None, typer.Option("--name", metavar="ID", help="The task's id in the journal.")]
Retries = Annotated[int | None, typer.Option("--retries", min=0, metavar="N", help="Attempts after the first.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="For one attempt: 1h30m, or seconds.")]
OutputPrefix = Annotated[
    str | None, typer.Option("--output-prefix", metavar="URI", help="Where the outputs of the first attempt go.")
]
Project = Annotated[str | None, typer.Option("--project", metavar="NAME", help="In whose name it runs.")]
Domain = Annotated[str | None, typer.Option("--domain", metavar="NAME", help="In which domain it runs.")]
MaxLive = Annotated[
    int | None, typer.Option("--max-live", min=1, metavar="N", help="Tasks under way at once; 1000 by default.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Cancel the other tasks when one fails.")]


def command(  # noqa: PLR0913 - the options of the command
    *,
    what: What,
    config: Config = None,
    sql: Sql = None,
    inputs: Inputs = None,
    input_types: InputTypes = None,
    outputs: Outputs = None,
    version: Version = None,
    name: Name = None,
    retries: Retries = None,
    timeout: Timeout = None,
    output_prefix: OutputPrefix = None,
    project: Project = None,
    domain: Domain = None,
    max_live: MaxLive = None,
    fail_fast: FailFast = False,
    endpoint: EndpointAddress = None,
    insecure: Insecure = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = None,
    token_file: TokenFile = None,
    engine_config: EngineConfig = None,
    platforms: Platforms = None,
    agents: Agents = None,
    installation: Installation = None,
    settings: SettingsFile = None,
    output_base: OutputBase = None,
    journal: JournalFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run a task, or all tasks of a file, to their end.

    Progress goes to standard error, outputs to standard output. Ctrl-C cancels the jobs and waits for the confirmation; a
    second Ctrl-C stops waiting and says what may still run.
    """
    from outboard.cli.driving import Drive, run_tasks  # noqa: PLC0415 - same
    from outboard.cli.task_options import TaskOptions  # noqa: PLC0415 - same
    from outboard.local.targets import Target  # noqa: PLC0415 - the engine is for those who use it

    options = TaskOptions(
        config=config or (),
        sql=sql,
        inputs=inputs or (),
        input_types=input_types or (),
        outputs=outputs or (),
        retries=retries,
        timeout=timeout,
        output_prefix=output_prefix,
        project=project,
        domain=domain,
        name=name,
        version=version,
    )
    client = client_options(
        ca=tls_ca, certificate=tls_certificate, key=tls_key, server_name=tls_server_name, token_file=token_file
    )
    choice = read_choice(settings, platforms=platforms, modules=agents, installation=installation, client=client)
    drive = Drive(
        target=Target(endpoint=endpoint, insecure=insecure, engine_config=engine_config, choice=choice),
        journal=journal,
        output_base=output_base,
        max_live=max_live,
        fail_fast=fail_fast,
        is_quiet=quiet,
        as_json=as_json,
    )
    return run_loop(run_tasks(drive, what, _read_tasks(what, options)))


def _read_tasks(what: str, options: TaskOptions) -> list[NamedTask]:
    """Return the tasks of a file, or the one that type and options say."""
    from outboard.cli.specs import TaskSpec, build_task, read_specs  # noqa: PLC0415 - the engine is for those who use it

    if not _is_file(what):
        return [build_task(options.over(TaskSpec(type=what)))]
    specs = read_specs(what)
    if options.is_empty:
        return [build_task(spec, path) for spec, path in specs]
    if len(specs) > 1:
        raise InvalidTask(f"{what} holds {len(specs)} tasks, and options can be for one only: write them into the file")
    return [build_task(options.over(specs[0][0]))]


def _is_file(what: str) -> bool:
    """Tell whether an argument means a file rather than a task type, whatever lies in the working directory."""
    return what == "-" or "/" in what or what.endswith((".yaml", ".yml", ".json"))
