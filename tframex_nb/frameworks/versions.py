"""Versions of frameworks and templates, and the ranges that they are checked against (PEP 440)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

__all__ = ["is_specifier", "is_version", "split_template", "within"]

_RANGE = re.compile(r"\s*(?:[<>]=?|[=!~]=)")  # where a range begins behind a template's id


def is_specifier(text: str) -> bool:
    """Whether a text is a PEP 440 specifier such as ``>=1.0,<2``; the empty text is one."""
    from packaging.specifiers import InvalidSpecifier

    try:
        _specifier(text)
    except InvalidSpecifier:
        return False
    return True


def is_version(text: str) -> bool:
    """Whether a text is a PEP 440 version such as ``1.2``."""
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def within(version: str, specifier: str) -> bool:
    """Whether a version is in a range; a version that is unknown or no PEP 440 one always is.

    Pre-releases count as what they are: 2.0rc1 is below 2.0.
    """
    if not version or not specifier or not is_version(version):
        return True
    return bool(_specifier(specifier).contains(version, prereleases=True))


def split_template(text: str) -> tuple[str, str]:
    """Return a template's id and the range behind it: ``chat-assistant>=2`` gives both."""
    found = _RANGE.search(text)
    if found is None or not is_specifier(text[found.start() :]):
        return text.strip(), ""
    return text[: found.start()].strip(), text[found.start() :].strip()


@functools.lru_cache(maxsize=1024)
def _specifier(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet as Specifiers

    return Specifiers(text)
