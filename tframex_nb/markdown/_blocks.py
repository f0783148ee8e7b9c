"""Fenced and indented code: found as CommonMark finds it, written so that all readers agree."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tframex_nb.markdown._code import RISK, fence, is_fragile, language_of, preformatted
from tframex_nb.markdown._inline import CAREFUL, paragraph

__all__ = ["blocks"]

_OPENER = re.compile(
    r"((?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*)(`{3,}(?=[^`\n]*(?:\n|\Z))|~{3,})([^\n]*)"
)
_MARK = re.compile("[`~]{3}")
_QUOTES = re.compile(r" {0,3}(?:>[ \t]?)+")
_MARKER = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_ITEM = re.compile(r" *(?:[-*+]|\d{1,9}[.)]) {1,4}")
_INDENTED = re.compile(r"(?m)^(?: {4}|\t)[^\n]*<")
_INDENTED_CODE = re.compile(r"(?: {4}|\t)[^\n]*(?:\n(?:[ \t]*\n)*(?: {4}|\t)[^\n]*)*")
_PLAIN_INFO = re.compile(r"[ \t]*[\w+#.-]*[ \t]*")
_MATH_MARK = re.compile(r"[$\\]")
CODE_INDENT = 4
LOOK_BACK = 8000  # characters in which the list around an indented block is looked for


@dataclass(frozen=True, slots=True)
class _Fence:
    """A fenced block in the source: its lines without their container, and where it ends."""

    prefix: str
    info: str
    lines: list[str]
    start: int
    end: int
    tidy: bool  # closed, with every line inside its container
    risky: bool

    @property
    def width(self) -> int:
        return _width(self.prefix)


def blocks(text: str, *, careful: bool = False) -> str:
    """Return ``text`` with its code blocks canonical and all between them defanged."""
    fences: list[_Fence] = []
    while (found := _next_fence(text, fences[-1].end if fences else 0)) is not None:
        fences.append(found)
    careful = careful or any(block.risky for block in fences) or _INDENTED.search(text) is not None
    out: list[str] = []
    at = 0
    for block in fences:
        out += [_between(text, at, block.start, careful=careful), _written(text, block)]
        at = block.end
    out.append(_between(text, at, len(text), careful=careful))
    return "".join(out)


def _next_fence(text: str, at: int) -> _Fence | None:
    """Return the next fenced block at or after ``at``, which is the start of a line."""
    while (mark := _MARK.search(text, at)) is not None:
        start = text.rfind("\n", 0, mark.start()) + 1
        opener = _OPENER.match(text, start)
        if opener is not None:
            return _read(text, opener)
        at = text.find("\n", mark.start()) + 1
        if not at:
            break
    return None


def _read(text: str, opener: re.Match[str]) -> _Fence:
    """Read to the closing fence, or to the end; a quoted block ends with its quote.

    A closing fence counts wherever it is indented less than code: models often forget the
    indentation of a list, and a reader would take the rest of the answer for code.
    """
    prefix, mark, info = opener.groups()
    container = _Container(prefix)
    closing = re.compile(rf" {{0,3}}{mark[0]}{{{len(mark)},}}[ \t]*")
    at, lines, tidy = opener.end() + 1, [], True
    while at <= len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = container.inside(text[at:end])
        if line is None:
            tidy = False
            break
        at = end + 1
        tidy = tidy and container.tidy
        if closing.fullmatch(line):
            tidy = tidy and line[0] == "`"
            break
        lines.append(line)
    else:
        tidy = False
        if lines and not lines[-1]:
            lines.pop()
    risky = RISK.search("\n".join(lines)) is not None
    return _Fence(prefix, info, lines, opener.start(), min(at, len(text)), tidy, risky)


class _Container:
    """The quote and list marks before a fence, which its lines repeat or stand under."""

    def __init__(self, prefix: str) -> None:
        quotes = prefix.count(">")
        self.quote = re.compile(rf"(?: {{0,3}}>[ \t]?){{{quotes}}}") if quotes else None
        self.width = _width(prefix.rpartition(">")[2].removeprefix(" ") if quotes else prefix)
        self.tidy = True

    def inside(self, line: str) -> str | None:
        """Return a line without its container, or None where it has left the quote."""
        if self.quote is not None:
            found = self.quote.match(line)
            if found is None:
                return None
            line = line[found.end() :]
        if not self.width:
            return line
        expanded = line.expandtabs(CODE_INDENT) if "\t" in line[: self.width] else line
        indent = len(expanded) - len(expanded.lstrip(" "))
        self.tidy = indent >= self.width or not expanded.strip()
        return expanded[min(indent, self.width) :]


def _written(text: str, block: _Fence) -> str:
    body = "\n".join(block.lines)
    risky = block.risky
    language = language_of(block.info)
    plain = not block.info.strip() or block.info.strip() == language
    if block.tidy and plain and not risky:
        return text[block.start : block.end]
    first, pad = _place(text, block)
    rows = _block(block.lines, language, risky=risky)
    if len(rows) == 1 or (risky and ">" in pad and _MATH_MARK.search(body)):
        first, pad = _apart(block.prefix)
    written = first + f"\n{pad}".join(rows)
    apart = first.endswith("\n\n") or (pad == "" and block.width > 0) or len(rows) == 1
    detached = not pad or block.width >= CODE_INDENT or _MATH_MARK.search(body) is not None
    before = "\n" if (apart or (risky and detached)) and not _after_blank(text, block.start) else ""
    more = block.end < len(text) or text.endswith("\n")
    after = "\n" if apart and text[block.end : block.end + 1] not in ("", "\n") else ""
    return before + written + ("\n" if more else "") + after


def _block(lines: list[str], language: str, *, risky: bool) -> list[str]:
    body = "\n".join(lines)
    return [preformatted(body)] if risky and is_fragile(body) else fence(lines, language)


def _place(text: str, block: _Fence) -> tuple[str, str]:
    """Return what goes before the first line of a block and before each other line.

    A block keeps its place in a list or a quote where all readers agree that it is there;
    anything else goes to the margin.
    """
    prefix = block.prefix
    if _QUOTES.fullmatch(prefix):
        pad = "> " * prefix.count(">")
        return pad, pad
    if ">" in prefix:
        return _apart(prefix)
    indent = len(prefix.expandtabs(CODE_INDENT)) - len(prefix.expandtabs(CODE_INDENT).lstrip())
    if not prefix.strip():
        pad = " " * indent if indent and _in_list(text, block.start, indent) else ""
        return pad, pad
    if not _ITEM.fullmatch(prefix) or (indent and not _in_list(text, block.start, indent)):
        return _apart(prefix)
    return prefix, " " * block.width


def _apart(prefix: str) -> tuple[str, str]:
    """Place a block at the margin, below the marks that stood before it."""
    return (f"{prefix.rstrip()}\n\n" if prefix.strip(" \t>") else ""), ""


def _in_list(text: str, at: int, width: int) -> bool:
    """Whether a line at ``at``, indented by ``width``, stands under the text of a list item."""
    need = width
    for line in reversed(text[max(0, at - LOOK_BACK) : at].split("\n")[:-1]):
        expanded = line.expandtabs(CODE_INDENT)
        indent = len(expanded) - len(expanded.lstrip())
        if indent >= need or not line.strip():
            continue
        marker = _MARKER.match(expanded)
        if marker is None or not marker.end() <= need < marker.end() + CODE_INDENT:
            return False
        if not indent:
            return True
        need = indent
    return False


def _between(text: str, start: int, end: int, *, careful: bool) -> str:
    """Return the text between two fences, defanged where there is something to defang."""
    out, at = [], start
    wanted = CAREFUL if careful else RISK
    while (risk := wanted.search(text, at, end)) is not None:
        low = text.rfind("\n\n", at, risk.start())
        low = at if low < 0 else low + 2
        shown, at = _stretch(text, low, end, careful=careful)
        out += [text[start:low], shown]
        start = at
    out.append(text[start:end])
    return "".join(out)


def _stretch(text: str, start: int, end: int, *, careful: bool) -> tuple[str, int]:
    """Return what begins at ``start`` defanged, and where it ends: a blank line, or later.

    Indented code becomes a fenced block, all of it up to the next line at the margin.
    """
    code = _INDENTED_CODE.match(text, start, end)
    if code is not None and _after_blank(text, start):
        lines = code[0].expandtabs(CODE_INDENT).split("\n")
        if not _in_list(text, start, len(lines[0]) - len(lines[0].lstrip())):
            lines = [line[CODE_INDENT:] for line in lines]
            return "\n".join(_block(lines, "text", risky=True)), code.end()
    stop = text.find("\n\n", start + 1, end)
    stop = end if stop < 0 else stop
    return paragraph(text[start:stop], careful=careful), stop


def _after_blank(text: str, at: int) -> bool:
    return not at or not text[text.rfind("\n", 0, at - 1) + 1 : at].strip()


def _width(prefix: str) -> int:
    return len(prefix.expandtabs(CODE_INDENT))
