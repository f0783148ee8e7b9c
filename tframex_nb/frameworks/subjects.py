"""What a user built with a framework: built here, or on its way to a worker."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
import traceback
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import CannotTravel, FrameworkFailed, TFrameXError
from tframex_nb.frameworks.base import build_subject, is_builder
from tframex_nb.frameworks.worker import Subject

if TYPE_CHECKING:
    from tframex_nb.frameworks.base import AgentExecutionRequest

__all__ = ["built", "travelling"]


async def built(
    framework: str,
    subject: Any,  # an object of the framework, or what makes one
    request: AgentExecutionRequest,
) -> Any:
    """Return the object, made now where a builder was given.

    Raises FrameworkFailed, which names the builder's line.
    """
    if not is_builder(subject):
        return subject
    try:
        return await build_subject(subject, request)
    except TFrameXError:
        raise
    except Exception as exc:  # the builder is the user's own code
        raise FrameworkFailed(
            f"{framework} failed: {type(exc).__name__}: {exc}{_line_of(exc, subject)}",
            hint="this is the builder's own error, and the cause of ours",
            framework=framework,
        ) from exc


def travelling(framework: str, subject: Any) -> Subject | None:
    """Return a subject as it can be sent to a worker: a name, or a builder's source.

    Raises CannotTravel.
    """
    if subject is None:
        return None
    if isinstance(subject, str):
        return Subject(subject)
    what = _kind_of(subject)
    if inspect.isfunction(subject) and subject.__name__.isidentifier():
        with contextlib.suppress(OSError, TypeError):
            return Subject(subject.__name__, textwrap.dedent(inspect.getsource(subject)))
        what = f"the function {subject.__name__}, whose source cannot be found,"
    raise CannotTravel(
        f"{what} cannot be sent to {framework}'s worker",
        hint="pass a function that builds it: it imports what it needs, and is sent as source; "
        f"or build it in a cell of its own: %%framework {framework}",
        framework=framework,
    )


def _kind_of(subject: object) -> str:
    """Return in words what somebody wants to send."""
    if isinstance(subject, type):
        return f"the class {subject.__name__}"
    name = type(subject).__name__
    if getattr(subject, "__name__", "") == "<lambda>":
        name = "lambda"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _line_of(exc: Exception, builder: Any) -> str:  # any callable
    """Return the line of a builder in which an exception came up, in brackets, or nothing."""
    file = getattr(getattr(builder, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(exc.__traceback__)
    last = next((frame for frame in reversed(frames) if frame.filename == file), None)
    return f" ({last.name}, line {last.lineno}: {last.line})" if last is not None else ""
