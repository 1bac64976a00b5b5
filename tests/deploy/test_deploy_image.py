"""The image: what the tables of `make deploy-check` promise.

Carrying out its steps takes a minute and root, so it is left to that target, or to `OUTBOARD_REAL_PARTS=required`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy import image
from deploy.dockerfiles import Stage, stages
from real_parts import install, tried
from tables.sections import assert_kept


@pytest.fixture(autouse=True)
def tools() -> None:
    tried(lambda: install("deploy"))


def test_the_dockerfile_keeps_the_rules() -> None:
    assert_kept(image.ruled())


def _with(name: str, value: str) -> Callable[[Stage], Stage]:
    return lambda stage: replace(stage, steps=[*stage.steps, (name, value)])


@pytest.mark.parametrize(
    ("rule", "worse"),
    [
        ("the user is a number, and not root", _with("USER", "outboard")),
        ("the user is a number, and not root", _with("USER", "0:0")),
        ("nothing is added from an address", _with("ADD", "https://example.org/tool /usr/bin")),
        ("the last stage has no tools to build with", _with("RUN", "apt-get install gcc")),
        ("the last stage copies from the first alone", _with("COPY", "src /src")),
        ("the entry point is a list", _with("ENTRYPOINT", "outboard serve")),
        ("it ends by SIGTERM", _with("STOPSIGNAL", "SIGKILL")),
        ("its version is the package's", lambda stage: replace(stage, steps=[("ARG", "VERSION=0.0.1")])),
        ("pip is gone", lambda stage: replace(stage, steps=[step for step in stage.steps if step[0] != "RUN"])),
        ("it is labelled", lambda stage: replace(stage, steps=[step for step in stage.steps if step[0] != "LABEL"])),
    ],
)
def test_a_rule_notices_what_breaks_it(rule: str, worse: Callable[[Stage], Stage]) -> None:
    build, last = image.parsed()
    assert image.rules((build, last))[rule]
    assert not image.rules((build, worse(last)))[rule]


def test_packages_without_hashes_and_files_outside_the_context_are_noticed() -> None:
    build, last = image.parsed()
    worse = replace(build, steps=[*build.steps, ("RUN", "pip install requests"), ("COPY", "tests /src")])
    kept = image.rules((worse, last))
    assert not kept["packages come by hash, or are ours"]
    assert not kept["the context is what is copied"]


def test_stages_are_told_apart() -> None:
    found = stages([("FROM", "a AS one"), ("RUN", "x"), ("COMMENT", "c"), ("FROM", "b"), ("USER", "1"), ("USER", "2")])
    assert [(stage.name, stage.base, len(stage.steps)) for stage in found] == [("one", "a", 1), ("", "b", 2)]
    assert found[1].last("USER") == "2"


@pytest.mark.timeout(600)
def test_the_steps_make_an_image_in_which_the_service_runs() -> None:
    if os.environ.get("OUTBOARD_REAL_PARTS") != "required":
        pytest.skip(
            "the image's steps were not carried out: `make deploy-check` does it, or OUTBOARD_REAL_PARTS=required"
        )
    assert_kept(tried(lambda: image.built(times=1)))
