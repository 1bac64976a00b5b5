"""Task configuration undoes what a protobuf Struct did, and names what it does not know."""

import json
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from outboard.agent import TaskConfig


class Query(TaskConfig):
    project: str = Field(alias="ProjectID")
    workers: int = 1
    conf: dict[str, Any] = Field(default_factory=dict)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(conf=st.dictionaries(st.text(max_size=4), PLAIN, max_size=4), workers=st.integers(0, 10**6))
def test_integers_survive_a_struct_everywhere(conf: dict[str, Any], workers: int) -> None:
    struct = struct_pb2.Struct()
    json_format.ParseDict({"ProjectID": "p", "workers": workers, "conf": conf, "extra": conf}, struct)
    query = Query.model_validate(json_format.MessageToDict(struct))
    assert json.dumps(query.conf, sort_keys=True) == json.dumps(conf, sort_keys=True)
    assert query.workers == workers
    assert json.dumps((query.model_extra or {})["extra"], sort_keys=True) == json.dumps(conf, sort_keys=True)


def test_names_and_aliases_are_both_accepted_and_custom_comes_back() -> None:
    assert Query.model_validate({"project": "p"}) == Query.model_validate({"ProjectID": "p"})
    assert Query.model_validate({"project": "p", "more": 1}).to_custom() == {"ProjectID": "p", "more": 1}


def test_a_fraction_where_an_integer_belongs_is_refused() -> None:
    with pytest.raises(ValidationError):
        Query.model_validate({"project": "p", "workers": 1.5})


def test_unknown_keys_are_kept_and_named_with_what_was_meant() -> None:
    query = Query.model_validate({"project": "p", "worker": 3, "zzz": 1})
    assert query.unknown_fields() == {"worker": "workers", "zzz": None}
