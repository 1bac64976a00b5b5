"""Which threads yield to Python's."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from outboard.service import grpc_threads

if sys.platform != "linux":
    pytest.skip("scheduling policies are Linux's", allow_module_level=True)


def _policy_of_a_new_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return seen[0]


def test_threads_that_start_inside_are_patient_and_those_after_are_not() -> None:
    with grpc_threads.patient():
        assert _policy_of_a_new_thread() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert _policy_of_a_new_thread() == os.SCHED_OTHER


def test_an_error_inside_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), grpc_threads.patient():
        _ = 1 / 0
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_policy_that_somebody_chose_stays() -> None:
    seen: list[int] = []

    def run() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with grpc_threads.patient():
            seen.append(os.sched_getscheduler(0))
        seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [os.SCHED_IDLE, os.SCHED_IDLE]


def test_a_system_that_forbids_it_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with grpc_threads.patient():
        assert _policy_of_a_new_thread() == os.SCHED_OTHER
