"""Text between code blocks: HTML, images, links and TeX that would do something."""

from __future__ import annotations

import re
from bisect import bisect_left

from tframex_nb.markdown import _links
from tframex_nb.markdown._code import MACRO, RISK, encode
from tframex_nb.markdown._controls import HIDDEN

__all__ = ["CAREFUL", "paragraph"]

_TOKEN = re.compile(
    rf"`+|<|\[(?=!\[)|!\[|\](?=[(:\[])|\$\$?|&(?=[#\w])|\\+?{MACRO.pattern[4:]}|\\+begin\{{|\\{{2,}}[\[(]|\\[`!\[\]$<\\&]"
)
# Also what a reader might pair over several blocks.
CAREFUL = re.compile(rf"`|\$\$|\\begin\{{|\\\\[\[(]|{RISK.pattern}")
_NEW_BLOCK = re.compile(r"\n[ \t]*(?:[-*+>#|=~]|\d{1,9}[.)]|```|\n)")
_ENVIRONMENT = re.compile(r"\\begin\{([A-Za-z]*\*?)\}")
_AUTOLINK = re.compile(r"<((?:https?://|ftp://|mailto:)?[\w.~:/?#@%!&'*+,;=-]+)>")
_ADDRESS = re.compile(r"(?:https?://|ftp://|mailto:|[\w.+-]+@)")
_MATH = re.compile(r"\$(?=\S)([^$\n`]{1,500})(?<=\S)\$(?!\d)")
_NUMERIC = re.compile(r"&#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,8}));?")
_RUN = re.compile("`+")
_UNICODE_END = 0x110000
FENCE = 3  # backticks
BRACKET = 2  # characters of an escaped bracket; with more backslashes it is TeX
LONGEST_URL = 2000  # characters
LONGEST_MATH = 20_000  # characters; bounds the search for an end that never comes


def paragraph(text: str, *, careful: bool) -> str:
    r"""Return a stretch of text without a fenced block, defanged.

    ``careful`` where the answer holds code blocks that must stay code: then nothing is left
    open that a reader could close behind such a block (a backtick, ``$$``, ``\begin``).
    """
    return _Paragraph(text, careful=careful).defanged()


class _Paragraph:
    """One walk over one stretch of text."""

    def __init__(self, text: str, *, careful: bool) -> None:
        self.text = text
        self.careful = careful
        self.runs: dict[int, list[int]] | None = None

    def defanged(self) -> str:
        text, out, at = self.text, [], 0
        while found := _TOKEN.search(text, at):
            out.append(text[at : found.start()])
            piece, at = self._token(found)
            out.append(piece)
        out.append(text[at:])
        return "".join(out)

    def _token(self, found: re.Match[str]) -> tuple[str, int]:
        text, at = self.text, found.start()
        match text[at]:
            case "`":
                return self._code(at, found.end())
            case "<":
                return _less_than(text, at)
            case "!" | "[":
                return _links.image(text, at)
            case "]":
                return self._bracket(at)
            case "$":
                return self._math(at, found.end())
            case "&":
                return _entity(text, at)
            case _ if found[0].endswith("("):
                return (_shown(found[0]) if _glued(text, at) else found[0]), found.end()
            case _ if found[0].endswith("begin{") or (
                found[0].endswith("[") and len(found[0]) > BRACKET
            ):
                return self._display(at, found.end())
            case _:
                return _backslash(text, found)

    def _code(self, at: int, inner: int) -> tuple[str, int]:
        """Leave harmless code as it is; encode the rest, so that its borders do not matter."""
        end = self._closing(inner, inner - at)
        if end is None:
            return self._literal(at, inner), inner
        after = end + inner - at
        body = self.text[inner:end]
        if not CAREFUL.search(body) and "\n" not in body:
            return self.text[at:after], after
        if _NEW_BLOCK.search(body):  # some readers end the paragraph there: not code for them
            return self._literal(at, inner), inner
        if len(body) > 1 and body[0] == body[-1] == " " and body.strip():
            body = body[1:-1]
        if self.text[self.text.rfind("\n", 0, at) + 1 : at].lstrip().startswith("|"):
            body = body.replace("\\|", "|")
        return encode(body.replace("\n", " ")), after

    def _literal(self, at: int, end: int) -> str:
        # Three could become a fence, once what follows on the line is encoded.
        wide = end - at >= FENCE
        return "&#96;" * (end - at) if self.careful or wide else self.text[at:end]

    def _closing(self, start: int, width: int) -> int | None:
        """Return where the next run of exactly ``width`` backticks begins."""
        if self.runs is None:
            self.runs = {}
            for run in _RUN.finditer(self.text):
                self.runs.setdefault(len(run[0]), []).append(run.start())
        places = self.runs.get(width, [])
        index = bisect_left(places, start)
        return places[index] if index < len(places) else None

    def _bracket(self, at: int) -> tuple[str, int]:
        match self.text[at + 1]:
            case "(":
                return _links.link(self.text, at)
            case ":":
                return _links.definition(self.text, at)
            case _:
                seems = _links.looks_like_other(_links.text_before(self.text, at), "")
                return ("]&#91;" if seems else "]["), at + 2

    def _math(self, at: int, inner: int) -> tuple[str, int]:
        if _glued(self.text, at):
            return "&#36;" * (inner - at), inner
        if inner - at == 1:
            found = _MATH.match(self.text, at)
            if found is None:
                return "$", inner
            return f"${_math(found[1])}$", found.end()
        return self._region(at, inner, "$$")

    def _display(self, at: int, inner: int) -> tuple[str, int]:
        r"""Take an environment, or what stands between ``\\[`` and ``\\]``, as mathematics."""
        if _glued(self.text, at):
            return _shown(self.text[at:inner]), inner
        found = _ENVIRONMENT.match(self.text, inner - len("\\begin{"))
        if found is not None:
            return self._region(at, inner, f"\\end{{{found[1]}}}")
        return self._region(at, inner, "\\\\]" if self.text[inner - 1] == "[" else "\\end{")

    def _region(self, at: int, inner: int, closing: str) -> tuple[str, int]:
        """Take mathematics up to ``closing``; without it the opening is only text."""
        opening = self.text[at:inner]
        end = self.text.find(closing, inner, inner + LONGEST_MATH)
        body = self.text[inner:end]
        # For a reader without TeX the end of \\\\[ … \\\\] is the end of a link's text.
        linked = closing.endswith("]") and self.text.startswith(("(", "[", ":"), end + 3)
        if end < 0 or linked or (self.careful and (_NEW_BLOCK.search(body) or "`" in body)):
            return (_shown(opening) if self.careful else opening), inner
        if self.careful and closing != "$$":
            body = body.replace("$$", "$ $")
        return f"{opening}{_math(body)}{closing}", end + len(closing)


