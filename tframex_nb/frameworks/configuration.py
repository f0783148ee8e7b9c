"""The configuration in force, and its changes at run time: validated first, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError
from tframex_nb.frameworks._stamps import Stamp
from tframex_nb.frameworks.config import RuntimeConfig, load_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Configuration"]


class Configuration:
    """Holds one ``RuntimeConfig`` and swaps it for another as a whole.

    ``current`` is the one in force, ``generation`` grows with each swap. ``refused`` is what is
    wrong with the file that ``follow`` found, as long as it is.
    """

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self.current = config or RuntimeConfig()
        self.generation = 0
        self.refused: SettingsError | None = None
        self._stamp = _stamp(self.current)

    def reconfigure(
        self,
        path: Path | str | None = None,
        *,
        check: Callable[[RuntimeConfig], object] = lambda _: None,
    ) -> tuple[str, ...]:
        """Read the file again, or another, and put it in force; return what changed.

        ``path`` counts from now on. ``check`` is given the new configuration before anything
        changes, and may refuse it by raising. Each change is one line: ``key: old -> new``.
        Raises SettingsError; then everything stays as it was.
        """
        self._stamp = _stamp(self.current)  # a file that is refused is not reported again
        new = load_config(path if path is not None else self.current.file)
        stamp = _stamp(new)
        check(new)
        changes = _changes(_flat(self.current), _flat(new))
        self.current, self._stamp, self.refused = new, stamp, None
        self.generation += 1
        return changes

    def follow(self, *, check: Callable[[RuntimeConfig], object]) -> bool:
        """Put the file in force if it has changed on disk; return whether that was done."""
        if not self.changed():
            return False
        try:
            self.reconfigure(check=check)
        except SettingsError as exc:
            self.refused = exc
            return False
        return True

    def changed(self) -> bool:
        """Whether the file on disk is another than the one that was read; cheap to ask often."""
        file = self.current.file
        if file is None:
            return False
        now = self._stamp.again(file)
        if now.digest != self._stamp.digest:
            return True
        self._stamp = now
        return False


def _stamp(config: RuntimeConfig) -> Stamp:
    return Stamp() if config.file is None else Stamp.of(config.file)


def _changes(old: dict[str, str], new: dict[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{key}: {old.get(key, '(not set)')} -> {new.get(key, '(not set)')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


def _flat(config: RuntimeConfig) -> dict[str, str]:
    """Return each value that is set, by its dotted key, as text."""
    found: dict[str, str] = {}

    def walk(value: Any, at: str) -> None:  # any JSON
        if isinstance(value, dict):
            for key, each in value.items():
                walk(each, f"{at}.{key}" if at else str(key))
        elif isinstance(value, list):
            found[at] = ", ".join(_text(each) for each in value) or "(none)"
        else:
            found[at] = str(value)

    walk(config.model_dump(mode="json", by_alias=True, exclude_unset=True), "")
    return found


def _text(value: Any) -> str:  # any JSON
    if not isinstance(value, dict):
        return str(value)
    return ":".join(str(value[key]) for key in ("path", "class", "name") if value.get(key))
