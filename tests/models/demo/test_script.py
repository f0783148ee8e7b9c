"""What the demo says: pure, from a request to a reply."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from tframex_nb.models.demo.schemas import example
from tframex_nb.models.demo.script import Reply, pieces, reply_to

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"], "default": "celsius"},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["query"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


def ask(*turns: str, variant: str = "", system: str = "", **request: Any) -> Reply:
    """Ask with user turns; every other text is the assistant's."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return reply_to({"messages": messages, **request}, variant)


def calls(prompt: str, *tools: dict[str, Any], **request: Any) -> list[tuple[str, Any]]:
    reply = ask(prompt, tools=list(tools), **request)
    return [(name, json.loads(arguments)) for _, name, arguments in reply.calls]


def test_the_answer_shows_the_prompt_and_says_that_it_is_scripted():
    text = ask("How tall is the tower?", system="Be brief.").text
    assert text.startswith("# Demo answer")
    assert "```text\nHow tall is the tower?\n```" in text
    assert "my words are scripted" in text
    assert "- messages: **2**, with " in text
    assert "- a system prompt: `Be brief.`" in text
    assert "| user | 1 |" in text
    assert "$t \\approx n / 4$" in text


def test_the_same_request_gets_the_same_reply():
    assert ask("hello") == ask("hello")


def test_a_prompt_with_fences_is_quoted_whole():
    prompt = "look:\n````\n```python\nx\n```\n````"
    assert f"`````text\n{prompt}\n`````" in ask(prompt).text


def test_a_hostile_role_does_not_break_the_table():
    reply = reply_to({"messages": [{"role": "a|b\n<script>", "content": "x"}]})
    assert "<script>" not in reply.text


@pytest.mark.parametrize(
    "question",
    ["What did I ask before?", "what was my previous question?", "Repeat what I said earlier"],
)
def test_it_quotes_what_was_asked_before(question):
    reply = ask("How many moons has Mars?", "Two.", question)
    assert "How many moons has Mars?" in reply.text
    assert "I remember 1 earlier prompt." in reply.text


def test_it_remembers_a_fact():
    assert "Your name is Ada." in ask("My name is Ada.", "Hello.", "What is my name?").text


def test_without_earlier_turns_it_says_so():
    assert "first message" in ask("What did I ask before?").text


