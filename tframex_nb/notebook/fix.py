"""``%fix``: the last error, or that of cell n, explained; the mended cell below it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from tframex_nb.errors import nearest

if TYPE_CHECKING:
    from tframex_nb.notebook.session import Session
    from tframex_nb.runs import Run

__all__ = ["SYSTEM", "insert_mended", "mended_cell", "prompt_of_error"]

SYSTEM = (
    "A cell of a Jupyter notebook failed. Say in one or two sentences why. Then give the whole "
    "mended cell in one fenced python block, changing as little as you can."
)
_FENCE = re.compile(r"^```(?:python|py|ipython)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def prompt_of_error(session: Session, line: str) -> tuple[int, str]:
    """Return the number of the cell that failed (``line``, or the last one) and the prompt."""
    if not session.errors:
        raise UsageError("no cell has failed yet: there is nothing to fix")
    number = _number(session, line.strip())
    raw = session.inputs
    source = raw[number] if number < len(raw) else ""
    prompt = (
        f"The cell:\n\n```python\n{source.rstrip()}\n```\n\n"
        f"The error:\n\n```\n{session.errors[number]}\n```"
    )
    return number, prompt


def insert_mended(session: Session, run: Run) -> None:
    """Put the mended cell below, where the front end can; it is never run."""
    code = mended_cell(run.text)
    if code:
        session.shell.set_next_input(code, replace=False)


def mended_cell(text: str) -> str:
    """Return the last fenced python block of an answer, or the empty text."""
    blocks = _FENCE.findall(text)
    return blocks[-1].rstrip() if blocks else ""


def _number(session: Session, word: str) -> int:
    if not word:
        return next(reversed(session.errors))
    known = ", ".join(str(n) for n in session.errors)
    if not word.isdecimal():
        raise UsageError(f"%fix takes the number of a cell that failed: {known}")
    if int(word) not in session.errors:
        raise UsageError(f"cell {word} did not fail; {nearest(word, known.split(', '))}")
    return int(word)
