"""What a docstring says about a function and its parameters (Google, NumPy or reST style)."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import docstring_parser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["describe"]

MAX_DESCRIPTION = 1024  # characters; OpenAI refuses longer ones


def describe(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:  # any callable
    """Return the summary and the description of each parameter that has one."""
    text = _docstring(function)
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text[:MAX_DESCRIPTION], {}
    parts = (parsed.short_description, parsed.long_description)
    summary = "\n\n".join(part for part in parts if part)
    notes = {
        param.arg_name.lstrip("*"): " ".join(param.description.split())
        for param in parsed.params
        if param.description
    }
    return summary[:MAX_DESCRIPTION], notes


def _docstring(function: Callable[..., Any]) -> str:  # any callable
    """Return the docstring of what is called: a partial's own speaks of partials."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return inspect.getdoc(function) or ""
    call = type(function).__call__
    return inspect.getdoc(call) or inspect.getdoc(type(function)) or ""
