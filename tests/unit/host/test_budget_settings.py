"""What the operator sets for quotas, and what the metrics tell of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError
from structlog.testing import capture_logs

from ledgers import Ledger, LedgerAgent, LedgerPlatform
from outboard.agent import Registry
from outboard.agent.spending import Spending
from outboard.domain.quotas import Quotas, QuotaScope, Rate
from outboard.errors import InvalidSettings, Throttled
from outboard.host import Host, HostSettings
from outboard.host.budgets import metrics as budget_metrics
from outboard.host.budgets.budgets import Budgets
from outboard.host.budgets.overrides import overridden_quotas
from outboard.host.labels import AccountLabels
from outboard.local.documents import read_model
from outboard.local.settings_files import open_host, read_choice
from outboard.testing.virtual_time import virtually


class Limited(LedgerPlatform):
    quotas = Quotas({"jobs/get": Rate(per_second=10, scope=QuotaScope.PLATFORM), "*": Rate(per_second=50)})


@pytest.fixture
def registry() -> Registry:
    return Registry([Limited(Ledger(), LedgerAgent)])


def settings(quotas: object) -> HostSettings:
    return read_model(HostSettings, {"quotas": quotas}, InvalidSettings, where="the file", path="host")


def test_the_operators_rate_takes_the_place_of_the_declared_one_and_keeps_its_scope(registry: Registry) -> None:
    asked = {"ledger": {"jobs/get": {"per_second": 2, "burst": 3}, "jobs/list": {"per_second": 1}}}
    quotas = overridden_quotas(settings(asked), registry)["ledger"]
    (get,) = quotas.of("jobs/get")
    (listed,) = quotas.of("jobs/list")
    assert (get.per_second, get.burst, get.scope) == (2, 3, QuotaScope.PLATFORM)
    assert (listed.per_second, listed.burst, listed.scope) == (1, 1, QuotaScope.ACCOUNT)
    assert quotas.of("*") == Limited.quotas.of("*")


@pytest.mark.parametrize(
    ("quotas", "words"),
    [
        ({"ledgers": {"jobs/get": {"per_second": 2}}}, "did you mean ledger?"),
        ({"ledger": {"Jobs.Get": {"per_second": 2}}}, r"did you mean jobs/get? (declared: *, jobs/get)"),
    ],
)
def test_a_slip_in_a_name_is_refused_with_the_names_that_are_known(
    registry: Registry, quotas: object, words: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Host(registry, settings(quotas))
    assert words in caught.value.message
    assert caught.value.field is not None
    assert caught.value.field.startswith("host.quotas.ledger")


@pytest.mark.parametrize(
    "rate", [{"per_second": 0}, {"per_second": ".inf"}, {"per_second": 1, "burst": 0}, {"per_minute": 3}, {}]
)
def test_a_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(InvalidSettings, match=r"host\.quotas"):
        settings({"ledger": {"jobs/get": rate}})


def test_quotas_of_a_platform_that_is_served_elsewhere_only_get_a_line(registry: Registry) -> None:
    with capture_logs() as lines:
        assert overridden_quotas(settings({"slurm": {"squeue": {"per_second": 1}}}), registry) == {}
    assert [line["platform"] for line in lines] == ["slurm"]


async def test_quotas_and_replicas_are_read_from_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(
        "host:\n  replicas: 3\n  quotas:\n    files:\n      list: {per_second: 4, burst: 8}\n", encoding="utf-8"
    )
    choice = read_choice(str(tmp_path / "settings.yaml"), platforms="files", modules=None)
    async with open_host(choice, is_local=True) as host:
        assert host.settings.replicas == 3
        assert host.settings.quotas["files"]["list"].burst == 8
        assert host._exchange._budgets.share == 1 / 3


def scraped(labels: AccountLabels | None = None) -> tuple[Budgets, CollectorRegistry]:
    registry = CollectorRegistry()
    collector = budget_metrics._Collector()
    budgets = Budgets(labels=labels)
    collector.add(budgets)
    registry.register(collector)
    return budgets, registry


@virtually
async def test_the_metrics_tell_what_was_spent_waited_and_refused() -> None:
    budgets, registry = scraped()
    budget = budgets.of("p", "a", Quotas({"get": Rate(per_second=2)}))
    for _ in range(3):
        async with Spending(budget, "get", 10):
            pass
    turn = budget.ask("get")
    with pytest.raises(Throttled):
        async with Spending(budget, "free", 10):
            raise Throttled("slow down", retry_after=timedelta(seconds=1))
    labels = {"platform": "p", "account": "a", "method": "get"}
    free = {**labels, "method": "free"}
    assert turn is not None
    assert registry.get_sample_value("outboard_budget_calls_total", labels) == 3
    assert registry.get_sample_value("outboard_budget_waiting", labels) == 1
    assert registry.get_sample_value("outboard_budget_wait_seconds_total", labels) == pytest.approx(1.0, abs=0.01)
    assert registry.get_sample_value("outboard_budget_rate", labels) == 2
    assert registry.get_sample_value("outboard_budget_throttled_total", free) == 1
    assert registry.get_sample_value("outboard_budget_rate", free) == pytest.approx(0.1)


def test_counts_outlive_their_budget_and_accounts_beyond_the_bound_share_a_label() -> None:
    budgets, registry = scraped(AccountLabels(lambda text, _: text.replace("secret", "***")))
    for account in ("secret", *map(str, range(150))):
        assert budgets.of("p", account, Quotas()).ask("get") is None
    names = {"platform": "p", "method": "get"}
    assert registry.get_sample_value("outboard_budget_calls_total", {**names, "account": "0"}) == 1
    assert registry.get_sample_value("outboard_budget_calls_total", {**names, "account": "other"}) == 51
    assert b"secret" not in generate_latest(registry)


@pytest.mark.parametrize("name", ["status_limit", "status_wait", "status_call_limit"])
def test_times_that_are_negative_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        HostSettings.model_validate({name: -5})
