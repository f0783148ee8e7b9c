"""``%agents chat``: a chat below its cell, on the conversation that the cells have.

The turns are a Markdown display, as in every cell: they are what a saved notebook keeps. Only
the box below them is made of widgets. A run of a chat is a run in the background: the kernel
stays free, ``%runs`` shows and stops it, and its output goes to the cell of the chat.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import copy
import dataclasses
import itertools
import os
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.errors import InvalidInput, TFrameXError
from tframex_nb.models.parts import readable
from tframex_nb.notebook.chat_controls import Controls
from tframex_nb.notebook.chat_view import NOTHING, ChatView
from tframex_nb.notebook.execution import watch
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.namespace import get_agent
from tframex_nb.notebook.tables import Table
from tframex_nb.notebook.turns import short
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.conversation import Turn
    from tframex_nb.messages import Event
    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.execution import Question
    from tframex_nb.notebook.session import Session
    from tframex_nb.runs import Run

__all__ = ["Chat", "chat"]

RELOADED = "was the page loaded anew? Then run the cell again to see new answers"
LOADED = 2.0  # seconds that a page takes to set its widgets up
CHOICES = 50  # turns that can be changed in the box

_serial = itertools.count(1)


def chat(session: Session, wishes: TFrameX, name: str) -> Chat | Table:
    """Open a chat with an agent in the running cell, or tell what to do where none can be."""
    agent = get_agent(session.shell.user_ns, name)
    wish = "" if wishes.display == "auto" else str(wishes.display)
    if detect(session.shell, wish) != "live":
        return _instead(name)
    origin = (session.cell, session.shell.execution_count)
    for earlier in tuple(session.chats):
        if origin[0] and earlier.origin[0] == origin[0] and earlier.origin != origin:
            earlier.close()
    made = Chat(session, wishes, agent, origin)
    session.chats.append(made)
    return made


class Chat:
    """A chat with one agent: ``send``, ``stop`` and ``close`` do what its buttons do.

    ``run`` is the latest run. It belongs to the event loop of its cell.
    """

    def __init__(
        self,
        session: Session,
        wishes: TFrameX,
        agent: BaseAgent,
        origin: tuple[str | None, int],
    ) -> None:
        self.agent = agent
        self.origin = origin
        self.run: Run | None = None
        self._session = session
        self._wishes = wishes
        self._handle: BackgroundRun | None = None
        self._todo: list[str] = []  # keys of turns that are to be asked anew
        self._said = ""
        self._reloaded = False
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._context = session.outlet.context()
        self._view = ChatView(session.shell, agent, self._context)
        self._controls = Controls(self, self._later, agent.name)
        self._id = f"tframex-chat-{os.getpid()}-{next(_serial)}"
        self._refresh()
        self._show(self._controls.bundle(), update=False)
        self._unwatch = agent.conversation.watch(lambda: self._later(self._refresh))
        atexit.register(self.close)

    @property
    def busy(self) -> bool:
        """Whether it answers now."""
        return self._handle is not None and not self._handle.done

    def send(self, text: str, *, turn: int = 0) -> BackgroundRun:
        """Ask, as a new turn or in the place of one; ``{{ }}`` is evaluated as in a cell.

        Raises InvalidInput while it answers, or where there is no such turn.
        """
        key = self.agent.conversation.key(turn) if turn else None
        return self._ask(text, key, typed=True)

    def stop(self) -> None:
        """End the run; what was received is kept."""
        self._todo.clear()
        if self._handle is not None:
            self._handle.stop()

    def rerun(self) -> None:
        """Ask the stale turns anew, in their order."""
        conversation = self.agent.conversation
        stale = [n for n, turn in enumerate(conversation.turns, 1) if turn.stale]
        self._todo = [conversation.key(number) for number in stale]
        self._next()

    def close(self) -> None:
        """Stop, and leave the turns behind as plain Markdown."""
        if not self._open:
            return
        self.stop()
        self._open = False
        self._unwatch()
        atexit.unregister(self.close)
        with contextlib.suppress(ValueError):
            self._session.chats.remove(self)
        # The cell first: once the box is gone from sight, a file that is saved has none of it.
        self._context.copy().run(self._show, NOTHING, update=True)
        self._controls.close()

    def __repr__(self) -> str:
        state = "answers" if self.busy else "open" if self._open else "closed"
        return f"<Chat with {self.agent.name!r}, {state}>"

    def _ipython_display_(self) -> None:
        """Show nothing: it stands in its cell already."""

    # What the controls ask for; see ``Listener``.

    def asked(self, text: str, turn: int) -> None:
        """Send what was typed, and tell what is wrong with it in the chat."""
        try:
            self.send(text, turn=turn)
        except (TFrameXError, UsageError) as exc:
            self._view.fail(exc)
        else:
            self._controls.clear()
            self._refresh()

    def chosen(self, turn: int) -> str:
        """Return the text of a turn's prompt."""
        turns = self.agent.conversation.turns
        return turns[turn - 1].question if 1 <= turn <= len(turns) else ""

    def stopped(self) -> None:
        """Stop the run."""
        self.stop()

    def opened_anew(self) -> None:
        """Say that a page which was loaded anew does not hear of the turns."""
        self._reloaded = True
        self._loop.call_later(LOADED, self._refresh)  # before, the page would not hear it

    def closed(self) -> None:
        """Put the chat away."""
        self.close()

    # What its job tells.

    def begin(self, handle: BackgroundRun, question: Question) -> None:
        """Show that a prompt is taken."""
        self._handle = handle
        self._view.begin(question.request.prompt, handle)
        self._refresh()

    def feed(self, event: Event, run: Run) -> None:
        """Show what an event adds."""
        self.run = run
        self._view.feed(event, run)

    def end(self, handle: BackgroundRun) -> None:
        """Show how the run ended; go on with what is to be asked anew."""
        self._view.end(handle.error)
        self._said = f"{handle.status}: {handle.name}" if handle.status != "finished" else ""
        if handle.status != "finished":
            self._todo.clear()
        self._later(self._next)

    def _next(self) -> None:
        """Ask the next turn that is to be asked anew."""
        keys = {turn.key: turn for turn in self.agent.conversation.turns}
        while self._todo and self._open and not self.busy:
            turn = keys.get(self._todo.pop(0))
            if turn is not None:
                self._again(turn)
        self._refresh()

    def _again(self, turn: Turn) -> None:
        try:
            self._ask(turn.prompt, turn.key, typed=False)
        except (TFrameXError, UsageError) as exc:
            self._todo.clear()
            self._view.fail(exc)

    def _ask(self, prompt: Any, key: str | None, *, typed: bool) -> BackgroundRun:  # text or parts
        from tframex_nb.notebook.questions import Questions

        if self.busy or not self._open:
            state = "answers" if self._open else "is closed"
            raise InvalidInput(f"the chat with {self.agent.name!r} {state}", hint="stop it first")

        def question() -> Question:
            questions = Questions(self._session, self._wishes)
            return questions.of_turn(self.agent, prompt, turn=key, typed=typed, background=True)

        limit = load_settings().background_limit
        job = _ChatJob(self, self._session, self._context.copy().run(question))
        handle = self._session.background.start(job, limit=limit, context=self._context.copy())
        handle.origin = self.origin
        return handle

    def _later(self, work: Callable[[], None]) -> None:
        """Do it on the loop of the cells, with output to the chat's own cell."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(work, context=self._context.copy())

    def _refresh(self) -> None:
        """Show the turns as they are now."""
        if not self._open:
            return
        self._view.refresh()
        turns = self.agent.conversation.turns
        choices = [(f"{n}: {short(readable(turn.prompt))}", n) for n, turn in enumerate(turns, 1)]
        stale = sum(turn.stale for turn in turns)
        self._controls.show(
            turns=choices[-CHOICES:], stale=stale, busy=self.busy, state=self._state(stale)
        )

    def _state(self, stale: int) -> str:
        if self.busy and self._handle is not None:
            place = f", place {self._handle.place}" if self._handle.place else ""
            return f"answering{place}; %runs stop {self._handle.id} ends it, too"
        turns = len(self.agent.conversation)
        told = f"{turns} turn{'' if turns == 1 else 's'}" + (f", {stale} stale" if stale else "")
        return " · ".join(each for each in (told, self._said, RELOADED * self._reloaded) if each)

    def _show(self, data: dict[str, Any], *, update: bool) -> None:
        """Show in the chat's own cell, whoever asks for it."""
        publish = self._session.shell.display_pub.publish
        about: dict[str, Any] = {"transient": {"display_id": self._id}, "update": update}
        self._context.copy().run(lambda: publish(data, **about))


