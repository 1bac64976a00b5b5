"""Stores of secrets in the operator's order, the rules before them, and what the settings refuse."""

from pathlib import Path
from typing import Any

import pytest

from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.errors import InvalidSettings, MissingSecret
from outboard.host import HostSettings, SecretSettings
from outboard.host.secrets import Redactor, SecretSource
from outboard.local.documents import read_model

A = Scope(project="a", domain="production")
B = Scope(project="b", domain="production")
OWN_AND_SHARED = [{"secrets": ["{project}-{domain}/**", "{project}/**", "shared/*"]}]


def _source(environment: dict[str, str] | None = None, **settings: Any) -> SecretSource:
    return SecretSource(SecretSettings(**settings), Redactor(), environment or {})


def _value(source: SecretSource, ref: SecretRef, scope: Scope, task_type: str = "") -> str:
    return source.resolve(ref, scope, task_type).get_secret_value()


def test_stores_are_asked_in_their_order_and_only_for_what_is_theirs(tmp_path: Path) -> None:
    for store in ("one", "two"):
        (tmp_path / store).mkdir()
        for key in ("token", "other"):
            (tmp_path / store / key).write_text(f"{key} of {store}")
    stores = [
        {"kind": "files", "name": "one", "directory": str(tmp_path / "one"), "names": ["token"], "projects": ["a*"]},
        {"kind": "files", "name": "two", "directory": str(tmp_path / "two")},
        {"kind": "environment"},
    ]
    source = _source({"_FSEC_OTHER": "variable"}, stores=stores)
    assert _value(source, SecretRef("token"), A) == "token of one"
    assert _value(source, SecretRef("token"), B) == "token of two"
    assert _value(source, SecretRef("other"), A) == "other of two"
    (tmp_path / "two" / "other").unlink()
    assert _value(source, SecretRef("other"), A) == "variable"


def test_a_directory_for_each_project_and_domain_is_only_theirs(tmp_path: Path) -> None:
    for scope in (A, B):
        folder = tmp_path / f"{scope.project}-{scope.domain}" / "warehouse"
        folder.mkdir(parents=True)
        (folder / "password").write_text(f"of {scope.project}")
    source = _source(stores=[{"kind": "files", "directory": f"{tmp_path}/{{project}}-{{domain}}"}])
    ref = SecretRef("password", "warehouse")
    assert (_value(source, ref, A), _value(source, ref, B)) == ("of a", "of b")
    for elsewhere in (Scope(), Scope(project="..", domain="b"), Scope(project="a/../b", domain="production")):
        with pytest.raises(MissingSecret):
            source.resolve(ref, elsewhere)


def test_without_rules_a_task_names_what_it_likes() -> None:
    source = _source({"_FSEC_B-PRODUCTION_KEY": "of b"})
    assert _value(source, SecretRef("key", "b-production"), A) == "of b"


@pytest.mark.parametrize(
    "ref",
    [
        SecretRef("key", "b-production"),
        SecretRef("KEY", "B-Production"),
        SecretRef("key", "b-production", scope=SecretScope.PROJECT),
        SecretRef("b-production_key"),
        SecretRef("production_key", "b"),
        SecretRef("other_key", "b-production"),
        SecretRef("key", "b-production_other"),
        SecretRef("key", "b-production", "other"),
        SecretRef("other"),
    ],
)
def test_with_rules_no_task_reads_another_projects_secret_however_it_is_spelled(ref: SecretRef) -> None:
    variables = {"_FSEC_B-PRODUCTION_KEY": "of b", "_FSEC_B-PRODUCTION_OTHER_KEY": "of b", "_FSEC_OTHER": "of all"}
    source = _source(variables, rules=OWN_AND_SHARED)
    with pytest.raises(MissingSecret):
        source.resolve(ref, A)


def test_a_variable_that_another_project_may_own_is_not_read_under_a_name_that_is_granted() -> None:
    rules = [{"secrets": ["{project}-{domain}/*"]}, {"secrets": ["*"]}]
    source = _source({"_FSEC_B-PRODUCTION_KEY": "of b", "_FSEC_TOKEN": "of all"}, rules=rules)
    assert _value(source, SecretRef("token"), A) == "of all"
    assert _value(source, SecretRef("key", "b-production"), B) == "of b"
    with pytest.raises(MissingSecret, match="keep for others"):
        source.resolve(SecretRef("b-production_key"), A)


