"""Foreign handles: what an agent reads of flytekit's is followed, by operators who say so; nothing else is believed."""

import contextlib
import json
import pickle
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import QUICK, Greeter, Ledger, LedgerAgent, LedgerConnection, LedgerJob, LedgerPlatform
from outboard.agent import Connection, Phase, Registry, TaskType
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key
from outboard.errors import (
    ContractViolation,
    ForeignHandle,
    HandleError,
    InvalidTask,
    Rejected,
    UnreadableHandle,
)
from outboard.host import Host
from outboard.host.foreign import ForeignHandles, adopt_foreign

KIND = TaskType("ledger")


class Reader(LedgerAgent):
    """Knows flytekit's handles of its task type."""

    def read_flytekit(self, meta: Mapping[str, Any], task_type: TaskType) -> tuple[Connection, LedgerJob] | None:
        match meta:
            case {"job_id": str(job), "region": str(region)}:
                return LedgerConnection(region=region), LedgerJob(id=job)
            case {"outside": _}:
                raise InvalidTask("this region is not served here; choose another")
            case {"raise": _}:
                raise KeyError("raise")
            case {"refuse": _}:
                raise Rejected("no")
            case {"secret": secret}:
                return LedgerConnection(region=secret), LedgerJob(id="1")
        return None


REGISTRY = Registry([LedgerPlatform(Ledger(), Reader, Greeter)])
HANDLE = json.dumps({"job_id": "j1", "region": "there"}).encode()


def foreign(*, is_accepted: bool = True) -> ForeignHandles:
    return ForeignHandles(REGISTRY, HandleCodec(), is_accepted=is_accepted)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(jobs={"j1": "RUNNING"})


@pytest.fixture
async def host(ledger: Ledger) -> AsyncIterator[Host]:
    settings = QUICK.model_copy(update={"accept_flytekit_handles": True})
    async with Host(Registry([LedgerPlatform(ledger, Reader)]), settings) as served:
        yield served


async def test_a_job_that_flytekits_service_started_is_followed_to_its_end(host: Host, ledger: Ledger) -> None:
    assert (await host.get_task(HANDLE, task_type=KIND, output_prefix="memory://out/0")).phase is Phase.RUNNING
    ledger.jobs["j1"] = "OK"
    assert (await host.get_task(HANDLE, task_type=KIND, output_prefix="memory://out/0")).phase is Phase.SUCCEEDED
    assert ledger.starts == {}


async def test_a_job_that_flytekits_service_started_is_cancelled_and_no_other(host: Host, ledger: Ledger) -> None:
    ledger.jobs["j2"] = "RUNNING"
    await host.delete_task(HANDLE, task_type=KIND)
    assert ledger.cancels == ["j1"]
    assert (await host.get_task(HANDLE, task_type=KIND, output_prefix="memory://out/0")).phase.is_terminal


async def test_a_cancel_of_a_finished_job_of_flytekits_service_leaves_it_alone(host: Host, ledger: Ledger) -> None:
    ledger.jobs["j1"] = "OK"
    await host.delete_task(HANDLE, task_type=KIND)
    assert ledger.cancels == []


def test_a_handle_of_flytekits_becomes_one_of_ours() -> None:
    handle = adopt_foreign(HANDLE, TaskType("ledger", 2), "memory://out/0", REGISTRY)
    assert handle is not None
    assert handle == Handle(
        agent="ledger",
        task_type="ledger",
        task_type_version=2,
        key=handle.key,
        connection={"region": "there"},
        account=handle.account,
        output_prefix="memory://out/0",
        job={"id": "j1"},
    )
    assert HandleCodec().decode(HandleCodec().encode(handle)) == handle


def test_the_key_is_ours_in_form_and_equal_on_every_replica_and_for_one_task_only() -> None:
    def key(encoded: bytes = HANDLE, kind: TaskType = KIND, prefix: str = "a") -> str:
        handle = adopt_foreign(encoded, kind, prefix, REGISTRY)
        assert handle is not None
        return handle.key.text

    assert key() == "ob-foreign-faohu7diycsuvhqv6nbaflnzp4"
    assert Key.parse(key()).text == key()
    others = {key(HANDLE + b" "), key(kind=TaskType("ledger", 2)), key(prefix="b"), key()}
    assert len(others) == 4


