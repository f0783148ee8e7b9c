"""Fenced blocks in an answer: the code that a model gave, and its language."""

from __future__ import annotations

import ast
import json
import re

from tframex_nb.markdown._code import code_block

__all__ = ["fenced", "first_code", "in_form", "pretty"]

# A block that is not closed yet goes on to the end.
_FENCE = re.compile(
    r"^ {0,3}(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n`]*\n"
    r"(?P<code>.*?)(?:^ {0,3}(?P=mark)[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_NO_CODE = frozenset({"markdown", "md", "output", "plain", "plaintext", "text", "txt"})
_INDENT = 2


def fenced(text: str) -> list[tuple[str, str]]:
    """Return the language and the code of each fenced block, in order."""
    return [(m["language"], m["code"].rstrip("\n")) for m in _FENCE.finditer(text)]


def first_code(text: str) -> tuple[str, str] | None:
    """Return the language and the code of the first block; a bare text that is Python is one.

    A block of plain text, such as a quoted question, counts where there is no other.
    """
    blocks = fenced(text)
    if blocks:
        return next((block for block in blocks if block[0].lower() not in _NO_CODE), blocks[0])
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return ("python", text.strip("\n")) if text.strip() else None


def pretty(text: str) -> str:
    """Return a JSON document with a line for each value; other text as it is."""
    bare = text.strip()
    blocks = fenced(bare)
    bare = blocks[0][1].strip() if len(blocks) == 1 else bare
    try:
        return json.dumps(json.loads(bare), ensure_ascii=False, indent=_INDENT)
    except (ValueError, RecursionError):
        return bare if bare[:1] in {"{", "["} else text


def in_form(text: str, form: str) -> str | None:
    """Return an answer as Markdown in a form (json, code or text), None where Markdown will do.

    ``json`` is a block of code, pretty once it is whole; ``code`` the first block alone;
    ``text`` shows each character as it came.
    """
    if not text.strip():
        return None
    if form == "text":
        return code_block(text.strip("\n"), "text")
    if form == "json":
        shown = pretty(text)
        return code_block(shown, "json") if _looks_like_json(shown) else None
    found = first_code(text) if form == "code" else None
    return None if found is None else code_block(found[1], found[0] or "python")


def _looks_like_json(text: str) -> bool:
    if text.lstrip()[:1] in {"{", "["}:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
