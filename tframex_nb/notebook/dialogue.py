"""``%agents`` with a conversation: look back, ask a turn anew, drop it, keep it in a file."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError

from tframex_nb.models.parts import readable
from tframex_nb.notebook.namespace import get_agent
from tframex_nb.notebook.tables import Table
from tframex_nb.notebook.turns import TurnView, short

if TYPE_CHECKING:
    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.conversation import Turn
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.execution import Question
    from tframex_nb.notebook.session import Session

__all__ = ["agents_magic"]

HISTORY = ("turn", "cell", "state", "tokens in", "tokens out", "prompt", "answer")
KEY = 12  # characters of a cell's id that stay; most front ends give longer ones
_EDIT = re.compile(r"edit\s+(?P<rest>--rerun-rest\s+)?(?P<name>\S+)\s+(?P<n>\S+)(?P<text>.*)$")


async def agents_magic(session: Session, wishes: TFrameX, line: str, cell: str) -> object:
    """Answer ``%agents`` and ``%%agents``; what is asked anew is shown, and not returned."""
    line = line.strip()
    verb = line.partition(" ")[0]
    if cell.strip() and verb != "edit":
        raise UsageError("only %%agents edit NAME N takes a cell: the new prompt")
    if verb == "edit":
        await _edit(session, wishes, line, cell)
        return None
    words = _words(line)
    if verb in {"save", "load"}:
        from tframex_nb.notebook.dialogue_files import load, save

        options = _parsed(words, flag="--force", most=2)
        return await (save if verb == "save" else load)(session, *options)
    if verb == "rerun":
        rest, name, *number = _parsed(words, flag="--rerun-rest", most=2)
        return await _rerun(session, wishes, name, number, rest=rest)
    return _looked(session, wishes, words)


def _looked(session: Session, wishes: TFrameX, words: list[str]) -> object:
    """Answer a verb that asks no model."""
    from tframex_nb.notebook.views import agents_view

    namespace = session.shell.user_ns
    match words:
        case ["history", name]:
            return _history(get_agent(namespace, name))
        case ["show" | "history", name, number]:
            agent = get_agent(namespace, name)
            return TurnView(_number(agent, number), _turn(agent, number))
        case ["drop", name, number]:
            return _drop(get_agent(namespace, name), number)
        case ["drop", *_]:
            raise UsageError("%agents drop takes NAME N: the turn to forget")
        case ["chat", name]:
            from tframex_nb.notebook.chat import chat

            return chat(session, wishes, name)
        case _:
            return agents_view(session, words)


async def _edit(session: Session, wishes: TFrameX, line: str, cell: str) -> None:
    match = _EDIT.match(line)
    text = cell.strip("\n") or (match["text"].strip() if match else "")
    if match is None or not text:
        raise UsageError("%agents edit NAME N new text; a long one in a cell: %%agents edit NAME N")
    if cell.strip() and match["text"].strip():
        raise UsageError("the new prompt stands on the %%agents line and below it: write one")
    agent = get_agent(session.shell.user_ns, match["name"])
    number = _number(agent, match["n"])
    later = _keys(agent)[number:] if match["rest"] else []
    turn = _turn(agent, match["n"])
    await _ask(session, wishes, agent, _keys(agent)[number - 1], text, beside=turn)
    await _ask_again(session, wishes, agent, later)


async def _rerun(
    session: Session, wishes: TFrameX, name: str, number: list[str], *, rest: bool
) -> Table | None:
    agent = get_agent(session.shell.user_ns, name)
    if number:
        first = _number(agent, number[0])
        keys = _keys(agent)[first - 1 : None if rest else first]
    else:
        turns = zip(_keys(agent), agent.conversation.turns, strict=True)
        keys = [key for key, turn in turns if turn.stale]
    if not keys:
        return Table.of(("agent", "stale turns"), [(name, 0)], "nothing is stale")
    await _ask_again(session, wishes, agent, keys)
    return None


async def _ask_again(session: Session, wishes: TFrameX, agent: BaseAgent, keys: list[str]) -> None:
    """Ask turns anew, in their order; the first that fails ends it."""
    for key in keys:
        turn = next((turn for turn in agent.conversation.turns if turn.key == key), None)
        if turn is not None:  # else it was dropped meanwhile
            await _ask(session, wishes, agent, key, turn.prompt)


async def _ask(
    session: Session,
    wishes: TFrameX,
    agent: BaseAgent,
    key: str,
    prompt: Any,  # text or content parts
    *,
    beside: Turn | None = None,
) -> None:
    """Ask in the place of a turn; a new text keeps the images and files ``beside`` the old."""
    from tframex_nb.notebook import execution
    from tframex_nb.notebook.questions import Questions
    from tframex_nb.notebook.served import served_tools

    named = argparse.Namespace(tools=None, name=agent.agent_id)
    questions = Questions(session, wishes, await served_tools(session, wishes, named))
    question = questions.of_turn(agent, prompt, turn=key, typed=beside is not None)
    await execution.show(session, question if beside is None else _with_files(question, beside))


def _with_files(question: Question, turn: Turn) -> Question:
    asked = question.request.prompt
    if isinstance(turn.prompt, str) or not isinstance(asked, str):
        return question
    files = [part for part in turn.prompt if part.get("type") != "text"]
    prompt: Any = [{"type": "text", "text": asked}, *files]  # what a run takes beside text
    return dataclasses.replace(
        question, request=dataclasses.replace(question.request, prompt=prompt)
    )


def _history(agent: BaseAgent) -> Table:
    turns = agent.conversation.turns
    rows = [
        (
            number,
            _brief(turn.key or ""),
            f"{turn.status}, stale" if turn.stale else turn.status,
            turn.usage.prompt_tokens or None,
            turn.usage.completion_tokens or None,
            short(readable(turn.prompt)),
            short(turn.answer),
        )
        for number, turn in enumerate(turns, 1)
    ]
    name = agent.agent_id
    note = f"%agents show {name} N: all of one; edit {name} N new text: ask it anew"
    if any(turn.stale for turn in turns):
        note += f"; rerun {name}: ask the stale ones anew"
    return Table.of(HISTORY, rows, note if rows else "the conversation is empty")


def _brief(key: str) -> str:
    """Return a cell's id as a table has room for it."""
    return key if len(key) <= KEY else key.partition("-")[0][:KEY]


