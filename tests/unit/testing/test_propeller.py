"""The propeller does to a service what FlytePropeller does, and counts what it does."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from outboard.domain.keys import submission_key
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.errors import Unavailable
from outboard.testing.flyte_names import flyte_names
from outboard.testing.propeller import BrokenAnswer, NodeOutcome, Propeller, PropellerSettings, Reason
from outboard.testing.replicas import Call, Fleet, Network, Passage
from outboard.testing.virtual_time import run_virtually
from unit.testing.small_service import SmallService, World, failing, pausing, small_task

PREFIX = "memory://out/n0"


def drive(
    world: World,
    settings: PropellerSettings | None = None,
    *,
    ends: Mapping[str, tuple[float, Phase]] | None = None,
    network: Network | None = None,
    abort_at_s: float | None = None,
) -> NodeOutcome:
    """Drive one node against one replica; `ends` says when jobs (by attempt) end, in seconds from the start, and how."""

    async def scenario() -> NodeOutcome:
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            if network is not None:
                fleet.network = network
            for attempt, (at_s, phase) in (ends or {}).items():
                asyncio.get_running_loop().call_later(at_s, world.jobs.__setitem__, f"{PREFIX}/{attempt}", phase)
            return await Propeller(fleet, settings).run(small_task(), abort_at_s=abort_at_s)

    return run_virtually(scenario)


def test_a_task_is_polled_from_5_ms_on_and_its_end_is_seen_at_the_next_round() -> None:
    world = World()
    done = drive(world, ends={"0": (95, Phase.SUCCEEDED)})
    assert (done.phase, done.reason, done.attempts, done.creates) == (Phase.SUCCEEDED, Reason.ANSWERED, 1, 1)
    assert done.handles == done.followed == (b"memory://out/n0/0#1",)
    assert done.polls == world.calls["get_task"] == 5
    assert done.answered_at == pytest.approx(done.began_at + 120.005)
    assert done.ended_at == pytest.approx(done.began_at + 130)
    assert done.phases == (Phase.RUNNING, Phase.SUCCEEDED)
    assert world.calls["delete_task"] == 0
    assert done.errors == {}


def test_any_error_of_create_burns_an_attempt_and_nobody_deletes() -> None:
    world = World(after={"create_task": failing(Unavailable("reset"), times=1)})
    done = drive(world, PropellerSettings(retries=1), ends={"1": (50, Phase.SUCCEEDED)})
    assert (done.phase, done.attempts, done.creates, done.errors) == (Phase.SUCCEEDED, 2, 2, {"create_task": 1})
    assert list(world.jobs) == [f"{PREFIX}/0", f"{PREFIX}/1"]
    assert world.calls["delete_task"] == 0
    assert "reset" in done.last_error


def test_without_retries_one_error_of_create_fails_the_task() -> None:
    done = drive(World(before={"create_task": failing(Unavailable("reset"))}))
    assert (done.phase, done.reason, done.handles, done.polls) == (Phase.FAILED, Reason.CREATE_FAILED, (), 0)


def test_a_deadline_of_create_is_an_error_and_no_deadline_waits() -> None:
    slow = {"create_task": pausing(15)}
    assert drive(World(before=slow)).reason is Reason.CREATE_FAILED
    patient = PropellerSettings(create_timeout_s=None)
    done = drive(World(before=slow), patient, ends={"0": (60, Phase.SUCCEEDED)})
    assert done.reason is Reason.ANSWERED


def test_a_lost_round_sends_the_identical_request_and_the_first_handle_is_polled_for_ever() -> None:
    world = World()
    done = drive(world, PropellerSettings(lost_rounds=2), ends={"0": (100, Phase.SUCCEEDED)})
    assert (done.creates, done.attempts) == (3, 1)
    assert done.handles == tuple(f"{PREFIX}/0#{n}".encode() for n in (1, 2, 3))
    assert done.followed == done.handles[:1]
    assert list(world.jobs) == [f"{PREFIX}/0"]


def test_more_than_five_failed_polls_in_a_life_hang_the_task() -> None:
    world = World()

    def losing(numbers: set[int]) -> Network:
        return lambda call: Passage(request_lost=call.operation == "get_task" and call.number in numbers)

    five = drive(world, network=losing({1, 3, 5, 7, 9}), ends={"0": (600, Phase.SUCCEEDED)})
    assert (five.phase, five.errors) == (Phase.SUCCEEDED, {"get_task": 5})
    six = drive(World(), network=losing({1, 3, 5, 7, 9, 11}), ends={"0": (600, Phase.SUCCEEDED)})
    assert (six.phase, six.reason, six.is_stuck, six.polls) == (None, Reason.STUCK, True, 12)


def test_a_task_whose_polls_never_succeeded_fails_without_a_delete() -> None:
    world = World(before={"get_task": failing(Unavailable("down"))})
    done = drive(world)
    assert (done.phase, done.reason, done.polls) == (Phase.FAILED, Reason.POLLS_FAILED, 6)
    assert world.calls["delete_task"] == 0
    assert world.jobs == {f"{PREFIX}/0": Phase.RUNNING}


def test_a_hanging_task_still_heeds_its_timeout() -> None:
    world = World()
    network: Network = lambda call: Passage(request_lost=call.operation == "get_task" and call.number > 0)  # noqa: E731
    done = drive(world, PropellerSettings(execution_timeout_s=3600), network=network)
    assert (done.phase, done.reason, world.calls["delete_task"]) == (Phase.FAILED, Reason.TIMED_OUT, 1)


def test_a_retryable_failure_is_deleted_and_tried_again_under_the_next_prefix() -> None:
    world = World()
    ends = {"0": (20, Phase.RETRYABLE_FAILED), "1": (200, Phase.SUCCEEDED)}
    done = drive(world, PropellerSettings(retries=3), ends=ends)
    assert (done.phase, done.attempts, world.calls["delete_task"]) == (Phase.SUCCEEDED, 2, 1)
    assert [handle.decode().partition("#")[0] for handle in done.followed] == [f"{PREFIX}/0", f"{PREFIX}/1"]
    assert done.late_phases == (Phase.ABORTED, Phase.ABORTED)


def test_the_last_retryable_failure_is_final_and_not_deleted() -> None:
    world = World()
    done = drive(world, ends={"0": (20, Phase.RETRYABLE_FAILED)})
    assert (done.phase, done.reason, world.calls["delete_task"]) == (Phase.FAILED, Reason.ANSWERED, 0)


def test_an_aborted_answer_is_a_failure_for_flyte() -> None:
    done = drive(World(), PropellerSettings(retries=5), ends={"0": (20, Phase.ABORTED)})
    assert (done.phase, done.attempts) == (Phase.FAILED, 1)
    assert done.phases[-1] is Phase.ABORTED


def test_an_undefined_phase_restarts_the_task() -> None:
    async def undefine() -> None:
        if world.calls["get_task"] == 2:
            raise BrokenAnswer

    world = World(before={"get_task": undefine})
    done = drive(world, PropellerSettings(retries=1), ends={"1": (300, Phase.SUCCEEDED)})
    assert (done.phase, done.attempts, done.broken_answers) == (Phase.SUCCEEDED, 2, 1)
    assert (world.calls["delete_task"], done.errors) == (1, {})


def test_a_timeout_deletes_the_job_and_tries_again() -> None:
    world = World()
    settings = PropellerSettings(retries=1, execution_timeout_s=100)
    done = drive(world, settings)
    assert (done.phase, done.reason, done.attempts) == (Phase.FAILED, Reason.TIMED_OUT, 2)
    assert set(world.jobs.values()) == {Phase.ABORTED}
    assert world.calls["delete_task"] == 2


def test_an_abort_deletes_the_job_and_late_polls_follow() -> None:
    world = World()
    done = drive(world, abort_at_s=100)
    assert (done.phase, done.reason, done.ended_at - done.began_at) == (Phase.ABORTED, Reason.ABORTED, 100)
    assert world.calls["delete_task"] == 1
    assert done.late_phases == (Phase.ABORTED, Phase.ABORTED)


def test_an_abort_before_a_handle_was_recorded_deletes_nothing() -> None:
    world = World(before={"create_task": pausing(5)})
    done = drive(world, PropellerSettings(lost_rounds=3), abort_at_s=6)
    assert (done.phase, world.calls["delete_task"], done.creates) == (Phase.ABORTED, 0, 1)


def test_deletes_that_fail_are_repeated_until_the_workflow_gives_up() -> None:
    brief = drive(World(before={"delete_task": failing(Unavailable("busy"), times=3)}), abort_at_s=100)
    assert (brief.reason, list(brief.delete_errors.values())) == (Reason.ABORTED, [3])
    lasting = drive(World(before={"delete_task": failing(Unavailable("busy"))}), abort_at_s=100)
    assert (lasting.phase, lasting.reason, lasting.errors) == (Phase.FAILED, Reason.DELETE_FAILED, {"delete_task": 11})
    world = World(before={"delete_task": failing(Unavailable("busy"), times=500)})
    endless = drive(world, PropellerSettings(failed_rounds=None), abort_at_s=100)
    assert (endless.phase, world.calls["delete_task"]) == (Phase.ABORTED, 501)


def test_ten_workers_poll_for_all_tasks_together() -> None:
    peak = [0, 0]

    async def slow() -> None:
        peak[0] += 1
        peak[1] = max(peak)
        await asyncio.sleep(5)
        peak[0] -= 1

    async def scenario() -> None:
        world = World(before={"get_task": slow})
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            propeller = Propeller(fleet)
            tasks = [propeller.run(small_task(f"n{n}"), abort_at_s=200) for n in range(40)]
            await asyncio.gather(*tasks)

    run_virtually(scenario)
    assert peak[1] == 10


def test_attempts_of_flyte_2_count_their_prefixes_from_one() -> None:
    world = World()
    drive(world, PropellerSettings(first_prefix=1), ends={"1": (10, Phase.SUCCEEDED)})
    assert list(world.jobs) == [f"{PREFIX}/1"]


def test_two_runs_of_one_scenario_are_equal() -> None:
    def lossy(call: Call) -> Passage:
        return Passage(reply_lost=call.number % 3 == 1, delay_after_s=0.25)

    def once() -> Any:
        done = drive(World(), PropellerSettings(retries=9), network=lossy, ends={"0": (500, Phase.SUCCEEDED)})
        return replace(done, status=None)

    assert once() == once()


def test_nodes_of_equal_identity_are_told_apart_by_their_prefixes_alone() -> None:
    names = flyte_names(fan_out=4)
    identities = [name.identity for name in names]
    assert len(set(identities)) < len(identities)
    assert len({name.node_prefix for name in names}) == len(names)
    keys = {submission_key("prod", name.identity, name.output_prefix) for name in names}
    assert len(keys) == len(names)


def test_a_status_is_given_as_it_was_answered() -> None:
    done = drive(World(), ends={"0": (10, Phase.SUCCEEDED)})
    assert done.status == TaskStatus(phase=Phase.SUCCEEDED)
