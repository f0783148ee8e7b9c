"""The source of an adapter, as it is sent to a worker."""

from __future__ import annotations

import ast
import contextlib
import dis
import inspect
import itertools
import linecache
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import FrameworkLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["AdapterSource"]

_FUTURE = "from __future__ import annotations"

# What reads a name that is no local one; the last is of Python 3.12, in a generic class.
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """The text of a module that defines an adapter's class; ``filename`` is for tracebacks."""

    class_name: str
    source: str
    filename: str

    @classmethod
    def of(cls, integration_class: type) -> AdapterSource:
        """Return the file of a class; of a class from a cell, the class and what it needs.

        Raises FrameworkLoadError where the source cannot be found.
        """
        name = integration_class.__name__
        path = Path(_filename(integration_class))
        if path.is_file() and integration_class.__module__ != "__main__":
            return cls(name, path.read_text(encoding="utf-8"), path.name)
        texts: dict[str, str] = {}
        _collect(name, integration_class, texts)
        return cls(name, "\n\n".join([_FUTURE, *texts.values()]) + "\n", "adapter.py")


def _filename(owner: type) -> str:
    """Return where the code of a class stands; cells have names that ``inspect`` refuses."""
    for value in vars(owner).values():
        function = inspect.unwrap(value) if callable(value) else None
        if inspect.isfunction(function) and function.__module__ == owner.__module__:
            return function.__code__.co_filename
    return getattr(sys.modules.get(owner.__module__), "__file__", None) or ""


def _collect(name: str, value: Any, texts: dict[str, str], paths: Iterable[str] = ()) -> None:
    """Add the text that makes ``name`` be ``value``, after the texts of what that needs.

    ``paths`` are the dotted names that are read of it.
    """
    if isinstance(value, types.ModuleType):
        texts[name] = f"import {value.__name__} as {name}"
        for inner in _submodules(value.__name__, paths):
            texts[f"{name} {inner}"] = f"__import__({inner!r})"
        return
    if name in texts:
        return
    module = getattr(value, "__module__", None)
    own = getattr(value, "__name__", None)
    if module not in {None, "__main__", "builtins"} and own is not None:
        texts[name] = f"from {module} import {own} as {name}"
        return
    if not isinstance(value, type | types.FunctionType):
        texts[name] = _constant(name, value)
        return
    text, namespace = _definition(value)
    texts[name] = ""  # it may need itself
    for needed, read in _names(text).items():
        if needed in namespace:
            _collect(needed, namespace[needed], texts, read)
    del texts[name]  # behind what it needs
    texts[name] = text


def _constant(name: str, value: Any) -> str:
    """Return the text that makes ``name`` be a value: an import of it, or a literal."""
    home = type(value).__module__
    for known, other in vars(sys.modules[home]).items():
        if other is value and home != "__main__":
            return f"from {home} import {known} as {name}"
    with contextlib.suppress(ValueError, SyntaxError):
        if ast.literal_eval(repr(value)) == value:
            return f"{name} = {value!r}"
    raise FrameworkLoadError(
        f"{name!r}, a {type(value).__name__}, cannot be sent to the adapter's worker",
        hint="make it inside the class, or put the adapter into a file",
    )


def _definition(value: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the text and the globals of a class or function from a cell."""
    function = value
    if isinstance(value, type):
        own = [inspect.unwrap(v) for v in vars(value).values() if callable(v)]
        function = next((v for v in own if inspect.isfunction(v)), None)
    if function is not None:
        text = "".join(linecache.getlines(function.__code__.co_filename))
        line = function.__code__.co_firstlineno
        for node in ast.parse(text).body:
            named = getattr(node, "name", "") == value.__name__
            if named and _first_line(node) <= line <= (node.end_lineno or 0):
                lines = text.splitlines(keepends=True)
                own_text = "".join(lines[_first_line(node) - 1 : node.end_lineno])
                return own_text, function.__globals__
    raise FrameworkLoadError(
        f"the source of {value.__name__!r} cannot be found, and its worker needs it",
        hint="define it at the top of a cell, or in a file",
    )


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _names(text: str) -> dict[str, set[str]]:
    """Return the globals that a definition reads, and what it reads of them: ``client.get``.

    The compiler knows which those are: a local name means nothing to the notebook's. Annotations
    are left out, because nobody evaluates them.
    """
    codes = [compile(f"{_FUTURE}\n{text}", "<definition>", "exec", dont_inherit=True)]
    names: dict[str, set[str]] = {}
    for code in codes:
        bound = set()
        steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
        for at, (operation, name) in enumerate(steps):
            if operation == "STORE_NAME":
                bound.add(name)
            elif operation in _GLOBAL and name not in bound:
                rest = itertools.takewhile(lambda step: step[0] in _ATTRIBUTE, steps[at + 1 :])
                names.setdefault(name, set()).add(".".join(str(part) for _, part in rest))
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    return names


def _submodules(module: str, paths: Iterable[str]) -> list[str]:
    """Return which of the dotted paths lead into modules: ``import http`` brings no client."""
    found = []
    for path in sorted(paths):
        name = module
        for part in path.split("."):
            name = f"{name}.{part}"
            if name not in sys.modules:
                break
            found.append(name)
    return list(dict.fromkeys(found))
