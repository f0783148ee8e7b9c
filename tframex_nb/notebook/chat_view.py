"""What a chat shows of its turns: a Markdown display of those that were, one of that which is.

Each update of a display carries all of it. So the turns that were are sent when one of them
changes, and only the answer that grows is sent while it does, at an interval that grows with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tframex_nb.markdown import code_block
from tframex_nb.messages import ToolCallStarted
from tframex_nb.notebook.live import WAITING, Paced
from tframex_nb.notebook.outlet import lines_of
from tframex_nb.notebook.turns import TurnView, prompt_markdown
from tframex_nb.transcript import to_markdown

if TYPE_CHECKING:
    from contextvars import Context

    from IPython.core.interactiveshell import InteractiveShell

    from tframex_nb.agents import BaseAgent
    from tframex_nb.messages import Event
    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.runs import Run

__all__ = ["NOTHING", "ChatView"]

SHOWN = 40_000  # characters of turns that are shown; the earlier ones are in %agents history
NOTHING = {"text/plain": "", "text/markdown": ""}


class ChatView:
    """The turns that were, and below them the one that is."""

    def __init__(self, shell: InteractiveShell, agent: BaseAgent, context: Context) -> None:
        self._agent = agent
        self._asked = ""
        self._handle: BackgroundRun | None = None
        self._run: Run | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._made: dict[tuple[int, str, bool, int], str] = {}
        self._past = Paced(shell, self._turns()[0], self._turns, context)
        self._now = Paced(shell, NOTHING, self._current, context)

    def refresh(self) -> None:
        """Show the turns anew, as soon as the interval allows it."""
        self._past.touch()

    def begin(self, prompt: Any, handle: BackgroundRun) -> None:  # text or content parts
        """Show a prompt that is being answered."""
        self._asked = prompt_markdown(prompt)
        self._handle, self._run = handle, None
        self._tick()

    def feed(self, event: Event, run: Run) -> None:
        """Show the run as it grows."""
        self._now.touch(now=self._run is None or isinstance(event, ToolCallStarted))
        self._run = run

    def end(self, error: BaseException | None) -> None:
        """Let the turn go up to the others; an error stays below."""
        if self._beat is not None:
            self._beat.cancel()
        self._past.touch(now=True)
        self._handle = self._run = None
        if error is None:
            self._now.send(NOTHING)
        else:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Show an error."""
        text = "\n".join(lines_of(error))
        self._now.send({"text/plain": text, "text/markdown": code_block(text)})

    def _tick(self) -> None:
        """Show that the model is waited for, until it has said something."""
        self._now.touch(now=True)
        if self._run is None and self._handle is not None:
            self._beat = asyncio.get_running_loop().call_later(WAITING, self._tick)

    def _current(self) -> tuple[dict[str, str], int]:
        if self._run is not None:
            shown = f"{self._asked}\n\n{to_markdown(self._run, live=True)}"
            return {"text/markdown": shown}, self._run.length
        place = self._handle.place if self._handle is not None else 0
        waits = f"in the queue at place {place}" if place else "waiting for the model"
        return {"text/markdown": f"{self._asked}\n\n*{waits} …*"}, 0

    def _turns(self) -> tuple[dict[str, str], int]:
        """Return the newest turns that fit, each made once."""
        turns = self._agent.conversation.turns
        made: dict[tuple[int, str, bool, int], str] = {}
        size, first = 0, len(turns)
        for number in range(len(turns), 0, -1):
            turn = turns[number - 1]
            key = (number, turn.run_id, turn.stale, id(turn.messages))
            text = self._made.get(key) or TurnView(number, turn, whole=False).to_markdown()
            size += len(text)
            if size > SHOWN and made:
                break
            made[key] = text
            first = number - 1
        self._made = made
        name = self._agent.name
        head = [f"*{first} earlier: %agents history {name}*"] if first else []
        shown = "\n\n---\n\n".join([*head, *reversed(made.values())])
        return {"text/markdown": shown, "text/plain": f"a chat with {name}"}, size
