"""Code that every Markdown reader takes for code, and what makes a text need that care."""

from __future__ import annotations

import re

from tframex_nb.markdown._controls import clean

__all__ = [
    "MACRO",
    "RISK",
    "code_block",
    "code_span",
    "encode",
    "fence",
    "language_of",
    "preformatted",
]

# TeX that reaches out of mathematics (links, styles, images, attributes, extensions), or that
# defines: MathJax keeps definitions for the whole page, and a loop of them hangs it.
_MACROS = (
    "href|url|require|style|class|cssId|unicode|includegraphics|data|html[A-Za-z]*|mmlToken|bbox"
    "|texttip|mathtip|toggle|action|tooltip|csname|special|input|write|catcode|let|futurelet"
    "|[egx]?def|global|(?:re|provide|Declare)?new(?:command|environment)|renewcommand"
    "|renewenvironment|providecommand|NewDocumentCommand|DeclareMathOperator|DeclarePairedDelimiters?X?"
    "|DeclareRobustCommand|Newextarrow|begingroup|begingroupSandbox|loop|repeat"
)
MACRO = re.compile(rf"(\\)(?=(?:{_MACROS})(?![A-Za-z]))")
# Hidden characters, letters and backslashes written as entities are there to deceive a filter.
_ENTITY = (
    r"&(?=#|(?:bsol|shy|lrm|rlm|zwj|zwnj|NoBreak|ZeroWidthSpace|Negative\w+Space|ApplyFunction|af"
    r"|InvisibleTimes|it|InvisibleComma|ic);)"
)
# JupyterLab puts TeX back after rendering, unquoted, also into the address of a bare URL.
_GLUED = r":(?=//\S{0,2000}[$\\])|\.(?<=www\.)(?=\S{0,2000}[$\\])"
RISK = re.compile(
    rf"<(?![\s=\d])|!\[|\]\(|\]:|\]\[|\\(?=(?:{_MACROS})(?![A-Za-z]))|{_ENTITY}|{_GLUED}"
)
# What could be the end of mathematics that began in an earlier block.
_MATH_END = re.compile(r"\$\$|\\\\[\])]|\\end\{")
_RUNS = re.compile("`{3,}")
_LANGUAGE = re.compile(r"[A-Za-z][\w+#.-]{0,31}")
_PUNCTUATION = re.compile(r"[!-+:<>-@\[-`{-~]")
# Languages that some front end draws or runs instead of showing them.
_DRAWN = re.compile(
    "abc|bpmn|code-cell|csv-table|d2|ditaa|dot|echarts|eval|excalidraw|figure|geojson|graphviz"
    "|htmlembed|iframe|image|include|katex|kroki|(?:latex-)?math|live|jsx-live|markmap|mermaid|mmd"
    "|nomnoml|plantuml|plotly|puml|raw|stl|svgbob|topojson|vega|vega-?lite|wavedrom",
    re.IGNORECASE,
)


def code_span(text: str) -> str:
    """Return ``text`` on one line as inline code; the empty text for no text."""
    flat = " ".join(clean(text).split())
    if RISK.search(flat) or any(char in flat for char in "`$|\\"):
        return encode(flat)
    return f"`{flat}`" if flat else ""


def code_block(text: str, language: str = "") -> str:
    """Return ``text`` as a code block of its own, which nothing inside can end."""
    body = clean(text).rstrip("\n")
    if RISK.search(body) and _MATH_END.search(body):
        return preformatted(body)
    return "\n".join(fence(body.split("\n"), language_of(language)))


def fence(lines: list[str], language: str) -> list[str]:
    """Return the lines of a fenced block.

    It always names a language: a line with an info string cannot end a fence that some reader
    believes to be open.
    """
    longest = max((len(run) for line in lines for run in _RUNS.findall(line)), default=2)
    mark = "`" * (longest + 1)
    return [f"{mark}{language}", *lines, mark]


def preformatted(body: str) -> str:
    r"""Return code as one line of HTML with every punctuation mark encoded.

    For code that a fence cannot hold safely: a reader that pairs ``$$`` or ``\end`` before it
    looks for fences would take half of the block for text.
    """
    return f"<pre>{encode(body)}</pre>"


def encode(code: str) -> str:
    """Return code as an element in which no reader finds anything to parse."""
    inner = _PUNCTUATION.sub(lambda found: f"&#{ord(found[0])};", code)
    return f"<code>{inner.replace(chr(10), '&#10;')}</code>"


def is_fragile(body: str) -> bool:
    """Whether a fence cannot hold this code safely."""
    return _MATH_END.search(body) is not None


def language_of(info: str) -> str:
    """Return the language that a fence may name: one plain word, and nothing that is drawn."""
    found = _LANGUAGE.search(info.split(maxsplit=1)[0]) if info.strip() else None
    if found is None or _DRAWN.fullmatch(found[0]):
        return "text"
    return found[0]
