"""What a person types and presses in a chat: ipywidgets' own widgets, no front-end code.

Their messages may come on a thread of a subshell, so each is handed to ``later``, which brings
it to the loop of the cells. A text box tells only its text: Enter is seen as a new line at the
end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from ipywidgets import Button, Checkbox, Dropdown, HBox, Label, Layout, Textarea, VBox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Controls", "Listener"]

SETTLED = 0.25  # seconds without a change, after which a text that was typed is whole
TYPED = 20  # characters; a longer piece with a new line at its end was pasted
NEW = ("a new turn", 0)
GONE = "*The chat's box has gone with its kernel: run the cell again to go on.*"


class Listener(Protocol):
    """Whoever acts on what a person does, on the loop of the cells."""

    def asked(self, text: str, turn: int, /) -> None:
        """Take a text that was sent: for a turn, or 0 for a new one."""
        ...

    def chosen(self, turn: int, /) -> str:
        """Return the prompt of a turn that is to be changed."""
        ...

    def stopped(self) -> None:
        """End the run."""
        ...

    def opened_anew(self) -> None:
        """Learn that a page has asked for the box that did not see it come."""
        ...

    def rerun(self) -> None:
        """Ask the stale turns anew."""
        ...

    def closed(self) -> None:
        """Put the chat away."""
        ...


class Controls:
    """The box below a chat: text, Send, Stop, the turn that is meant, and a line of state."""

    def __init__(
        self, listener: Listener, later: Callable[[Callable[[], None]], None], name: str
    ) -> None:
        self._listener = listener
        self._later = later
        self._ours = False  # whether it is we who change a value
        self._typed = 0.0
        self.text = Textarea(
            placeholder=f"Ask {name} …", rows=3, layout=Layout(width="auto", height="auto")
        )
        self.send = Button(description="Send", button_style="primary", layout=_auto())
        self.stop = Button(description="Stop", disabled=True, layout=_auto())
        self.rerun = Button(description="Re-run stale turns", layout=_auto())
        self.shut = Button(description="Close", layout=_auto())
        self.turn = Dropdown(options=[NEW], layout=Layout(width="18em"))
        self.enter = Checkbox(value=True, description="Enter sends", indent=False, layout=_auto())
        self.state = Label()
        row = HBox([self.send, self.stop, self.turn, self.enter, self.rerun, self.shut])
        row.layout.flex_flow = "row wrap"
        self.box = _Box([self.text, row, self.state], lambda: later(listener.opened_anew))
        self._listen()

    def bundle(self) -> dict[str, Any]:  # a mimebundle, JSON
        """Return the box as a display's data, with words for where no widget can be shown."""
        return {
            **self.box._repr_mimebundle_(),
            "text/plain": GONE.strip("*"),
            "text/markdown": GONE,
        }

    def show(self, *, turns: Sequence[tuple[str, int]], stale: int, busy: bool, state: str) -> None:
        """Show the turns that can be changed, whether it answers, and a line of state."""
        with self._changing():
            options = [NEW, *turns]
            if list(self.turn.options) != options:
                kept = self.turn.value
                self.turn.options = options
                self.turn.value = kept if kept in {number for _, number in options} else 0
            self.send.description = (
                f"Ask turn {self.turn.value} anew" if self.turn.value else "Send"
            )
            self.send.disabled = busy
            self.stop.disabled = not busy
            self.rerun.disabled = busy
            self.rerun.layout.display = None if stale else "none"
            self.state.value = state

    def clear(self) -> None:
        """Empty the text for a new turn."""
        self._put("", 0)

    def close(self) -> None:
        """Close every widget, and its way to the page."""
        inner = (*self.box.children[1].children, *self.box.children)
        for widget in (self.box, *reversed(inner)):
            widget.close()

    def _listen(self) -> None:
        later, listener = self._later, self._listener
        self.send.on_click(lambda _: later(self._submit))
        self.stop.on_click(lambda _: later(listener.stopped))
        self.rerun.on_click(lambda _: later(listener.rerun))
        self.shut.on_click(lambda _: later(listener.closed))
        self.turn.observe(self._choose, "value")
        self.text.observe(self._type, "value")
        self.enter.observe(self._enter, "value")

    def _type(self, change: Any) -> None:  # a traitlets change
        if self._ours:
            return
        old, new = change["old"] or "", change["new"]
        added = new[len(old) :] if new.startswith(old) else ""
        pressed = added.endswith("\n") and "\n" not in added[:-1] and len(added) <= TYPED
        if self.enter.value and pressed:
            self._later(lambda: self._send(new))
        else:
            self._later(self._note_typing)

    def _note_typing(self) -> None:
        self._typed = asyncio.get_running_loop().time()

    def _enter(self, change: Any) -> None:  # a traitlets change
        # Without Enter the text is told once, when the box is left: nothing can overtake it.
        self.text.continuous_update = change["new"]

    def _choose(self, change: Any) -> None:  # a traitlets change
        if not self._ours:
            number = change["new"] or 0
            self._later(lambda: self._put(self._listener.chosen(number), number))

    def _submit(self) -> None:
        """Send the text once it is whole: a press may overtake the last letters."""
        loop = asyncio.get_running_loop()
        left = self._typed + SETTLED - loop.time()
        if left > 0:
            loop.call_later(left, self._submit)
        else:
            self._send(self.text.value)

    def _send(self, text: str) -> None:
        if text.strip() and not self.send.disabled:
            self._listener.asked(text.strip("\n"), self.turn.value or 0)

    def _put(self, text: str, turn: int) -> None:
        with self._changing():
            self.text.value = text
            if turn != self.turn.value:
                self.turn.value = turn
            self.send.description = f"Ask turn {turn} anew" if turn else "Send"

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        before, self._ours = self._ours, True
        try:
            yield
        finally:
            self._ours = before


class _Box(VBox):  # type: ignore[misc]  # ipywidgets ships no types
    """A box that notices a page which asks for all of it: one that was loaded anew."""

    def __init__(self, children: list[Any], asked: Callable[[], None]) -> None:  # widgets
        self._asked: Callable[[], None] | None = None
        super().__init__(children)
        self._asked = asked

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:  # as its base has it
        """Return the state; the whole is asked for when a page finds the widget."""
        if key is None and self._asked is not None:
            self._asked()
        return super().get_state(key=key, drop_defaults=drop_defaults)


def _auto() -> Layout:
    return Layout(width="auto")
