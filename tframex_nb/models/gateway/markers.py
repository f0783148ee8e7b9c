"""Images and files of a run, told to frameworks as text marks and put back for the model.

A framework carries text from the prompt to its requests, each in its own way; few carry images.
So it is given a mark for each part, and the gateway puts the part where the mark comes back. The
mark holds a random token of this run: no text can name a part that it was not given.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from typing import TYPE_CHECKING, Any

from tframex_nb.models.parts import describe_part, readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tframex_nb.messages import Message

__all__ = ["Markers"]

_Part = dict[str, Any]  # OpenAI's content parts


class Markers:
    """The marks of one run, and the parts that they stand for."""

    def __init__(self) -> None:
        token = secrets.token_hex(16)
        self._head = f"attachment_{token}_"
        self._mark = re.compile(rf"\[attachment_{token}_(\d{{1,6}})_\]")
        self._parts: list[_Part] = []

    def mark(self, message: Message) -> Message:
        """Return a message as a framework is given it: its content as text."""
        if isinstance(message.content, str):
            return message
        texts = (
            str(part.get("text", "")) if part.get("type") == "text" else self._keep(part)
            for part in message.content
        )
        return dataclasses.replace(message, content="\n".join(texts))

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> list[_Part]:
        """Return messages with the parts back in those of the user, each part once.

        Elsewhere, and where a framework says a thing twice, a place-holder stands for the part.
        """
        if not self._parts:
            return [dict(message) for message in messages]
        given: set[int] = set()
        return [self._restored(message, given) for message in messages]

    def plain(self, text: str) -> str:
        """Return a text for people: place-holders where the marks are."""
        if not self._parts or self._head not in text:
            return text
        return self._mark.sub(lambda found: self._told(int(found[1])), text)

    def _keep(self, part: _Part) -> str:
        self._parts.append(part)
        return f"[{self._head}{len(self._parts) - 1}_]"

    def _restored(self, message: Mapping[str, Any], given: set[int]) -> _Part:
        content = message.get("content")
        if not content:
            return dict(message)
        if message.get("role") != "user":
            return {**message, "content": self._hidden(content)}
        if isinstance(content, str):
            parts = list(self._split(content, given))
            alone = len(parts) == 1 and parts[0]["type"] == "text"
            return {**message, "content": parts[0]["text"] if alone else parts or content}
        if isinstance(content, list):
            return {
                **message,
                "content": [new for old in content for new in self._apart(old, given)],
            }
        return dict(message)

    def _apart(self, part: Any, given: set[int]) -> Iterator[Any]:  # whatever stands in a content
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and self._head in text:
            yield from self._split(text, given)
        else:
            yield part

    def _split(self, text: str, given: set[int]) -> Iterator[_Part]:
        """Yield the texts between the marks, and the parts in their places."""
        said = ""
        at = 0
        for found in self._mark.finditer(text):
            said += text[at : found.start()]
            at, number = found.end(), int(found[1])
            if number in given or number >= len(self._parts):
                said += self._told(number)
                continue
            given.add(number)
            if said.strip():
                yield {"type": "text", "text": said.strip("\n")}
            said = ""
            yield self._parts[number]
        said += text[at:]
        if said.strip() or not at:
            yield {"type": "text", "text": said.strip("\n") if at else said}

    def _hidden(self, content: Any) -> Any:  # any content
        if isinstance(content, str):
            return self.plain(content)
        if isinstance(content, list):
            return [
                {**part, "text": self.plain(part["text"])}
                if isinstance(part, dict) and isinstance(part.get("text"), str)
                else part
                for part in content
            ]
        return content

    def _told(self, number: int) -> str:
        known = number < len(self._parts)
        return f"[{describe_part(self._parts[number])}]" if known else "[attachment]"

    def __repr__(self) -> str:
        return f"<Markers: {readable(self._parts) or 'nothing'}>"
