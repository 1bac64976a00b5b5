"""What an agent sees of a task's inputs."""

from __future__ import annotations

import pytest

from outboard.domain.tasks import Inputs
from outboard.errors import InvalidInputs


def test_a_missing_input_is_the_callers_mistake_and_a_key_error() -> None:
    with pytest.raises(InvalidInputs, match=r"^inputs\.x is missing; give it a value$") as caught:
        Inputs({"y": 1})["x"]
    assert isinstance(caught.value, KeyError)
    assert (caught.value.code, caught.value.field) == ("InvalidInputs", "inputs.x")


def test_inputs_are_a_mapping_all_the_same() -> None:
    inputs = Inputs({"y": 1})
    assert (inputs.get("x", 2), "x" in inputs, dict(inputs)) == (2, False, {"y": 1})
