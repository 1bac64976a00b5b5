"""Blocks that are wrong are found to be wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents import blocks
from documents import reader as reader_module
from documents.reader import Reader
from documents.yaml_blocks import check_yaml
from outboard.errors import OutboardError


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader(blocks.ROOT)
    yield made
    made.leave()


def test_a_command_that_fails_and_output_that_is_not_as_shown_are_found(reader: Reader) -> None:
    reader.type_in("$ echo started 12 jobs\nstarted ... jobs\n$ echo over\nover\n")
    with pytest.raises(AssertionError, match="ended with 3"):
        reader.type_in("$ exit 3\n")
    with pytest.raises(AssertionError, match="is shown"):
        reader.type_in("$ echo started no jobs\nstarted ... tasks\n")


def test_what_is_typed_goes_on_from_block_to_block(reader: Reader) -> None:
    reader.type_in('$ export NAME="a\nb"\n')
    assert reader.run_script("echo $NAME") == "a b\n"


@pytest.mark.parametrize(
    "command", ["pip install 'outboard[nothing]'", "make nothing", "outboard serve --port nothing"]
)
def test_a_word_that_is_stood_in_for_is_still_held_to_what_there_is(reader: Reader, command: str) -> None:
    with pytest.raises(AssertionError, match="ended with"):
        reader.run_script(command)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "echo '{kind: Service, apiVersion: v1, metadata: {name: a}, spec: {prots: []}}' | kubectl apply -f -",
            "prots",
        ),
        ("kubectl get deployment outboard --namespace flyte", "no deployment/outboard was applied"),
        ("kubectl get deployment --all-namespace", "unknown flag: --all-namespace"),
        ("kubectl create secrets outboard", "Unexpected args"),
        ("helm install --set defaults.replica=3 outboard ./outboard", "replica"),
        ("helm rollback outboard", "nothing called outboard was installed"),
        (
            "echo 'plugins: {connector-service: {x: 1}}' > a.yaml; helm upgrade flyte flyteorg/flyte-binary --values a.yaml",
            "a.yaml",
        ),
        ("docker build --file deploy/Dockerfile --build-arg BASIS=python --tag outboard .", "BASIS"),
        ("docker run outboard", "no image outboard was built"),
        ("curl http://example.com/", "example.com is not this machine"),
        ("systemctl enable --now outboard", "there is no etc/systemd/system/outboard.service"),
    ],
)
def test_what_other_programs_would_refuse_is_found(reader: Reader, command: str, said: str) -> None:
    chart = "outboard deploy chart --output .\n" if "./outboard" in command else ""
    with pytest.raises(AssertionError, match=said):
        reader.run_script(chart + command)


def test_a_pod_whose_secret_was_not_created_does_not_start(reader: Reader) -> None:
    applied = "outboard deploy render --set defaults.serviceKeys.secret=keys | kubectl apply --filename -\n"
    with pytest.raises(AssertionError, match="secret keys is not in namespace default"):
        reader.run_script(f"{applied}kubectl port-forward deployment/outboard 8000 &")


def test_an_option_that_the_command_does_not_have_is_found(reader: Reader) -> None:
    reader.check_usage("outboard agents [--endpoint HOST:PORT] [--json]")
    with pytest.raises(AssertionError, match="--jason"):
        reader.check_usage("outboard agents [--jason]")


@pytest.mark.parametrize(
    "text",
    [
        "service: {prot: 8000}",
        "platforms: {embedded: {rot: /x}}",
        "type: duckdb\nconfig: {thread: 2}",
        "type: nothing",
        "plugins: {connector-service: {defaultConnector: {}}}",
        "defaults: {replica: 3}",
        "defaults: {platforms: [duckdb]}",
        "containers: [{name: a, image: a, livenessprobe: {}}]",
        "log: {levle: debug}",
        "a: b",
        "",
    ],
)
def test_yaml_that_nothing_takes_is_found(reader: Reader, text: str) -> None:
    with pytest.raises((AssertionError, OutboardError)):
        check_yaml(text, reader)


def test_a_service_ends_with_its_document() -> None:
    reader = Reader(blocks.ROOT)
    try:
        reader.run_script("outboard serve --port 8000 --platforms files &\noutboard agents --endpoint localhost:8000")
        (pid,) = (int(path.read_text()) for path in (reader.folder / ".state").glob("service-*.pid"))
        assert reader_module._is_alive(pid)
    finally:
        reader.leave()
    assert not reader_module._is_alive(pid)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here to judge its units")
def test_a_unit_that_systemd_would_not_take_is_found(reader: Reader) -> None:
    reader.next_file = "/etc/systemd/system/outboard.service"
    reader.save("[Service]\nExecStart=/opt/outboard/bin/outboard serve\nTimeoutStopSecs=90\n")
    with pytest.raises(AssertionError, match="TimeoutStopSecs"):
        reader.run_script("systemctl enable outboard")


def test_a_language_that_nobody_runs_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```rust\nfn main() {}\n```\n", "utf-8")
    (example,) = blocks.SYBIL.parse(page).examples()
    with pytest.raises(AssertionError, match="rust"):
        example.evaluate()
