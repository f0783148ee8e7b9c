"""``%%framework`` cells: source that runs in a framework's worker, with the notebook's tools."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import json
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents.toolbox import Toolbox
from tframex_nb.agents.tools import Tool
from tframex_nb.errors import ToolError, nearest
from tframex_nb.frameworks.base import ToolHandle
from tframex_nb.markdown import clean
from tframex_nb.messages import ToolCall, ToolResult
from tframex_nb.notebook.framework_choice import remember_names
from tframex_nb.notebook.namespace import look_up, names_of_tools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.notebook.session import Session

__all__ = ["run_framework_cell", "tools_of"]

MODULE = "notebook"  # what a worker imports the notebook's tools from


async def run_framework_cell(session: Session, name: str, source: str) -> None:
    """Run a cell's source in the worker of a framework; print what it prints.

    Raises UsageError where it imports a tool that the notebook does not have, FrameworkError
    for all that goes wrong over there.
    """
    if not source.strip():
        raise UsageError(f"the cell is empty: write below %%framework {name} what its worker runs")
    # A worker is read in the context of the cell that started it, and ipykernel looks there to
    # know whose output it is.
    here = contextvars.copy_context()
    await session.runtime.frameworks.run_cell(
        name,
        source,
        tools=tools_of(session.shell.user_ns, source),
        log=lambda line: here.run(_print, line),
        cell_id=session.cell or "",
    )
    remember_names(session, name, source)


def tools_of(namespace: Mapping[str, Any], source: str) -> tuple[ToolHandle, ...]:
    """Return the notebook's tools that a source imports: ``from notebook import weather``.

    Raises UsageError for a name that the notebook does not have, ToolError for what is no tool.
    """
    names, all_of_them = _imported(source)
    handles = {name: _handle(namespace, name) for name in names}
    for name in names_of_tools(namespace) if all_of_them else ():
        try:
            handles.setdefault(name, _handle(namespace, name))
        except ToolError:  # a function that no model could call, and that nobody asked for
            continue
    return tuple(handles.values())


def _handle(namespace: Mapping[str, Any], name: str) -> ToolHandle:
    """Return a tool that is looked up anew at each call: a cell that redefines it is enough."""
    if name not in namespace:
        known = nearest(name, names_of_tools(namespace))
        raise UsageError(f"from notebook import {name}: no such tool in this notebook; {known}")
    tool = Tool.of(namespace[name])

    async def call(arguments: dict[str, Any] | str) -> str:  # any JSON
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        now = Toolbox([look_up(namespace, name)])
        content = ""
        async for event in now.run([ToolCall("call", next(iter(now)).name, text)]):
            if isinstance(event, ToolResult):
                content = event.content
        return content

    loop = asyncio.get_running_loop()
    return ToolHandle(name, tool.description, tool.parameters, call, loop)


def _imported(source: str) -> tuple[list[str], bool]:
    """Return the names that a source imports from the notebook, and whether it may use any."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # the worker tells of it, with the place
        return [], False
    names: list[str] = []
    whole = False
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == MODULE and not node.level:
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            whole = whole or any(alias.name == MODULE for alias in node.names)
    return [name for name in dict.fromkeys(names) if name != "*"], whole or "*" in names


def _print(line: str) -> None:
    print(clean(line), flush=True)  # noqa: T201  # what the cell prints over there
