"""Everything that touches IPython: magics, live output, completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load", "unload"]

_ATTRIBUTE = "_tframex_nb"


def load(shell: InteractiveShell) -> None:
    """Add the extension to ``shell``; a second load is the same as the first."""
    from tframex_nb.notebook.extension import Extension

    if getattr(shell, _ATTRIBUTE, None) is None:
        extension = Extension(shell)
        extension.load()
        setattr(shell, _ATTRIBUTE, extension)


def unload(shell: InteractiveShell) -> None:
    """Take the extension back from ``shell``, whole."""
    extension = getattr(shell, _ATTRIBUTE, None)
    if extension is not None:
        extension.unload()
        delattr(shell, _ATTRIBUTE)
