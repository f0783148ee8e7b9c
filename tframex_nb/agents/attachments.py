"""Python values that go along with a prompt as images, sound or files.

Values are told by what they can do; none of the libraries is imported for it. Only values count:
no text, whoever wrote it, makes this read a file.
"""

from __future__ import annotations

import base64
import binascii
import io
import pathlib
import stat
from dataclasses import dataclass
from typing import Any, cast

from tframex_nb.errors import InvalidInput
from tframex_nb.models.parts import Attachment, Kind, size_of, sniff

__all__ = ["MAX_PARTS", "Limits", "attachment_of", "limits_now", "text_of_file"]

MAX_PARTS = 20  # images and files of one prompt
READ = 100_000_000  # bytes of an image file that are read in order to scale it down
BYTES = (bytes, bytearray, memoryview)
PLAIN = (str, int, float, complex, list, tuple, dict, set, frozenset, type, type(None))
_NAME_OF_PATH = "write {{ str(path) }} to send its name"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an image and a file may be: bytes, and pixels a side."""

    image_max_bytes: int
    image_max_side: int
    file_max_bytes: int

    @property
    def told(self) -> str:
        """The limits of an image as people read them."""
        return (
            f"images are sent as PNG, JPEG, GIF or WebP, at most {self.image_max_side} pixels a "
            f"side and {size_of(self.image_max_bytes)}"
        )


def limits_now() -> Limits:
    """Return the limits that the settings say now."""
    from tframex_nb.settings import load_settings

    now = load_settings()
    return Limits(now.image_max_bytes, now.image_max_side, now.file_max_bytes)


def attachment_of(
    value: object, *, name: str = "", limits: Limits | None = None
) -> Attachment | None:
    """Return what goes along in place of ``value``, or None where it is text or anything else.

    A figure is drawn, an image encoded, a file read; images beyond the limits are scaled down.
    Raises InvalidInput where a value is an image or a file and cannot be sent.
    """
    kind = type(value)  # and not isinstance: that asks the value, which may say or raise anything
    name = name or kind.__name__
    if issubclass(kind, pathlib.Path):
        return _of_path(cast("pathlib.Path", value), limits)
    if issubclass(kind, BYTES):
        return _of_bytes(bytes(cast("bytes", value)), name, limits)
    if issubclass(kind, Attachment):
        return cast("Attachment", value)
    return None if issubclass(kind, PLAIN) else _of_object(value, name, limits)


def text_of_file(path: pathlib.Path, *, limits: Limits | None = None) -> str:
    """Return what a text file holds; raises InvalidInput for one that holds no text."""
    data = _read(path, limits or limits_now())
    try:
        if b"\0" not in data:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise InvalidInput(
        f"{path.name} is no image, PDF, WAV, MP3 or UTF-8 text: no model is sent such a file",
        hint=f"read it into a value first, or {_NAME_OF_PATH}",
    )


def _of_path(path: pathlib.Path, limits: Limits | None) -> Attachment | None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return None
        if not stat.S_ISREG(mode):
            raise InvalidInput(f"{path} is no regular file", hint=_NAME_OF_PATH)
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    if not sniff(head):
        return None
    limits = limits or limits_now()
    return _of_bytes(_read(path, limits), path.name, limits)


def _read(path: pathlib.Path, limits: Limits) -> bytes:
    try:
        with path.open("rb") as file:
            image = sniff(file.read(64)).startswith("image/")
            most = max(READ, limits.image_max_bytes) if image else limits.file_max_bytes
            file.seek(0)
            data = file.read(most + 1)
        size = path.stat().st_size
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    if len(data) > most:
        raise _too_large(path.name, max(size, len(data)), most)
    return data


def _of_bytes(data: bytes, name: str, limits: Limits | None) -> Attachment | None:
    media_type = sniff(data)
    if not media_type:
        return None
    limits = limits or limits_now()
    if media_type.startswith("image/"):
        from tframex_nb.agents._pictures import fitted

        return fitted(data, media_type, name, limits)
    if len(data) > limits.file_max_bytes:
        raise _too_large(name, len(data), limits.file_max_bytes)
    kind: Kind = "audio" if media_type.startswith("audio/") else "file"
    return Attachment(kind, media_type, data, name)


def _of_object(value: object, name: str, limits: Limits | None) -> Attachment | None:
    if _has(value, "savefig"):
        return _of_figure(value, name, limits)
    if _is_of(value, "matplotlib") and _has(value, "get_figure") and _has(value, "plot"):
        return _of_figure(_figure_of(value), name, limits)
    if _is_of(value, "PIL") and _has(value, "convert") and _has(value, "thumbnail"):
        return _of_pillow(value, name, limits)
    if _has(value, "to_image") and _has(value, "to_plotly_json"):
        return _of_plotly(value, name, limits)
    if _is_of(value, "IPython") and type(value).__name__ == "Image":
        return _of_shown(value, name, limits)
    return _of_repr(value, name, limits)


def _of_figure(figure: Any, name: str, limits: Limits | None) -> Attachment | None:  # matplotlib's
    out = io.BytesIO()
    try:  # without the version of the software, that the same figure is the same bytes
        figure.savefig(out, format="png", metadata={"Software": None})
    except Exception as exc:  # a figure's drawing runs its artists' own code
        raise InvalidInput(
            f"{name} cannot be drawn: {type(exc).__name__}: {exc}",
            hint=f"{name}.savefig('x.png') says the same; mend the figure",
        ) from exc
    return _of_bytes(out.getvalue(), name, limits)


def _of_pillow(image: Any, name: str, limits: Limits | None) -> Attachment:  # PIL's
    from tframex_nb.agents._pictures import encode

    try:
        return encode(image, name, limits or limits_now())
    except InvalidInput:
        raise
    except Exception as exc:  # it reads its file only now, which may be broken, or closed
        raise InvalidInput(
            f"{name} cannot be encoded: {type(exc).__name__}: {exc}",
            hint=f"{name}.load() says the same; open the image anew",
        ) from exc


def _figure_of(axes: Any) -> Any:  # matplotlib's
    """Return the figure of axes, through subfigures."""
    owner = axes.get_figure()
    return owner if _has(owner, "savefig") else owner.figure


def _of_plotly(figure: Any, name: str, limits: Limits | None) -> Attachment | None:  # plotly's
    try:
        data = figure.to_image(format="png")
    except Exception as exc:  # kaleido is missing, or finds no browser, or that fails
        said = " ".join(str(exc).split())[:200]
        raise InvalidInput(
            f"{name}: plotly cannot draw it: {type(exc).__name__}: {said}",
            hint="%pip install kaleido, which needs Chrome or Chromium; or send the data",
        ) from exc
    return _of_bytes(bytes(data), name, limits)


def _of_shown(image: Any, name: str, limits: Limits | None) -> Attachment | None:  # IPython's
    data = _raw(image.data)
    if data is not None:
        return _of_bytes(data, name, limits)
    raise InvalidInput(
        f"{name} is the address of an image, not an image",
        hint="Image(url=…, embed=True) fetches it; what is sent is what you have here",
    )


def _of_repr(value: Any, name: str, limits: Limits | None) -> Attachment | None:  # any object
    if not _has(value, "_repr_png_"):
        return None
    try:
        shown = value._repr_png_()
    except Exception:  # noqa: BLE001 - the value's own code: it is described as text then
        return None
    data = _raw(shown[0] if isinstance(shown, tuple) and shown else shown)
    return None if data is None else _of_bytes(data, name, limits)


def _raw(data: object) -> bytes | None:
    """Return bytes as they are, or out of base64, which IPython takes too."""
    if isinstance(data, str):
        try:
            return base64.b64decode(data, validate=False)
        except (binascii.Error, ValueError):
            return None
    return bytes(data) if isinstance(data, BYTES) else None


def _has(value: object, method: str) -> bool:
    """Whether the class has the method: an object may claim to have any."""
    return callable(getattr(type(value), method, None))


def _is_of(value: object, library: str) -> bool:
    modules = (str(getattr(cls, "__module__", "")) for cls in type(value).__mro__)
    return any(module.partition(".")[0] == library for module in modules)


def _too_large(name: str, size: int, most: int) -> InvalidInput:
    return InvalidInput(
        f"{name} is {size_of(size)}; files are sent up to {size_of(most)}",
        hint="send a part of it, or raise file_max_bytes in the settings",
    )


def _unreadable(path: pathlib.Path, exc: OSError) -> InvalidInput:
    why = "does not exist" if isinstance(exc, FileNotFoundError) else f"cannot be read: {exc}"
    return InvalidInput(
        f"{path} {why}", hint=f"check the path (from {pathlib.Path.cwd()}), or {_NAME_OF_PATH}"
    )
