"""A few real mends of failing cells, for prompts that hold a Python traceback and the cell."""

from __future__ import annotations

import ast
import builtins
import difflib
import re

__all__ = ["mend"]

_LONGEST = 100_000  # characters of a prompt that is read for an error
_ERROR = re.compile(
    r"^(?:[\w.]{1,100}\.)?(\w{1,80}(?:Error|Exception|Interrupt|Iteration))(?::[ \t]*(.*))?$",
    re.MULTILINE,
)
_BLOCK = re.compile(r"(`{3,})(?:python|py|ipython)?[^\n]*\n(.*?)\n?\1", re.DOTALL | re.IGNORECASE)
_TRACE = re.compile(
    r"Traceback \(most recent call last\)|-{4,}> ?\d+|^\s*(?:File|Cell) .*\bline \d+", re.MULTILINE
)
_LINE = re.compile(r"-{2,}> ?(\d+)|(?:Cell|<cell|File \"<)[^\n]*line (\d+)|\bline (\d+)")
_SUGGESTED = re.compile(r"Did you mean: '([^']+)'")
_MODULES = {
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "plt": "import matplotlib.pyplot as plt",
}
_STDLIB = frozenset(
    [
        "asyncio",
        "collections",
        "csv",
        "datetime",
        "functools",
        "glob",
        "itertools",
        "json",
        "math",
        "os",
        "pathlib",
        "random",
        "re",
        "statistics",
        "string",
        "subprocess",
        "sys",
        "time",
        "uuid",
    ]
)
_OPENS = re.compile(r"^\s*(?:if|elif|else|for|while|def|class|try|except|finally|with|async)\b")


def mend(prompt: str) -> str:
    """Return an explanation and the mended cell, or nothing where the prompt is no such request."""
    if len(prompt) > _LONGEST:
        return ""
    error = next(reversed(_ERROR.findall(prompt)), None)
    cell = _cell(prompt)
    if error is None or not cell or not (_TRACE.search(prompt) or _asks(prompt)):
        return ""
    kind, message = error
    explanation, mended = _mended(kind, message, cell, _failing_line(prompt))
    return f"{explanation}\n\n```python\n{mended}\n```\n\n(My words are scripted; check the cell.)"


def _asks(prompt: str) -> bool:
    return bool(re.search(r"\b(fix|mend|repair|correct|debug)\w*\b", prompt, re.IGNORECASE))


def _cell(prompt: str) -> str:
    """Return the first code block that is no traceback."""
    blocks = [body for _, body in _BLOCK.findall(prompt)]
    return next((b for b in blocks if b.strip() and not _TRACE.search(b)), "")


def _failing_line(prompt: str) -> int:
    """Return the line number that the traceback names last, or 0."""
    numbers = [next(filter(None, groups)) for groups in _LINE.findall(prompt)]
    return int(numbers[-1]) if numbers else 0


def _mended(kind: str, message: str, cell: str, line: int) -> tuple[str, str]:
    found: tuple[str, str] | None = None
    match kind:
        case "NameError" | "AttributeError" | "ImportError":
            found = _name(message, cell)
        case "ZeroDivisionError":
            found = _division(cell, line)
        case "SyntaxError":
            found = _colon(cell, line) if "expected ':'" in message else _bracket(message, cell)
        case "KeyError":
            found = _key(message, cell)
        case "ModuleNotFoundError":
            found = _module(message, cell)
        case "TypeError":
            found = _concatenation(message, cell, line)
        case _:
            pass
    shown = f"`{kind}: {message}`".replace("``", "`") if message else f"`{kind}`"
    if found is None or found[1] == cell:
        return f"{shown}: my script has no mend for this one, so the cell is as it was.", cell
    return f"{shown}: {found[0]}", found[1]


