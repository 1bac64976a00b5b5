"""What a callback may do: hasten the next poll of its jobs, once. Replays, forgeries, floods and broken agents do nothing."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgers import LedgerAgent, LedgerPlatform
from outboard import Callback, Callbacks, SecretRef, SecretScope, TaskType
from outboard.agent import Registry
from outboard.errors import ContractViolation
from outboard.host import SecretSettings
from outboard.host.callbacks import callbacks
from outboard.host.callbacks.callbacks import CallbackReceiver, Receipt, Result
from outboard.host.secrets import Redactor, SecretSource
from outboard.testing.virtual_time import virtually

NOW, NEXT = SecretRef("hook_key"), SecretRef("hook_key_next")
KEY, NEXT_KEY = "whsec_c29tZSBrZXk=", "whsec_dGhlIG5leHQga2V5"


class Called(LedgerAgent):
    """Reads whatever its body says."""

    name = "called"
    aliases = ("was called",)
    task_types = (TaskType("called"),)
    callbacks = Callbacks.standard_webhooks(NOW, NEXT)

    def called_back(self, callback: Callback) -> Sequence[str]:
        said = callback.json()
        if said == "raise":
            raise KeyError("whsec_c29tZSBrZXk=")
        if said == "exit":
            raise SystemExit
        found: Sequence[str] = said["jobs"] if isinstance(said, dict) else said
        return found


class Rung(LedgerAgent):
    name = "rung"
    task_types = (TaskType("rung"),)
    callbacks = Callbacks.bearer(NOW)

    def called_back(self, callback: Callback) -> Sequence[str]:
        return [callback.form()["job"]]


class Hub(Rung):
    name = "hub"
    task_types = (TaskType("hub"),)
    callbacks = Callbacks.github(NOW)


class Bench:
    """A receiver, and what it hastened."""

    def __init__(self, settings: SecretSettings | None = None, environment: dict[str, str] | None = None) -> None:
        self.hastened: list[tuple[str, tuple[str, ...]]] = []
        self.environment = {"_FSEC_HOOK_KEY": KEY} if environment is None else environment
        source = SecretSource(settings or SecretSettings(), Redactor(), self.environment)
        registry = Registry([LedgerPlatform(None, LedgerAgent, Called, Rung, Hub)])
        self.receiver = CallbackReceiver(registry, source, self.hasten)

    def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        self.hastened.append((agent, tuple(job_ids)))
        return sum(job_id.startswith("live") for job_id in job_ids)

    def receive(self, callback: Callback, name: str = "called") -> Receipt:
        return self.receiver.receive(name, callback)


def signed(said: Any = ("live-1",), *, key: str = KEY, event: str = "e1", at: float | None = None) -> Callback:
    """A callback as Standard Webhooks has it, signed now unless told."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    when = str(int(time.time() if at is None else at))
    digest = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), f"{event}.{when}.".encode() + body, "sha256")
    signature = "v1," + base64.b64encode(digest).decode()
    return Callback(body=body, headers={"webhook-id": event, "webhook-timestamp": when, "webhook-signature": signature})


def test_a_genuine_callback_hastens_its_jobs_and_tells_how_many_live() -> None:
    bench = Bench()
    receipt = bench.receive(signed(["live-1", "dead", "live-1"]))
    assert receipt == Receipt(result=Result.ACCEPTED, agent="called", job_ids=("live-1", "dead"), live=1)
    assert bench.hastened == [("called", ("live-1", "dead"))]


def test_an_agent_is_found_by_its_alias_and_counted_under_its_name() -> None:
    assert Bench().receive(signed(), "was called").agent == "called"


@pytest.mark.parametrize("name", ["ledger", "nobody", "", "called/", "\udcff"])
def test_nobody_is_called_who_wants_no_callbacks(name: str) -> None:
    bench = Bench()
    assert bench.receive(signed(), name) == Receipt(result=Result.UNKNOWN_AGENT)
    assert not bench.hastened


def test_of_a_hundred_deliveries_at_once_one_hastens() -> None:
    bench = Bench()
    results = [bench.receive(signed()).result for _ in range(100)]
    assert results == [Result.ACCEPTED] + [Result.REPEATED] * 99
    assert len(bench.hastened) == 1


