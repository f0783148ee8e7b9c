"""A prompt as it was given, as it is sent, and as people read it."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.agents.attachments import MAX_PARTS, attachment_of, limits_now, text_of_file
from tframex_nb.agents.running import closing
from tframex_nb.errors import InvalidInput
from tframex_nb.messages import Event
from tframex_nb.models.parts import Attachment, describe_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from tframex_nb.agents.attachments import Limits

__all__ = ["Attached", "Prompt", "announced", "read_prompt"]

PREVIEWS = 48_000  # characters of all previews of a prompt: a live cell is painted often
_TAKEN = 'pass text, or a list of text, images and Paths: ["What is this?", Path("x.png")]'
_KINDS = ("image_url", "file", "input_audio")


@dataclass(frozen=True, slots=True)
class Attached(Event):
    """What goes along with the prompt: its name, what it is, a small picture of it."""

    type: ClassVar[str] = "attached"
    name: str
    about: str
    preview: str = ""
    number: int = 1

    @property
    def subject(self) -> str:
        """Each has a line of its own."""
        return f"attached {self.number}"

    @property
    def line(self) -> str:
        """What was sent."""
        return f"sent {self.name}: {self.about}" if self.name else f"sent {self.about}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: ``content`` as a message holds it, ``text`` with place-holders for people."""

    content: str | list[dict[str, Any]]  # OpenAI's content parts
    text: str
    attached: tuple[Attached, ...] = ()


def read_prompt(prompt: object, agent: str) -> Prompt:
    """Read what an agent is asked: text, or a list of text and what goes along with it.

    A list may hold text, ``Path``s, bytes, figures, images, Attachments, and content parts in
    OpenAI's shape; its texts are paragraphs. Raises InvalidInput for anything else.
    """
    if isinstance(prompt, str):
        return Prompt(prompt, prompt)
    if not isinstance(prompt, (list, tuple)):
        if attachment_of(prompt) is not None:
            prompt = [prompt]
        else:
            raise _refused(agent, prompt)
    if not prompt:
        raise InvalidInput(f"{agent!r} was given an empty list in place of a prompt", hint=_TAKEN)
    limits = limits_now()
    return _joined([piece for each in prompt for piece in _pieces(each, agent, limits)])


async def announced(
    steps: AsyncIterator[Event], attached: Sequence[Attached]
) -> AsyncIterator[Event]:
    """Yield what goes along with the prompt, and then the events of the steps."""
    async with closing(steps) as events:
        for each in attached:
            yield each
        async for event in events:
            yield event


def _pieces(
    value: Any,  # whatever stands in a prompt
    agent: str,
    limits: Limits,
) -> list[str | Attachment | dict[str, Any]]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [_part(value, agent)]
    if isinstance(value, pathlib.Path) and value.is_dir():
        raise InvalidInput(
            f"{value} is a folder, and {agent!r} is sent files", hint="pass its files, one by one"
        )
    found = attachment_of(value, name=_name(value), limits=limits)
    if found is not None:
        return [found]
    if isinstance(value, pathlib.Path):
        return [f"{value.name}:\n{text_of_file(value, limits=limits)}"]
    raise _refused(agent, value)


def _name(value: object) -> str:
    return "" if isinstance(value, pathlib.Path) else type(value).__name__.lower()


def _part(part: Mapping[str, Any], agent: str) -> str | dict[str, Any]:
    """Return a content part that is in OpenAI's shape already."""
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in _KINDS and isinstance(part.get(str(kind)), dict):
        return dict(part)
    raise InvalidInput(
        f"{agent!r} was given a dict that is no content part: {', '.join(map(str, part))[:80]}",
        hint=_TAKEN,
    )


def _joined(pieces: Iterable[str | Attachment | dict[str, Any]]) -> Prompt:
    """Return the prompt of pieces: neighbouring texts are one part, blank ones none."""
    parts: list[dict[str, Any]] = []
    shown: list[str] = []
    attached: list[Attached] = []
    room = PREVIEWS
    for piece in pieces:
        if isinstance(piece, str):
            _add_text(parts, piece)
            shown.append(piece)
            continue
        event = _event(piece, len(attached) + 1, room)
        room -= len(event.preview)
        attached.append(event)
        parts.append(piece.to_part() if isinstance(piece, Attachment) else piece)
        shown.append(_placeholder(parts, event))
    if len(attached) > MAX_PARTS:
        raise InvalidInput(
            f"the prompt holds {len(attached)} images and files; at most {MAX_PARTS} are sent",
            hint="ask in several turns, or put pictures into one figure",
        )
    text = "\n".join(each.strip("\n") for each in shown if each.strip())
    if not attached:
        return Prompt(text, text)
    return Prompt([part for part in parts if not _blank(part)], text, tuple(attached))


def _add_text(parts: list[dict[str, Any]], text: str) -> None:
    if parts and parts[-1]["type"] == "text":
        parts[-1] = {"type": "text", "text": f"{parts[-1]['text']}\n{text}"}
    else:
        parts.append({"type": "text", "text": text})


def _blank(part: Mapping[str, Any]) -> bool:
    """Whether a part is nothing but spaces, which some endpoints refuse."""
    return part["type"] == "text" and not part["text"].strip()


def _event(piece: Attachment | Mapping[str, Any], number: int, room: int) -> Attached:
    if isinstance(piece, Attachment):
        preview = piece.preview if len(piece.preview) <= room else ""
        return Attached(piece.label, piece.line, preview, number)
    return Attached("", describe_part(piece), "", number)


def _placeholder(parts: Sequence[Mapping[str, Any]], event: Attached) -> str:
    """Return what stands for the last part: ``[image 1: fig, PNG 640x480, 31 kB]``."""
    kinds = [part["type"] for part in parts]
    kind = {"image_url": "image", "input_audio": "audio"}.get(kinds[-1], kinds[-1])
    about = ", ".join(each for each in (event.name, event.about) if each)
    return f"[{kind} {kinds.count(kinds[-1])}: {about.removeprefix(f'{kind}: ')}]"


def _refused(agent: str, value: object) -> InvalidInput:
    return InvalidInput(
        f"{agent!r} was given a {type(value).__name__} in place of a prompt",
        hint=f"{_TAKEN}; of a run, its .text; messages go to model.stream(messages)",
    )
