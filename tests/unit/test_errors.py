"""The error tree as it is drawn is the error tree as it is."""

import inspect
import re

from outboard import errors


def drawn_parents() -> dict[str, str]:
    """Each class in the drawing with the class above it, by the column its name stands in."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]  # the module has a docstring
        node = re.match(r"([ │├└─]*)([A-Z]\w+)(?:  |$)", line)
        if node is None:
            continue
        column, name = len(node[1]), node[2]
        above = [each for each in above if each[0] < column]
        parents[name] = above[-1][1] if above else ""
        above.append((column, name))
    return parents


def true_parents() -> dict[str, str]:
    """Each public class with its nearest public ancestor."""
    tree = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.OutboardError) and not kind.__name__.startswith("_")
    }
    return {kind.__name__: next((each.__name__ for each in kind.__mro__[1:] if each in tree), "") for kind in tree}


def test_the_tree_drawn_at_the_top_of_the_file_is_the_tree_of_the_classes() -> None:
    assert drawn_parents() == true_parents()


def test_every_error_of_the_tree_can_be_made_of_a_sentence_and_has_an_id_of_its_own() -> None:
    for name in true_parents():
        kind: type[errors.OutboardError] = getattr(errors, name)
        first, second = kind("the door is shut; open it"), kind("the door is shut; open it")
        assert (str(first), first.message, first.code) == (first.message, "the door is shut; open it", name)
        assert first.error_id != second.error_id
