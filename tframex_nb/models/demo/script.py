"""The demo's script: from a chat request to the reply, pure and the same each time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from tframex_nb.models.demo import answers
from tframex_nb.models.demo.calls import arguments_for, calls_for
from tframex_nb.models.demo.conversation import Conversation, read
from tframex_nb.models.demo.mends import mend
from tframex_nb.models.demo.schemas import example, fits, flat

__all__ = ["Reply", "pieces", "reply_to", "tokens"]

_LONG = 100_000  # characters of demo:long
_LENGTH = 40  # tokens of demo:length
_CHARACTERS_PER_TOKEN = 4
_PIECE = re.compile(r"\s*\S{1,8}|\s+")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the demo says; ``calls`` are (id, name, arguments as JSON text)."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0

    @property
    def completion_tokens(self) -> int:
        """Tokens of everything that the reply holds."""
        written = "".join(name + arguments for _, name, arguments in self.calls)
        return tokens(self.text) + tokens(self.reasoning) + tokens(written)


def reply_to(request: dict[str, Any], variant: str = "") -> Reply:
    """Return the reply of ``demo:VARIANT`` to a chat request in OpenAI's shape."""
    talk = read(request)
    reply = _reply(talk, variant)
    if talk.thinks or variant == "think":
        reply = replace(reply, reasoning=answers.reasoning(talk, bool(reply.calls)))
    limit = _LENGTH if variant == "length" else _token_limit(request)
    reply = _stopped(reply, request.get("stop"))
    reply = reply if limit is None else _cut(reply, limit)
    if talk.answers_by and reply.text and not reply.calls:
        written = json.dumps({"answer": reply.text}, ensure_ascii=False)
        reply = replace(_calling(talk, [(talk.answers_by, written)]), reasoning=reply.reasoning)
    return replace(reply, prompt_tokens=tokens("x" * talk.characters))


def pieces(text: str) -> list[str]:
    """Split text into what goes out as one token; joined they are the text again."""
    return _PIECE.findall(text)


def tokens(text: str) -> int:
    """Count tokens as a rule of thumb does: four characters each."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _reply(talk: Conversation, variant: str) -> Reply:
    if variant == "long":
        return Reply(answers.long(talk, _LONG))
    if variant == "slow":
        return Reply(answers.slow(talk))
    if variant == "loop" and talk.tools:
        return _calling(talk, calls_for(talk.prompt, talk.tools, "required")[:1])
    if not talk.results:
        calls = calls_for(talk.prompt, talk.tools, talk.tool_choice)
        if calls:
            return _calling(talk, calls)
    if talk.schema is not None:
        return Reply(_json(talk, talk.schema))
    if talk.results:
        return Reply(answers.results(talk))
    return Reply(mend(talk.prompt) or answers.answer(talk))


def _calling(talk: Conversation, calls: list[tuple[str, str]]) -> Reply:
    first = talk.calls_so_far + 1
    numbered = ((f"call_{n}", *call) for n, call in enumerate(calls, first))
    return Reply(calls=tuple(numbered), finish_reason="tool_calls")


def _json(talk: Conversation, schema: dict[str, Any]) -> str:
    """Return JSON for the schema; explicit ``key=value`` literals of the prompt are kept."""
    value = example(schema)
    if schema.get("properties"):
        value = {**value, **_fitting(talk.prompt, schema, schema)}
    elif value == {}:
        value = {"prompt": talk.prompt, "scripted": True}
    return json.dumps(value, ensure_ascii=False, indent=2)


def _fitting(prompt: str, schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return what the prompt says for the properties, where it is valid; for a list, one item."""
    properties = {name: flat(rules, root) for name, rules in schema["properties"].items()}
    given = arguments_for(prompt, {"properties": properties, "required": []})
    out = {name: value for name, value in given.items() if fits(value, properties[name])}
    for name, rules in properties.items():
        item = flat(rules.get("items"), root)
        if name not in out and item.get("properties"):
            said = _fitting(prompt, item, root)
            out |= {name: [{**example(item, root=root), **said}]} if said else {}
    return out


def _token_limit(request: dict[str, Any]) -> int | None:
    limits = (request.get("max_completion_tokens"), request.get("max_tokens"))
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def _stopped(reply: Reply, stop: object) -> Reply:
    """Return the reply up to the first stop sequence."""
    marks = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    ends = [reply.text.find(m) for m in marks if isinstance(m, str) and m and m in reply.text]
    return replace(reply, text=reply.text[: min(ends)]) if ends else reply


def _cut(reply: Reply, limit: int) -> Reply:
    """Return the reply as a token limit leaves it; tool calls stay whole."""
    room = limit * _CHARACTERS_PER_TOKEN
    reasoning = reply.reasoning[:room]
    text = reply.text[: max(room - len(reasoning), 0)]
    if reply.calls or (reasoning == reply.reasoning and text == reply.text):
        return reply
    return replace(reply, text=text, reasoning=reasoning, finish_reason="length")