@pytest.mark.parametrize("kept", ["team/key", "team/prod_key", "team_prod/key", "team/prod/key"])
def test_whatever_spelling_a_rule_keeps_for_others_its_variable_is_theirs(kept: str) -> None:
    rules = [{"secrets": [kept], "projects": ["b"]}, {"secrets": ["*"]}]
    name = kept.replace("/", "_")
    source = _source({f"_FSEC_{name.upper()}": "of b"}, rules=rules)
    with pytest.raises(MissingSecret, match="keep for others"):
        source.resolve(SecretRef(name), A)
    assert _value(source, SecretRef(name), B) == "of b"


def test_rules_count_project_domain_and_task_type() -> None:
    rules = [{"secrets": ["warehouse/*"], "projects": ["a"], "domains": ["prod*"], "task_types": ["snowflake"]}]
    source = _source({"_FSEC_WAREHOUSE_KEY": "value"}, rules=rules)
    ref = SecretRef("key", "warehouse")
    assert _value(source, ref, A, "snowflake") == "value"
    for scope, task_type in ((A, "spark"), (B, "snowflake"), (Scope(project="a", domain="dev"), "snowflake")):
        with pytest.raises(MissingSecret, match="no rule"):
            source.resolve(ref, scope, task_type)
    assert source.resolve_own(ref).get_secret_value() == "value"


def test_what_rules_or_stores_tell_apart_is_never_shared() -> None:
    assert _source().tenant(A, "t") == _source().tenant(B, "t") == ""
    ruled = _source(rules=[{"secrets": ["x"], "task_types": ["t"]}])
    assert len({ruled.tenant(scope, task_type) for scope in (A, B) for task_type in ("t", "u")}) == 4
    scoped = _source(stores=[{"kind": "files", "directory": "/x/{project}"}])
    assert scoped.tenant(A, "t") == scoped.tenant(A, "u") != scoped.tenant(B, "t")


@pytest.mark.parametrize(
    ("secrets", "field", "words"),
    [
        ({"stores": [{"kind": "valt"}]}, "host.secrets.stores[0]", "kind must be one of"),
        (
            {"stores": [{"kind": "aws", "regoin": "eu"}]},
            "host.secrets.stores[0].aws.regoin",
            "did you mean 'region'",
        ),
        (
            {"stores": [{"kind": "vault", "address": "http://vault:8200", "token_file": "/t"}]},
            "host.secrets.stores[0].vault.address",
            "use https",
        ),
        (
            {"stores": [{"kind": "vault", "address": "https://v"}]},
            "host.secrets.stores[0].vault",
            "token_file, app_role",
        ),
        ({"stores": [{"kind": "gcp"}]}, "host.secrets.stores[0].gcp.project", "add it"),
        (
            {"stores": [{"kind": "azure", "vault": "https://x:y@v.vault.azure.net"}]},
            "host.secrets.stores[0].azure.vault",
            "no password",
        ),
        (
            {"stores": [{"kind": "kubernetes", "secret": "{prject}"}]},
            "host.secrets.stores[0].kubernetes.secret",
            "there is no {prject}",
        ),
        ({"stores": [{"kind": "files", "directory": "a"}]}, "host.secrets.stores[0].files.directory", "absolute"),
        ({"stores": [{"kind": "files"}, {"kind": "files"}]}, "host.secrets", "a name of its own"),
        ({"rules": [{"secrets": ["../x"]}]}, "host.secrets.rules[0].secrets[0]", "must name secrets"),
        ({"rules": [{"secrets": ["x"], "project": ["a"]}]}, "host.secrets.rules[0].project", "did you mean 'projects'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(secrets: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words) as caught:
        read_model(HostSettings, {"secrets": secrets}, InvalidSettings, where="outboard.yaml", path="host")
    assert caught.value.field == field


def test_the_schema_of_the_settings_names_every_kind_of_store() -> None:
    schema = str(HostSettings.model_json_schema())
    assert all(f"'{kind}'" in schema for kind in ("files", "kubernetes", "vault", "aws", "gcp", "azure", "environment"))


def test_outside_a_cluster_kubernetes_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidSettings, match="server") as caught:
        _source(stores=[{"kind": "kubernetes"}])
    assert caught.value.field == "host.secrets.stores.server"


async def test_presence_tells_where_secrets_are_and_not_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "filed").write_text("value of a file")
    source = _source({"_FSEC_SET": "value of a variable"}, directory=tmp_path)
    found = await source.presence([SecretRef("set"), SecretRef("filed"), SecretRef("gone", "g"), SecretRef("../x")])
    assert [(each.name, each.store, each.is_certain) for each in found] == [
        ("set", "environment", True),
        ("filed", "files", True),
        ("g/gone", "", True),
        ("../x", "", True),
    ]
    assert "value of" not in repr(found)
    assert "_FSEC_G_GONE" in found[2].problem
