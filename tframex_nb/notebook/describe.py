"""What of a Python value a model is shown, and the note that tells the user so."""

from __future__ import annotations

import inspect
import os
import pathlib
import traceback
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, cast

from tframex_nb.agents.attachments import attachment_of, text_of_file
from tframex_nb.notebook import frames, literals

if TYPE_CHECKING:
    from tframex_nb.models.parts import Attachment

__all__ = ["Description", "describe"]

SMALL = 200  # characters; a value sent whole needs no note up to here
BYTES = (bytes, bytearray, memoryview)
CODE = (FunctionType, MethodType, BuiltinFunctionType, type)


@dataclass(frozen=True, slots=True)
class Description:
    """The text that a model reads, and the note for the user ("" when sent whole and small)."""

    text: str
    note: str = ""
    attachment: Attachment | None = None  # what is sent in place of the text


def describe(value: object, *, cap: int = 4000, name: str = "") -> Description:
    """Describe ``value`` in about ``cap`` characters at most, in bounded time.

    An image or a file goes along as such, under its ``name``; of a text file its text goes.
    Raises InvalidInput where that cannot be sent.

    A text goes as it is, a table as its schema and first rows, a container as JSON where it can
    be, code as its source, bytes as their number. What does not fit is cut with a visible mark.
    Never raises for what the value's own code does.
    """
    attachment = attachment_of(value, name=name)
    if attachment is not None:
        return Description(f"[{attachment.label}]", attachment.line, attachment)
    if issubclass(type(value), pathlib.Path) and not cast("pathlib.Path", value).is_dir():
        return _file(cast("pathlib.Path", value), cap)
    try:
        return _describe(value, cap)
    except Exception as exc:  # noqa: BLE001  # properties and methods of the user's value
        text = f"<{literals.type_name(value)}, which cannot be described: {type(exc).__name__}>"
        return Description(text, text.strip("<>"))


def _describe(value: object, cap: int) -> Description:
    if isinstance(value, str):
        return _whole(str(value), cap, "str")
    if isinstance(value, BYTES):
        count = value.nbytes if isinstance(value, memoryview) else len(value)
        text = f"<{type(value).__name__}, {count:,} bytes, not shown>"
        return Description(text, text.strip("<>"))
    if isinstance(value, os.PathLike):
        return (
            _whole(os.fspath(value), cap, "path")
            if isinstance(os.fspath(value), str)
            else _repr(value, cap)
        )
    if (
        hasattr(value, "__array_interface__")
        and hasattr(value, "item")
        and not getattr(value, "shape", 1)
    ):
        value = value.item()  # a numpy scalar
    table = frames.table(value, cap=cap)
    if table is not None:
        return Description(table.text, f"{table.note}, {size(table.text)}")
    if isinstance(value, BaseException):
        return _exception(value, cap)
    if isinstance(value, ModuleType):
        return _module(value, cap)
    if isinstance(value, CODE):
        return _code(value, cap)
    return _repr(value, cap)


def size(text: str) -> str:
    """Return the size of a text in UTF-8 as people read it."""
    count = len(text.encode(errors="replace"))
    return f"{count} B" if count < 1000 else f"{count / 1000:,.1f} kB"  # noqa: PLR2004  # SI


def _whole(text: str, cap: int, kind: str) -> Description:
    """Send a text whole, or its head with a mark where it was cut."""
    if len(text) <= cap:
        return Description(text, f"{kind}, {size(text)}" if len(text) > SMALL else "")
    mark = f"[… cut here: the first {cap:,} of {len(text):,} characters]"
    note = f"{kind}, first {cap:,} of {len(text):,} characters"
    return Description(f"{text[:cap]}\n{mark}", note)


def _file(path: pathlib.Path, cap: int) -> Description:
    """Send what a text file holds, and always say so: a path looks like a name."""
    described = _whole(text_of_file(path), cap, f"text of {path.name}")
    return Description(described.text, described.note or f"text of {path.name}")


def _repr(value: object, cap: int) -> Description:
    literal = literals.write(value, cap=cap)
    count = len(value) if isinstance(value, literals.CONTAINERS) else None
    kind = literals.type_name(value) + (
        "" if count is None else f", {count:,} item{'' if count == 1 else 's'}"
    )
    if not literal.cut:
        return _whole(literal.text, max(cap, len(literal.text)), kind)
    mark = f"[… cut here: {kind}; the first {cap:,} characters]"
    return Description(f"{literal.text}\n{mark}", f"{kind}, first {size(literal.text)}")


def _exception(error: BaseException, cap: int) -> Description:
    """Send the end of a traceback: the error itself stands there."""
    text = "".join(traceback.format_exception(error)).rstrip()
    if len(text) > cap:
        text = f"[… cut here: the last {cap:,} of {len(text):,} characters]\n{text[-cap:]}"
    kind = f"{type(error).__name__} with its traceback"
    return Description(text, f"{kind}, {size(text)}" if len(text) > SMALL else "")


def _code(value: object, cap: int) -> Description:
    kind = "class" if isinstance(value, type) else "function"
    name = getattr(value, "__qualname__", kind)
    try:
        return _whole(inspect.getsource(value).rstrip(), cap, f"source of {kind} {name}")  # type: ignore[arg-type]  # any object: getsource raises TypeError itself
    except (OSError, TypeError):
        return _whole(f"{_signature(value)}\n{inspect.getdoc(value) or ''}".strip(), cap, kind)


def _signature(value: object) -> str:
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".strip(".")
    try:
        return f"{name}{inspect.signature(value)}"  # type: ignore[arg-type]  # any object: signature raises TypeError itself
    except (TypeError, ValueError):
        return name


def _module(module: ModuleType, cap: int) -> Description:
    """Send a small module's source, of a larger one what it says it holds."""
    try:
        source = inspect.getsource(module).rstrip()
    except (OSError, TypeError):
        source = ""
    if source and len(source) <= cap:
        return _whole(source, cap, f"source of module {module.__name__}")
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    about = (inspect.getdoc(module) or "").split("\n\n")[0]
    text = f"module {module.__name__}\n{about}\nnames: {', '.join(map(str, names))}"
    return _whole(text, cap, f"module {module.__name__}, its names")
