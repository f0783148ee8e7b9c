"""Which tools a prompt asks for, and with what arguments."""

from __future__ import annotations

import ast
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from tframex_nb.models.demo.schemas import example

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tframex_nb.models.demo.conversation import ToolSpec

__all__ = ["arguments_for", "calls_for"]

_Json = Any  # any JSON value

_BRACES = 40  # places in a prompt where a JSON object is looked for
_EMPTY_WORDS = frozenset(
    [
        "a",
        "an",
        "do",
        "fetch",
        "find",
        "for",
        "from",
        "get",
        "in",
        "is",
        "it",
        "look",
        "my",
        "of",
        "on",
        "read",
        "the",
        "to",
        "up",
    ]
)
_SIGNS = {
    "add": r"\bplus\b|\bsum\b|\d\s*\+\s*\d",
    "sum": r"\bplus\b|\badd\b|\d\s*\+\s*\d",
    "subtract": r"\bminus\b|\d\s+-\s+\d",
    "multiply": r"\btimes\b|\bproduct\b|\d\s*[*x\u00d7]\s*\d",
    "divide": r"\bdivided\b|\d\s*[/÷]\s*\d",
}
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_QUOTED = re.compile(r"\"([^\"\n]{1,200})\"|'([^'\n]{1,200})'|`([^`\n]{1,200})`")
_PLACE = re.compile(
    r"\b(?:in|for|at|of|to|from|about|with|named|called)\s+"
    r"((?:[A-ZÀ-Þ][\w'\u2019.-]*)(?:\s+[A-ZÀ-Þ][\w'\u2019-]*)*)"
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z\u00c0-\u00de][\w\u2019'-]+")  # not the first of a sentence
_LAST_PLACE = re.compile(r"\b(?:in|for|at|of)\s+([\w-]+)\W*$")
_WHOLE_PROMPT = frozenset(
    ("query", "question", "text", "prompt", "topic", "input", "task", "content", "message")
)


def calls_for(prompt: str, tools: Sequence[ToolSpec], choice: str) -> list[tuple[str, str]]:
    """Return the (name, arguments as JSON text) pairs that ``prompt`` asks for, in its order.

    ``choice`` is OpenAI's tool_choice: auto, none, required, or the name of one tool.
    """
    if choice == "none" or not tools:
        return []
    forced = [tool for tool in tools if tool.name == choice]
    wanted = forced or sorted(
        (tool for tool in tools if _place(prompt, tool) >= 0),
        key=lambda tool: _place(prompt, tool),
    )
    if not wanted and choice == "required":
        wanted = list(tools[:1])
    return [
        (tool.name, json.dumps(arguments, ensure_ascii=False))
        for tool in wanted
        for arguments in _argument_sets(prompt, tool)
    ]


def arguments_for(prompt: str, schema: dict[str, _Json]) -> dict[str, _Json]:
    """Return arguments that fit ``schema``, taken from the prompt's literals where they fit."""
    properties = schema.get("properties") or {}
    written = _json_object(prompt, properties) or _pairs(prompt, properties)
    return _completed(written, prompt, schema)


def _place(prompt: str, tool: ToolSpec) -> int:
    """Return where the prompt speaks of the tool, or -1."""
    exact = re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", prompt)
    if exact:
        return exact.start()
    sign = _SIGNS.get(tool.name.lower())
    found = re.search(sign, prompt, re.IGNORECASE) if sign else None
    if found:
        return found.start()
    words = [w for w in _words(tool.name) if w not in _EMPTY_WORDS]
    places = [_word_place(prompt, word) for word in words]
    return max(places) if words and min(places) >= 0 else -1


def _words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").split("_")


def _word_place(prompt: str, word: str) -> int:
    found = re.search(rf"\b{re.escape(word)}(?:s|es|ing)?\b", prompt, re.IGNORECASE)
    return found.start() if found and word else -1


def _argument_sets(prompt: str, tool: ToolSpec) -> list[dict[str, _Json]]:
    """Return one set per call written as ``name(…)``, or one read from the words."""
    properties = tool.schema.get("properties") or {}
    written = list(_written_calls(prompt, tool.name, list(properties)))
    if written:
        return [_completed(given, prompt="", schema=tool.schema) for given in written]
    after = prompt[max(_place(prompt, tool), 0) :]
    given = _json_object(after, properties) or _pairs(prompt, properties)
    return [_completed(given, prompt, tool.schema)]


def _written_calls(prompt: str, name: str, parameters: list[str]) -> Iterable[dict[str, _Json]]:
    for found in re.finditer(rf"(?<!\w){re.escape(name)}\(", prompt):
        call = _parse_call(prompt[found.start() :])
        if call is None:
            continue
        try:
            given = dict(zip(parameters, map(ast.literal_eval, call.args), strict=False))
            given |= {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
            json.dumps(given)
        except (ValueError, TypeError):
            continue
        if given or not parameters:
            yield given


def _parse_call(text: str) -> ast.Call | None:
    """Return the call with which ``text`` begins, up to the first bracket that closes it."""
    for end in (m.end() for m in re.finditer(r"\)", text[:2000])):
        try:
            tree = ast.parse(text[:end].strip(), mode="eval").body
        except (SyntaxError, ValueError):
            continue
        return tree if isinstance(tree, ast.Call) else None
    return None


def _json_object(text: str, properties: dict[str, _Json]) -> dict[str, _Json]:
    """Return the first JSON object in the text that has keys of the schema."""
    for found in itertools.islice(re.finditer(r"\{", text), _BRACES):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value and set(value) <= set(properties):
            return value
    return {}


def _pairs(text: str, properties: dict[str, _Json]) -> dict[str, _Json]:
    """Return what is written as ``key=value`` or ``key: value``."""
    out = {}
    literal = r"(\"[^\"\n]*\"|'[^'\n]*'|\[[^\]\n]*\]|[^\s,;)}]+)"
    for name, rules in properties.items():
        found = re.search(rf"(?<!\w){re.escape(name)}\s*[=:]\s*{literal}", text)
        if found:
            out[name] = _typed(found[1], rules)
    return out


def _typed(text: str, rules: object) -> _Json:
    kinds = _kinds(rules)
    if kinds == {"string"}:
        return text.strip("\"'").rstrip(".!?") or text
    try:
        return json.loads(text.rstrip(".!?").replace("'", '"'))
    except ValueError:
        return text.strip("\"'")


def _completed(given: dict[str, _Json], prompt: str, schema: dict[str, _Json]) -> dict[str, _Json]:
    """Return ``given`` with what the schema still requires, read from the prompt's literals."""
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    rest = _Literals(prompt)
    out = dict(given)
    for name, rules in properties.items():
        if name in out:
            continue
        found = rest.take(name, _resolved(rules, schema), required=name in required)
        if found is not None:
            out[name] = found
        elif name in required:
            out[name] = example(rules, root=schema, name=name)
    return out


class _Literals:
    """The numbers, quoted texts and names of a prompt, each used once."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._numbers = [m[0] for m in _NUMBER.finditer(prompt)]
        self._texts: list[str] = [next(filter(None, m.groups())) for m in _QUOTED.finditer(prompt)]
        self._texts += [m[1].rstrip(".") for m in _PLACE.finditer(prompt)]
        if not self._texts:
            self._texts = _NAME.findall(prompt) or _LAST_PLACE.findall(prompt)

    def take(self, name: str, rules: dict[str, _Json], *, required: bool) -> _Json:
        """Return a literal for this property, or None."""
        kinds = _kinds(rules)
        mentioned = [v for v in rules.get("enum") or () if _mentions(self._prompt, v)]
        if mentioned or rules.get("enum"):
            return mentioned[0] if mentioned else None
        if not required:
            return None
        if kinds & {"integer", "number"} and self._numbers:
            number = json.loads(self._numbers.pop(0))
            return int(number) if kinds == {"integer"} else number
        if "array" in kinds and _kinds(rules.get("items")) & {"integer", "number"}:
            numbers, self._numbers = self._numbers, []
            return [json.loads(number) for number in numbers] or None
        if "string" in kinds or not kinds:
            return self._text(name)
        return None

    def _text(self, name: str) -> str | None:
        if self._texts:
            return self._texts.pop(0)
        return (self._prompt[:400] or None) if name in _WHOLE_PROMPT else None


def _mentions(prompt: str, value: object) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", prompt, re.IGNORECASE))


def _kinds(rules: object) -> set[str]:
    """Return the JSON types that a property's schema allows, null aside."""
    if not isinstance(rules, dict):
        return set()
    kind = rules.get("type")
    kinds = set(kind) if isinstance(kind, list) else {kind} if isinstance(kind, str) else set()
    for option in rules.get("anyOf") or ():
        kinds |= _kinds(option)
    return kinds - {"null"}


def _resolved(rules: _Json, schema: dict[str, _Json]) -> dict[str, _Json]:
    """Return a property's rules, its ``$ref`` into ``$defs`` followed once."""
    if not isinstance(rules, dict):
        return {}
    reference = str(rules.get("$ref", ""))
    found = (schema.get("$defs") or {}).get(reference.removeprefix("#/$defs/"))
    return found if isinstance(found, dict) else rules
