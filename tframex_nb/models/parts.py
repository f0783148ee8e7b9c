"""Content parts in OpenAI's shape: images, sound and files, as data and as one readable line.

The shapes: https://platform.openai.com/docs/api-reference/chat/create (content parts).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Attachment",
    "Kind",
    "bytes_of",
    "describe_part",
    "measure",
    "readable",
    "size_of",
    "sniff",
]

Kind = Literal["image", "file", "audio"]

_NAME = 80  # characters of a name that are shown
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,100};base64,")
_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
    (b"%PDF-", 0, "application/pdf"),
    (b"WAVE", 8, "audio/wav"),
    (b"ID3", 0, "audio/mp3"),
)
_TITLES = {"application/pdf": "PDF", "audio/wav": "WAV", "audio/mp3": "MP3", "audio/mpeg": "MP3"}
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_ALONE = {0x01, *range(0xD0, 0xDA)}  # JPEG's markers without a length
_FILL = 0xFF  # begins every marker, and may be doubled
_MP3_SYNC, _MP3_LAYER = 0xE0, 0x02  # of the second byte of a frame of layer III


@dataclass(frozen=True, slots=True)
class Attachment:
    """What goes along with a prompt beside text; ``name`` is the user's word for it.

    ``width`` and ``height`` are in pixels, 0 where they are not known. ``preview`` is a small
    picture of it as a data URL, or nothing; it is shown and never sent.
    """

    kind: Kind
    media_type: str
    data: bytes
    name: str = ""
    width: int = 0
    height: int = 0
    preview: str = ""
    was: str = ""  # its size before it was scaled down

    @property
    def line(self) -> str:
        """What people read of it: ``PNG 640x480, 31 kB``."""
        pixels = f" {self.width}x{self.height}" if self.width else ""
        scaled = f", scaled down from {self.was}" if self.was else ""
        return f"{_title(self.media_type)}{pixels}, {size_of(len(self.data))}{scaled}"

    @property
    def label(self) -> str:
        """Its name on one line, without control characters, bounded."""
        flat = " ".join(_HIDDEN.sub(" ", self.name).split())
        return flat if len(flat) <= _NAME else f"{flat[: _NAME - 1]}…"

    def to_part(self) -> dict[str, Any]:
        """Return OpenAI's content part."""
        text = base64.b64encode(self.data).decode()
        if self.kind == "audio":
            form = "wav" if self.media_type == "audio/wav" else "mp3"
            return {"type": "input_audio", "input_audio": {"data": text, "format": form}}
        url = f"data:{self.media_type};base64,{text}"
        if self.kind == "image":
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "file", "file": {"filename": self.label or "file", "file_data": url}}


def sniff(data: bytes) -> str:
    """Return the media type that the first bytes tell, or nothing."""
    for magic, at, media_type in _MAGIC:
        if data[at : at + len(magic)] == magic and (not at or data[:4] == b"RIFF"):
            return media_type
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == _MP3_SYNC | _MP3_LAYER:  # noqa: PLR2004 - MPEG's sync
        return "audio/mp3"
    return ""


def measure(data: bytes) -> tuple[int, int]:
    """Return width and height of an image in pixels as its header tells, or two zeros."""
    try:
        return _measure(data)
    except (struct.error, IndexError):
        return 0, 0


def size_of(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, name in ((1_000_000, "MB"), (1_000, "kB")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:,.0f} {name}"  # noqa: PLR2004 - two digits
    return f"{count} B"


def describe_part(part: Mapping[str, Any]) -> str:
    """Return what people read of a content part that is no text: ``image: PNG 640x480, 31 kB``."""
    kind, data, media_type, name = _taken(part)
    if data is None:
        return kind
    found = sniff(data) or media_type
    width, height = measure(data) if kind == "image" else (0, 0)
    whole = Attachment("file", found, b"", name, width, height)
    pixels = f" {width}x{height}" if width else ""
    named = f"{whole.label}, " if name else ""
    return f"{kind}: {named}{_title(found)}{pixels}, {size_of(bytes_of(part))}"


def readable(content: str | Iterable[Mapping[str, Any]]) -> str:
    """Return a content as text, with a place-holder for each image and file in it."""
    if isinstance(content, str):
        return content
    texts = (
        str(part.get("text", "")) if part.get("type") == "text" else f"[{describe_part(part)}]"
        for part in content
    )
    return "".join(texts)


def _taken(part: Mapping[str, Any]) -> tuple[str, bytes | None, str, str]:
    """Return a part's kind, the first bytes of its data, its media type and its name."""
    kind = str(part.get("type", "part"))
    inner = part.get(kind)
    held: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    if kind == "input_audio":
        return "audio", _head(str(held.get("data", ""))), f"audio/{held.get('format', '')}", ""
    short = {"image_url": "image"}.get(kind, kind)
    url = str(held.get("url" if kind == "image_url" else "file_data") or "")
    found = _DATA_URL.match(url)
    name = str(held.get("filename") or "")
    if found is None:
        return short, None, "", name
    return short, _head(url[found.end() : found.end() + 400_000]), found[1] or "", name


def _head(text: str) -> bytes:
    """Return the beginning of what a base64 text holds."""
    usable = text[: min(len(text), 400_000) // 4 * 4]
    try:
        return base64.b64decode(usable)
    except (binascii.Error, ValueError):
        return b""


def bytes_of(part: Mapping[str, Any]) -> int:
    """Return how many bytes a part's base64 text holds, without decoding it."""
    inner = part.get(str(part.get("type")))
    held = inner if isinstance(inner, dict) else {}
    text = str(held.get("data") or held.get("url") or held.get("file_data") or "")
    start = text.find(";base64,")
    length = len(text) - (start + 8 if start >= 0 else 0)
    return max(0, length * 3 // 4 - text[-2:].count("="))


def _title(media_type: str) -> str:
    last = media_type.partition("/")[2] or media_type
    return _TITLES.get(media_type) or last.partition("+")[0].upper() or "unknown"


def _measure(data: bytes) -> tuple[int, int]:
    kind = sniff(data)
    if kind == "image/png":
        width, height = struct.unpack_from(">II", data, 16)
    elif kind == "image/gif":
        width, height = struct.unpack_from("<HH", data, 6)
    elif kind == "image/bmp":
        width, height = struct.unpack_from("<ii", data, 18)
    elif kind == "image/webp":
        width, height = _webp(data)
    elif kind == "image/jpeg":
        width, height = _jpeg(data)
    else:
        return 0, 0
    return abs(width), abs(height)


def _jpeg(data: bytes) -> tuple[int, int]:
    """Go from segment to segment to the first that starts a frame: height and width are there."""
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if data[at] != _FILL:
            return 0, 0
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == _FILL:
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _webp(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
