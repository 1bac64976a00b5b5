"""Words for people, on standard error: one line each, without control characters, and nobody has to read them."""

from __future__ import annotations

import sys
import unicodedata


def write_note(text: str) -> None:
    """Write a line to standard error at once; nobody needs to read it, and it may be closed."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write("".join(each for each in text if each in "\n\t" or unicodedata.category(each) != "Cc") + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def one_line(text: str) -> str:
    """Return a text as one line without control characters.

    >>> one_line(f"half  way{chr(7)}")
    'half way'
    """
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
