"""What went wrong with a worker, as errors of ours; each call makes one, for one run."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from tframex_nb import errors
from tframex_nb.errors import (
    FrameworkError,
    FrameworkFailed,
    MemoryLimitExceeded,
    TFrameXError,
    WorkerCrashed,
    WorkerUnavailable,
)

if TYPE_CHECKING:
    from tframex_nb.frameworks.worker.protocol import Failed

__all__ = ["cause", "crashed", "grown", "raised", "unavailable"]


def unavailable(name: str, reason: str, *, hint: str, stderr: str = "") -> WorkerUnavailable:
    """Return the error of a framework that has no worker; the tail of ``stderr`` is its note."""
    last = _last_line(stderr)
    said = f"; it said: {last}" if last else ""
    error = WorkerUnavailable(f"{name} has no worker: {reason}{said}", hint=hint, framework=name)
    if stderr:
        error.add_note(stderr)
    return error


def crashed(name: str, code: int, stderr: str) -> WorkerCrashed:
    """Return the error of a run whose worker ended."""
    error = WorkerCrashed(
        f"{name} crashed: its worker's process ended ({cause(code)})",
        hint=_last_line(stderr) or "it said nothing; the next run gets a new worker",
        framework=name,
    )
    error.stderr = stderr
    return error


def grown(name: str, size_mb: float, limit_mb: float) -> MemoryLimitExceeded:
    """Return the error of a run whose worker was over its memory limit."""
    return MemoryLimitExceeded(
        f"{name} grew to {size_mb:,.0f} MB, over its limit of {limit_mb:g} MB, and was killed",
        hint=f"raise memory_limit_mb of {name} in runtime-config.yaml",
        framework=name,
    )


def raised(name: str, message: Failed) -> TFrameXError:
    """Return the error that the framework raised, or one of ours that came through it."""
    kind = getattr(errors, message.error, None) if message.ours else None
    error: TFrameXError | None = None
    if isinstance(kind, type) and issubclass(kind, TFrameXError):
        with contextlib.suppress(TypeError):  # one that wants more than we have
            error = kind(message.text, hint=message.hint)
    if error is None:
        error = FrameworkFailed(
            f"{name} failed: {message.error}: {message.text}".rstrip(": "),
            hint="this is the framework's own error; its traceback is in the notes of ours",
        )
    if isinstance(error, FrameworkError):
        error.framework = name
    error.add_note(message.traceback)
    return error


def cause(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def _last_line(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return lines[-1].strip() if lines else ""
