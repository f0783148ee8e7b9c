"""Links whose target is what it seems, and images that are not loaded."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote, urlsplit

from tframex_nb.markdown._code import RISK

__all__ = ["definition", "image", "link", "looks_like_other", "text_before"]

SHOWN = 80  # characters of a target that are shown

_DEST = r"(?:<([^<>\n`]*)>|([^\s<>()`]*(?:\([^\s<>()`]*\)[^\s<>()`]*)*))"
_TITLE = r"(?:\s+(\"[^\"`<\n]*\"|'[^'`<\n]*'|\([^()`<\n]*\)))?"
_INLINE = re.compile(rf"\]\([ \t]*\n?[ \t]*{_DEST}{_TITLE}[ \t]*\n?[ \t]*\)")
_DEFINITION = re.compile(r"\]:[ \t]*\n?[ \t]*(?:<([^<>\n]*)>|(\S+))")
_IMAGE = re.compile(r"!\[([^\[\]`<&\\$]{0,300})" + _INLINE.pattern)
_LINKED_IMAGE = re.compile(r"\[" + _IMAGE.pattern + _INLINE.pattern)
_SCHEME = re.compile(r"[^/?#]*?:")
_SAFE = frozenset({"http:", "https:", "mailto:", "ftp:", "ftps:", "tel:"})
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//([^\s/?#]+)|\b(www\.[^\s/?#]+)", re.IGNORECASE)
_HOST = re.compile(r"(?:[^\s/?#.:@]+\.)+[^\W\d_]{2,24}(?=[/?#:]|$)")
_ESCAPED = re.compile(r"\\([_.*~#&+=-])")
_UNSAFE = re.compile(r"[$\\\"]")
_UNSAFE_ANGLED = re.compile(r"[$\\\" ()\t]")
_TEX = re.compile(r"[$\\]")
_MARKS = str.maketrans("", "", "*_~`[]\\<>")


def link(text: str, at: int) -> tuple[str, int]:
    """Return what stands for the ``](`` at ``at`` and what follows it, and the index after."""
    found = _INLINE.match(text, at)
    target = _target(found, 1) if found else None
    if found is None or target is None:
        return "]&#40;", at + 2
    out = f"]({target}{_titled(found[3])})"
    shown = text_before(text, at)
    return out + (f" ({_visible(target)})" if looks_like_other(shown, target) else ""), found.end()


def definition(text: str, at: int) -> tuple[str, int]:
    """Return what stands for the ``]:`` at ``at``: text, where it would define a bad target."""
    found = _DEFINITION.match(text, at)
    if found is None:
        return "]:", at + 2
    target = found[1] if found[1] is not None else found[2]
    label = text_before(text, at)
    if label.startswith("^") and target.endswith(":"):  # a footnote that begins with a word
        return "]:", at + 2
    line = text[at : text.find("\n", found.end()) + 1 or len(text)]
    tex = _TEX.search(line) and _opens_line(text, at, label)
    bad = (
        blocked(target) or tex or (looks_like_other(label, target) and _opens_line(text, at, label))
    )
    return ("]&#58;" if bad else "]:"), at + 2


def image(text: str, at: int) -> tuple[str, int]:
    """Return what stands for the image that begins at ``at`` with ``![`` or ``[![``."""
    if text[at] == "[":
        found = _LINKED_IMAGE.match(text, at)
        if found is None:
            return "[", at + 1
        target = _target(found, 5)
        whither = f" [link]({target}) ({_visible(target)})" if target else ""
        return _as_link(found) + whither, found.end()
    found = _IMAGE.match(text, at)
    if found is not None:
        return _as_link(found), found.end()
    # Whatever the reader makes of the rest, without the mark it is no image.
    return "image: [", at + 2


def looks_like_other(shown: str, target: str) -> bool:
    """Whether the text of a link reads like another place than its target."""
    plain = html.unescape(shown).translate(_MARKS).strip().lower()
    found = _URL.search(plain)
    host = (found[1] or found[2]) if found else None
    if host is None:
        bare = _HOST.match(plain)
        host = bare[0] if bare else None
    return host is not None and _bare(host) != _bare(_host(target))


def blocked(target: str) -> bool:
    """Whether a target has a scheme that does more than show a page, however it is disguised."""
    for form in (target, unquote(html.unescape(html.unescape(target)))):
        squeezed = "".join(char for char in form if char > " " and char not in "\\\x7f")
        found = _SCHEME.match(squeezed)
        if found and found[0].lower() not in _SAFE:
            return True
    return target.startswith("\\")


def _target(found: re.Match[str], group: int) -> str | None:
    """Return a plain form of the target, or None for one that is not let through."""
    angled = found[group]
    target = found[group + 1] if angled is None else angled
    if blocked(target) or (target and RISK.search(target)):
        return None
    plain = _ESCAPED.sub(r"\1", target)
    # A "$" or a backslash may be TeX for a reader, which then puts it back unquoted.
    unsafe = _UNSAFE if angled is None else _UNSAFE_ANGLED
    return unsafe.sub(lambda char: f"%{ord(char[0]):02X}", plain)


def _as_link(found: re.Match[str]) -> str:
    alt, target = found[1], _target(found, 2)
    if target is None:
        raw = found[2] if found[2] is not None else found[3]
        return f"image: {alt} ({_visible(raw)})"
    return f"image: [{alt or 'no text'}]({target}) ({_visible(target)})"


def _titled(title: str | None) -> str:
    return f" {title}" if title and not RISK.search(title) and not _TEX.search(title) else ""


def text_before(text: str, at: int) -> str:
    """Return the text between the ``]`` at ``at`` and its ``[``, at most 400 characters."""
    depth, low = 0, max(0, at - 400)
    for index in range(at - 1, low - 1, -1):
        char = text[index]
        if char == "]":
            depth += 1
        elif char == "[":
            if not depth:
                return text[index + 1 : at]
            depth -= 1
    return text[low:at]


def _opens_line(text: str, at: int, label: str) -> bool:
    """Whether only marks of quotes and lists stand before the label that ends at ``at``."""
    start = at - len(label)
    head = text[text.rfind("\n", 0, start) + 1 : start]
    return not head.strip(" \t>[-*+0123456789.)")


def _visible(target: str) -> str:
    short = target if len(target) <= SHOWN else f"{target[: SHOWN - 1]}…"
    short = re.sub(r"^https?://", "", short)
    return re.sub(r"[!-,:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", short)


def _host(target: str) -> str:
    try:
        return (urlsplit(html.unescape(target)).hostname or "").lower()
    except ValueError:
        return ""


def _bare(host: str) -> str:
    return host.rpartition("@")[2].partition(":")[0].removeprefix("www.").rstrip(".")
