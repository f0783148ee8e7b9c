"""Agents that tell of tool calls in words, and want their answer through a tool of its own.

smolagents writes a call as an assistant's text (``Calling tools:`` and a Python list) and its
result as a user's (``Observation:``, ``Error:``), and takes the answer from ``final_answer``.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ANSWER_TOOL", "as_calls"]

ANSWER_TOOL = "final_answer"

_CALLING = "Calling tools:"
_RESULTS = ("Observation:", "Error:")
_TASK = "New task:"


def as_calls(
    messages: Iterable[tuple[dict[str, Any], str]],  # JSON objects with their text
) -> list[dict[str, Any]]:
    """Return the messages with calls that are told in words as calls, and results as results."""
    out: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for message, text in messages:
        role, stripped = message.get("role"), text.lstrip()
        if role == "assistant" and stripped.startswith(_CALLING):
            calls = _calls(stripped.removeprefix(_CALLING))
            open_calls = [str(call["id"]) for call in calls]
            out.append({"role": "assistant", "content": "", "tool_calls": calls})
        elif role == "user" and open_calls and stripped.startswith(_RESULTS):
            result = stripped.partition("\n")[2]
            out += [{"role": "tool", "tool_call_id": i, "content": result} for i in open_calls[:1]]
            open_calls = []
        elif role == "user" and stripped.startswith(_TASK):
            out.append({**message, "content": stripped.removeprefix(_TASK).strip()})
        else:
            out.append(message)
    return out


def _calls(text: str) -> list[dict[str, Any]]:
    """Read a Python list of calls; what is no such list counts as none."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return []
    return [
        {
            "id": call.get("id", "told"),
            "type": "function",
            "function": {
                "name": call["function"].get("name", "tool"),
                "arguments": json.dumps(call["function"].get("arguments"), default=str),
            },
        }
        for call in value
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
