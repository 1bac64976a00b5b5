"""No secret leaves the host: not in a status, an error, a log line, a handle or an answer, however an agent spells it."""

import asyncio
import base64
import io
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError, field_validator

from ledgers import Ledger, LedgerAgent, LedgerConfig, LedgerJob, LedgerPlatform, ledger_task
from outboard.agent import (
    FILES,
    Context,
    Failure,
    Link,
    LogLine,
    LogPage,
    Registry,
    SecretRef,
    Status,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
)
from outboard.cli.log_output import prints_aside, redact_prints
from outboard.cli.printing import write_result
from outboard.domain.complaints import complaints
from outboard.domain.identity import Scope
from outboard.domain.phases import Phase
from outboard.domain.provided import Provided
from outboard.domain.types import Interface, SimpleType
from outboard.errors import InvalidTask
from outboard.host import Host, HostSettings, SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.testing.virtual_time import virtually
from outboard.wire.files import encode_error_file

CANARY = "Canary/se+cret words-0123"
REF = SecretRef("canary")
SETTINGS = HostSettings(secrets=SecretSettings(overrides={"canary": SecretStr(CANARY)}))


HUNDREDS = [f"{number:04}-of-many-secrets" for number in range(300)]


class Gossip(LedgerAgent):
    """Tells its secret wherever it can."""

    name = "gossip"
    task_types = (TaskType("gossip"),)
    secrets = (REF,)

    async def create(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> LedgerJob:
        secret = ctx.secrets[REF].get_secret_value()
        event = f"logging in with {secret}"
        ctx.log.info(event, password=secret)
        if ctx.client.faults.get("mode") == "create":
            raise RuntimeError(f"login as {secret} failed")
        if ctx.client.faults.get("mode") == "handle":
            return LedgerJob(id=f"job-{secret}")
        return await super().create(task, ctx)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status:
        if ctx.client.faults.get("mode") == "get":
            raise RuntimeError(f"token {CANARY} refused")
        return Status(
            state=ctx.client.jobs[job.id],
            message=f"with {CANARY}",
            links=[Link(name=CANARY, url=f"https://x/?t={quote(CANARY, safe='')}")],
            custom_info={
                "note": CANARY,
                CANARY: [{"deep": CANARY}],
                "coded": base64.b64encode(CANARY.encode()).decode(),
            },
            failure=Failure(code=f"E-{CANARY}", message=f"because {CANARY}"),
        )

    def links(self, job: LedgerJob, connection: Any) -> Sequence[Link]:
        return [Link(name="Console", url=f"https://x/{quote(CANARY)}?{CANARY}")]

    async def logs(self, job: LedgerJob, ctx: Context[Ledger], *, cursor: str | None, limit: int) -> LogPage:
        return LogPage(lines=[LogLine(message=f"used {json.dumps(CANARY)}")], ended=True)


class GossipFiles(Gossip):
    name = "gossip files"
    task_types = (TaskType("gossip_files"),)
    outputs = FILES


class GossipAnswerer(SyncAgent[LedgerConfig, Ledger]):
    name = "gossip answerer"
    task_types = (TaskType("gossip_answerer"),)
    secrets = (REF,)

    async def do(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> Mapping[str, Any]:
        raise RuntimeError(f"no luck with {ctx.secrets[REF].get_secret_value()}")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def host(ledger: Ledger) -> AsyncIterator[Host]:
    platform = LedgerPlatform(ledger, Gossip, GossipFiles, GossipAnswerer)
    async with Host(Registry([platform]), SETTINGS) as served:
        yield served


def _is_clean(told: object) -> bool:
    return not any(each in repr(told) for each in (CANARY, quote(CANARY, safe=""), "Canary"))


@pytest.mark.parametrize("state", ["RUNNING", "BROKEN", "PONDERING"])
async def test_nothing_that_a_status_says_holds_a_secret(host: Host, ledger: Ledger, state: str) -> None:
    with structlog.testing.capture_logs() as lines:
        handle = await host.create_task(ledger_task("gossip"))
        ledger.jobs = dict.fromkeys(ledger.jobs, state)
        status = await host.get_task(handle)
        ledger.faults["mode"] = "get"
        await host.get_task(handle)
        pages = [page async for page in host.task_logs(handle)]
    assert status.message
    assert status.links
    assert status.custom_info
    assert _is_clean((status, pages, lines))


async def test_what_a_job_wrote_as_its_error_holds_no_secret(host: Host, ledger: Ledger) -> None:
    handle = await host.create_task(ledger_task("gossip_files"))
    failure = Failure(code=CANARY, message=f"Traceback: {CANARY}")
    await host.stores.write("memory://out/exec/n0/0/error.pb", encode_error_file(failure))
    ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
    status = await host.get_task(handle)
    assert status.error is not None
    assert "Traceback" in status.message
    assert _is_clean(status)


async def test_what_a_create_or_an_answer_fails_with_holds_no_secret(host: Host, ledger: Ledger) -> None:
    ledger.faults["mode"] = "create"
    with structlog.testing.capture_logs() as lines:
        handle = await host.create_task(ledger_task("gossip"), timeout_s=0.1)
        status = await host.get_task(handle)
        answer = await host.execute_task(ledger_task("gossip_answerer"))
    assert "login as" in str(lines)
    assert _is_clean((handle, status, answer, lines))


async def test_a_job_that_holds_a_secret_is_stopped_before_its_handle_is_given_away(host: Host, ledger: Ledger) -> None:
    ledger.faults["mode"] = "handle"
    status = await host.get_task(await host.create_task(ledger_task("gossip")))
    assert status.phase is Phase.FAILED
    assert "holds a secret" in status.message
    assert len(ledger.cancels) == 1


@given(st.text(min_size=4, max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_a_secret_within_another_leaves_nothing_of_either(value: str, before: str, after: str) -> None:
    redact = Redactor()
    redact.learn(value)
    redact.learn(before + value + after)
    assert value not in redact(f"<{before}{value}{after}>").replace("[redacted]", "\0")


def test_of_a_secret_that_holds_another_nothing_is_left() -> None:
    redact = Redactor()
    for value in ("word", "password-of-all"):
        redact.learn(value)
    assert redact("it is password-of-all, is it") == "it is [redacted], is it"


@pytest.mark.parametrize(
    "spell",
    [
        lambda value: json.dumps(value)[1:-1],
        lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
        quote,
        lambda value: quote(value, safe=""),
        lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
        quote_plus,
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    ],
)
@pytest.mark.parametrize("value", ['p"ä/ß?~ >x', 'p"ä/ß?~ >and-longer-than-that'])
def test_a_secret_is_found_in_every_spelling(spell: Callable[[str], str], value: str) -> None:
    redact = Redactor()
    redact.learn(value)
    assert redact(f"<{spell(value)}>") == "<[redacted]>"


def test_what_has_the_form_of_a_credential_is_redacted_though_nobody_told_it() -> None:
    assert "abcdefghijklmnopqrstuv" not in Redactor()("Authorization: Bearer abcdefghijklmnopqrstuv")


def test_what_an_engine_provided_is_one_tenants_secret_until_a_store_holds_it_too() -> None:
    redact, value = Redactor(), "value-of-a-secret"
    redact.learn(value, is_lent=True)
    assert not redact.holds(value)
    assert redact.holds(value, Provided(secrets={"key": value}, configs={}))
    redact.learn(value)
    assert redact.holds(value)


@given(st.text(min_size=4, max_size=40), st.text(max_size=10), st.text(max_size=10), st.booleans())
def test_a_secret_is_found_among_hundreds(value: str, before: str, after: str, is_last: bool) -> None:
    redact = Redactor()
    for known in (value, *HUNDREDS) if not is_last else (*HUNDREDS, value):
        redact.learn(known)
    assert value not in redact(f"<{before}{value}{after}>").replace("[redacted]", "\0")
    assert redact.holds(f"{before}{value}{after}") == (len(value) >= 16)


def test_what_reading_a_text_takes_does_not_grow_with_what_is_known() -> None:
    class Looked(str):
        """A text that counts how often something is looked for in it."""

        __slots__ = ("times",)

        def __contains__(self, part: object) -> bool:
            self.times = getattr(self, "times", 0) + 1
            return isinstance(part, str) and super().__contains__(part)

    redact = Redactor()
    for known in HUNDREDS:
        redact.learn(known)
    text = Looked(f"one: {HUNDREDS[0]}")
    assert redact(text) == "one: [redacted]"
    assert text.times < 100


@virtually
async def test_what_was_not_resolved_for_longest_is_forgotten_once_there_is_no_room() -> None:
    redact, password = Redactor(room=20_000), "a password that is in use"
    redact.learn("a key of the installation", is_for_good=True)
    redact.learn(password)
    for hour in range(20):
        redact.learn(f"token-of-hour-{hour:04}")
        await asyncio.sleep(3600)
    redact.learn(password)
    for hour in range(20, 300):
        redact.learn(f"token-of-hour-{hour:04}")
        await asyncio.sleep(3600)
        if redact("token-of-hour-0000") != "[redacted]":
            break
    assert redact(f"<{password} token-of-hour-{hour:04}>") == "<[redacted] [redacted]>"
    assert redact("<a key of the installation>") == "<[redacted]>"
    assert redact("<token-of-hour-0000>") == "<token-of-hour-0000>"
    assert not redact.holds("token-of-hour-0000")


@virtually
async def test_the_keys_of_an_installation_are_never_forgotten(ledger: Ledger) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    async with Host(Registry([LedgerPlatform(ledger, Gossip)]), HostSettings(service_keys=(SecretStr(key),))) as host:
        first = "of the first hour"
        host.redact.learn(first)
        for hour in range(60):
            host.redact.learn(f"{hour:02}" * 50_000)
            await asyncio.sleep(3600)
        assert host.redact(f"<{first} {key}>") == f"<{first} [redacted]>"


@virtually
async def test_what_one_engine_provides_at_once_is_known_whatever_room_it_takes() -> None:
    redact = Redactor(room=20_000)
    for value in HUNDREDS:
        redact.learn(value, is_lent=True)
    assert redact(" ".join(HUNDREDS)).replace("[redacted]", "").strip() == ""
    await asyncio.sleep(3600)
    redact.learn("the first one of the next hour", is_lent=True)
    assert redact(HUNDREDS[0]) == HUNDREDS[0]
    assert redact("the first one of the next hour") == "[redacted]"


@virtually
async def test_no_engine_provides_so_much_that_our_own_secrets_are_forgotten() -> None:
    redact = Redactor(room=20_000)
    for own in ("a password of ours", HUNDREDS[0]):
        redact.learn(own)
    for value in HUNDREDS * 3:
        redact.learn(value, is_lent=True)
        await asyncio.sleep(60)
    assert redact(f"<a password of ours {HUNDREDS[0]}>") == "<[redacted] [redacted]>"
    assert redact.holds(HUNDREDS[0])


def test_every_line_of_a_key_file_is_a_secret() -> None:
    redact = Redactor()
    redact.learn("-----HEAD-----\nMIIEvQIBADANBgkqhkiG\nAgEAAoIBAQDJx8sFqz\n-----TAIL-----")
    assert redact("cannot parse line 'MIIEvQIBADANBgkqhkiG'") == "cannot parse line '[redacted]'"


@pytest.mark.parametrize(
    ("ref", "place"),
    [
        (SecretRef("Key"), "_FSEC_KEY"),
        (SecretRef("key", group="grp"), "_FSEC_GRP_KEY"),
        (SecretRef("key", group="grp", version="v1"), "_FSEC_GRP_V1_KEY"),
        (SecretRef("Key"), "key"),
        (SecretRef("Key", group="Grp", version="V1"), "grp/v1/key"),
    ],
)
def test_secrets_are_found_where_flyte_puts_them(tmp_path: Path, ref: SecretRef, place: str) -> None:
    environment = {place: " value "} if place.startswith("_") else {}
    if not environment:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" value \n")
    source = SecretSource(SecretSettings(directory=tmp_path), Redactor(), environment)
    assert source.resolve(ref, Scope()).get_secret_value() == "value"


class Strict(TaskConfig):
    mode: str = "a"
    kind: int = 1

    @field_validator("mode")
    @classmethod
    def check(cls, mode: str) -> str:
        raise ValueError(f"{mode!r} is no mode of ours")


class StrictAgent(LedgerAgent):
    name = "strict"
    task_types = (TaskType("strict", config=Strict),)


@pytest.mark.parametrize("config", [{"mode": "hunter2"}, {"kind": "hunter2"}])
async def test_a_refused_configuration_is_named_by_field_and_not_quoted(config: dict[str, Any]) -> None:
    async with Host(Registry([LedgerPlatform(Ledger(), StrictAgent)]), SETTINGS) as host:
        with pytest.raises(InvalidTask) as caught:
            await host.create_task(ledger_task("strict", config=config))
    assert caught.value.field == f"custom.{next(iter(config))}"
    assert "hunter2" not in caught.value.message


def test_complaints_keep_names_and_bounds_but_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"mode": "x" * 5000, "kind": {"a": 1}})
    told = complaints(caught.value)
    assert [each.path for each in told] == [("mode",), ("kind",)]
    assert all(len(each.text) <= 300 and "xxx" not in each.text for each in told)


@given(st.text(min_size=12, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_within_something_encoded_is_found(value: str, before: bytes, after: bytes) -> None:
    redact = Redactor()
    redact.learn(value)
    data = value.encode()
    whole = base64.b64encode(before + data + after).decode()
    begin, end = -(-8 * len(before) // 6), 8 * (len(before) + len(data)) // 6
    assert whole[begin:end] not in redact(f"<{whole}>")
    assert whole[begin:end].translate(str.maketrans("+/", "-_")) not in redact(
        whole.translate(str.maketrans("+/", "-_"))
    )
    assert data.hex() not in redact(f"0x{data.hex()}")
    assert repr(value)[1:-1] not in redact(repr({"v": value})).replace("[redacted]", "\0")


class Leaky(LedgerAgent):
    """Returns its secret as an output."""

    name = "leaky"
    task_types = (TaskType("leaky"),)
    secrets = (REF,)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status:
        secret = ctx.secrets[REF].get_secret_value()
        return Status(state="OK", outputs={"o0": f"Basic {base64.b64encode(f'u:{secret}'.encode()).decode()}"})


async def test_outputs_that_hold_a_secret_are_refused(ledger: Ledger) -> None:
    task = ledger_task("leaky", interface=Interface(outputs={"o0": SimpleType.STRING}))
    async with Host(Registry([LedgerPlatform(ledger, Leaky)]), SETTINGS) as host:
        status = await host.get_task(await host.create_task(task))
    assert status.phase is Phase.FAILED
    assert status.error is not None
    assert status.error.code == "InvalidOutputs"
    assert "hold a secret" in status.message
    assert _is_clean(status)


def test_what_agents_print_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    redact = Redactor()
    redact.learn(CANARY)
    with prints_aside(str):
        redact_prints(redact)
        print("out", CANARY)  # noqa: T201 - that is the point
        print(f"err {CANARY}", file=sys.stderr)  # noqa: T201 - same
        sys.stdout.writelines([CANARY, "\n"])
        write_result(f"a result with {CANARY}")
    print("after")  # noqa: T201 - same
    shown = capsys.readouterr()
    assert shown.err == "out [redacted]\nerr [redacted]\n[redacted]\n"
    assert shown.out == "a result with [redacted]\nafter\n"


def test_what_agents_print_as_bytes_holds_no_secret_and_is_whole(tmp_path: Path) -> None:
    redact = Redactor()
    redact.learn(CANARY)
    told, shown = CANARY.encode(), tmp_path / "stderr"
    with shown.open("w", encoding="utf-8") as stderr, redirect_stderr(stderr), prints_aside(redact):
        assert sys.stdout.buffer.write(b"\xff\x00 " + told) == len(told) + 3
        sys.stdout.buffer.writelines([bytearray(told), memoryview(b"!")])
        sys.stdout.buffer.flush()
        sys.stdout.buffer.raw.write(told)  # type: ignore[union-attr]  # what is below a buffer
        again = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        again.write(f"\xfc {CANARY}")
        again.detach()
    assert shown.read_bytes() == b"\xff\x00 [redacted][redacted]![redacted]\xc3\xbc [redacted]"


def test_who_took_hold_of_a_stream_before_a_secret_was_known_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    redact, outer = Redactor(), Redactor()
    redact.learn(CANARY)
    outer.learn("of-somebody-else")
    with prints_aside(outer), prints_aside(str):
        held = sys.stderr
        redact_prints(redact)
        print(CANARY, "of-somebody-else", file=held)
    assert capsys.readouterr().err == "[redacted] [redacted]\n"