def test_earlier_turns_are_named_in_a_plain_answer():
    assert "- I remember: `first thing`" in ask("first thing", "ok", "second thing").text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("add(2, 3)", [("add", {"a": 2, "b": 3})]),
        ("please add(a=2, b=3) for me", [("add", {"a": 2, "b": 3})]),
        ("add a=2 b=3", [("add", {"a": 2, "b": 3})]),
        ('call add with {"a": 2, "b": 3}', [("add", {"a": 2, "b": 3})]),
        ("What is 2 + 3?", [("add", {"a": 2, "b": 3})]),
        ("add 2 and -3", [("add", {"a": 2, "b": -3})]),
        ("add(1, 2) and then add(3, 4)", [("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]),
        ("weather in Paris", [("get_weather", {"city": "Paris"})]),
        ("weather in paris?", [("get_weather", {"city": "paris"})]),
        ("how does the weather look, Oslo?", [("get_weather", {"city": "Oslo"})]),
        (
            "What is the weather in New York, in fahrenheit?",
            [("get_weather", {"city": "New York", "unit": "fahrenheit"})],
        ),
        ("get_weather('São Paulo')", [("get_weather", {"city": "São Paulo"})]),
        ("search 'blue whales'", [("search", {"query": "blue whales"})]),
        ("search for cats", [("search", {"query": "cats"})]),
        ("now()", [("now", {})]),
        (
            "weather in Rome and add(1, 2)",
            [("get_weather", {"city": "Rome"}), ("add", {"a": 1, "b": 2})],
        ),
        ("How are you?", []),
        ("additional madness", []),
    ],
)
def test_tools_are_called_when_the_prompt_asks(prompt, expected):
    assert calls(prompt, ADD, WEATHER, SEARCH, NOW) == expected


def test_tool_choice_is_obeyed():
    assert calls("add(2, 3)", ADD, tool_choice="none") == []
    assert calls("hello", ADD, tool_choice="required")[0][0] == "add"
    choice = {"type": "function", "function": {"name": "add"}}
    assert calls("hello 4 and 5", WEATHER, ADD, tool_choice=choice) == [("add", {"a": 4, "b": 5})]


def results_of(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    made = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for n, (name, _) in enumerate(pairs)
    ]
    out = [{"role": "assistant", "content": None, "tool_calls": made}]
    return out + [
        {"role": "tool", "tool_call_id": f"c{n}", "content": text}
        for n, (_, text) in enumerate(pairs)
    ]


def test_tool_results_are_stated_and_not_asked_for_again():
    messages = [{"role": "user", "content": "add(2, 3)"}, *results_of(("add", "5"))]
    reply = reply_to({"messages": messages, "tools": [ADD]})
    assert reply.calls == ()
    assert "- `add` gave `5`" in reply.text


def test_call_ids_are_new_in_each_turn():
    messages = [
        {"role": "user", "content": "add(2, 3)"},
        *results_of(("add", "5")),
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": "add(4, 5)"},
    ]
    assert reply_to({"messages": messages, "tools": [ADD]}).calls[0][0] == "call_2"


def test_the_loop_variant_calls_a_tool_at_every_step():
    messages = [{"role": "user", "content": "hello"}, *results_of(("add", "5"))]
    assert reply_to({"messages": messages, "tools": [ADD]}, "loop").finish_reason == "tool_calls"


def test_it_reasons_when_asked():
    assert "scripted" in ask("Think about it").reasoning
    assert ask("hello", variant="think").reasoning
    assert ask("hello", reasoning_effort="low").reasoning
    assert not ask("hello").reasoning


def test_a_summary_is_made_of_the_texts_own_sentences():
    prompt = "Summarize this text:\n\nWhales sing. They are large.\n\nCats purr. They sleep a lot."
    assert ask(prompt).text == "Whales sing. Cats purr."


def test_a_summary_reads_the_labelled_parts_and_not_the_request():
    """A chain of calls carries a running summary on."""
    prompt = (
        "You read a text.\n\nRequest:\nWhich animals sing?\n\nSummary so far:\nWhales sing.\n\n"
        "The text, part 2 of 2:\nCats purr. They sleep.\nMice squeak.\n\nWrite the summary anew."
    )
    assert ask(prompt).text == "Whales sing. Cats purr. They sleep."
    first = prompt.replace("Whales sing.", "(this is the first part)")
    assert ask(first).text == "Cats purr. They sleep."


def test_limits_and_stop_sequences_are_obeyed():
    reply = ask("hello", max_tokens=5)
    assert reply.finish_reason == "length"
    assert len(reply.text) == 20
    assert ask("hello", variant="length").finish_reason == "length"
    assert ask("hello", stop=["asked"]).text.endswith("You ")


def test_the_long_variant_is_100_kb():
    assert len(ask("hello", variant="long").text) == 100_000


def test_usage_is_counted_by_characters():
    reply = ask("x" * 40)
    assert reply.prompt_tokens == 10
    assert reply.completion_tokens == -(-len(reply.text) // 4)


@pytest.mark.parametrize("text", ["", " a  b\n\nc ", "x" * 100, "\n", "é ü\t"])
def test_pieces_joined_are_the_text(text):
    assert "".join(pieces(text)) == text


MENDS = {
    "NameError": ("total = 1\nprint(totl)", "name 'totl' is not defined", "print(total)"),
    "module": ("print(np.pi)", "name 'np' is not defined", "import numpy as np"),
    "suggestion": (
        "[].appendd(1)",
        "x has no attribute 'appendd'. Did you mean: 'append'?",
        ".append(",
    ),
    "ZeroDivisionError": ("a, b = 1, 0\na / b", "division by zero", 'a / b if b else float("nan")'),
    "SyntaxError": ("for i in range(3)\n    print(i)", "expected ':'", "for i in range(3):"),
    "bracket": ("print((1)", "'(' was never closed", "print((1))"),
    "KeyError": ("d = {'name': 1}\nd['nmae']", "'nmae'", "d['name']"),
    "key": ("d = {}\nd['zzz']", "'zzz'", "d.get('zzz')"),
    "ModuleNotFoundError": ("import foo", "No module named 'foo'", "%pip install foo"),
    "TypeError": ("n = 1\n'a' + n", 'can only concatenate str (not "int") to str', "str(n)"),
}
KINDS = {
    "module": "NameError",
    "suggestion": "AttributeError",
    "bracket": "SyntaxError",
    "key": "KeyError",
}


@pytest.mark.parametrize(("name", "case"), MENDS.items(), ids=MENDS)
def test_a_failing_cell_is_mended(name, case):
    cell, message, mended = case
    error = f"Traceback (most recent call last)\n{KINDS.get(name, name)}: {message}"
    text = ask(f"Fix this cell:\n```python\n{cell}\n```\n{error}").text
    block = text.split("```python\n")[1].split("\n```")[0]
    assert mended in block
    assert block != cell


def test_what_the_script_cannot_mend_stays_as_it_was():
    text = ask("Fix:\n```python\nf()\n```\nTraceback (most recent call last)\nOSError: disk").text
    assert "my script has no mend for this one" in text
    assert "```python\nf()\n```" in text


class Leaf(BaseModel):
    kind: Literal["a", "b"]
    score: float = Field(ge=0, lt=1)
    tags: list[str] = Field(min_length=3)
    maybe: int | None = None


class Tree(BaseModel):
    name: str = Field(min_length=12)
    count: int = Field(gt=5, multiple_of=4)
    leaf: Leaf
    children: list[Tree] = []
    parent: Tree | None = None
    either: int | str
    table: dict[str, int]
    pair: tuple[int, str]
    unique: set[int] = Field(min_length=3)


def test_json_fits_a_deep_recursive_schema():
    schema = Tree.model_json_schema()
    wish = {"type": "json_schema", "json_schema": {"name": "tree", "schema": schema}}
    Tree.model_validate_json(ask("a tree please", response_format=wish).text)


@pytest.mark.parametrize(
    "kind",
    [int, float, bool, str, list[int], dict[str, float], Literal["x"], int | None, tuple[int, int]],
    ids=str,
)
def test_json_fits_simple_types(kind):
    adapter = TypeAdapter(kind)
    adapter.validate_json(json.dumps(example(adapter.json_schema())))


def test_json_keeps_the_literals_of_the_prompt():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 3}},
        "required": ["city", "days"],
    }
    wish = {"type": "json_schema", "json_schema": {"schema": schema}}
    answer = json.loads(ask("city=Oslo days=70", response_format=wish).text)
    assert answer == {"city": "Oslo", "days": 1}


