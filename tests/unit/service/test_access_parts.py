"""Rules, tokens, identities and settings of access, each for itself."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from certificates import Authority
from outboard.errors import InvalidSettings
from outboard.service import ServiceSettings
from outboard.service.access import AccessSettings
from outboard.service.access.certificates import Certificates, Expired
from outboard.service.access.identities import Ambiguous, address_of, bearer, forwarded_names
from outboard.service.access.rules import Rules, Subject, matcher
from outboard.service.access.settings import CallerSettings, RuleSettings
from outboard.service.access.subjects import Subjects
from outboard.service.access.tokens import StaticTokens
from outboard.service.access.watched_files import WatchedFile

ISSUER = "https://login.example.com"


def test_outputs_prefixes_end_where_a_name_does() -> None:
    rules = Rules("me", RuleSettings(output_prefixes=("s3://b/{project}-{domain}-*", "s3://c")))
    mine = Subject("t", "p", "d", "")
    for prefix in ("s3://b/p-d-e1", "s3://b/p-d-e1/n0/0", "s3://c/x", "s3://c"):
        assert rules.judge_prefix(mine, prefix) is None, prefix
    for prefix in ("s3://b/q-d-e1", "s3://cc", "s3://b/p-d-e1/../x", "s3://b", "S3://c/x"):
        assert rules.judge_prefix(mine, prefix) is not None, prefix
    for project in ("*", "p/../q", "", "{domain}"):  # a name that is a pattern or a path
        assert rules.judge_prefix(Subject("t", project, "d", ""), f"s3://b/{project}-d-e1") is not None, project
        assert rules.judge_prefix(Subject("t", project, "d", ""), "s3://b/\0-d-e1") is not None, project


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("a", ("a",), ("", "A", "ab", "a\n")),
        ("*", ("", "a\nb"), ()),
        ("a*", ("a", "a*", "ab/c"), ("ba", "")),
        ("a*a", ("aa", "aba"), ("a", "ab")),
        ("*-x-*-y", ("-x--y", "a-x-b-x-c-y"), ("-x-y", "a-y-b-x-", "a-x-b")),
        ("*x*x*", ("xx", "axbxc"), ("x", "")),
        ("a**b.c", ("ab.c", "a*b.c"), ("abxc",)),
    ],
)
def test_in_a_pattern_a_star_stands_for_anything_and_all_else_for_itself(
    pattern: str, fitting: tuple[str, ...], others: tuple[str, ...]
) -> None:
    fits = matcher(["nothing else", pattern])
    assert [text for text in (*fitting, *others) if fits(text)] == [*fitting]
    assert not matcher([])("")


def test_names_of_megabytes_are_judged_in_one_pass() -> None:
    """A regular expression takes minutes for this, in which no call is answered."""
    program = """
from outboard.service.access.rules import Rules, Subject
from outboard.service.access.settings import RuleSettings
rules = Rules("me", RuleSettings(projects="a*b*c", output_prefixes="s3://a*b*c"))
name = "a" + "b" * 1_000_000
print(rules.judge(Subject("", name, "", "")).reason, rules.judge_prefix(Subject("", "p", "", ""), "s3://" + name).reason)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == ["project", "output_prefix"]


def test_outputs_go_nowhere_that_is_longer_than_any_place() -> None:
    rules = Rules("me", RuleSettings(output_prefixes="s3://c"))
    assert rules.judge_prefix(Subject("t", "p", "d", ""), "s3://c/" + "x" * 4096) is None
    assert rules.judge_prefix(Subject("t", "p", "d", ""), "s3://c/" + "x" * 8192) is not None


