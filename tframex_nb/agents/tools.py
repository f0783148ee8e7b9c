"""Tools: plain Python functions that a model may call."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tframex_nb.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.agents._schema import Arguments

__all__ = ["Tool", "ToolMarks", "marks_of", "tool", "tool_name"]

F = TypeVar("F", bound="Callable[..., Any]")  # a tool may be any callable

MAX_NAME = 64  # OpenAI's bound on a function's name


@dataclass(frozen=True, slots=True)
class ToolMarks:
    """What ``@tool`` notes on a function; only ``Tool`` reads it.

    ``thread`` runs a blocking function off the event loop, where an interrupt cannot stop it.
    ``writes`` says whether it changes something, for whoever asks before it acts; None says
    nothing, and it counts as a tool that only reads.
    """

    name: str = ""
    description: str = ""
    thread: bool = False
    writes: bool | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as a model sees it.

    ``parameters`` is the JSON schema of its arguments, an object. ``origin`` says where the
    function comes from, for error messages.
    """

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False)  # a tool may be any callable
    arguments: Arguments = field(repr=False)
    thread: bool = False
    writes: bool = False
    origin: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return self.arguments.schema

    @property
    def is_async(self) -> bool:
        """Whether calls may go on at the same time as others."""
        return self.thread or is_coroutine_function(self.function)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:  # a tool may be any callable
        """Make a tool of a function, a bound method, a partial or any other callable.

        Raises ToolError where no schema can say what it takes.
        """
        from tframex_nb.agents._docstring import describe
        from tframex_nb.agents._schema import Arguments

        marks = marks_of(function)
        origin = origin_of(function)
        name = tool_name(marks.name or _own_name(function), origin=origin)
        summary, notes = describe(function)
        return cls(
            name=name,
            description=marks.description or summary,
            function=function,
            arguments=Arguments.of(function, notes=notes, origin=origin),
            thread=marks.thread,
            writes=bool(marks.writes),
            origin=origin,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the tool as ``/v1/chat/completions`` takes it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}


@overload
def tool(function: F) -> F: ...
@overload
def tool(
    *, name: str = "", description: str = "", thread: bool = False, writes: bool | None = None
) -> Callable[[F], F]: ...
@overload
def tool(
    function: F,
    *,
    name: str = "",
    description: str = "",
    thread: bool = False,
    writes: bool | None = None,
) -> F: ...
def tool(
    function: F | None = None,
    *,
    name: str = "",
    description: str = "",
    thread: bool = False,
    writes: bool | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as a tool: as a decorator, or ``tool(function, name="…")``.

    The function stays what it was, and can be called as before; called with a function, this
    leaves it unmarked and returns a marked stand-in. Unmarked functions are tools too: marks
    only say what the function itself cannot.
    """
    marks = ToolMarks(name, description, thread, writes)
    if function is None:
        return functools.partial(_mark, marks=marks)
    stand_in: Any = functools.partial(function)  # calls as the function does, so it is an F
    return _mark(function if marks == ToolMarks() else stand_in, marks=marks)


def marks_of(function: Callable[..., Any]) -> ToolMarks:  # a tool may be any callable
    """Return the marks of a function, of the method behind it, or of what a partial binds."""
    while True:
        marks = getattr(function, _MARK, None)
        if isinstance(marks, ToolMarks):
            return marks
        if not isinstance(function, functools.partial):
            return ToolMarks()
        function = function.func


def is_marked(function: object) -> bool:
    """Whether somebody said ``@tool`` of it."""
    return isinstance(getattr(function, _MARK, None), ToolMarks)


def tool_name(name: str, *, origin: str = "") -> str:
    """Return a name that endpoints accept: letters, digits, _ and -, at most 64 of them."""
    if name == "<lambda>":
        name = ""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    clean = re.sub(r"[^a-zA-Z0-9_-]+", "_", ascii_name)[:MAX_NAME]
    if not clean.strip("_"):
        raise ToolError(
            f"{origin or repr(name)} has no name that a model could call it by",
            hint='give it one: tool(function, name="…")',
        )
    return clean


def is_coroutine_function(function: Callable[..., Any]) -> bool:  # a tool may be any callable
    """Whether a call returns an awaitable, as far as one can tell without calling."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the class's own, to inspect it
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def origin_of(function: Callable[..., Any]) -> str:  # a tool may be any callable
    """Return module and qualified name, for error messages."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(named, "__module__", "") or ""
    return f"{module}.{named.__qualname__}".lstrip(".")


_MARK = "__tframex_tool__"


def _mark(function: F, *, marks: ToolMarks) -> F:
    with contextlib.suppress(AttributeError):  # bound methods and builtins take none
        setattr(function, _MARK, marks)
    return function


def _own_name(function: Callable[..., Any]) -> str:  # a tool may be any callable
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", "") or type(function).__name__