@pytest.mark.parametrize(
    "meta",
    [
        b"{}",
        b'{"job_id": 1, "region": "x"}',
        b"[]",
        b'"text"',
        b"{",
        b"\xff{}",
        b"",
        b'{"job_id": "\\ud800", "region": "x"}',
        b'{"a":' * 20_000,
        b'{"job_id": "j1", "region": "x", "more": "' + b"x" * 70_000 + b'"}',
        b'{"n": ' + b"9" * 5_000 + b"}",
        pickle.dumps({"job_id": "j1", "region": "x"}),
    ],
    ids=lambda meta: repr(meta[:24]),
)
def test_what_no_agent_understands_is_not_read(meta: bytes) -> None:
    assert adopt_foreign(meta, KIND, "", REGISTRY) is None


def test_a_type_whose_agent_answers_at_once_has_no_jobs_to_follow() -> None:
    assert adopt_foreign(HANDLE, TaskType("greeter"), "", REGISTRY) is None


def test_a_type_that_nobody_serves_here_is_left_to_another_replica() -> None:
    with pytest.raises(UnreadableHandle, match="bigquery"):
        adopt_foreign(HANDLE, TaskType("bigquery_query_job_task"), "", REGISTRY)


def test_an_agents_refusal_is_told_and_its_faults_park_the_handle() -> None:
    with pytest.raises(ForeignHandle, match="not served here"):
        adopt_foreign(b'{"outside": 1}', KIND, "", REGISTRY)
    for broken in (b'{"raise": 1}', b'{"refuse": 1}'):
        with pytest.raises(UnreadableHandle):
            adopt_foreign(broken, KIND, "", REGISTRY)


def test_a_secret_in_flytekits_handle_travels_no_further() -> None:
    with pytest.raises(UnreadableHandle, match="SecretRef"):
        adopt_foreign(b'{"secret": "dapi0123456789abcdef0123456789abcdef"}', KIND, "", REGISTRY)


def test_nothing_is_read_unless_the_operator_says_so() -> None:
    bound = foreign().bound(HANDLE, KIND, "out")
    assert foreign().decode(bound).job == {"id": "j1"}
    closed = foreign(is_accepted=False)
    assert closed.bound(HANDLE, KIND, "out") == HANDLE
    for given_bytes in (HANDLE, bound):
        with pytest.raises(ForeignHandle):
            closed.decode(given_bytes)


def test_our_own_handles_pass_as_they_are() -> None:
    ours = HandleCodec().encode(Handle(agent="ledger", task_type="ledger", key=Key("ob-" + "a" * 26), job={"id": "1"}))
    assert foreign().bound(ours, KIND, "out") is ours
    assert foreign().decode(ours).job == {"id": "1"}


def test_a_request_that_names_no_task_type_brings_nothing_to_read_a_handle_by() -> None:
    assert foreign().bound(HANDLE, None, "out") == HANDLE
    assert adopt_foreign(HANDLE, None, "out", REGISTRY) is None


@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"{", b"\xffOF", b"\xffOF\x94", b'{"job_id": ']))
def test_any_bytes_are_a_handle_or_refused_as_one(data: bytes, start: bytes) -> None:
    handles = foreign()
    for encoded in (start + data, handles.bound(start + data, KIND, "out")):
        with contextlib.suppress(HandleError):
            assert isinstance(handles.decode(encoded), Handle)


def test_a_reader_that_asks_the_platform_is_refused_when_its_class_is_made() -> None:
    with pytest.raises(ContractViolation, match="read_flytekit is pure"):

        class Asking(LedgerAgent):
            async def read_flytekit(self, meta: Mapping[str, Any], task_type: TaskType) -> Any:  # type: ignore[override]  # the fault
                return None
