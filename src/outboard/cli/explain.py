"""`outboard explain`: one task's story, from its request to the platform's last answer.

It changes nothing. The platform is asked as a poll would ask it; an unfinished submission is read from its record and never
polled, since a poll may bring a replica to go on with it. A handle that cannot be read here may be such a one, so a service is
asked about it only with --poll.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import (
    Agents,
    AsJson,
    EndpointAddress,
    EngineConfig,
    Flytekit,
    FlytekitModules,
    Insecure,
    Installation,
    JournalFile,
    Platforms,
    SettingsFile,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
)
from outboard.cli.exits import Exit
from outboard.cli.handle_files import STDIN, decoded, read_handle
from outboard.cli.json_values import dumps
from outboard.cli.loops import end_threads, run_loop
from outboard.cli.printing import write_result
from outboard.domain.tasks import TaskType
from outboard.errors import InvalidSettings
from outboard.local.settings_files import client_options, read_choice

if TYPE_CHECKING:
    from outboard.cli.explaining import Question
    from outboard.local.targets import Target

EXAMPLES: Final = (
    "outboard explain query-7",
    "outboard explain flights:development:a7xkz:daily:0",
    "outboard explain /09CAQ... --settings outboard.yaml",
    "kubectl ... | outboard explain - --endpoint localhost:8000",
    "outboard explain ob-a7xkz-daily-0-qilvvfbmnr54tfbudsjhdzhlqu --output-prefix s3://bucket/a7xkz/daily/0",
    "outboard explain 4f1d2c3b4a59 --log outboard.log",
)
_OURS: Final = b"\xffOB"


def command(  # noqa: PLR0913 - the options of the command
    *,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A handle (base64, a file, or - for standard input), a task of the journal, "
            "project:domain:execution:node[:attempt], a submission key, or an error id with --log.",
        ),
    ],
    task_type: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE[:VERSION]", help="The task type of a handle that does not say."),
    ] = None,
    output_prefix: Annotated[
        str, typer.Option("--output-prefix", metavar="URI", help="The attempt's output prefix, to find a key's record.")
    ] = "",
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="A service's log (JSON lines) to read the task's lines from."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither platform nor service.")] = False,
    poll: Annotated[
        bool,
        typer.Option(
            "--poll",
            help="Let the service answer a poll although the handle cannot be read here; a submission may go on.",
        ),
    ] = False,
    limit: Annotated[
        float, typer.Option("--limit", min=0.1, metavar="SECONDS", help="How long to wait for an answer.")
    ] = 10.0,
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
    flytekit: Flytekit = None,
    flytekit_modules: FlytekitModules = None,
    installation: Installation = None,
    settings: SettingsFile = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> int:
    """Explain why a task stands where it stands: its handle, its record, the platform's answer, and the rule that decided.

    Nothing is started or cancelled. No SQL, inputs, outputs or secrets are shown.
    """
    from outboard.cli.explaining import Question  # noqa: PLC0415 - what stories need is for those who want one
    from outboard.local.targets import Target  # noqa: PLC0415 - same

    choice = read_choice(
        settings,
        platforms=platforms,
        modules=agents,
        installation=installation,
        flytekit=flytekit,
        flytekit_modules=flytekit_modules,
        client=client_options(
            ca=tls_ca, certificate=tls_certificate, key=tls_key, server_name=tls_server_name, token_file=token_file
        ),
    )
    target = Target(endpoint=endpoint, insecure=insecure, engine_config=engine_config, choice=choice)
    question = Question(
        named=what,
        task_type=_task_type(task_type),
        output_prefix=output_prefix,
        log=log,
        is_offline=offline,
        may_poll=poll,
        limit_s=limit,
        journal=journal,
    )
    return run_loop(_explain(question, target, _handle(what), as_json=as_json))


async def _explain(question: Question, target: Target, handle: bytes | None, *, as_json: bool) -> Exit:
    from outboard.cli.explaining import find_story  # noqa: PLC0415 - as above
    from outboard.cli.story_lines import document, lines_of  # noqa: PLC0415 - same

    story, redact = await find_story(question, target, handle)
    if as_json:
        write_result(redact(dumps(document(story), indent=2)))
    else:
        for line in lines_of(story):
            write_result(redact(line))
    await end_threads(Exit.SUCCESS)
    return Exit.SUCCESS


def _handle(what: str) -> bytes | None:
    """Return the handle that a text is, or names a file of; None where it is something else."""
    if what == STDIN:
        return read_handle(what)
    data = decoded(what)
    if data is not None and (data.startswith(_OURS) or _is_object(data)):
        return data
    path = Path(what)
    try:
        is_file = path.is_file()
    except OSError:  # a name that is too long, say
        is_file = False
    return read_handle(what) if is_file else None


def _is_object(data: bytes) -> bool:
    """Tell whether bytes are a JSON object, as the handles of others are; the base64 of "{" begins many a task's id."""
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _task_type(text: str | None) -> TaskType | None:
    if text is None:
        return None
    name, _, version = text.partition(":")
    if not name or (version and not (version.isascii() and version.isdigit())):
        raise InvalidSettings(f"--type '{text}' is no task type: write name or name:1", field="type")
    return TaskType(name, int(version or 0))