def test_each_rule_is_judged_by_its_own_field() -> None:
    rules = RuleSettings(task_types=("t*",), projects=("p",), domains=("d",), namespaces=("p-d",))
    found = Rules("me", rules)
    good = Subject("t1", "p", "d", "p-d")
    assert found.judge(good) is None
    for field, value in (("task_type", "x"), ("project", "q"), ("domain", "e"), ("namespace", "q-d")):
        verdict = found.judge(good._replace(**{field: value}))
        assert verdict is not None
        assert verdict.reason == field
        missing = found.judge(good._replace(**{field: ""}))
        assert missing is not None
        assert missing.reason == "no_identity"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("By=x;Hash=y;URI=spiffe://a/b", ("uri:spiffe://a/b",)),
        ("URI=spiffe://a/b,URI=spiffe://c/d", ("uri:spiffe://c/d",)),
        ('Subject="CN=a,O=\\"b\\"";DNS=x;DNS=y', ('subject:CN=a,O="b"', "dns:x", "dns:y")),
        ('Subject="a,URI=spiffe://evil/e";URI=spiffe://c/d', ("subject:a,URI=spiffe://evil/e", "uri:spiffe://c/d")),
        ("", ()),
    ],
)
def test_a_proxys_word_is_read_as_envoy_writes_it(text: str, names: tuple[str, ...]) -> None:
    assert forwarded_names([("x-forwarded-client-cert", text)], "x-forwarded-client-cert") == names


def test_what_says_two_things_is_not_believed() -> None:
    with pytest.raises(Ambiguous):
        forwarded_names([("x", "URI=a"), ("x", "URI=b")], "x")
    with pytest.raises(Ambiguous):
        forwarded_names([("x", 'Subject="open')], "x")
    with pytest.raises(Ambiguous):
        forwarded_names([("x", "URI=a;Hash=" + "0" * 16_384)], "x")
    with pytest.raises(Ambiguous):
        bearer([("authorization", "Bearer a"), ("authorization", "Bearer b")])


def test_an_address_in_ipv6_clothes_is_the_address() -> None:
    assert str(address_of("ipv6:%5B::ffff:10.0.0.7%5D:1")) == "10.0.0.7"
    assert address_of("ipv6:%5Bfe80::1%25eth0%5D:1") is not None
    assert address_of("garbage") is None


def test_a_token_that_left_its_file_is_good_for_five_more_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "tokens", [0.0]
    path.write_text("# the old one\nold-token-of-twenty-characters\n")
    tokens = StaticTokens({"me": CallerSettings(token_file=(path,))}, clock=lambda: now[0])
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    assert tokens.find("old-token-of-twenty-characters") == "me"
    path.write_text("")  # half written: what was read last counts
    assert tokens.find("old-token-of-twenty-characters") == "me"
    path.write_text("new-token-of-twenty-characters\n")
    assert tokens.find("new-token-of-twenty-characters") == "me"
    now[0] = 4.9
    assert tokens.find("old-token-of-twenty-characters") == "me"
    now[0] = 5.1
    assert tokens.find("old-token-of-twenty-characters") is None
    path.unlink()
    assert tokens.find("new-token-of-twenty-characters") == "me"


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "with spaces between the words\n"])
def test_a_file_that_holds_no_tokens_is_found_at_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as raised:
        StaticTokens({"me": CallerSettings(token_file=(path,))})
    assert raised.value.field == "service.access.callers.me.token_file"
    assert "spaces between" not in str(raised.value)


def test_a_token_of_several_callers_is_the_first_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    shared, path, other = "a-token-that-several-have", tmp_path / "tokens", tmp_path / "other"
    for each in (path, other):
        each.write_text(shared)
    digest = hashlib.sha256(shared.encode()).hexdigest()
    known = {
        "file": CallerSettings(token_file=(path,)),
        "another": CallerSettings(token_file=(other,)),
        "same": CallerSettings(token_file=(path,)),
        "sum": CallerSettings(token_sha256=(digest,)),
    }
    for order in itertools.permutations(known):
        assert StaticTokens({name: known[name] for name in order}).find(shared) == order[0]
    tokens = StaticTokens(known)
    path.write_text("another-token-of-the-first")
    assert tokens.find("another-token-of-the-first") == "file"
    assert tokens.find(shared) == "another"


