r"""Surrogate pairs that a server split over two chunks (``"\ud83d"``, then ``"\ude00"``)."""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "mend"]


def mend(text: str) -> str:
    """Return ``text`` with its surrogate pairs joined and lone halves shown as U+FFFD."""
    if _is_clean(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SurrogateJoiner:
    """Hold the first half of a pair back until the second one comes."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return the text that is whole now, possibly empty."""
        if not self._half and _is_clean(text):
            return text
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return mend(text[: len(text) - len(self._half)])

    def end(self) -> str:
        """Return what a lone half at the end becomes."""
        half, self._half = self._half, ""
        return mend(half)


def _is_clean(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
