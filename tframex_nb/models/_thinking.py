"""``<think>`` blocks at the beginning of an answer, told apart while they stream."""

from __future__ import annotations

__all__ = ["ThinkFilter"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkFilter:
    """Split raw text into reasoning and answer; the tags may be cut over chunks.

    Only a block at the very beginning counts (or after such a block): ``<think>`` in the middle
    of an answer is text. The white space around the block is dropped, as servers do that parse
    it themselves.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._skip_space = False
        self.passed = False  # the answer has begun: nothing more to tell apart

    def feed(self, text: str) -> tuple[str, str]:
        """Return the reasoning and the text that can be told now."""
        reasoning = answer = ""
        self._held += text
        while self._held:
            if self.passed:
                answer, self._held = self._held, ""
            elif self._thinking:
                piece, more = self._think()
                reasoning += piece
                if not more:
                    break
            elif not self._begin():
                break
        return reasoning, answer

    def end(self) -> tuple[str, str]:
        """Return what was held back and turned out to be no tag."""
        held, self._held = self._held, ""
        if self._thinking:
            return held, ""
        return "", "" if self._skip_space else held

    def _begin(self) -> bool:
        """Look for an opening tag; return whether there is more to look at."""
        stripped = self._held.lstrip()
        if stripped.startswith(_OPEN):
            self._held = stripped[len(_OPEN) :]
            self._thinking = self._skip_space = True
            return True
        if _OPEN.startswith(stripped):
            return False
        if self._skip_space:
            self._held = stripped
        self.passed = True
        return True

    def _think(self) -> tuple[str, bool]:
        """Return a piece of reasoning, and whether the block ended with text behind it."""
        if self._skip_space:
            self._held = self._held.lstrip()
            self._skip_space = not self._held
        piece, tag, rest = self._held.partition(_CLOSE)
        if tag:
            self._held = rest
            self._thinking = False
            self._skip_space = True
            return piece, True
        keep = _overlap(piece, _CLOSE)
        self._held = piece[len(piece) - keep :]
        return piece[: len(piece) - keep], False


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may begin ``tag``."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)