@virtually
async def test_an_event_that_is_sent_again_with_a_new_time_is_the_same_event() -> None:
    bench = Bench()
    assert bench.receive(signed()).result is Result.ACCEPTED
    time.sleep(60)  # noqa: ASYNC251 - moves the virtual clock
    assert bench.receive(signed()).result is Result.REPEATED


@virtually
async def test_a_captured_callback_never_works_twice_however_long_one_waits() -> None:
    """Also not when its sender's clock was ahead by all of the tolerance: it is remembered as long as it is in time."""
    bench = Bench()
    captured = signed(at=time.time() + 300)
    assert bench.receive(captured).result is Result.ACCEPTED
    results = []
    for _ in range(70):
        time.sleep(10)  # noqa: ASYNC251 - moves the virtual clock
        results.append(bench.receive(captured).result)
    assert results == [Result.REPEATED] * 60 + [Result.STALE] * 10
    assert len(bench.hastened) == 1


@virtually
async def test_a_captured_callback_without_a_time_is_a_repetition_for_the_tolerance() -> None:
    bench = Bench()
    body = b"job=live-1"
    captured = Callback(
        body=body, headers={"x-hub-signature-256": "sha256=" + hmac.digest(KEY.encode(), body, "sha256").hex()}
    )
    assert bench.receive(captured, "hub").result is Result.ACCEPTED
    time.sleep(299)  # noqa: ASYNC251 - moves the virtual clock
    assert bench.receive(captured, "hub").result is Result.REPEATED
    time.sleep(2)  # noqa: ASYNC251 - moves the virtual clock
    assert bench.receive(captured, "hub").result is Result.ACCEPTED


def test_a_shared_secret_may_say_the_same_twice_since_nothing_tells_events_apart() -> None:
    bench = Bench()
    ring = Callback(body=b"job=live-1", headers={"authorization": f"Bearer {KEY}"})
    assert [bench.receive(ring, "rung").live for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("skew_s", "result"),
    [(-299, Result.ACCEPTED), (299, Result.ACCEPTED), (-302, Result.STALE), (302, Result.STALE)],
)
@virtually
async def test_clocks_may_differ_by_the_tolerance_both_ways(skew_s: float, result: Result) -> None:
    bench = Bench()
    receipt = bench.receive(signed(at=time.time() + skew_s))
    assert receipt.result is result
    assert bool(bench.hastened) is (result is Result.ACCEPTED)


def test_a_forged_callback_is_forged_whatever_its_time_so_stale_tells_of_clocks() -> None:
    bench = Bench()
    assert bench.receive(signed(key=NEXT_KEY, at=0)).result is Result.FORGED
    assert bench.receive(signed(at=0)).result is Result.STALE


@virtually
async def test_keys_rotate_without_a_restart(tmp_path: Path) -> None:
    file, next_file = tmp_path / "hook_key", tmp_path / "hook_key_next"
    file.write_text(KEY)
    bench = Bench(SecretSettings(directory=tmp_path), {})

    def result(event: str, key: str) -> Result:
        time.sleep(2)  # moves the virtual clock
        return bench.receive(signed(event=event, key=key)).result

    assert result("a", KEY) is Result.ACCEPTED
    assert result("b", NEXT_KEY) is Result.FORGED
    next_file.write_text(NEXT_KEY)
    assert [result("c", KEY), result("d", NEXT_KEY)] == [Result.ACCEPTED, Result.ACCEPTED]
    file.unlink()
    assert [result("e", KEY), result("f", NEXT_KEY)] == [Result.FORGED, Result.ACCEPTED]


@pytest.mark.parametrize("environment", [{}, {"_FSEC_HOOK_KEY": ""}, {"_FSEC_HOOK_KEY": "whsec_!"}])
def test_without_a_usable_key_everything_is_refused_and_the_operator_told_which_is_missing(
    environment: dict[str, str],
) -> None:
    bench = Bench(environment=environment)
    receipt = bench.receive(signed(key="whsec_"))
    assert receipt.result is Result.UNCONFIGURED
    assert "key" in receipt.reason
    assert not bench.hastened


def test_an_empty_key_is_no_key_for_those_who_send_it_as_it_is_either() -> None:
    bench = Bench(environment={"_FSEC_HOOK_KEY": ""})
    ring = Callback(body=b"job=live-1", headers={"authorization": "Bearer "})
    assert bench.receive(ring, "rung").result is Result.UNCONFIGURED
    assert not bench.hastened