def _shown(opening: str) -> str:
    return opening.replace("$", "&#36;").replace("\\", "&#92;")


def _glued(text: str, at: int) -> bool:
    """Whether mathematics would begin inside a bare URL."""
    low = max(0, at - LONGEST_URL)
    start = 1 + max(text.rfind(space, low, at) for space in " \n\t")
    word = text[max(start, low) : at]
    return "://" in word or "www." in word


def _math(body: str) -> str:
    """Return TeX that looks the same and is harmless for a reader that knows no TeX too."""
    if not RISK.search(body):
        return body
    body = re.sub(r"<(?![\s=\d])", r"\\lt ", body)
    body = re.sub(r"!(?=\[)|\](?=[(:])|&(?=#)", r"\g<0> ", body)
    return MACRO.sub(r"\1 ", body)


def _less_than(text: str, at: int) -> tuple[str, int]:
    found = _AUTOLINK.match(text, at)
    if found is not None and _ADDRESS.match(found[1]):
        return found[1], found.end()
    following = text[at + 1 : at + 2]
    return ("<" if following in " \t\n=" or following.isdigit() else "&lt;"), at + 1


def _entity(text: str, at: int) -> tuple[str, int]:
    """Show an entity as it is written where its character is hidden, or disguised for no reason."""
    found = _NUMERIC.match(text, at)
    if found is None:
        return ("&amp;" if RISK.match(text, at) else "&"), at + 1
    code = int(found[1], 16) if found[1] else int(found[2])
    char = chr(code) if code < _UNICODE_END else "\0"
    plain = char.isascii() and char.isalnum()
    return ("&amp;" if plain or char == "\\" or HIDDEN.match(char) else "&"), at + 1


def _backslash(text: str, found: re.Match[str]) -> tuple[str, int]:
    at, end = found.span()
    match text[end - 1]:
        case "<":
            return "&lt;", end
        case "]" if text.startswith(("(", ":"), end):  # mistune takes it for a bracket
            return f"{text[at:end]}&#{ord(text[end])};", end + 1
        case "!" if text.startswith("[", end):
            return "&#33;", end
        case _:
            pass
    if MACRO.match(text, end - 1):
        return f"{found[0]} ", end
    return text[at:end], end
