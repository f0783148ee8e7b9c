"""The registry: which frameworks there are, by name, template and capability, while runs go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tframex_nb.errors import FrameworkLoadError, UnknownFramework, nearest
from tframex_nb.frameworks._inspection import Facts, inspected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tframex_nb.frameworks.base import FrameworkIntegration

__all__ = ["Change", "Closed", "FrameworkRegistry", "Registered", "Replaced", "Unregistered"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A framework came."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """A framework took the place of another of its name; runs go on with the one they hold."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A framework went; runs go on with it until they end."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Closed:
    """An integration that was replaced or unregistered is closed; ``error`` where that failed."""

    name: str
    generation: int
    integration: FrameworkIntegration = field(repr=False)
    error: str = ""


Change = Registered | Replaced | Unregistered | Closed


@dataclass(slots=True, eq=False)
class _Entry:
    """One integration, what it said of itself, and the runs that hold it."""

    integration: FrameworkIntegration
    facts: Facts
    runs: int = 0
    retired: bool = False
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        return self.facts.name


class FrameworkRegistry:
    """The frameworks of one process. Every method may be called from any thread.

    Frameworks may come, be replaced and go while runs are in flight: a run pins the integration
    that it began with. What was replaced or unregistered is closed when its last run ends.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        # Dicts as ordered sets: a framework goes in one step, and the order is that of arrival.
        self._templates: dict[str, dict[str, None]] = {}
        self._capabilities: dict[str, dict[str, None]] = {}
        self._running: dict[str, int] = {}
        self._generation = 0
        self._listeners: list[Callable[[Change], None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._unclosed: list[_Entry] = []

    @property
    def generation(self) -> int:
        """A number that grows with each change."""
        return self._generation

    def register_framework(self, framework: FrameworkIntegration, *, replace: bool = False) -> None:
        """Take a framework in under its name.

        Raises FrameworkLoadError where it is not valid (the text names the field), or where the
        name is taken and ``replace`` is not set.
        """
        facts = inspected(framework)
        with self._lock:
            old = self._entries.get(facts.name)
            if old is not None and not replace and old.integration is not framework:
                raise _taken(facts.name, old.integration, framework)
            if old is not None:
                self._remove_from_indices(old.facts)
            self._entries[facts.name] = self._entry(framework, facts, old)
            for index, keys in self._indices(facts):
                for key in keys:
                    index.setdefault(key, {})[facts.name] = None
            self._generation += 1
            kind = Registered if old is None else Replaced
            change = kind(facts.name, self._generation)
        if old is not None and old.integration is not framework:
            self._retire(old)
        self._tell(change)

    def refresh(self, name: str) -> None:
        """Ask a framework again what it can do; for when its version in use has changed.

        Raises UnknownFramework, and FrameworkLoadError where it is no longer valid.
        """
        self.register_framework(self.get_framework(name), replace=True)

    def unregister(self, name: str) -> FrameworkIntegration:
        """Take a framework out, and return it; it is closed when its last run ends.

        Raises UnknownFramework.
        """
        with self._lock:
            entry = self._get(name)
            del self._entries[name]
            self._remove_from_indices(entry.facts)
            self._generation += 1
            change = Unregistered(name, self._generation)
        self._retire(entry)
        self._tell(change)
        return entry.integration

    def get_framework(self, name: str) -> FrameworkIntegration:
        """Return the framework of this name; raises UnknownFramework, which names the nearest."""
        with self._lock:
            return self._get(name).integration

    def get_frameworks(self, names: Iterable[str]) -> dict[str, FrameworkIntegration]:
        """Return those of these frameworks that are registered, as they are in one moment."""
        with self._lock:
            entries = self._entries
            return {name: entries[name].integration for name in names if name in entries}

    def get_frameworks_for_template(self, template_id: str) -> list[str]:
        """Return the names of the frameworks that say they support a template, oldest first."""
        with self._lock:
            return list(self._templates.get(template_id, ()))

    def get_frameworks_with_capability(self, capability: str) -> list[str]:
        """Return the names of the frameworks that have a capability, natively or in part."""
        with self._lock:
            return list(self._capabilities.get(capability, ()))

    def names(self) -> list[str]:
        """Return the names of all frameworks, oldest first."""
        with self._lock:
            return list(self._entries)

    def capabilities(self) -> list[str]:
        """Return the names of all capabilities that some framework has, sorted."""
        with self._lock:
            return sorted(self._capabilities)

    def templates(self) -> list[str]:
        """Return the ids of all templates that some framework supports, sorted."""
        with self._lock:
            return sorted(self._templates)

    def template_range(self, name: str, template_id: str) -> str:
        """Return which versions of a template a framework supports, a PEP 440 specifier."""
        with self._lock:
            entry = self._entries.get(name)
            return entry.facts.templates.get(template_id, "") if entry else ""

    def running(self, name: str) -> int:
        """Return how many runs hold a framework of this name now, replaced ones included."""
        return self._running.get(name, 0)

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``callback`` after each change, on the thread that made it; return the way out.

        Changes from several threads may arrive in another order; ``generation`` tells.
        """
        with self._lock:
            self._listeners.append(callback)

        def unsubscribe() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(callback)

        return unsubscribe

    @contextlib.contextmanager
    def pin(self, name: str) -> Iterator[FrameworkIntegration]:
        """Hold a framework for one run: replacing or unregistering it leaves this one alone.

        Raises UnknownFramework.
        """
        with self._lock:
            entry = self._get(name)
            entry.runs += 1
            entry.loop = _loop() or entry.loop
            self._running[name] = self._running.get(name, 0) + 1
        try:
            yield entry.integration
        finally:
            with self._lock:
                entry.runs -= 1
                self._running[name] -= 1
            self._close_if_over(entry)

    async def aclose(self) -> None:
        """Take every framework out and close it, also those that runs still hold."""
        with self._lock:
            entries = [*self._entries.values(), *self._unclosed]
            self._entries.clear()
            self._templates.clear()
            self._capabilities.clear()
            self._unclosed.clear()
            self._generation += 1
            for entry in entries:
                entry.retired = False  # closed here, not by its last run
        for entry in entries:
            await self._close(entry)
        if self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<FrameworkRegistry: {', '.join(self.names()) or 'empty'}>"

    def _get(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownFramework(
                f"no framework {name!r} is registered",
                hint=f"%frameworks lists them; {nearest(name, self._entries)}",
                framework=name,
            )
        return entry

    def _entry(self, framework: FrameworkIntegration, facts: Facts, old: _Entry | None) -> _Entry:
        if old is None or old.integration is not framework:
            return _Entry(framework, facts)
        old.facts = facts
        return old

    def _indices(self, facts: Facts) -> Iterator[tuple[dict[str, dict[str, None]], Iterable[str]]]:
        yield self._templates, facts.templates
        yield self._capabilities, facts.capabilities

    def _remove_from_indices(self, facts: Facts) -> None:
        for index, keys in self._indices(facts):
            for key in keys:
                names = index.get(key, {})
                names.pop(facts.name, None)
                if not names:
                    index.pop(key, None)

    def _retire(self, entry: _Entry) -> None:
        with self._lock:
            entry.retired = True
        self._close_if_over(entry)

    def _close_if_over(self, entry: _Entry) -> None:
        """Close a retired integration that no run holds, on the loop where its runs were."""
        with self._lock:
            if not entry.retired or entry.runs:
                return
            entry.retired = False
        here = _loop()
        loop = here or entry.loop
        if here is not None:
            self._start_closing(entry)
        elif loop is not None and not loop.is_closed() and loop.is_running():
            loop.call_soon_threadsafe(self._start_closing, entry)
        else:
            with self._lock:
                self._unclosed.append(entry)  # nothing to await on: aclose does it

    def _start_closing(self, entry: _Entry) -> None:
        task = asyncio.get_running_loop().create_task(self._close(entry))
        self._closing.add(task)  # a loop holds its tasks only weakly
        task.add_done_callback(self._closing.discard)

    async def _close(self, entry: _Entry) -> None:
        error = ""
        try:
            await entry.integration.aclose()
        except Exception as exc:  # noqa: BLE001 - an adapter's own fault; listeners are told
            error = f"{type(exc).__name__}: {exc}"
        self._tell(Closed(entry.name, self._generation, entry.integration, error))

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - who shows a change may not undo it for others
                _log.exception("a listener of the framework registry failed on %r", change)


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _taken(name: str, old: FrameworkIntegration, new: FrameworkIntegration) -> FrameworkLoadError:
    def told(each: FrameworkIntegration) -> str:
        return f"{type(each).__module__}.{type(each).__qualname__}"

    return FrameworkLoadError(
        f"the name {name!r} is taken by {told(old)}, so {told(new)} cannot have it",
        hint="give it another name, or register it with replace=True",
        framework=name,
    )
