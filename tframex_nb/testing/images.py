"""What every framework gives because its model is reached through us: images, whole and private."""

from __future__ import annotations

import json
import struct
import zlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from tframex_nb.agents import Agent
from tframex_nb.models.parts import Attachment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tframex_nb.testing.contract import Bench

__all__ = ["ImagesContract", "png"]


class ImagesContract:
    """The part of the contract about what goes along with a prompt."""

    @abstractmethod
    def check(self, test: Callable[[Bench], Awaitable[None]]) -> None:
        """Run one test on a loop of its own, and close everything after it."""

    def test_an_image_reaches_the_model_as_it_was_given_in_this_turn_and_the_next(self) -> None:
        """The model's request holds the very part, once, in a user's message; no mark is left."""
        part = Attachment("image", "image/png", png(3, 2), "dots").to_part()

        async def test(bench: Bench) -> None:
            model = bench.model()
            agent = Agent("seer", model)
            run = await bench.works(agent, ["What do you see?", part])
            assert _parts(model.calls[-1].messages) == [part], "the image did not arrive"
            assert "PNG 3x2" in run.text, f"the model saw no image: {run.text!r}"
            assert "What do you see?" in json.dumps(model.calls[-1].messages)
            before = len(model.calls)
            await bench.works(agent, "And what did you see before?")
            assert len(model.calls) > before
            for call in model.calls:
                assert _parts(call.messages) == [part], "an earlier turn's image is not sent again"
                assert "attachment_" not in json.dumps(call.messages), "a mark reached the model"

        self.check(test)

    def test_several_images_keep_their_order_and_the_words_between_them(self) -> None:
        """Text, image, text, image: each part once, in the order in which they were given."""
        first, second = (
            Attachment("image", "image/png", png(size, size), "dots").to_part() for size in (2, 4)
        )

        async def test(bench: Bench) -> None:
            model = bench.model()
            prompt = ["Left-word:", first, "right-word:", second]
            await bench.works(Agent("seer", model), prompt)
            sent = json.dumps(model.calls[-1].messages)
            assert _parts(model.calls[-1].messages) == [first, second]
            places = [
                sent.rindex(mark)
                for mark in ("Left-word:", _data(first), "right-word:", _data(second))
            ]
            assert places == sorted(places), "the order is not that of the prompt"

        self.check(test)


def png(width: int, height: int) -> bytes:
    """Return a small real PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x30\x90\xc0" * width for _ in range(height))
    ends = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + ends


def _parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every part of the user's messages that is no text."""
    contents = [m["content"] for m in messages if m["role"] == "user"]
    listed = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in listed if part.get("type") != "text"]


def _data(part: dict[str, Any]) -> str:
    return str(part["image_url"]["url"])
