"""Keep an interrupt from ending the kernel between two cells.

ipykernel installs Python's raising SIGINT handler before it reads a request. A signal in that
instant, or while a task of the user's runs on the idle loop, raises ``KeyboardInterrupt`` in the
event loop itself, and the process ends. The shield raises only where IPython runs code.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Shield"]


class Shield:
    """Stands before a kernel's own handler; ``lift`` takes it away."""

    def __init__(self, kernel: Any) -> None:  # ipykernel ships no types
        self._kernel = kernel

    def hold(self) -> None:
        """Put the shield up; a shell without ipykernel's hook needs none."""
        if hasattr(self._kernel, "pre_handler_hook"):
            self._kernel.pre_handler_hook = self._before_request

    def lift(self) -> None:
        """Give the kernel its own hook back."""
        if self._kernel is not None:
            vars(self._kernel).pop("pre_handler_hook", None)

    def _before_request(self) -> None:
        self._kernel.saved_sigint_handler = signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt in the user's code, and nowhere else."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "IPython":
            raise KeyboardInterrupt
        frame = frame.f_back
