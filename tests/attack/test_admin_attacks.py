from __future__ import annotations

from attack.admin import strangers
from tables.sections import assert_kept


def test_strangers_at_the_admin_port_keep_no_probe_from_its_answer_and_leave_nothing_behind() -> None:
    assert_kept(strangers())
