"""Which block of code is run how, by its language.

`text` is for what nobody runs: output, trees of folders. Every other language must be one of those below, and a block without
a language is refused, so that none escapes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer
from sybil.typing import Evaluator

from documents.manifests import check_dockerfile
from documents.reader import Reader
from documents.yaml_blocks import check_yaml
from real_parts import tried

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).resolve().parents[2]
_SYNOPSIS: Final = "usage"


def _python(example: Example) -> None:
    _reader(example).run_python(str(example.parsed), example)


def _console(example: Example) -> None:
    _reader(example).type_in(str(example.parsed))


def _shell(example: Example) -> None:
    _reader(example).run_script(str(example.parsed))


def _usage(example: Example) -> None:
    _reader(example).check_usage(str(example.parsed))


def _yaml(example: Example) -> None:
    text = str(example.parsed)
    reader = _reader(example)
    reader.save(text)
    check_yaml(text, reader)


def _json(example: Example) -> None:
    _reader(example).save(str(example.parsed))
    json.loads(str(example.parsed))


def _toml(example: Example) -> None:
    _reader(example).save(str(example.parsed))
    tomllib.loads(str(example.parsed))


def _dockerfile(example: Example) -> None:
    _reader(example).save(str(example.parsed))
    tried(partial(check_dockerfile, str(example.parsed)))


def _unit(example: Example) -> None:
    assert _reader(example).save(str(example.parsed)), "nobody reads this; name the block's file, for `systemctl`"


def _save_only(example: Example) -> None:
    _reader(example).save(str(example.parsed))


LANGUAGES: Final[dict[str, Evaluator]] = {
    "python": _python,
    "console": _console,
    "sh": _shell,
    _SYNOPSIS: _usage,
    "yaml": _yaml,
    "json": _json,
    "toml": _toml,
    "dockerfile": _dockerfile,
    "ini": _unit,
    "text": _save_only,
}


def _reader(example: Example) -> Reader:
    reader: Reader = example.namespace["reader"]
    return reader


class _Comments:
    """The comments that no reader sees, as `documents` lists them."""

    def __init__(self) -> None:
        self._lexer = DirectiveInHTMLCommentLexer("file|script|with|setting")

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self._lexer(document):
            argument = region.lexemes["arguments"].strip()
            if region.lexemes["directive"] == "setting":
                yield Region(region.start, region.end, region.lexemes["source"], LANGUAGES[argument])
            else:
                yield Region(region.start, region.end, argument, getattr(self, f"_{region.lexemes['directive']}"))

    @staticmethod
    def _file(example: Example) -> None:
        _reader(example).next_file = example.parsed

    @staticmethod
    def _script(example: Example) -> None:
        _reader(example).next_file = example.parsed
        _reader(example).is_script = True

    @staticmethod
    def _with(example: Example) -> None:
        """Save the files of another document."""
        text = Path(str(example.path)).with_name(example.parsed).read_text("utf-8")
        named = re.findall(r"<!--- file: (\S+) -->\n+```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        assert named, f"{example.parsed} names no files"
        for name, source in named:
            (_reader(example).folder / name).write_text(source, "utf-8")


class _Unknown:
    """Refuses a block of a language that nobody here can run."""

    def __init__(self) -> None:
        self._lexer = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)$\n", re.MULTILINE))

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self._lexer(document):
            language = region.lexemes["language"].strip()
            if language not in LANGUAGES:
                yield Region(region.start, region.end, language, self._refuse)

    @staticmethod
    def _refuse(example: Example) -> None:
        raise AssertionError(f"a block of {example.parsed or 'no language'!r}: choose one of {', '.join(LANGUAGES)}")


def _has(module: str) -> bool:
    """Tell whether a module can be imported: for conditions in documents."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _begin(namespace: dict[str, Any]) -> None:
    namespace["reader"] = Reader(ROOT)
    namespace["has"] = _has


def _end(namespace: dict[str, Any]) -> None:
    namespace.pop("reader").leave()


SYBIL: Final = Sybil(
    parsers=[
        _Comments(),
        _Unknown(),
        SkipParser(),
        *(CodeBlockParser(language, evaluator) for language, evaluator in LANGUAGES.items() if language != "text"),
    ],
    path=str(ROOT),
    patterns=["*.md", "docs/**/*.md", "src/**/*.md", "deploy/**/*.md"],
    excludes=["docs/adr/*.md"],
    setup=_begin,
    teardown=_end,
)
pytest_collect_file = SYBIL.pytest()