def _drop(agent: BaseAgent, number: str) -> Table:
    dropped = _turn(agent, number)
    agent.conversation.drop(_number(agent, number))
    turns = agent.conversation.turns
    stale = sum(turn.stale for turn in turns)
    note = f"{stale} later stale: %agents rerun {agent.agent_id} asks them anew" if stale else ""
    row = (agent.agent_id, short(dropped.question), len(turns))
    return Table.of(("agent", "dropped", "turns left"), [row], note)


def _keys(agent: BaseAgent) -> list[str]:
    conversation = agent.conversation
    return [conversation.key(number) for number in range(1, len(conversation) + 1)]


def _turn(agent: BaseAgent, number: str) -> Turn:
    return agent.conversation.turn(_number(agent, number))


def _number(agent: BaseAgent, text: str) -> int:
    """Return the number of a turn that there is."""
    if not text.isdecimal():
        turns = len(agent.conversation)
        raise UsageError(f"{text!r} is no number of a turn: {agent.agent_id} has {turns}")
    agent.conversation.turn(int(text))
    return int(text)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as exc:
        raise UsageError(f"{exc} in: {line}") from None


def _parsed(words: list[str], *, flag: str, most: int) -> tuple[Any, ...]:  # a bool, then texts
    """Return whether a flag is there, and the one or two words beside it."""
    verb, *rest = words
    parser = _Parser(prog=f"%agents {verb}", add_help=False)
    parser.add_argument(flag, action="store_true", dest="flag")
    parser.add_argument("words", nargs="+")
    options = parser.parse_intermixed_args(rest)
    if len(options.words) > most:
        raise UsageError(f"%agents {verb}: {options.words[most]!r} is one word too many")
    return options.flag, *options.words


class _Parser(argparse.ArgumentParser):
    """A parser that raises in place of leaving."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong with the options."""
        raise UsageError(f"{self.prog}: {message}")
