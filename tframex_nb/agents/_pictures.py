"""Images made to fit: scaled down and encoded anew with Pillow, where it is installed."""

from __future__ import annotations

import base64
import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import InvalidInput
from tframex_nb.models.parts import Attachment, measure, size_of, sniff

if TYPE_CHECKING:
    from tframex_nb.agents.attachments import Limits

__all__ = ["encode", "fitted", "has_pillow", "preview"]

SENT = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})  # what endpoints take
# Of an image that is decoded at all, at 4 bytes each and twice over: a file of some kilobytes may
# hold far more. A photo is decoded smaller than it is, so it may have more.
PIXELS = 64_000_000
SMALL = 160  # pixels a side of a preview
LIGHT = 16_000  # bytes of one, at most
_READ = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")  # EPS and the like would start programs
_SMALLER = 0.75
_ROUNDS = 16


def has_pillow() -> bool:
    """Whether Pillow can be imported."""
    try:
        importlib.import_module("PIL.Image")
    except ImportError:
        return False
    return True


def fitted(data: bytes, media_type: str, name: str, limits: Limits) -> Attachment:
    """Return an image within the limits, as it came where it can be.

    Raises InvalidInput where it has to be scaled down and cannot be.
    """
    width, height = measure(data)
    small = max(width, height) <= limits.image_max_side and len(data) <= limits.image_max_bytes
    if small and width and media_type in SENT:
        return Attachment("image", media_type, data, name, width, height, preview(data))
    if not has_pillow():
        raise InvalidInput(
            f"{name} is {_told(width, height, data, media_type)}; {limits.told}",
            hint="%pip install pillow, which makes it fit; or raise image_max_side and "
            "image_max_bytes in the settings",
        )
    image = _opened(data, name, limits.image_max_side)
    return encode(image, name, limits, was=_told(width, height, data, media_type))


def encode(image: Any, name: str, limits: Limits, *, was: str = "") -> Attachment:  # PIL's Image
    """Return one of Pillow's images as PNG or JPEG within the limits."""
    photo = getattr(image, "format", "") in {"JPEG", "MPO"}
    scaled = was or (f"{image.width}x{image.height}" if _exceeds(image, limits) else "")
    side = min(limits.image_max_side, max(image.size))
    for attempt in range(_ROUNDS):
        drawn = _drawn(image, side)
        jpeg = photo or (attempt > 0 and not _see_through(drawn))
        data = _written(drawn, "JPEG" if jpeg else "PNG")
        if len(data) <= limits.image_max_bytes:
            kind = "image/jpeg" if jpeg else "image/png"
            return Attachment(
                "image", kind, data, name, drawn.width, drawn.height, preview(data), scaled
            )
        side = max(1, int(side * (_SMALLER if attempt else 1)))
    raise InvalidInput(
        f"{name} does not fit into {size_of(limits.image_max_bytes)}, however small it is made",
        hint="raise image_max_bytes in the settings",
    )


def preview(data: bytes) -> str:
    """Return a small picture of an image as a data URL, or nothing where there can be none.

    Without Pillow that is an image which is small as it came.
    """
    if not has_pillow():
        kind, side = sniff(data), max(measure(data))
        if kind not in SENT or not 0 < side <= SMALL or len(data) > LIGHT:
            return ""
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    try:
        small = _on_white(_drawn(_opened(data, "it", SMALL), SMALL))
        for quality in (80, 50, 20):
            made = _written(small, "JPEG", quality=quality)
            if len(made) <= LIGHT:
                return f"data:image/jpeg;base64,{base64.b64encode(made).decode()}"
    except Exception:  # noqa: BLE001 - of a broken file Pillow raises anything; the text line stays
        return ""
    return ""


def _opened(data: bytes, name: str, side: int) -> Any:  # PIL's Image
    """Return an image upright, of ``side`` pixels a side or more where it has as many."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_READ)
            full = f"{image.width}x{image.height}"
            image.draft(None, (side, side))
            if image.width * image.height <= PIXELS:
                turned = ImageOps.exif_transpose(image)
                turned.format = image.format
                return turned
    except Exception as exc:  # of a broken file Pillow raises anything
        raise InvalidInput(
            f"{name} cannot be read as an image: {type(exc).__name__}: {exc}",
            hint="is the file whole? Image.open(…) of PIL says the same",
        ) from exc
    raise InvalidInput(
        f"{name} has {full} pixels, which is too many to decode",
        hint="scale it down first",
    )


def _drawn(image: Any, side: int) -> Any:  # PIL's Image
    """Return the image with at most ``side`` pixels a side, in a mode that PNG has."""
    drawn = image
    if image.mode not in {"1", "L", "LA", "P", "RGB", "RGBA"}:
        drawn = image.convert("RGB")
    if max(drawn.size) > side:
        if drawn.mode in {"1", "P"}:
            drawn = drawn.convert("RGBA" if "transparency" in image.info else "RGB")
        ratio = side / max(drawn.size)
        drawn = drawn.resize(tuple(max(1, round(each * ratio)) for each in drawn.size))
    return drawn


def _written(image: Any, form: str, *, quality: int = 85) -> bytes:  # PIL's Image
    out = io.BytesIO()
    if form == "JPEG":
        _on_white(image).save(out, form, quality=quality)
    else:
        image.save(out, form, optimize=False)
    return out.getvalue()


def _on_white(image: Any) -> Any:  # PIL's Images
    """Return the image without transparency: JPEG would show it black."""
    if not _see_through(image):
        return image.convert("RGB")
    from PIL import Image

    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def _see_through(image: Any) -> bool:  # PIL's Image
    return image.mode in {"LA", "RGBA", "PA"} or "transparency" in image.info


def _exceeds(image: Any, limits: Limits) -> bool:  # PIL's Image
    return bool(max(image.size) > limits.image_max_side)


def _told(width: int, height: int, data: bytes, media_type: str) -> str:
    pixels = f"{width}x{height}, " if width else ""
    other = "" if media_type in SENT else f"{media_type.partition('/')[2].upper()}, "
    return f"{other}{pixels}{size_of(len(data))}"
