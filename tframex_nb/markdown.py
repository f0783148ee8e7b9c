"""Makes a model's Markdown harmless wherever a saved notebook may be opened."""

from __future__ import annotations

import html
import re

__all__ = ["code_block", "code_span", "defang", "escape_inline"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def defang(text: str) -> str:
    """Return ``text`` as Markdown that does nothing but show itself."""
    return text.replace("<", "&lt;").replace("![", "&#33;[")


def escape_inline(text: str) -> str:
    """Return ``text`` on one line as Markdown that shows exactly these characters."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def code_span(text: str) -> str:
    """Return ``text`` as an inline code span on one line."""
    flat = " ".join(text.split())
    fence = "`" * (max((len(r) for r in re.findall("`+", flat)), default=0) + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}" if flat else ""


def code_block(text: str, language: str = "") -> str:
    """Return ``text`` as a fenced code block that nothing inside can close."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language or 'text'}\n{text.rstrip(chr(10))}\n{fence}"