def test_a_json_object_without_a_schema():
    answer = json.loads(ask("hi", response_format={"type": "json_object"}).text)
    assert answer == {"prompt": "hi", "scripted": True}


def test_a_schema_that_requires_itself_ends():
    example({"$ref": "#"})
    example({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "{",
        "what ask ",
        "```\n",
        "add(",
        "my a is ",
        "in A ",
        "a.",
        "\nx:\n",
        "Error",
        "summary. ",
    ],
)
def test_a_long_prompt_is_read_in_linear_time(piece):
    """No pattern of the script may stall the server: each of these once is 90 kB."""
    prompt = piece * (90_000 // len(piece))
    assert isinstance(ask(prompt, "ok", prompt, tools=[ADD, WEATHER, SEARCH]), Reply)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"messages": [{"content": 5}], "tools": [5], "response_format": 5},
        {"messages": [{"role": "tool", "content": "x"}], "tools": [{"function": {}}]},
        {"messages": [{"role": "user", "content": "x("}], "tools": [{"function": {"name": "x"}}]},
    ],
)
def test_strange_requests_get_an_answer(request_):
    assert isinstance(reply_to(request_), Reply)


def asked_for(schema: dict[str, Any], prompt: str) -> Any:
    wish = {"type": "json_schema", "json_schema": {"schema": schema}}
    return json.loads(ask(prompt, response_format=wish).text)


def test_what_the_prompt_says_is_taken_where_the_schema_allows_it():
    """Bounds are kept, and a list has the item that was told of."""
    item = {
        "type": "object",
        "properties": {"number": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
    }
    schema = {
        "type": "object",
        "properties": {"bills": {"type": "array", "items": {"$ref": "#/$defs/Bill"}}},
        "$defs": {"Bill": item},
    }
    assert asked_for(item, "number=A-17, total=99.5") == {"number": "A-17", "total": 99.5}
    assert asked_for(item, "total=-3")["total"] >= 0
    assert asked_for(schema, "number=A-17") == {"bills": [{"number": "A-17", "total": 1}]}


def test_code_alone_is_a_block_alone():
    """As ``--as code`` asks for it."""
    messages = [
        {"role": "system", "content": "Answer with code alone, in one fenced block."},
        {"role": "user", "content": "Count my words."},
    ]
    assert reply_to({"messages": messages}).text == (
        '```python\nprint("words in the prompt:", 3)\n```'
    )
