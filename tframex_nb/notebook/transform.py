"""Lower cells and lines of ours to ``await`` before IPython's own transformers see them.

A lowered cell runs on the kernel's own loop: objects bound to it keep working, and an
interrupt ends it at once. ``%ask`` lines are claimed here because IPython would take a
question mark for help and braces for variables.
"""

from __future__ import annotations

import re
import tokenize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["lower_cell", "lower_lines"]

# Each magic and the class that holds it.
CELL_MAGICS = {
    "agent": "AgentMagics",
    "agents": "AgentMagics",
    "compare": "FrameworkMagics",
    "framework": "FrameworkMagics",
}
LINE_MAGICS = {
    "agents": "AgentMagics",
    "ask": "AgentMagics",
    "fix": "AgentMagics",
    "frameworks": "FrameworkMagics",
    "tools": "ToolMagics",
}

_CELL = re.compile(rf"%%({'|'.join(CELL_MAGICS)})(?:[ \t]+(.*))?$")
# A table can be given a name: ``t = %agents``.
_LINE = re.compile(
    r"([ \t]*(?:\w+[ \t]*=[ \t]*(?=%(?:agents|frameworks|tools)\b))?)"
    rf"%({'|'.join(LINE_MAGICS)})(?:[ \t]+(.*))?$"
)
_AWAIT = 'await get_ipython().magics_manager.registry["{}"].awaited({!r}, {!r}, {!r})\n'
_CALL = "{}get_ipython().run_line_magic({!r}, {!r})\n"


def lower_cell(lines: list[str], *, may_await: Callable[[], bool]) -> list[str]:
    """Return the lines of a cell, a cell of ours as one ``await``.

    Comments and blank lines may stand before the magic; they stay where they are.
    """
    for index, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _CELL.match(line.rstrip("\n"))
        if match is None or not may_await():
            return lines
        body = "".join(lines[index + 1 :])
        rest = (match[2] or "").strip()
        return [*lines[:index], _AWAIT.format(CELL_MAGICS[match[1]], match[1], rest, body)]
    return lines


def lower_lines(lines: list[str], *, may_await: Callable[[], bool]) -> list[str]:
    """Return the lines of a cell, its ``%ask``, ``%fix`` and ``%frameworks`` lowered.

    A line inside a string, a bracket or another cell magic's body is not a statement.
    """
    if not any(_LINE.match(line) for line in lines) or _is_cell_magic(lines):
        return lines
    out: list[str] = []
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None or not _at_statement_start(out):
            out.append(line)
            continue
        head, name, rest = match[1], match[2], (match[3] or "").strip()
        if head[:1].isspace() or not may_await():
            out.append(_CALL.format(head, name, rest))
        else:
            out.append(head + _AWAIT.format(LINE_MAGICS[name], name, rest, ""))
    return out


def _is_cell_magic(lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return first.startswith("%%")


def _at_statement_start(lines: list[str]) -> bool:
    """Whether a new statement may begin after ``lines``: no string or bracket is open."""
    if lines and lines[-1].rstrip("\n").endswith("\\"):
        return False
    neutral = (re.sub(r"^([ \t]*)[%!?].*", r"\1pass", line) for line in lines)
    try:
        for _ in tokenize.generate_tokens(_reader(neutral)):
            pass
    except tokenize.TokenError:  # an open string or bracket
        return False
    except SyntaxError:  # an indentation that is the user's to mend
        return True
    return True


def _reader(lines: Iterator[str]) -> Callable[[], str]:
    return lambda: next(lines, "")