class _ChatJob:
    """A prompt of a chat, answered in the background."""

    def __init__(self, chat: Chat, session: Session, question: Question) -> None:
        self.name = chat.agent.name
        self._chat = chat
        self._session = session
        agent = copy.copy(chat.agent)  # its ``last`` is this run's, whatever a cell asks meanwhile
        agent.last = None
        request = dataclasses.replace(question.request, agent=agent)
        self._question = dataclasses.replace(question, request=request)

    def open(self, handle: BackgroundRun) -> None:
        """Show that the prompt is taken."""
        self._chat.begin(handle, self._question)

    async def play(self, handle: BackgroundRun) -> None:
        """Run it, and let the agent have the run as its last one."""
        async with contextlib.aclosing(watch(self._session, self._question)) as events:
            async for event, run in events:
                if handle.run is None:
                    handle.run = self._chat.agent.last = run
                self._chat.feed(event, run)

    def close(self, handle: BackgroundRun) -> None:
        """Show how it ended."""
        self._chat.end(handle)


def _instead(name: str) -> Table:
    """Tell how to talk to an agent where nobody can press a button."""
    rows = [
        ("ask", f"%ask {name}: …   or a cell that begins with %%agent {name}"),
        ("look back", f"%agents history {name}"),
        ("ask a turn anew", f"%agents edit {name} N new text"),
    ]
    note = "a chat needs a live notebook: JupyterLab, Notebook 7 or VS Code"
    return Table.of(("instead of a chat", "do this"), rows, note)
