"""The loader: it finds adapters, loads each on its own, and reloads one that changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkLoadError, UnknownFramework, nearest
from tframex_nb.frameworks import _modules, _sources
from tframex_nb.frameworks._stamps import Stamp
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.frameworks.config import RuntimeConfig
from tframex_nb.frameworks.registry import Closed, Unregistered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tframex_nb.frameworks._sources import Source
    from tframex_nb.frameworks.registry import Change, FrameworkRegistry

__all__ = ["FrameworkLoader", "LoadFailure"]

Target = type[FrameworkIntegration] | FrameworkIntegration | str | Path
CELL = "cell"


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """An adapter that could not be loaded: where it was looked for, why not, and the next move.

    ``name`` is the framework's where it is known: then an older version of it still runs.
    """

    name: str
    source: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was loaded, from where, and what its file was then."""

    origin: str
    source: Source | None = None
    file: Path | None = None
    stamp: Stamp = Stamp()  # noqa: RUF009 - frozen


class FrameworkLoader:
    """Finds adapters and puts them into a registry; what cannot be loaded is a ``LoadFailure``.

    Adapters come with this package, from entry points in ``tframex_nb.frameworks``, from the
    directories and ``additional_frameworks`` of the configuration, from a cell, and from
    plugins. One that is broken leaves the others alone. ``config`` may be set at any time, and
    counts at the next discovery.
    """

    def __init__(self, registry: FrameworkRegistry, config: RuntimeConfig | None = None) -> None:
        self.registry = registry
        self.config = config or RuntimeConfig()
        self._loaded: dict[str, _Loaded] = {}
        self._failures: dict[str, LoadFailure] = {}  # by source
        self._failed_files: dict[str, tuple[Path, Stamp]] = {}  # by source
        self._displaced: dict[str, Source | None] = {}  # by the name of what the user put there
        registry.subscribe(self._follow)

    @property
    def failures(self) -> list[LoadFailure]:
        """What could not be loaded, in the order in which it was tried."""
        return list(self._failures.values())

    async def discover_and_load_frameworks(self) -> list[FrameworkIntegration]:
        """Load every adapter of the configuration; return all that are registered now.

        Called again it loads what is new, takes out what the configuration no longer names, and
        leaves alone what is loaded already. What came from a cell or a plugin stays.
        """
        found = list(_sources.sources(self.config))
        places = [each for each in found if not isinstance(each, FrameworkLoadError)]
        self._drop_others(places)
        self._failures = {
            key: each for key, each in self._failures.items() if each.name in self._loaded
        }
        self._failed_files.clear()
        loaded = {each.source for each in self._loaded.values()} | set(self._displaced.values())
        for each in found:
            if isinstance(each, FrameworkLoadError):
                self._fail(each.framework, "", each)
            elif each not in loaded:
                self._try(each)
        return list(self.registry.get_frameworks(self.registry.names()).values())

    async def load(
        self, target: Target, *, replace: bool = False, origin: str = ""
    ) -> FrameworkIntegration:
        """Load one adapter and register it.

        ``target`` is a class or an instance (from a cell), ``pkg.module:Class``, a ``.py`` file
        (``x.py:Class`` names one of several) or a folder with a ``framework.py``. What came the
        same way under the same name is replaced, so that a cell may run twice; anything else
        only with ``replace``. Raises FrameworkLoadError, and keeps it as a ``LoadFailure``.
        """
        shown = _shown(target)
        try:
            return self._load(target, replace=replace, origin=origin)
        except FrameworkLoadError as exc:
            self._fail(shown, exc.framework if exc.framework in self._loaded else "", exc)
            raise

    async def load_all(
        self, classes: Iterable[type[FrameworkIntegration] | FrameworkIntegration], *, origin: str
    ) -> list[FrameworkIntegration]:
        """Load the adapters that come together, such as a plugin's; failures are rows.

        ``origin`` is what people read, such as ``plugin NAME``; ``unload_all`` takes them back.
        """
        loaded = []
        for each in classes:
            try:
                loaded.append(await self.load(each, origin=origin))
            except FrameworkLoadError:
                continue  # it is a row now
        return loaded

    async def unload_all(self, origin: str) -> list[str]:
        """Take out everything that came from ``origin``; return the names."""
        names = [name for name, each in self._loaded.items() if each.origin == origin]
        for name in names:
            await self.unload(name)
        return names

    async def reload(self, name: str) -> FrameworkIntegration:
        """Read an adapter's file again and put the new one in the old one's place.

        Runs that go on finish on the old one. Raises UnknownFramework, and FrameworkLoadError
        (a ``LoadFailure``, too), where the old one stays.
        """
        self.registry.get_framework(name)
        held = self._loaded.get(name)
        shown = str(held.source or name) if held else name
        try:
            return self._reload(name, held)
        except FrameworkLoadError as exc:
            self._fail(shown, name, exc)
            raise

    async def unload(self, name: str) -> FrameworkIntegration:
        """Take a framework out; runs that go on finish on it. Raises UnknownFramework.

        The next discovery finds it again where the configuration still names it.
        """
        gone = self.registry.unregister(name)
        self._clear(name)
        return gone

    def origin(self, name: str) -> str:
        """Return where a framework came from, in words; raises UnknownFramework."""
        if name not in self.registry:
            hint = nearest(name, self.registry.names())
            raise UnknownFramework(f"no framework {name!r} is registered", hint=hint)
        held = self._loaded.get(name)
        return held.origin if held else "registered by hand"

    def changed(self) -> list[str]:
        """Return the names of the adapters whose file is another than the one that was loaded.

        Cheap to ask often: a file is read only where its time or size differ. A file that failed
        to load is told of once more when it changes again, as its path; so is one that is new in
        a directory of the configuration.
        """
        names = [name for name, held in self._loaded.items() if self._differs(name, held)]
        mended = [
            str(path)
            for path, stamp in self._failed_files.values()
            if stamp.again(path).digest != stamp.digest
        ]
        return [*names, *mended, *self._new_files()]

    async def refresh(self) -> list[str]:
        """Apply what ``changed`` tells of; return it. Failures are rows, the old ones stay."""
        found = self.changed()
        for name in found:
            if name in self._loaded:
                try:
                    await self.reload(name)
                except FrameworkLoadError:
                    continue  # it is a row now
        if any(each not in self._loaded for each in found):
            await self.discover_and_load_frameworks()
        return found

    def _load(self, target: Target, *, replace: bool, origin: str) -> FrameworkIntegration:
        source: Source | None
        stamp = None
        if isinstance(target, (str, Path)):
            named = _sources.source_of(target, origin)
            source, origin, stamp = named, named.origin, _stamp(named)
            framework = named.load()
        else:
            framework = self._made(target)
            origin = origin or _origin_of(type(framework))
            source = self._source_of(type(framework), origin)
        held = self._loaded.get(getattr(framework, "name", ""))
        same = held is not None and held.origin == origin
        self._register(framework, origin, source, stamp, replace=replace or same)
        self._failures.pop(_shown(target), None)
        return framework

    def _made(self, target: object) -> FrameworkIntegration:
        """Return the instance that a target in memory means."""
        if isinstance(target, type):
            return _modules.instance_of(_modules.checked(target))
        if isinstance(target, FrameworkIntegration):
            return target
        raise FrameworkLoadError(
            f"a {type(target).__name__} is no adapter",
            hint="load a class, an instance, pkg.module:Class or a .py file",
        )

    def _source_of(self, cls: type, origin: str) -> Source | None:
        file = _modules.file_of(cls)
        private = cls.__module__.startswith(_modules.PRIVATE) or "<locals>" in cls.__qualname__
        if file is None or private:
            return None
        return _sources.Source(origin, cls.__module__, None, cls.__qualname__)

    def _try(self, source: Source) -> None:
        """Load from one place; what goes wrong is a row."""
        stamp = _stamp(source)
        try:
            self._register(source.load(), source.origin, source, stamp)
        except FrameworkLoadError as exc:
            self._fail(str(source), "", exc)
            if source.path is not None and stamp is not None:
                self._failed_files[str(source)] = (source.path, stamp)

    def _register(
        self,
        framework: FrameworkIntegration,
        origin: str,
        source: Source | None,
        stamp: Stamp | None = None,
        *,
        replace: bool = False,
    ) -> None:
        cls = type(framework)
        file = _modules.file_of(cls)
        stamp = stamp or (Stamp.of(file) if file is not None else Stamp())
        try:
            self.registry.register_framework(framework, replace=replace)
        except FrameworkLoadError:
            _modules.forget(cls.__module__)
            raise
        before = self._loaded.get(framework.name)
        if before is not None and before.source not in (None, source):
            self._displaced[framework.name] = before.source
        self._loaded[framework.name] = _Loaded(origin, source, file, stamp)
        self._clear(framework.name)

    def _reload(self, name: str, held: _Loaded | None) -> FrameworkIntegration:
        if held is None or held.file is None or held.source is None:
            raise FrameworkLoadError(
                f"{name!r} has no file to read again: it came from a {CELL}",
                hint="run the cell again, and load its class again",
                framework=name,
            )
        stamp = Stamp.of(held.file)
        self._loaded[name] = _Loaded(held.origin, held.source, held.file, stamp)
        framework = held.source.reload(held.file)
        try:
            _check_same_name(framework, name, held.file)
            self.registry.register_framework(framework, replace=True)
        except FrameworkLoadError:
            _modules.forget(type(framework).__module__)
            raise
        self._clear(name)
        return framework

    def _drop_others(self, places: list[Source]) -> None:
        """Take out what an earlier configuration named and this one does not."""
        kinds = ("built-in", "entry point", "directory", "configuration")
        for name, held in list(self._loaded.items()):
            found = held.origin.startswith(kinds) and held.source not in places
            if found and name in self.registry:
                self.registry.unregister(name)

    def _fail(self, source: str, name: str, exc: FrameworkLoadError) -> None:
        self._failures[source] = LoadFailure(name, source, exc.message, exc.hint)

    def _clear(self, name: str) -> None:
        """Forget the failures of a framework that is loaded well, or is gone."""
        for key, each in list(self._failures.items()):
            if each.name == name:
                del self._failures[key]

    def _differs(self, name: str, held: _Loaded) -> bool:
        if held.file is None or held.source is None:
            return False
        now = held.stamp.again(held.file)
        if now.digest != held.stamp.digest:
            return True
        if now is not held.stamp:  # touched, and the same text
            self._loaded[name] = _Loaded(held.origin, held.source, held.file, now)
        return False

    def _new_files(self) -> list[str]:
        known = {held.source for held in self._loaded.values()}
        return [
            str(each.path)
            for folder in self.config.discovery.directories
            for each in _sources.in_folder(folder)
            if not isinstance(each, FrameworkLoadError)
            and each not in known
            and str(each) not in self._failures
        ]

    def _follow(self, change: Change) -> None:
        """Forget what is gone, and let the module of a closed integration go with it."""
        if isinstance(change, Unregistered):  # perhaps not by us
            self._loaded.pop(change.name, None)
            self._displaced.pop(change.name, None)
        if not isinstance(change, Closed):
            return
        module = type(change.integration).__module__
        others = self.registry.get_frameworks(self.registry.names()).values()
        if all(type(each).__module__ != module for each in others):
            _modules.forget(module)


def _check_same_name(framework: FrameworkIntegration, name: str, file: Path) -> None:
    now = getattr(framework, "name", None)
    if now != name:
        raise FrameworkLoadError(
            f"{file} holds {now!r} now, no longer {name!r}",
            hint=f"give it its name back, or %frameworks unload {name} and load the file",
            framework=name,
        )


def _stamp(source: Source) -> Stamp | None:
    """Return the stamp of a source's file, taken before it is read: a later change shows."""
    return None if source.path is None else Stamp.of(source.path)


def _origin_of(cls: type) -> str:
    file = _modules.file_of(cls)
    return CELL if file is None else f"class {cls.__module__}:{cls.__qualname__}"


def _shown(target: object) -> str:
    if isinstance(target, (str, os.PathLike)):
        return str(target)
    cls = target if isinstance(target, type) else type(target)
    return f"{cls.__module__}:{cls.__qualname__}"
