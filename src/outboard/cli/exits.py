"""Exit codes: one table from the error tree to what the process returns.

A class that is not in the table has the code of its nearest parent; a test proves that every class of the tree is there.
The codes are part of the public interface (docs/cli.md): a script may branch on them.

====  =============================================================================================
0     success; for `serve` also the end by SIGTERM or Ctrl-C after a drain
1     a task failed, or what was asked could not be done
2     wrong usage, specification, input or setting: the same command will fail again
3     an endpoint or a platform cannot be reached, or does not answer: the same command may work later
4     the journal cannot be used, or another engine drives the run
70    a fault of Outboard itself (`EX_SOFTWARE` of sysexits.h)
130   interrupted once (128 + SIGINT): the jobs were cancelled, and that was confirmed
131   interrupted twice, or a cancel was not confirmed: something may be left running, which is listed
141   nobody reads the output any more (128 + SIGPIPE)
143   told to end by SIGTERM (128 + SIGTERM) while driving tasks; handled like the first interrupt
====  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from outboard import errors
from outboard.errors import OutboardError


class Exit(IntEnum):
    """What the process returns."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    JOURNAL = 4
    FAULT = 70
    INTERRUPTED = 130
    LEFT_RUNNING = 131
    BROKEN_PIPE = 141
    TERMINATED = 143


EXITS: Final[Mapping[type[OutboardError], Exit]] = {
    errors.OutboardError: Exit.FAILED,
    errors.TaskError: Exit.USAGE,
    errors.InvalidTask: Exit.USAGE,
    errors.InvalidInputs: Exit.USAGE,
    errors.UnknownTaskType: Exit.USAGE,
    errors.HandleError: Exit.FAILED,
    errors.ForeignHandle: Exit.FAILED,
    errors.UnreadableHandle: Exit.FAILED,
    errors.HandleTooLarge: Exit.FAILED,
    errors.AgentError: Exit.FAILED,
    errors.Rejected: Exit.USAGE,
    errors.Unauthorized: Exit.FAILED,
    errors.Forbidden: Exit.FAILED,
    errors.Throttled: Exit.UNREACHABLE,
    errors.BudgetSpent: Exit.UNREACHABLE,
    errors.Unavailable: Exit.UNREACHABLE,
    errors.SecretsUnavailable: Exit.UNREACHABLE,
    errors.OutcomeUnknown: Exit.FAILED,
    errors.AgentFault: Exit.FAILED,
    errors.ContractViolation: Exit.FAILED,
    errors.InvalidOutputs: Exit.FAILED,
    errors.Unsupported: Exit.FAILED,
    errors.OperatorError: Exit.FAILED,
    errors.InvalidSettings: Exit.USAGE,
    errors.MissingSecret: Exit.USAGE,
    errors.StoreUnavailable: Exit.FAILED,
    errors.EndpointUnreachable: Exit.UNREACHABLE,
    errors.JournalUnwritable: Exit.JOURNAL,
    errors.RunOwned: Exit.JOURNAL,
    errors.Overloaded: Exit.UNREACHABLE,
    errors.UnknownCaller: Exit.USAGE,
    errors.UnverifiedCaller: Exit.UNREACHABLE,
    errors.RefusedCaller: Exit.USAGE,
    errors.DrainingError: Exit.UNREACHABLE,
    errors.TaskFailed: Exit.FAILED,
}

REMEDIES: Final[Mapping[type[OutboardError], str]] = {
    errors.EndpointUnreachable: "check the address; --insecure and --tls choose between plain text and TLS",
    errors.UnknownTaskType: "`outboard agents` lists what is served, and what could not be loaded",
    errors.JournalUnwritable: "choose another place with --journal or OUTBOARD_HOME",
    errors.RunOwned: "`outboard jobs` shows who drives which run",
    errors.MissingSecret: "set it in the environment, or under host.secrets of the settings file",
}
"""What can be done on the command line, beyond the error's own sentence."""


def exit_code(error: OutboardError) -> Exit:
    """Return the code of an error.

    >>> exit_code(errors.InvalidTask("no type: name one"))
    <Exit.USAGE: 2>
    """
    return next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)


def remedy(error: OutboardError) -> str | None:
    """Return what to do on the command line; None where the error's own sentence says it all."""
    return next((REMEDIES[kind] for kind in type(error).__mro__ if kind in REMEDIES), None)
