"""A function's signature and its resolved type hints, wherever the function was defined."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import typing
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["hints_of", "parameters_of"]


def parameters_of(
    function: Callable[..., Any],  # any callable
    origin: str,
) -> dict[str, inspect.Parameter]:
    """Return the parameters that a model fills in.

    Those that a partial binds by name, and those with a default whose names begin with an
    underscore, are the developer's own. Raises ToolError for ``*args`` and for a callable
    that does not say what it takes.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as exc:
        raise ToolError(
            f"{origin} does not say what it takes",
            hint="wrap it: def my_tool(text: str) -> str: …",
        ) from exc
    bound = _bound(function)
    shown = {}
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise ToolError(
                f"{origin} takes *{parameter.name}, and a model passes arguments by name",
                hint=f"take a list instead: {parameter.name}: list[str]",
            )
        own = parameter.name.startswith("_") and parameter.default is not parameter.empty
        if parameter.name not in bound and not own:
            shown[parameter.name] = parameter
    return shown


def hints_of(
    function: Callable[..., Any],  # any callable
    parameters: Mapping[str, inspect.Parameter],
    origin: str,
) -> dict[str, Any]:
    """Return each parameter's type, ``Annotated`` kept; a parameter without a hint is Any.

    Return hints are left alone: they may name what only a type checker imports. Raises
    ToolError where a hint names something that cannot be found.
    """
    target = _definition(function)
    written = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if parameter.annotation is not parameter.empty
    }
    try:
        found = _evaluate(written, getattr(target, "__globals__", {}), _local_names(target))
    except Exception as exc:  # evaluating a hint runs what the user wrote there
        raise ToolError(
            f"{origin} has a type hint that cannot be evaluated: {exc}",
            hint="define the type before the tool, where the tool can see it",
        ) from exc
    return {name: found.get(name, Any) for name in parameters}


def _evaluate(
    annotations: dict[str, Any], global_names: dict[str, Any], local_names: dict[str, Any]
) -> dict[str, Any]:
    def stub() -> None: ...

    stub.__annotations__ = annotations
    return typing.get_type_hints(stub, global_names, local_names, include_extras=True)


def _bound(function: Callable[..., Any]) -> set[str]:  # any callable
    """Return the names that partials bind."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names |= function.keywords.keys()
        function = function.func
    return names


def _definition(function: Callable[..., Any]) -> Any:  # a function, where there is one
    """Return the function whose ``def`` wrote the hints."""
    while isinstance(function, functools.partial):
        function = function.func
    target: Any = function  # narrows through methods, classes and instances
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = type(target).__call__
    return inspect.unwrap(getattr(target, "__func__", target))


def _local_names(target: Any) -> dict[str, Any]:  # a function, where there is one
    """Return the names that were local where a nested function was defined.

    Its closure holds only the names that its body uses, so the frame of the function around
    it is read too, while that is still running.
    """
    names: dict[str, Any] = {}
    outer, nested, _ = getattr(target, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe() if nested else None  # noqa: SLF001 - its documented way to look up
    while frame is not None:
        if frame.f_code.co_qualname == outer and frame.f_globals is target.__globals__:
            names.update(frame.f_locals)
            break
        frame = frame.f_back
    free = getattr(getattr(target, "__code__", None), "co_freevars", ())
    for name, cell in zip(free, getattr(target, "__closure__", None) or (), strict=False):
        with contextlib.suppress(ValueError):  # a name that has no value yet
            names[name] = cell.cell_contents
    return names
