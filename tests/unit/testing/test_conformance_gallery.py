"""Every agent that is wrong in one way fails the check for just that, and is told what to change."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from outboard.agent import Agent
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key
from outboard.domain.types import Interface, SimpleType
from outboard.testing.conformance import Clock, check_case, check_class
from unit.testing import wrong_agents as wrong
from unit.testing.conformance_cases import failed, ledger_case

FOUND: list[tuple[type[Agent], str, str]] = [
    (wrong.CreatesTwice, "runs/succeeds", "2 jobs for one task"),
    (wrong.CreatesTwice, "started-once/repeated-create", "three creates with two keys left"),
    (wrong.IgnoresTheKey, "started-once/reply-lost", "2 jobs for one task"),
    (wrong.IgnoresTheKey, "started-once/effect-comes-late", "2 jobs for one task"),
    (wrong.IgnoresTheKey, "started-once/repeated-create", "instead of the first"),
    (wrong.IgnoresTheKey, "started-once/replica-dies-after-create", "2 jobs for one task"),
    (wrong.RetriesByItself, "started-once/reply-lost", "2 jobs for one task"),
    (wrong.HasOneJobForAll, "started-once/repeated-create", "two tasks got the same job"),
    (wrong.RefusesItsOwnName, "started-once/repeated-create", "there is a job named"),
    (wrong.RefusesItsOwnName, "started-once/repeated-create", "there is a job named"),
    (wrong.ChangesItsTask, "started-once/repeated-create", "changed the task"),
    (wrong.RemembersJobs, "started-once/replica-dies-after-create", "the task did not end"),
    (wrong.FindsEverything, "find/by-key", "for a key that has none"),
    (wrong.FindsNothing, "find/by-key", "returned [] for the key"),
    (wrong.FindsNothing, "adopt/by-find", "2 jobs"),
    (wrong.FindsNothing, "cancel/while-starting", "its job runs on"),
    (wrong.WaitsForTheEnd, "cancel/returns", "had not returned after 10 s"),
    (wrong.CancelsNothing, "cancel/running", "1 jobs run on"),
    (wrong.CancelsNothing, "cancel/faults", "was not cancelled"),
    (wrong.DeletesFinishedJobs, "cancel/finished", "is gone after a late cancel"),
    (wrong.SucceedsWhenCancelled, "cancel/running", "reported as SUCCEEDED"),
    (wrong.AnswersDicts, "answers/statuses", "returned dict"),
    (wrong.AnswersDicts, "runs/succeeds", "the task did not end"),
    (wrong.AnswersStates, "answers/statuses", "'JOB_STATE_RUNNING' is not in the StateMap"),
    (wrong.RaisesForMissing, "answers/statuses", "raised Rejected"),
    (wrong.AnswersForStrangers, "answers/statuses", "jobs it was not asked for"),
    (wrong.GuessesSuccess, "unreachable/faults", "was reported as FAILED although it runs"),
    (wrong.GuessesSuccess, "unreachable/outage", "ended the job as FAILED"),
    (wrong.AnswersFromMemory, "unreachable/outage", "as if all were well"),
    (wrong.LacksAState, "runs/fails", "the task did not end"),
    (wrong.NeverSucceeds, "declared/states", "no documented state means success"),
    (wrong.HopesForTheBest, "declared/states", "counts as success"),
    (wrong.Blocks, "blocking/steps", "stood still in get (2.0 s)"),
    (wrong.BlocksForEver, "blocking/steps", "stood still in create"),
    (wrong.CallsWhatBlocks, "declared/blocking-calls", "get calls time.sleep in line"),
    (wrong.OutlivesItsDeadline, "deadlines/kept", "deadline"),
    (wrong.KeepsItsSecret, "redaction/canary", "what create returned"),
    (wrong.LogsItsSecret, "redaction/canary", "a log line"),
    (wrong.KeepsTooMuch, "handles/job", "of 160 bytes"),
    (wrong.LooksAround, "declared/pure-methods", "does input or output (open)"),
    (wrong.MovesAround, "declared/pure-methods", "answered differently"),
    (wrong.MovesAround, "handles/job", "two different connections"),
    (wrong.ForgetfulToken, "declared/submission", "valid for 10 s"),
    (wrong.BatchesNothing, "declared/submission", "without `get_many`"),
    (wrong.DropsTyposAgent, "declared/config", "drops keys"),
    (wrong.TakesASecretAgent, "declared/config", "would hold a secret"),
    (wrong.Upgraded, "handles/old", "no handle of an earlier version is kept"),
]
SEEN_WHILE = {"blocking/steps": "runs/succeeds", "redaction/canary": "runs/succeeds"}
"""What is judged at the end, and the check during which it is seen."""


@pytest.mark.parametrize(("agent", "check", "words"), FOUND, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_is_found_and_told(agent: type[Agent], check: str, words: str) -> None:
    long: dict[str, Any] = {"cancelling_s": 60} if agent is wrong.WaitsForTheEnd else {}
    case = ledger_case(agent, check, SEEN_WHILE.get(check, check), long=long)
    found = failed(check_case(case))
    assert words in found[check].message
    assert len(found[check].remedy) > 10


def test_an_error_map_that_calls_a_lost_reply_not_sent_starts_a_second_job() -> None:
    case = ledger_case(
        wrong.CarefulLookup, "started-once/reply-lost", "declared/errors", platform=wrong.NotSentPlatform
    )
    found = failed(check_case(case))
    assert found["started-once/reply-lost"].message == "the platform has 2 jobs for one task"
    assert "not sent" in found["declared/errors"].message


def test_a_secret_is_found_in_the_engines_journal_too() -> None:
    text = Interface(outputs={"text": SimpleType.STRING})
    case = ledger_case(wrong.GivesItsSecret, "runs/succeeds", "redaction", interface=text)
    found = failed(check_case(case))["redaction/canary"].message
    assert "a status" in found
    assert "the engine's journal" in found


def test_the_same_error_map_is_asked_where_faults_strike_at_the_boundary() -> None:
    case = ledger_case(
        wrong.CarefulLookup, "started-once/reply-lost", platform=wrong.NotSentPlatform, is_at_boundary=True
    )
    assert "2 jobs" in failed(check_case(case))["started-once/reply-lost"].message


def test_an_error_map_that_calls_an_expired_login_final_is_found() -> None:
    case = ledger_case(wrong.Careful, "declared/errors", platform=wrong.FinalPlatform)
    assert "HTTP 401 is Rejected" in failed(check_case(case))["declared/errors"].message


def test_a_check_that_is_made_in_parts_in_real_time_finds_the_same() -> None:
    case = ledger_case(wrong.GuessesSuccess, "unreachable/faults", clock=Clock.REAL)
    found = failed(check_case(case))
    assert "was reported as FAILED although it runs" in found["unreachable/faults"].message


def test_the_class_alone_shows_what_is_declared_wrong() -> None:
    assert {finding.check for finding in check_class(wrong.CallsWhatBlocks).findings if finding.remedy} >= {
        "declared/blocking-calls"
    }
    assert not check_class(wrong.TakesASecretAgent).is_conforming


@pytest.mark.parametrize(("job", "words"), [({"id": "1"}, "cannot be read"), ({"id": "1", "zone": "a"}, None)])
def test_kept_handles_of_older_versions_are_read(tmp_path: Path, job: dict[str, str], words: str | None) -> None:
    handle = Handle(agent="upgraded", task_type="wrong", key=Key("ob-f-n0-0-" + "a" * 26), job=job, job_version=1)
    (tmp_path / "first.handle").write_bytes(base64.b64encode(HandleCodec().encode(handle)))
    found = failed(check_case(ledger_case(wrong.Upgraded, "handles/old", old_handles=tmp_path)))
    assert (words is None) == (not found)
    assert words is None or words in found["handles/old"].message


def test_a_handle_under_a_name_that_the_agent_gave_up_is_found(tmp_path: Path) -> None:
    handle = Handle(agent="former", task_type="wrong", key=Key("ob-f-n0-0-" + "a" * 26), job={"id": "1"})
    (tmp_path / "first.handle").write_bytes(HandleCodec().encode(handle))
    found = failed(check_case(ledger_case(wrong.Upgraded, "handles/old", old_handles=tmp_path)))
    assert "aliases" in found["handles/old"].remedy
