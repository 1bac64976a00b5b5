"""A release writes only what the previous one reads; where that would be misread, it writes what the previous one parks."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import frozen_0_1_0
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.seals import ServiceKey
from outboard.domain.statuses import Cause, Ending
from outboard.errors import HandleTooLarge

MATERIAL = bytes(range(32))
CODECS = [pytest.param((), id="clear"), pytest.param((MATERIAL,), id="sealed")]
LATER = ("is_intent", "ending", "source_prefix")
"""Fields that 0.1.0 does not know, and that change what a handle means."""

texts = st.text("abcdefghijklmnopqrstuvwxyz0123456789-/.:äß日 ", max_size=20)
names = st.sampled_from(["id", "region", "cluster", "queue", "run", "host"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)
jobs = st.builds(lambda job_id, more: {**more, "id": job_id}, texts, st.dictionaries(names, plain, max_size=3))
endings = st.builds(
    Ending,
    phase=st.sampled_from([each for each in Phase if each.is_terminal]),
    code=texts,
    message=texts,
    cause=st.sampled_from(Cause),
)
handles = st.builds(
    Handle,
    agent=texts,
    task_type=texts,
    task_type_version=st.integers(0, 2**31 - 1),
    key=st.from_regex(r"ob(-[a-z0-9]{1,5}){0,4}-[a-z2-7]{26}", fullmatch=True).map(Key),
    scope=st.builds(Scope, project=texts, domain=texts, org=texts, namespace=texts),
    connection=st.dictionaries(names, plain, max_size=3),
    account=texts,
    output_prefix=texts,
    created_at=st.integers(0, 2**40),
    job=jobs,
    job_version=st.integers(1, 100),
    output_types=st.none() | st.dictionaries(texts, st.sampled_from(["i", "s", ["L", "i"]]), max_size=3),
    memo=st.binary(max_size=40),
)
later: dict[str, st.SearchStrategy[Any]] = {
    "is_intent": st.just(True),  # noqa: FBT003 - a value to draw
    "ending": endings,
    "source_prefix": texts.filter(bool),
}


@st.composite
def later_handles(draw: st.DrawFn) -> Handle:
    """Handles that 0.1.0 would misread if it took them for jobs."""
    from dataclasses import replace

    chosen = draw(st.sets(st.sampled_from(LATER), min_size=1))
    return replace(draw(handles), **{name: draw(later[name]) for name in sorted(chosen)})


def encoded(handle: Handle, keys: tuple[bytes, ...]) -> bytes:
    """What today's release writes; examples that fit in no handle prove nothing."""
    from hypothesis import reject

    try:
        return HandleCodec([ServiceKey(key) for key in keys]).encode(handle)
    except HandleTooLarge:
        reject()


@pytest.mark.parametrize("keys", CODECS)
@given(handle=handles)
def test_what_this_release_writes_means_the_same_to_the_previous_one(keys: tuple[bytes, ...], handle: Handle) -> None:
    read = frozen_0_1_0.read(encoded(handle, keys), keys)
    scope = handle.scope
    assert read["scope"] == [scope.project, scope.domain, scope.org, scope.namespace]
    assert read["key"] == handle.key.text
    assert read["output_types"] in (None, handle.output_types)
    others = {name for name, _ in frozen_0_1_0.FIELDS} - {"scope", "key", "output_types"}
    assert {name: read[name] for name in others} == {name: getattr(handle, name) for name in others}
    assert frozen_0_1_0.job_of(read) == handle.job["id"]


@pytest.mark.parametrize("keys", CODECS)
@given(handle=later_handles())
def test_what_the_previous_release_would_misread_it_parks(keys: tuple[bytes, ...], handle: Handle) -> None:
    read = frozen_0_1_0.read(encoded(handle, keys), keys)
    assert (read["agent"], read["key"]) == (handle.agent, handle.key.text)
    with pytest.raises(frozen_0_1_0.Parked):
        frozen_0_1_0.job_of(read)


@pytest.mark.parametrize("keys", CODECS)
@given(handle=handles | later_handles())
def test_no_handle_is_larger_than_the_previous_release_allowed(keys: tuple[bytes, ...], handle: Handle) -> None:
    assert len(encoded(handle, keys)) <= frozen_0_1_0.LIMIT_BYTES


def test_the_frozen_reader_reads_what_its_release_wrote() -> None:
    cases: list[dict[str, Any]] = json.loads((Path(__file__).parent / "handles" / "0.1.0.json").read_text("utf-8"))
    for case in cases:
        keys = [base64.b64decode(case["service_key"])] if case["service_key"] else []
        read = dict(frozen_0_1_0.read(base64.b64decode(case["handle"]), keys))
        read["memo"] = base64.b64encode(read["memo"]).decode()
        assert read == case["fields"]