def test_a_key_is_redacted_from_all_that_is_logged() -> None:
    redactor = Redactor()
    source = SecretSource(SecretSettings(), redactor, {"_FSEC_HOOK_KEY": KEY})
    CallbackReceiver(Registry([LedgerPlatform(None, Called)]), source, lambda _a, _b: 0).receive("called", signed())
    assert redactor(f"the key is {KEY}") == "the key is [redacted]"


@pytest.mark.parametrize(
    "said",
    ["raise", "exit", b"\xff", b"", b"{", b"[" * 100_000, "a text", {"jobs": {"a": 1}}, [1], [None], ["x" * 1025],
     [str(number) for number in range(1001)], {"jobs": None}, ["half a \ud83d"]],
)  # fmt: skip
def test_a_body_that_the_agent_cannot_read_hastens_nothing_and_tells_no_secret(said: Any) -> None:
    bench = Bench()
    receipt = bench.receive(signed(said))
    assert receipt.result is Result.MALFORMED
    assert KEY not in receipt.reason
    assert receipt.reason
    assert not bench.hastened


def test_a_callback_about_nothing_of_ours_is_taken_and_nothing_follows() -> None:
    bench = Bench()
    assert bench.receive(signed([])) == Receipt(result=Result.ACCEPTED, agent="called")
    assert not bench.hastened


@virtually
async def test_a_flood_of_genuine_callbacks_is_bounded_and_one_that_was_throttled_may_come_again() -> None:
    bench = Bench()
    results = [bench.receive(signed(event=f"e{number}")).result for number in range(3000)]
    assert results.count(Result.ACCEPTED) == callbacks._BURST
    assert set(results) == {Result.ACCEPTED, Result.THROTTLED}
    time.sleep(1)  # noqa: ASYNC251 - moves the virtual clock
    assert bench.receive(signed(event="e2999")).result is Result.ACCEPTED


@virtually
async def test_ten_thousand_forgeries_take_nothing_from_those_who_are_genuine() -> None:
    bench = Bench()
    assert {bench.receive(signed(event=f"f{n}", key=NEXT_KEY)).result for n in range(10_000)} == {Result.FORGED}
    assert not bench.hastened
    assert bench.receive(signed()).result is Result.ACCEPTED


@virtually
async def test_what_is_remembered_of_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_REMEMBERED", 10)
    bench = Bench()
    for number in range(50):
        bench.receive(signed(event=f"e{number}"))
    assert len(bench.receiver._inboxes["called"]._until) == 10
    time.sleep(1000)  # noqa: ASYNC251 - moves the virtual clock
    bench.receive(signed(event="last"))
    assert len(bench.receiver._inboxes["called"]._until) == 1


@settings(max_examples=50)
@given(
    body=st.binary(max_size=200),
    headers=st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5),
    name=st.sampled_from(["called", "rung", "hub", "ledger", "nobody"]),
)
def test_nothing_that_a_stranger_sends_hastens_or_raises(body: bytes, headers: dict[str, str], name: str) -> None:
    bench = Bench()
    assert bench.receive(Callback(body=body, headers=headers), name).result in {Result.FORGED, Result.UNKNOWN_AGENT}
    assert not bench.hastened


def test_a_projects_key_is_refused_since_nobody_knows_the_project_yet() -> None:
    with pytest.raises(ContractViolation, match="installation's"):
        Callbacks.github(SecretRef("k", scope=SecretScope.PROJECT))
    with pytest.raises(ContractViolation, match="longer than nothing"):
        Callbacks.standard_webhooks(NOW, tolerance=timedelta(0))


def test_an_agent_that_declares_callbacks_must_read_them() -> None:
    with pytest.raises(ContractViolation, match="must define called_back"):

        class Deaf(LedgerAgent):
            name = "deaf"
            callbacks = Callbacks.github(NOW)

    with pytest.raises(ContractViolation, match="must be Callbacks"):

        class Loose(LedgerAgent):
            name = "loose"
            callbacks = "github"  # type: ignore[assignment]

    with pytest.raises(ContractViolation, match="makes no calls"):

        class Slow(Called):
            name = "slow"

            async def called_back(self, callback: Callback) -> Sequence[str]:  # type: ignore[override]
                return []
