"""Makes a model's Markdown harmless wherever a saved notebook may be opened.

The same text is read by parsers that disagree (marked with MathJax in JupyterLab, markdown-it
with KaTeX in VS Code, mistune in nbconvert, cmark on GitHub), so nothing here relies on how one
of them reads a doubtful construct: outside fenced blocks no character sequence that could begin
HTML, an image or a dangerous link survives, and fenced blocks are written so that every reader
sees the same borders.
"""

from __future__ import annotations

import re

from tframex_nb.markdown._blocks import blocks
from tframex_nb.markdown._code import MACRO, code_block, code_span, encode
from tframex_nb.markdown._controls import clean
from tframex_nb.markdown._fences import fenced, first_code, in_form, pretty

__all__ = [
    "clean",
    "code_block",
    "code_span",
    "defang",
    "encode",
    "escape_inline",
    "fenced",
    "first_code",
    "in_form",
    "pretty",
]

_PUNCTUATION = re.compile(r"[\\`*_{}\[\]<>&#|~$!@]")
# Jupyter looks for formulas in the page itself, after the entities are characters again; none
# goes past an element.
_DOLLAR = "&#36;"
_BLOCK_START = re.compile(r"^([-+=]|\d{1,9}(?=[.)]))")
_MARKS = re.compile(r"[<\[!\\&`~$\x00-\x08\x0b-\x1f\x7f-\U0010ffff]")


def defang(text: str, *, careful: bool = False) -> str:
    """Return ``text`` as Markdown that shows the same and does nothing.

    No HTML, no image is loaded (images become links with a visible target), no link but to
    http, https, mailto, ftp and relative places, no diagram that a front end would draw, no TeX
    macro that leaves mathematics, no control or bidi character. An unclosed fence is closed, so
    a text may be cut anywhere while it streams. The time is linear in the length. With
    ``careful`` the result may also stand in one document with other defanged texts.
    """
    if not _MARKS.search(text):
        return text
    return blocks(clean(text), careful=careful)


def escape_inline(text: str) -> str:
    """Return ``text`` on one line as Markdown that shows exactly these characters."""
    flat = MACRO.sub(r"\1 ", " ".join(clean(text).split()))
    escaped = _PUNCTUATION.sub(lambda found: f"&#{ord(found[0])};", flat)
    if escaped.count(_DOLLAR) > 1:
        escaped = escaped.replace(_DOLLAR, f"<span>{_DOLLAR}</span>")
    return _BLOCK_START.sub(lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", escaped)
