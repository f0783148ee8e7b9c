"""Where the tools of a server come from: what a person names on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tframex_nb.agents._results import failure
from tframex_nb.agents.base import BaseAgent
from tframex_nb.agents.tools import Tool, is_marked
from tframex_nb.errors import ToolError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

__all__ = ["SOURCES", "find_object", "things_of"]


def things_of(targets: Iterable[str]) -> list[Any]:  # agents, functions, ``Tool``s
    """Return what the targets name, each thing once; it is loaded, so its code runs.

    Raises ToolError where a target names nothing, or its code fails.
    """
    found: dict[int, Any] = {}  # by identity: two names of one thing are one tool
    for target in targets:
        for thing in _found(target):
            found.setdefault(id(thing), thing)
    return list(found.values())


def find_object(where: str) -> Any:  # whatever a person names
    """Return the object that ``module:object`` or ``path/to/file.py:object`` names."""
    path, name = _split(where)
    if not name:
        raise ToolError(f"{where!r} names no object", hint="write module:object or file.py:object")
    return _attribute(_module(path), name, where)


def _found(target: str) -> list[Any]:
    for source in SOURCES:
        things = source(target)
        if things is not None:
            return things
    raise ToolError(
        f"{target!r} names nothing that can be served",
        hint="write module:object, path/to/file.py or path/to/file.py:object",
    )


def _of_code(target: str) -> list[Any] | None:
    """Return what a file or a module has: the object that is named, or all that is meant."""
    path, name = _split(target)
    if not path.endswith(".py") and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", path):
        return None
    module = _module(path)
    if not name:
        return _meant(module, target)
    thing = _attribute(module, name, target)
    if isinstance(thing, list | tuple | set):
        return list(thing)
    return [thing]


# A target goes to the first that knows its form. Later sources of tools join here.
SOURCES: tuple[Callable[[str], list[Any] | None], ...] = (_of_code,)


def _split(target: str) -> tuple[str, str]:
    """Return file or module, and the object's name; a Windows drive keeps its colon."""
    path, colon, name = target.rpartition(":")
    return (path, name) if colon and re.fullmatch(r"\w+(\.\w+)*", name) else (target, "")


def _meant(module: ModuleType, target: str) -> list[Any]:
    """Return the agents of a module, and the functions that it marks with ``@tool``."""
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    things = [each for each in public if _is_meant(each, module)]
    if not things:
        raise ToolError(
            f"{target} defines no agent and no function with @tool",
            hint=f"name what is meant: {target}:NAME",
        )
    return things


def _is_meant(value: Any, module: ModuleType) -> bool:  # any object of a module
    if isinstance(value, BaseAgent | Tool):
        return True
    if not callable(value) or not is_marked(value):
        return False
    return getattr(value, "__module__", module.__name__) in {module.__name__, "functools"}


def _attribute(module: ModuleType, name: str, target: str) -> Any:  # whatever it is
    thing: Any = module
    for part in name.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            known = [each for each in vars(module) if not each.startswith("_")]
            raise ToolError(f"{target}: there is no {part!r}", hint=nearest(part, known)) from None
    return thing


def _module(path: str) -> ModuleType:
    return _of_file(Path(path)) if path.endswith(".py") else _of_name(path)


def _of_name(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # as for python -m
        sys.path.insert(0, here)
    try:
        return _loaded(lambda: importlib.import_module(name), name)
    except ToolError as exc:
        cause = exc.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{name}.".startswith(f"{cause.name}."):
            raise ToolError(
                f"there is no module {cause.name!r}, here or among what is installed",
                hint="for a file write its path, as in ./agents.py",
            ) from cause
        raise


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ToolError(f"there is no file {path}", hint="write its path as seen from here")
    path = path.resolve()
    for module in tuple(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    name = re.sub(r"\W", "_", path.stem)
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        name = f"{name}_served"  # it hides no other module
    folder = str(path.parent)
    if folder not in sys.path:  # as for python FILE
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations and dataclasses look their module up
    execute = spec.loader.exec_module
    return _loaded(lambda: execute(module) or module, str(path))


def _loaded(load: Callable[[], ModuleType], what: str) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as exc:  # a user's module raises anything
        flag = "" if what.endswith(".py") else "-m "
        raise ToolError(
            f"{what} could not be loaded: {failure(exc)}{_line(exc, what)}",
            hint=f"the whole traceback: {sys.executable} {flag}{what}",
        ) from exc


def _line(exc: BaseException, what: str) -> str:
    """Return where in the file it happened."""
    lines = []
    traceback = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == what:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f" (line {lines[-1]})" if lines else ""