def _name(message: str, cell: str) -> tuple[str, str] | None:
    wrong = re.search(r"(?:name|attribute) '(\w+)'|import name '(\w+)'", message)
    if not wrong:
        return None
    name = wrong[1] or wrong[2]
    suggested = _SUGGESTED.search(message)
    if suggested:
        right = suggested[1]
    elif name in _MODULES or name in _STDLIB:
        line = _MODULES.get(name, f"import {name}")
        return f"`{name}` is not imported.", f"{line}\n\n{cell}"
    else:
        close = difflib.get_close_matches(name, _identifiers(cell) - {name}, n=1)
        if not close:
            return None
        right = close[0]
    return f"`{name}` should be `{right}`.", re.sub(rf"\b{name}\b", right, cell)


def _identifiers(cell: str) -> set[str]:
    return set(re.findall(r"\b[A-Za-z_]\w*\b", cell)) | set(dir(builtins))


def _division(cell: str, line: int) -> tuple[str, str] | None:
    """Guard the divisions of the failing line (all of them where it is not known)."""
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return None
    operators = (ast.Div, ast.FloorDiv, ast.Mod)
    found = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, operators)]
    here = [n for n in found if n.lineno == line] or found
    if not here:
        return None
    node = here[0]
    whole = ast.get_source_segment(cell, node) or ""
    below = ast.get_source_segment(cell, node.right) or ""
    guarded = f'({whole} if {below} else float("nan"))'
    return f"`{below}` is zero here, so the division is guarded.", cell.replace(whole, guarded, 1)


def _colon(cell: str, line: int) -> tuple[str, str] | None:
    lines = cell.split("\n")
    order = [line - 1] if 0 < line <= len(lines) else []
    for index in [*order, *range(len(lines))]:
        if _OPENS.match(lines[index]) and not lines[index].rstrip().endswith(":"):
            lines[index] = f"{lines[index].rstrip()}:"
            return f"line {index + 1} needs a colon at its end.", "\n".join(lines)
    return None


def _bracket(message: str, cell: str) -> tuple[str, str] | None:
    if "was never closed" not in message:
        return None
    lines = cell.split("\n")
    for index, text in enumerate(lines):
        for opened, closed in ("()", "[]", "{}"):
            missing = text.count(opened) - text.count(closed)
            if missing > 0:
                lines[index] = text.rstrip() + closed * missing
                return f"line {index + 1} lacks `{closed}`.", "\n".join(lines)
    return None


def _key(message: str, cell: str) -> tuple[str, str] | None:
    key = message.strip().strip("'\"")
    written = set(re.findall(r"['\"]([^'\"\n]{1,60})['\"]", cell)) - {key}
    close = difflib.get_close_matches(key, written, n=1)
    quoted = rf"\[(['\"]){re.escape(key)}\1\]"
    if close:
        return (
            f"there is no key {key!r}; {close[0]!r} is close to it.",
            re.sub(quoted, f"[{close[0]!r}]", cell),
        )
    mended = re.sub(quoted, lambda found: f".get({found[1]}{key}{found[1]})", cell)
    return f"there is no key {key!r}, so the look-up may now give None.", mended


def _module(message: str, cell: str) -> tuple[str, str] | None:
    found = re.search(r"No module named '([\w.]+)'", message)
    if not found:
        return None
    name = found[1].partition(".")[0]
    return f"`{name}` is not installed in this kernel.", f"%pip install {name}\n\n{cell}"


def _concatenation(message: str, cell: str, line: int) -> tuple[str, str] | None:
    """Wrap what is added to a text in ``str()``."""
    if "can only concatenate str" not in message:
        return None
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return None
    sums = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Add)]
    sums = [n for n in sums if isinstance(n.right, (ast.Name, ast.Call, ast.Constant))]
    here = [n for n in sums if n.lineno == line] or sums
    if not here:
        return None
    whole = ast.get_source_segment(cell, here[0]) or ""
    right = ast.get_source_segment(cell, here[0].right) or ""
    mended = whole[: len(whole) - len(right)] + f"str({right})"
    return f"`{right}` is no text; `str()` makes it one.", cell.replace(whole, mended, 1)
