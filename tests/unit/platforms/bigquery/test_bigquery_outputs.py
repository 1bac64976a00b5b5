"""The result as both SDKs read it: a structured dataset of flytekit, a DataFrame of Flyte 2, at its address in BigQuery."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import literals_pb2

from outboard.agent import StructuredDataset
from outboard.domain.types import StructuredDatasetType
from outboard.wire.files import encode_outputs_file

URI = "bq://analytics-prod:_anonymous.anon1"


def encoded(value_format: str = "") -> bytes:
    types = {"results": StructuredDatasetType(format=value_format)}
    return encode_outputs_file({"results": StructuredDataset(URI)}, types)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value_format", ["", "parquet"])
def test_flytekit_reads_a_structured_dataset(value_format: str) -> None:
    pytest.importorskip("flytekit", reason="flytekit is not installed")
    from flytekit import FlyteContextManager
    from flytekit import StructuredDataset as Theirs
    from flytekit.core.type_engine import TypeEngine
    from flytekit.models.literals import LiteralMap

    literals = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(encoded(value_format)))
    context = FlyteContextManager.current_context()
    found: Any = TypeEngine.to_python_value(context, literals.literals["results"], Theirs)
    assert found.literal.uri == URI


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value_format", ["", "parquet"])
async def test_flyte_2_reads_a_dataframe(value_format: str) -> None:
    pytest.importorskip("flyte", reason="flyte is not installed")
    from flyte.io import DataFrame
    from flyte.types import TypeEngine
    from flyteidl2.core import literals_pb2 as literals2

    literals = literals2.LiteralMap.FromString(encoded(value_format))
    found: Any = await TypeEngine.to_python_value(literals.literals["results"], DataFrame)
    assert (found.uri or found.literal.uri) == URI
