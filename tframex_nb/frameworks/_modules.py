"""Adapter files as modules: read from source, whole or not at all, and one class picked."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkLoadError
from tframex_nb.frameworks._inspection import check_class
from tframex_nb.frameworks.base import FrameworkIntegration

if TYPE_CHECKING:
    from types import CodeType, ModuleType

__all__ = [
    "PRIVATE",
    "checked",
    "class_of",
    "file_of",
    "forget",
    "instance_of",
    "load_file",
    "load_named",
]

PRIVATE = "_tframex_adapter_"  # before the name of a module that was loaded from a file


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Reads the source each time: a .pyc counts as fresh for an edit within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_file(path: Path, name: str = "") -> ModuleType:
    """Return a file's module, under ``name`` or under a private name of its own.

    It stays in ``sys.modules``, where ``inspect`` looks for a class's source; a module that
    fails is taken out again, and one that it was to replace stays. Raises FrameworkLoadError.
    """
    if not path.is_file():
        raise FrameworkLoadError(f"{path} is no file", hint="name a .py file that is there")
    name = name or _private_name(path)
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    assert spec is not None  # a loader was given
    assert spec.loader is not None
    old = sys.modules.get(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as exc:  # a stop, too, puts the old module back
        _put_back(name, old)
        if isinstance(exc, (Exception, SystemExit)):
            raise _broken(str(path), exc) from exc
        raise
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:  # as an import does it
        setattr(sys.modules[parent], leaf, module)
    return module


def load_named(name: str) -> ModuleType:
    """Return a module by its dotted name; raises FrameworkLoadError."""
    before = set(sys.modules)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:  # a user's module raises anything
        for each in set(sys.modules) - before:
            if each == name or each.startswith(f"{name}."):
                del sys.modules[each]
        raise _broken(name, exc) from exc


def forget(module: str) -> None:
    """Take a module that was loaded under a private name out of ``sys.modules``."""
    if module.startswith(PRIVATE):
        sys.modules.pop(module, None)


def class_of(module: ModuleType, name: str = "") -> type[FrameworkIntegration]:
    """Return the adapter's class in a module: the one that is named, or the only one.

    Raises FrameworkLoadError.
    """
    where = getattr(module, "__file__", None) or module.__name__
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, type):
            own = ", ".join(each.__name__ for each in _adapters(module)) or "none"
            raise FrameworkLoadError(f"{where} has no class {name}", hint=f"adapters in it: {own}")
        return checked(found)
    adapters = _adapters(module)
    if len(adapters) == 1:
        return checked(adapters[0])
    if adapters:
        names = ", ".join(each.__name__ for each in adapters)
        raise FrameworkLoadError(
            f"{where} holds {len(adapters)} adapters: {names}",
            hint=f"name one: {where}:{adapters[0].__name__}; or begin the others' names with _",
        )
    raise _no_adapter(module, where)


def checked(cls: type) -> type[FrameworkIntegration]:
    """Return the class if it is an adapter that can be made; raises FrameworkLoadError."""
    if not issubclass(cls, FrameworkIntegration):
        raise FrameworkLoadError(
            f"{cls.__qualname__} is no adapter: it does not subclass FrameworkIntegration",
            hint="from tframex_nb.frameworks.base import FrameworkIntegration, and subclass it",
        )
    check_class(cls)
    return cls


def instance_of(cls: type[FrameworkIntegration]) -> FrameworkIntegration:
    """Return an instance; raises FrameworkLoadError where the constructor fails."""
    try:
        return cls()
    except (Exception, SystemExit) as exc:  # an adapter's constructor raises anything
        raise FrameworkLoadError(
            f"{cls.__qualname__}() fails: {type(exc).__name__}: {exc}",
            hint="let its constructor take no arguments and do nothing; initialize() gets it ready",
        ) from exc


def file_of(cls: type) -> Path | None:
    """Return the file that a class was written in, or None where it was in a cell."""
    with contextlib.suppress(TypeError, OSError):
        path = Path(inspect.getfile(cls))
        if cls.__module__ != "__main__" and path.is_file():
            return path
    return None


def _adapters(module: ModuleType) -> list[type[FrameworkIntegration]]:
    """Return the adapters that a module defines; names with _ before them are its own affair."""
    return [
        each
        for name, each in vars(module).items()
        if isinstance(each, type)
        and issubclass(each, FrameworkIntegration)
        and each.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _no_adapter(module: ModuleType, where: str) -> FrameworkLoadError:
    alike = [
        name
        for name, each in vars(module).items()
        if isinstance(each, type)
        and each.__module__ == module.__name__
        and hasattr(each, "execute_agent_streaming")
    ]
    if alike:
        return FrameworkLoadError(
            f"{alike[0]} in {where} does not subclass FrameworkIntegration",
            hint=f"write class {alike[0]}(FrameworkIntegration)",
        )
    return FrameworkLoadError(
        f"{where} defines no adapter",
        hint="define one class in it that subclasses FrameworkIntegration",
    )


def _private_name(path: Path) -> str:
    """Return a name that no other module has: two folders may hold files of one name."""
    told = re.sub(r"\W", "_", f"{path.parent.name}_{path.stem}")
    return f"{PRIVATE}{uuid.uuid4().hex[:8]}_{told}"


def _put_back(name: str, old: ModuleType | None) -> None:
    sys.modules.pop(name, None)
    if old is not None:
        sys.modules[name] = old


def _broken(where: str, exc: BaseException) -> FrameworkLoadError:
    """Say why a module cannot be imported, and the next move."""
    match exc:
        case SyntaxError():
            place = f" (line {exc.lineno})" if exc.lineno else ""
            return FrameworkLoadError(
                f"{where}{place} is not valid Python: {exc.msg}", hint="mend that line"
            )
        case ModuleNotFoundError() if exc.name and exc.name == where.partition(".")[0]:
            return FrameworkLoadError(
                f"there is no module {exc.name!r} here",
                hint="install it with %pip, or mend the name",
            )
        case ImportError() if "relative import" in str(exc):
            return FrameworkLoadError(
                f"{where} imports from a file beside it: {exc}",
                hint="an adapter is one file, which is sent to workers as it is; put all into it",
            )
        case ImportError():
            missing = f"{exc.name!r}" if exc.name else "what is missing"
            return FrameworkLoadError(
                f"{where} cannot be imported: {exc}",
                hint=f"import {missing} inside the methods that need it, or install it with %pip",
            )
        case _:
            return FrameworkLoadError(
                f"{where} fails at import: {type(exc).__name__}: {exc}",
                hint="let a module only define things; initialize() is for the rest",
            )
