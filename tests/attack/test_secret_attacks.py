"""No canary leaves, and no name leads elsewhere; the long forms are `make attack`."""

import pytest

from attack.canaries import CANARIES, Haul, spellings
from attack.secret_names import names
from attack.secret_stores import canaries
from real_parts import NotToBeHad, install
from tables.sections import assert_kept


def test_no_name_of_a_secret_leads_elsewhere() -> None:
    section = names()
    assert_kept(section)
    assert {row["store"] for row in section.rows} >= {"environment", "files", "kubernetes", "vault"}
    assert all(row["refused"] == row["tries"] and not row["values"] for row in section.rows)


@pytest.mark.timeout(300)
def test_no_canary_leaves_a_service_or_the_command_line() -> None:
    try:
        install("openbao")
    except NotToBeHad as error:
        pytest.skip(f"a real part was not tried: {error}")
    section = canaries(["one process, json"])
    assert_kept(section)
    assert {row["hits"] for row in section.rows} == {0}
    assert sum(row["redactions"] for row in section.rows) > 1_000


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_whoever_looks_for_canaries_finds_each_spelling(name: str) -> None:
    for spelled in spellings(CANARIES[name]):
        haul = Haul()
        haul.take("log", f"before {spelled} after")
        assert any(hit.startswith(name) for hit in haul.hits("log"))