def test_a_file_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value"
    path.write_text("1")
    watched = WatchedFile(path, "field", int)
    path.write_text("22")
    assert not watched.is_changed()
    monkeypatch.setattr("outboard.service.access.watched_files._LOOKED_S", 0.0)
    assert watched.is_changed()
    assert watched.value == 22
    os.utime(path)
    assert not watched.is_changed()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nobody may call"),
        ({"callers": {"a": {}}}, "nobody is this caller"),
        ({"callers": {"A b": {"networks": "10.0.0.0/8"}}}, "cannot be called"),
        ({"callers": {"anonymous": {"networks": "10.0.0.0/8"}}}, "cannot be called"),
        ({"callers": {"a": {"networks": "10.0.0.1/8"}}}, "is no network"),
        ({"callers": {"a": {"jwt": {"issuer": ISSUER}}}}, "audience"),
        ({"callers": {"a": {"jwt": {"issuer": "http://login.example.com", "audience": "x"}}}}, "no https"),
        ({"callers": {"a": {"token_sha256": "abc"}}}, "token_sha256"),
        ({"anonymous": {}, "issuers": {ISSUER: {"algorithms": ["HS256"]}}}, "HS256 cannot be taken"),
        ({"anonymous": {}, "issuers": {ISSUER: {"algorithms": ["none"]}}}, "none cannot be taken"),
        ({"anonymous": {}, "issuers": {ISSUER: {"jwks_uri": "http://login.example.com/keys"}}}, "over https"),
        ({"anonymous": {}, "proxy": {"networks": ["10.0.0.0/8"]}}, "not on this machine"),
        ({"anonymous": {"output_prefixes": "s3://{execution}"}}, "is not known"),
        ({"anonymous": {"burst": 3}}, "without calls_per_second"),
        ({"anonymous": {"project": "a"}}, "project"),
    ],
)
def test_settings_that_would_let_the_wrong_ones_in_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AccessSettings.model_validate(settings)


def test_what_handles_bind_is_remembered_in_bounded_room() -> None:
    subjects = Subjects(limit_bytes=20_000)
    for number in range(10_000):
        kept = subjects.keep(b"%0100d" % number, Subject("t", f"p{number % 3}", "d", ""))
        assert subjects.find(b"%0100d" % number) is kept
        assert len(subjects) <= 20_000 // 250 + 2
        assert subjects.find(b"%0100d" % 0) is not None  # what is asked for stays
    assert subjects.find(b"%0100d" % 1) is None


def test_certificates_are_remembered_in_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outboard.service.access.certificates._REMEMBERED", 2)
    authority, shown = Authority(), Certificates()
    for number in range(5):
        name = b"caller-%d" % number
        pem, _ = authority.pair()
        context = {"x509_pem_cert": [pem], "x509_common_name": [name]}
        assert shown.names(context) == shown.names(context) == (f"cn:{name.decode()}",)
        assert len(shown._seen) <= 2
    with pytest.raises(Expired):
        shown.names({"x509_pem_cert": [authority.pair(expired=True)[0]]})


def test_a_service_without_rules_does_not_load_them() -> None:
    program = "import sys, outboard.service; print([name for name in sys.modules if 'service.access' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_services_settings_name_what_is_wrong_in_the_section_and_have_its_schema() -> None:
    with pytest.raises(InvalidSettings, match=r"callers\.a: nobody is this caller"):
        ServiceSettings.parse(access={"callers": {"a": {}}})
    made = ServiceSettings.parse(access={"anonymous": {"projects": "a"}})
    assert ServiceSettings.model_validate(made.model_dump(mode="json")) == made
    assert json.loads(made.model_dump_json())["access"]["anonymous"]["projects"] == ["a"]
    schema = ServiceSettings.model_json_schema()
    assert {"AccessSettings", "CallerSettings", "JwtSettings"} <= schema["$defs"].keys()


def test_settings_survive_the_way_to_a_worker() -> None:
    caller = CallerSettings(certificate=("a",), jwt=({"issuer": ISSUER, "audience": "x"},))
    settings = AccessSettings(callers={"a": caller}, anonymous=RuleSettings(projects=("p",)))
    assert AccessSettings.model_validate(settings.model_dump(mode="json")) == settings
