"""The namespace of a worker: what cells put there, and the notebook's tools (stdlib only).

A worker is a notebook's ``__main__`` of its own: cells run on its event loop, so that what they
make (a client, a queue) belongs to the loop on which agents will use it.
"""

from __future__ import annotations

import ast
import asyncio
import contextvars
import inspect
import linecache
import sys
import types
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import FrameworkFailed, nearest
from tframex_nb.frameworks.base import build_subject, is_builder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from tframex_nb.frameworks.base import AgentExecutionRequest
    from tframex_nb.frameworks.worker.wire import Wire

__all__ = ["Cells", "current_run"]

current_run: contextvars.ContextVar[str] = contextvars.ContextVar("current_run", default="")

_TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


class Cells:
    """The module ``__main__`` where cells run, and the module ``notebook`` with the tools.

    ``running`` gives the ids of the runs under way, the latest last.
    """

    def __init__(self, wire: Wire, running: Callable[[], list[str]]) -> None:
        self._wire = wire
        self._running = running
        self._main = types.ModuleType("__main__")
        self._notebook = _Notebook("notebook", "The tools of the notebook, by name.")

    def install(self) -> None:
        """Make both modules importable."""
        sys.modules["__main__"] = self._main
        sys.modules["notebook"] = self._notebook

    def offer(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Put tools into the module ``notebook``; each has a name, description, parameters."""
        for tool in tools:
            setattr(self._notebook, tool["name"], self._function(tool))

    async def execute(self, source: str, filename: str) -> None:
        """Run the source of a cell, ``await`` at its top included; raises what it raises."""
        remember(source, filename)
        await _execute(source, filename, vars(self._main))

    async def resolve(self, name: str, source: str, request: AgentExecutionRequest) -> Any:
        """Return the object that a cell, or a builder's source, made; raises what they raise.

        FrameworkFailed where no cell has defined the name.
        """
        namespace = vars(self._main)
        if source:
            namespace = dict(namespace)
            filename = f"<builder {name}>"
            remember(source, filename)
            await _execute(source, filename, namespace)
        if name not in namespace:
            known = [n for n in namespace if not n.startswith("_")]
            raise FrameworkFailed(
                f"no cell of this framework has defined {name!r}", hint=nearest(name, known)
            )
        found = namespace[name]
        if is_builder(found):
            return await build_subject(found, request)
        return found

    def _function(self, tool: Mapping[str, Any]) -> Callable[..., str]:
        """Return a function that calls a tool: frameworks take functions for tools."""
        name = str(tool["name"])
        required = tool["parameters"].get("required", ())
        listed = tool["parameters"].get("properties", {}).items()
        properties = dict(sorted(listed, key=lambda item: item[0] not in required))

        def call(*args: Any, **kwargs: Any) -> str:
            return self._call(name, _arguments(properties, args, kwargs)).result()

        async def acall(*args: Any, **kwargs: Any) -> str:
            arguments = _arguments(properties, args, kwargs)
            return await asyncio.wrap_future(self._call(name, arguments))

        for function in (call, acall):
            _dress(function, tool, properties, required)
        vars(call)["acall"] = acall
        return call

    def _call(self, name: str, arguments: dict[str, Any]) -> Future[str]:
        running = self._running()
        run = current_run.get() or (running[-1] if running else "")
        return self._wire.call(run, name, arguments)


class _Notebook(types.ModuleType):
    def __getattr__(self, name: str) -> Any:  # ImportError shows what ``from`` asked for
        if name.startswith("__"):
            raise AttributeError(name)
        tools = [n for n, value in vars(self).items() if inspect.isfunction(value)]
        raise AttributeError(f"the notebook has no tool {name!r}; {nearest(name, tools)}")


def remember(source: str, filename: str) -> None:
    """Let tracebacks and ``inspect.getsource`` see the lines of a cell."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


async def _execute(source: str, filename: str, namespace: dict[str, Any]) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, filename, "exec", flags=flags, dont_inherit=True)
    result = eval(code, namespace)  # noqa: S307 - running the user's cell is what this is for
    if inspect.iscoroutine(result):
        await result


def _arguments(
    properties: Mapping[str, Any],  # of a JSON schema
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Return a call's arguments by name; one dict of them all will do, too."""
    if (
        len(args) == 1
        and not kwargs
        and isinstance(args[0], dict)
        and args[0].keys() <= {*properties}
    ):
        return dict(args[0])
    if len(args) > len(properties):
        raise TypeError(f"takes {len(properties)} arguments, and was given {len(args)}")
    return {**dict(zip(properties, args, strict=False)), **kwargs}


def _dress(
    function: Any,  # a function whose metadata are set
    tool: Mapping[str, Any],
    properties: Mapping[str, Any],
    required: Sequence[str],
) -> None:
    """Give a function the name, the docstring and the signature of its tool."""
    function.__name__ = function.__qualname__ = tool["name"]
    function.__module__ = "notebook"
    lines = [f"    {name}: {p.get('description', '')}" for name, p in properties.items()]
    head = ["", "Args:"] if lines else []
    function.__doc__ = "\n".join([tool["description"], *head, *lines])
    kinds = {name: _TYPES.get(_kind(schema), Any) for name, schema in properties.items()}
    function.__annotations__ = {**kinds, "return": str}
    parameter = inspect.Parameter
    function.__signature__ = inspect.Signature(
        [
            parameter(
                name,
                parameter.POSITIONAL_OR_KEYWORD,
                default=parameter.empty if name in required else schema.get("default"),
                annotation=kinds[name],
            )
            for name, schema in properties.items()
        ],
        return_annotation=str,
    )


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "")
    return kind if isinstance(kind, str) else ""
