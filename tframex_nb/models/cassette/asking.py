"""What was asked of a model, without what differs by chance: the key of a recording."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tframex_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tframex_nb.models.cassette.masking import Mask

__all__ = ["Asked", "Place"]

TITLE = 80  # characters of the last message that stand for a request

# How an answer travels, and who asks: none of it is a part of the question.
_PARAMS = frozenset(
    {
        "extra_headers",
        "metadata",
        "model",
        "prompt_cache_key",
        "request_id",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "timeout",
        "user",
    }
)
_OF_A_MESSAGE = frozenset({"created", "created_at", "id", "reasoning", "refusal", "timestamp"})
_DATA_URL = re.compile(r"data:([\w/+.;=-]*);base64,([A-Za-z0-9+/=\s]{64,})")
_BARE = re.compile(r"[A-Za-z0-9+/=\s]{64,}")

# What differs from run to run in texts that nobody typed. Only replay looks past it.
_CHANCE = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
    r"|\b(?:call|chatcmpl|toolu|msg|run|fc)[_-][A-Za-z0-9]{8,}"
    r"|\b[0-9a-f]{32}\b"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\b0x[0-9a-fA-F]{6,}\b"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Who was asked: an endpoint's name or URL, and a model's name, empty for its only one."""

    endpoint: str
    model: str

    def __str__(self) -> str:
        if not self.endpoint or self.model.partition(":")[0] == self.endpoint:
            return self.model
        return ":".join(part for part in (self.endpoint, self.model) if part)

    @property
    def label(self) -> str:
        """What people see in a footer; an endpoint without a name has its model's alone."""
        return (self.model or "the endpoint's model") if "://" in self.endpoint else str(self)


@dataclass(frozen=True)
class Asked:
    """One request as it is compared and stored: messages in OpenAI's shape, parameters.

    Tool calls are numbered in place of their ids, their arguments are data, images are digests.
    """

    place: Place
    messages: list[dict[str, Any]]  # any JSON
    params: dict[str, Any]  # any JSON

    @classmethod
    def of(
        cls,
        place: Place,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters
        mask: Mask | None = None,
    ) -> Asked:
        """Read a request; what was read before is read again unchanged."""
        sent = [m.to_dict() if isinstance(m, Message) else dict(m) for m in messages]
        ids = _Ids()
        said = [_message(message, ids) for message in sent]
        given = {k: v for k, v in params.items() if k not in _PARAMS and v is not None}
        clean = _plain([said, given])
        said, given = mask.json(clean) if mask is not None else clean
        return cls(place, said, given)

    @functools.cached_property
    def key(self) -> str:
        """What two equal requests have in common."""
        return _digest(self._text)

    @functools.cached_property
    def like(self) -> str:
        """What two requests have in common that differ by ids, dates and times in texts alone."""
        return _digest(_CHANCE.sub("~", self._text))

    @functools.cached_property
    def title(self) -> str:
        """The beginning of the user's last message, or of the last that says something."""
        last = sorted(self.messages, key=lambda message: message.get("role") == "user")
        texts = (_said(message) for message in reversed(last))
        flat = " ".join(next((text for text in texts if text.strip()), "").split())
        return flat if len(flat) <= TITLE else f"{flat[: TITLE - 1]}…"

    def to_dict(self) -> dict[str, Any]:
        """Return the request as a recording holds it."""
        return {"messages": self.messages, **({"params": self.params} if self.params else {})}

    @property
    def _text(self) -> str:
        whole = [self.place.endpoint, self.place.model, self.messages, self.params]
        return json.dumps(whole, sort_keys=True)


class _Ids:
    """Numbers in place of the ids of tool calls, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def of(self, call_id: object) -> str:
        return self._numbers.setdefault(str(call_id), f"call_{len(self._numbers) + 1}")


def _message(message: Mapping[str, Any], ids: _Ids) -> dict[str, Any]:
    out = {k: v for k, v in message.items() if k not in _OF_A_MESSAGE and v not in (None, "", [])}
    if isinstance(out.get("content"), list):
        out["content"] = _joined(out["content"])
    if isinstance(out.get("tool_calls"), list):
        out["tool_calls"] = [_call(call, ids) for call in out["tool_calls"]]
    if "tool_call_id" in out:
        out["tool_call_id"] = ids.of(out["tool_call_id"])
    return out


def _call(call: Any, ids: _Ids) -> Any:  # whatever stands in a list of tool calls
    if not isinstance(call, dict):
        return call
    given = call.get("function")
    function = given if isinstance(given, dict) else call
    name, arguments = function.get("name"), function.get("arguments")
    return {"id": ids.of(call.get("id")), "name": name, "arguments": _data(arguments)}


def _data(arguments: Any) -> Any:  # a JSON text, mostly
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return value if isinstance(value, (dict, list)) else arguments


def _joined(parts: Iterable[Any]) -> Any:  # content parts
    """Return parts that are nothing but text as that text; clients write it either way."""
    every = list(parts)
    texts = [
        p.get("text") if isinstance(p, dict) and p.get("type") == "text" else None for p in every
    ]
    whole = all(isinstance(text, str) for text in texts)
    return "".join(str(text) for text in texts) if whole else every


def _plain(value: Any) -> Any:  # anything that a caller put into a request
    """Return JSON data: other objects as text, long data URLs as their digests."""
    if isinstance(value, str):
        return _DATA_URL.sub(_shortened, value) if "base64," in value else value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in _sound(value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _sound(part: dict[Any, Any]) -> dict[Any, Any]:  # any JSON
    """Return the data of OpenAI's ``input_audio``, which is bare base64, as a data URL's."""
    data, form = part.get("data"), part.get("format")
    bare = isinstance(data, str) and isinstance(form, str) and _BARE.fullmatch(data)
    return {**part, "data": f"data:audio/{form};base64,{data}"} if bare else part


def _shortened(url: re.Match[str]) -> str:
    size = len(url[2])
    return f"data:{url[1]};sha256,{_digest(url[2])} ({size} characters)"


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return " ".join(str(p.get("text", "")) for p in content if isinstance(p, dict))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
