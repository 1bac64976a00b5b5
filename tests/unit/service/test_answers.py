"""What a service lets out, whatever its host says."""

from __future__ import annotations

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.types import SimpleType
from outboard.host.logs import TaskLog
from outboard.service.answers import Answers

FAILED = execution_pb2.TaskExecution.FAILED


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_terminal])
def test_a_sync_answer_without_an_end_becomes_a_failure_of_its_author(phase: Phase) -> None:
    data = Answers(4096).answered(TaskStatus(phase=phase, outputs={}), TaskLog())
    resource = agent_pb2.ExecuteTaskSyncResponse.FromString(data).header.resource
    assert resource.phase == FAILED
    assert resource.agent_error.code == "ContractViolation"
    assert resource.agent_error.kind == agent_pb2.AgentError.NON_RECOVERABLE
    assert phase.value in resource.message
    assert not resource.HasField("outputs")


def test_an_output_that_does_not_fit_becomes_a_failure_that_names_it() -> None:
    status = TaskStatus(phase=Phase.SUCCEEDED, outputs={"o0": "x"}, output_types={"o0": SimpleType.INTEGER})
    resource = agent_pb2.GetTaskResponse.FromString(Answers(4096).polled(status)).resource
    assert (resource.phase, resource.agent_error.code) == (FAILED, "InvalidOutputs")
    assert "outputs.o0" in resource.message


def test_an_answer_beyond_the_limit_becomes_a_failure_below_it() -> None:
    data = Answers(4096).polled(TaskStatus(phase=Phase.SUCCEEDED, outputs={"o0": "x" * 5000}))
    assert len(data) <= 4096
    assert agent_pb2.GetTaskResponse.FromString(data).resource.agent_error.code == "AnswerTooLarge"


def test_equal_statuses_get_equal_bytes_and_others_never_each_others() -> None:
    answers = Answers(4096)
    for number in range(20_000):
        status = TaskStatus(phase=Phase.RUNNING, message=str(number))
        first = answers.polled(status)
        assert answers.polled(status) == first
        assert agent_pb2.GetTaskResponse.FromString(first).resource.message == str(number)
