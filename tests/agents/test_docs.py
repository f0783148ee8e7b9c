"""The pages on agents cannot lie: their blocks run in order, and print what they say."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from tframex_nb.models import shared_endpoints

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


async def printed(code: str, space: dict[str, object], page: str) -> str:
    """Run a block as a cell, with top-level await; return what it printed."""
    compiled = compile(code, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = eval(compiled, space)
        if inspect.isawaitable(result):
            await result
    return out.getvalue()


def shows(text: str) -> str:
    """The pattern of what a block shows: … stands for anything."""
    return re.escape(text).replace("…", ".*")


@pytest.mark.parametrize(
    ("page", "least"),
    [("agents.md", 11), ("dialogue.md", 1), ("images.md", 2), ("typed.md", 3), ("approval.md", 2)],
)
def test_every_example_runs_and_prints_what_it_says(page, least):
    """In order, in one namespace, in an empty folder, on the embedded demo model."""
    blocks = FENCE.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    space: dict[str, object] = {"__name__": "__main__"}

    async def read() -> None:
        for code, text in blocks:
            out = await printed(code, space, page)
            assert re.fullmatch(shows(text), out, re.DOTALL), f"{code}\nprinted:\n{out}"
        await shared_endpoints().aclose()

    asyncio.run(read())
