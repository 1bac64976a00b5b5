"""docs/metrics.md names every metric of the source, with its type and labels, and none besides."""

from metric_documents import client_names, metric_rows
from metric_sources import metric_sources


def test_every_metric_of_the_source_has_a_row_and_every_row_a_metric() -> None:
    rows, sources = metric_rows(), metric_sources()
    assert {name: each.where for name, each in sources.items() if name not in rows} == {}
    assert set(rows) - set(sources) == set()
    assert len(rows) > 40


def test_types_and_labels_are_those_of_the_source() -> None:
    rows = metric_rows()
    told = {name: (row.kind, sorted(row.labels)) for name, row in rows.items()}
    assert told == {name: (each.kind, sorted(each.labels)) for name, each in metric_sources().items()}


def test_every_row_says_what_it_means_and_what_the_client_adds_is_named() -> None:
    assert [row.name for row in metric_rows().values() if len(row.meaning) < 10] == []
    assert {"process_resident_memory_bytes", "python_info"} <= client_names()
