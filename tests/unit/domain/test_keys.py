"""The submission key is frozen: jobs in flight are found by it."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.identity import ExecutionIdentity, TaskId
from outboard.domain.keys import Key, submission_key
from outboard.errors import ContractViolation, ForeignHandle

IDENTITY = ExecutionIdentity(
    project="flytesnacks",
    domain="development",
    execution="f6a2c9d1e0b74",
    node="n0-0-dn2",
    attempt=1,
    task=TaskId(project="flytesnacks", domain="development", name="wf.query", version="v1"),
)
PREFIX = "s3://bucket/metadata/propeller/flytesnacks-development-f6a2c9d1e0b74/n0/data/0/dn2/1"

TEXT = st.text(max_size=80)
IDENTITIES = st.builds(
    ExecutionIdentity,
    project=TEXT,
    domain=TEXT,
    org=TEXT,
    execution=TEXT,
    node=TEXT,
    attempt=st.integers(0, 10**6),
    task=st.builds(TaskId, project=TEXT, domain=TEXT, name=TEXT, version=TEXT, org=TEXT),
)


@pytest.mark.parametrize(
    ("identity", "prefix", "expected"),
    [
        (IDENTITY, PREFIX, "ob-f6a2c9d1e0b74-n0-0-dn2-1-3nhudmtlgvpgyzn2e7muxahqti"),
        (ExecutionIdentity(), "", "ob-0-mhyhnmzajc4y3dqjclzpr67awy"),
        (
            ExecutionIdentity(execution="Ünïcode/Name", node="a_b"),
            "/data/out/0",
            "ob-n-code-name-a-b-0-wph4lfxxkzgodgvsb6cdsexmyu",
        ),
        (replace(IDENTITY, org="acme", attempt=12), PREFIX, "ob-f6a2c9d1e0b74-n0-0-dn2-12-4tutazgvidyvj2mdwvr335dqjy"),
    ],
)
def test_the_key_function_is_frozen(identity: ExecutionIdentity, prefix: str, expected: str) -> None:
    assert submission_key("prod", identity, prefix).text == expected


@given(TEXT, IDENTITIES, TEXT)
def test_a_key_is_short_plain_and_parses_back(installation: str, identity: ExecutionIdentity, prefix: str) -> None:
    key = submission_key(installation, identity, prefix)
    assert re.fullmatch(r"ob-[a-z0-9-]{26,60}", key.text)
    assert Key.parse(key.text) == key
    assert len(key.digest) == 16


def test_two_nodes_of_equal_identity_have_different_keys_by_their_prefixes() -> None:
    other = submission_key("prod", IDENTITY, PREFIX.replace("dn2", "dn3"))
    assert other != submission_key("prod", IDENTITY, PREFIX)


def test_a_trailing_slash_makes_no_difference() -> None:
    assert submission_key("prod", IDENTITY, PREFIX + "/") == submission_key("prod", IDENTITY, PREFIX)


@pytest.mark.parametrize("field", ["project", "domain", "org", "execution", "node"])
def test_every_part_of_the_identity_counts(field: str) -> None:
    change: dict[str, Any] = {field: "other"}
    changed = replace(IDENTITY, **change)
    assert submission_key("prod", changed, PREFIX).digest != submission_key("prod", IDENTITY, PREFIX).digest


def test_another_attempt_or_installation_is_another_key() -> None:
    first = submission_key("prod", IDENTITY, PREFIX)
    assert submission_key("prod", replace(IDENTITY, attempt=2), PREFIX) != first
    assert submission_key("staging", IDENTITY, PREFIX) != first


def test_moving_text_between_fields_makes_another_key() -> None:
    one = ExecutionIdentity(project="ab", domain="c")
    two = ExecutionIdentity(project="a", domain="bc")
    assert submission_key("x", one, "").digest != submission_key("x", two, "").digest


@given(IDENTITIES, st.integers(29, 63))
def test_a_short_name_keeps_the_whole_hash(identity: ExecutionIdentity, limit: int) -> None:
    key = submission_key("prod", identity, PREFIX)
    name = key.name(limit)
    assert len(name) <= limit
    assert name.endswith(key.text[-26:])
    assert Key.parse(name).digest == key.digest


@given(st.integers(16, 128))
def test_a_token_has_the_length_that_was_asked_for(limit: int) -> None:
    key = submission_key("prod", IDENTITY, PREFIX)
    assert len(key.token(min_len=16, max_len=limit)) == limit
    assert key.token(min_len=16, max_len=limit) == Key.parse(key.text).token(min_len=16, max_len=limit)


def test_names_and_tokens_too_short_to_be_unique_are_refused() -> None:
    key = submission_key("prod", IDENTITY, PREFIX)
    with pytest.raises(ContractViolation, match="cut the hash"):
        key.name(28)
    with pytest.raises(ContractViolation, match="16 to 128"):
        key.token(min_len=4, max_len=8)


@pytest.mark.parametrize("text", ["", "ob-", "job-1", "ob-n0-0-" + "A" * 26, "ob-" + "a" * 70, "ob--" + "a" * 26])
def test_foreign_texts_are_no_keys(text: str) -> None:
    with pytest.raises(ForeignHandle):
        Key.parse(text)
