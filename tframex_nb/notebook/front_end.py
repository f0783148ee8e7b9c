"""Who is looking: a live front end, a headless client, or a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from IPython.core.displaypub import CapturingDisplayPublisher

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Mode", "allow_stdin", "detect", "sent_by_widget"]

Mode = Literal["live", "final", "terminal"]


def detect(shell: InteractiveShell, wish: str = "") -> Mode:
    """Return how an answer is shown to whoever sent the running cell.

    ``live``: JupyterLab, Notebook, VS Code, Colab; the display is updated while text arrives.
    ``final``: nbclient, nbval, papermill; one display at the end, without ids.
    ``terminal``: IPython without a kernel; plain text as it arrives.

    Headless clients say ``allow_stdin: false`` in their request; every front end with a person
    before it says true. ``JPY_SESSION_NAME`` alone would not do: a process started from a
    notebook inherits it, and VS Code never sets it.
    """
    if isinstance(shell.display_pub, CapturingDisplayPublisher):
        return "final"  # %%capture keeps every update as an output of its own
    if wish in ("live", "final", "terminal"):
        return wish  # type: ignore[return-value]  # narrowed by the membership test
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return "terminal"
    allowed = allow_stdin(shell)
    if allowed is None:
        return "live" if os.environ.get("JPY_SESSION_NAME") else "final"
    return "live" if allowed else "final"


def allow_stdin(shell: InteractiveShell) -> bool | None:
    """Return whether the running cell's client answers ``input()``; None where it says nothing."""
    allowed = (_request(shell).get("content") or {}).get("allow_stdin")
    return None if allowed is None else bool(allowed)


def sent_by_widget(shell: InteractiveShell) -> bool:
    """Return whether what the kernel does now was set off on a page, by a message of a widget."""
    return (_request(shell).get("header") or {}).get("msg_type") == "comm_msg"


def _request(shell: InteractiveShell) -> dict[str, Any]:  # a message of Jupyter's
    """Return the message that the kernel handles now."""
    kernel: Any = getattr(shell, "kernel", None)  # ipykernel ships no types
    get_parent = getattr(kernel, "get_parent", None)
    return (get_parent() if get_parent is not None else None) or {}
