"""Where adapters come from: built in, entry points, directories, the configuration, anything."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkLoadError
from tframex_nb.frameworks import _modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tframex_nb.frameworks.base import FrameworkIntegration
    from tframex_nb.frameworks.config import AdditionalFramework, RuntimeConfig

__all__ = ["ENTRY_POINTS", "Source", "in_folder", "source_of", "sources"]

ENTRY_POINTS = "tframex_nb.frameworks"
_BUILT_IN = f"{__package__}.adapters"
_CLASS = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Source:
    """One place that gives one adapter.

    ``origin`` is what people read. It is a ``module`` that is imported by name, or the file at
    ``path``; ``class_name`` where one of several is meant, ``name`` where it gets another.
    """

    origin: str
    module: str = ""
    path: Path | None = None
    class_name: str = ""
    name: str = ""

    def load(self) -> FrameworkIntegration:
        """Import the class and return an instance; raises FrameworkLoadError."""
        return self._made(_modules.load_named(self.module) if self.module else self._file())

    def reload(self, file: Path) -> FrameworkIntegration:
        """Read the file again and return a new instance; raises FrameworkLoadError."""
        old = sys.modules.get(self.module)
        try:
            return self._made(_modules.load_file(file, self.module))
        except FrameworkLoadError:
            if old is not None:
                sys.modules[self.module] = old
            raise

    def _file(self) -> ModuleType:
        assert self.path is not None  # a source has one of the two
        return _modules.load_file(self.path)

    def _made(self, module: ModuleType) -> FrameworkIntegration:
        """Return an instance of the class that is meant; without one the module goes again."""
        try:
            framework = _modules.instance_of(_modules.class_of(module, self.class_name))
        except FrameworkLoadError:
            _modules.forget(module.__name__)
            raise
        if self.name:
            vars(framework)["name"] = self.name
        return framework

    def __str__(self) -> str:
        where = self.module or str(self.path)
        return f"{where}:{self.class_name}" if self.class_name else where


def sources(config: RuntimeConfig) -> Iterator[Source | FrameworkLoadError]:
    """Yield every place of a configuration, in order; an error for a folder that is none."""
    if config.discovery.auto_scan:
        yield from _built_in()
        yield from _entry_points()
    for folder in config.discovery.directories:
        yield from in_folder(folder)
    for each in config.additional_frameworks:
        yield _additional(each)


def source_of(target: str | Path, origin: str = "") -> Source:
    """Return the source of a path (``x.py``, ``x.py:Class``, a folder) or ``pkg.module:Class``.

    Raises FrameworkLoadError where it is neither.
    """
    text = str(target).strip()
    path, _, class_name = text.rpartition(":") if ".py:" in text else (text, "", "")
    file = Path(path).expanduser().absolute()
    if path.endswith(".py"):
        return Source(origin or f"file {file}", path=file, class_name=class_name)
    if (file / "framework.py").is_file():
        return Source(origin or f"file {file}", path=file / "framework.py")
    found = _CLASS.fullmatch(text)
    if found is None:
        raise FrameworkLoadError(
            f"{text!r} names no adapter",
            hint="name a class (pkg.module:Class), a .py file, or a class that a cell defined",
        )
    return Source(origin or f"class {text}", module=found[1], class_name=found[2])


def _built_in() -> Iterator[Source]:
    from tframex_nb.frameworks import adapters

    for folder in adapters.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            if not path.name.startswith("_"):
                yield Source("built-in", module=f"{_BUILT_IN}.{path.stem}")


def _entry_points() -> Iterator[Source]:
    """Yield what installed distributions offer.

    IPython puts the working directory on ``sys.path`` as an empty text. What looks like a
    distribution there was installed by nobody, and the folder may be anyone's.
    """
    seen = set()  # a distribution may be found twice: the first one counts
    for each in importlib.metadata.distributions(path=list(filter(os.path.isabs, sys.path))):
        points = [point for point in each.entry_points if point.group == ENTRY_POINTS]
        if not points or each.name in seen:
            continue
        seen.add(each.name)
        for point in points:
            yield Source(f"entry point of {each.name}", point.module, None, point.attr)


def in_folder(folder: Path) -> Iterator[Source | FrameworkLoadError]:
    """Yield ``framework.py`` and ``NAME/framework.py``, the latter in the order of the names."""
    try:
        below = sorted(each for each in folder.iterdir() if each.name[0] not in "._")
    except OSError as exc:
        yield FrameworkLoadError(
            f"{folder} cannot be searched: {exc.strerror}",
            hint="mend discovery.directories in the configuration",
            framework=str(folder),
        )
        return
    for each in (folder, *below):
        path = each / "framework.py"
        if path.is_file():
            yield Source(f"directory {folder}", path=path)


def _additional(each: AdditionalFramework) -> Source:
    if each.path is not None:
        file = each.path if each.path.suffix == ".py" else each.path / "framework.py"
        return Source("configuration", path=file, class_name=each.target, name=each.name)
    module, _, class_name = each.target.partition(":")
    return Source("configuration", module, None, class_name, each.name)
