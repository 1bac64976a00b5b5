"""How Sphinx makes a site of the documents, which are written for a repository's browser.

The root of the site is the repository's root, so that links lead where they lead there. The tables of docs/README.md are the
order of the pages: each of their rows becomes an entry of the navigation, under its section's heading. A link that leads
nowhere, a heading that is not there and a page that no table names fail the build (`make docs` turns warnings into errors).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from pygments.lexers.special import TextLexer

project = "Outboard"
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/**.md", "src/**/README.md"]
exclude_patterns = [".*", "build", "bench", "proof", "tests"]
root_doc = "README"
nitpicky = True

myst_heading_anchors = 5
myst_links_external_new_tab = True

html_theme = "furo"
html_title = "Outboard"
html_copy_source = False
html_show_sphinx = False
html_extra_path = ["index.html"]  # a site begins at `/`, this one at README

_INDEX = "docs/README"
_LINK = re.compile(r"^\| \[[^\]]+\]\(([\w./-]+)\.md\)", re.MULTILINE)
_READMES = re.compile(r"\]\(((?:\.\./)+src/[\w/]+/README)\.md")


def setup(app: Any) -> dict[str, bool]:
    """Connect the navigation to the reading of a page, and name the language that Pygments does not have."""
    app.connect("source-read", _navigate)
    app.add_lexer("usage", TextLexer)  # synopses of commands
    return {"parallel_read_safe": True}


def _navigate(_app: Any, name: str, source: list[str]) -> None:
    """Append to a page what stands below it in the navigation."""
    text = source[0]
    if name == root_doc:
        source[0] += _toctree("", ["docs/README", "CHANGELOG"])
    elif name == _INDEX:
        sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
        source[0] += "".join(_toctree(part.partition("\n")[0], _LINK.findall(part)) for part in sections)
    elif PurePosixPath(name).parent.name == "platforms":
        source[0] += _toctree("", dict.fromkeys(_READMES.findall(text)))


def _toctree(caption: str, entries: Any) -> str:
    options = f":caption: {caption}\n" if caption else ""
    return "\n\n```{toctree}\n:hidden:\n" + options + "\n" + "\n".join(entries) + "\n```\n"
