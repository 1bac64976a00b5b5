"""The names of secrets: what may be one, where a store keeps it, and which of them a rule means.

A reference has a key, a group and a version. Tasks name them, so each part is checked here before it becomes a variable, a
path or a URL: letters, digits, `.`, `_` and `-` alone, never `..`. What decodes to something else (`%2e`, full-width letters)
is no such letter and is refused for every store alike.

`NamePattern` says where a store keeps a secret: `{project}/{domain}/{group}`. A pattern is made of segments, joined by the
store's own separator. No part may hold that separator, so two references never meet in one place by how they are cut; a
segment that is nothing but an empty `{group}` or `{version}` is left out, and a place whose project is not known is none.

`NameMatch` says which references are meant, as people write it: `shared/*`, `{project}-{domain}/**`. `*` stays within a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef, SecretScope

WHERE: Final = ("project", "domain", "namespace", "org")
"""What the engine says of a task; nobody else can."""
WHAT: Final = ("group", "version", "key")
"""What a reference says, and so whoever writes a task."""
_SAFE: Final = re.compile(r"[A-Za-z0-9._-]{0,253}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_SHOWN: Final = 60


class UnfitName(ValueError):
    """A reference that has no place in a store; the text says why."""


def is_fit(part: str) -> bool:
    """Tell whether a text may be a part of a secret's name.

    >>> is_fit("db-password"), is_fit("../etc"), is_fit("a/b"), is_fit("%2e%2e")
    (True, False, False, False)
    """
    return bool(_SAFE.fullmatch(part)) and ".." not in part and part != "."


def unfit_part(ref: SecretRef) -> str | None:
    """Return the part of a reference that cannot be one, fit to be shown; None where all can."""
    for part in (ref.key, ref.group, ref.version):
        if not is_fit(part):
            return part[:_SHOWN]
    return None if ref.key else ""


def name_of(ref: SecretRef) -> str:
    """Return a reference as people and rules write it.

    >>> name_of(SecretRef("password", "warehouse"))
    'warehouse/password'
    """
    return "/".join(part for part in (ref.group, ref.version, ref.key) if part)


def candidates(ref: SecretRef, scope: Scope) -> Iterator[SecretRef]:
    """Give the references to look for, in order: those of scope `PROJECT` stand for their project's own first."""
    if ref.scope is SecretScope.PROJECT and scope.project:
        for group in (f"{scope.project}-{scope.domain}", scope.project):
            if is_fit(group):
                yield SecretRef(ref.key, group, ref.version)
    yield ref


def values_of(ref: SecretRef, scope: Scope) -> dict[str, str]:
    """Return what the placeholders of a pattern stand for."""
    return {
        "project": scope.project,
        "domain": scope.domain,
        "namespace": scope.namespace,
        "org": scope.org,
        "group": ref.group,
        "version": ref.version,
        "key": ref.key,
    }


class NamePattern:
    """Where a store keeps secrets.

    Args:
        text: As the settings say it.
        separator: What the store's names are cut by.

    Raises:
        ValueError: It is no pattern; the text says what to correct.

    >>> NamePattern("{project}/{group}").render({"project": "a", "group": ""})
    'a'
    """

    def __init__(self, text: str, separator: str = "/") -> None:
        self.text = text
        self.separator = separator
        self._segments = text.split(separator)
        used = _PLACEHOLDER.findall(text)
        for name in used:
            if name not in (*WHERE, *WHAT):
                raise ValueError(
                    f"there is no {{{name}}}; use {{project}}, {{domain}}, {{group}}, {{key}} or {{version}}"
                )
        if not text or "{" in _PLACEHOLDER.sub("", text) or "}" in _PLACEHOLDER.sub("", text) or "}{" in text:
            raise ValueError("this must be a name such as {project}/{group}, its placeholders apart from each other")
        if any(segment in ("", ".", "..") for segment in self._segments):
            raise ValueError(
                f"this must not begin, end or climb with {separator!r}; write it as {{project}}{separator}{{group}}"
            )
        self.names = frozenset(used)

    @property
    def is_scoped(self) -> bool:
        """Whether it leads to other places for other projects."""
        return bool(self.names.intersection(WHERE))

    def render(self, values: Mapping[str, str]) -> str:
        """Return the place of a reference; `UnfitName` where it has none."""
        found = []
        for segment in self._segments:
            name = segment[1:-1]
            if segment == f"{{{name}}}" and name in ("group", "version") and not values[name]:
                continue
            found.append(_filled(segment, values, self.separator))
        if not found:
            raise UnfitName("it has no group")
        return self.separator.join(found)


def _filled(segment: str, values: Mapping[str, str], separator: str) -> str:
    names = _PLACEHOLDER.findall(segment)
    between = [text for text in _PLACEHOLDER.sub("\0", segment).split("\0")[1:-1] if text]
    is_named_by_tasks = any(name in WHAT for name in names)
    for name in names:
        value = values[name]
        if not value:
            raise UnfitName(f"it has no {name}")
        if not is_fit(value):
            raise UnfitName(f"its {name} has no place in a name")
        # `{project}-{key}`: project a with key b-c must not reach what project a-b keeps under c.
        if separator in value or (is_named_by_tasks and any(text in value for text in between)):
            raise UnfitName(f"its {name} holds what separates the parts of this store's names")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], segment)


@lru_cache(maxsize=1024)
def _expression(pattern: str, project: str | None, domain: str | None) -> re.Pattern[str]:
    """Return what matches a pattern; without a project and domain, that of any."""
    own = {"project": project, "domain": domain}
    made = ""
    for part in re.split(r"(\{\w+\}|\*\*|\*)", pattern):
        if part == "**":
            made += ".*"
        elif part == "*":
            made += "[^/]*"
        elif part.startswith("{"):
            value = own.get(part[1:-1])
            made += "[a-z0-9-]+" if value is None else re.escape(value) if value else "(?!)"  # Flyte's are DNS labels
        else:
            made += re.escape(part)
    return re.compile(made, re.IGNORECASE | re.DOTALL)


def check_match(pattern: str) -> str:
    """Return a pattern of references as it is; `ValueError` says what is wrong with it."""
    for name in _PLACEHOLDER.findall(pattern):
        if name not in ("project", "domain"):
            raise ValueError(f"there is no {{{name}}} in what names secrets; use {{project}} and {{domain}}")
    rest = _PLACEHOLDER.sub("", pattern).replace("*", "")
    if not pattern or ".." in rest or not re.fullmatch(r"[A-Za-z0-9._/-]*", rest) or pattern.startswith("/"):
        raise ValueError("this must name secrets, as in warehouse/password, shared/* or {project}-{domain}/*")
    return pattern


def matches(pattern: str, name: str, scope: Scope) -> bool:
    """Tell whether a pattern means a secret, for a project and domain; upper and lower case are one.

    >>> matches("{project}-{domain}/*", "a-production/Key", Scope(project="a", domain="production"))
    True
    """
    return bool(_expression(pattern, scope.project, scope.domain).fullmatch(name))


def matches_for_anybody(pattern: str, name: str) -> bool:
    """Tell whether a pattern means a secret for some project and domain."""
    return bool(_expression(pattern, None, None).fullmatch(name))
