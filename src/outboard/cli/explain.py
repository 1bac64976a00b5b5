"""`outboard explain`: one task's story, from its request to the platform's last answer.

It changes nothing. The platform is asked as a poll would ask it; an unfinished submission is read from its record and never
polled, since a poll may bring a replica to go on with it. A handle that cannot be read here may be such a one, so a service is
asked about it only with --poll.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from outboard.cli.choices import AsJson, Flytekit, FlytekitModules, Whom
from outboard.cli.exits import Exit
from outboard.cli.handle_files import STDIN, decoded, read_handle
from outboard.cli.json_values import dumps
from outboard.cli.loops import end_threads, run_loop
from outboard.cli.printing import write_result
from outboard.cli.questions import Question

if TYPE_CHECKING:
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


def command(
    *,
    question: Question,
    whom: Whom,
    flytekit: Flytekit = None,
    flytekit_modules: FlytekitModules = None,
    as_json: AsJson = False,
) -> int:
    """Explain why a task stands where it stands: its handle, its record, the platform's answer, and the rule that decided.

    Nothing is started or cancelled. No SQL, inputs, outputs or secrets are shown.
    """
    target = whom.target(flytekit=flytekit, flytekit_modules=flytekit_modules)
    return run_loop(_explain(question, target, _handle(question.named), as_json=as_json))


async def _explain(question: Question, target: Target, handle: bytes | None, *, as_json: bool) -> Exit:
    from outboard.cli.explaining import find_story  # noqa: PLC0415 - what stories need is for those who want one
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
