"""Plain Python functions as tools: what a model is told of them, and how a call reaches them."""

from __future__ import annotations

import collections.abc  # noqa: TC003 - the hints are read at run time
import dataclasses
import enum
import functools
import json
import re
from datetime import date
from typing import Annotated, Any, Literal, NotRequired

import pydantic
import pytest
from pydantic import Field
from typing_extensions import TypedDict

from tframex_nb.agents import Tool, tool
from tframex_nb.agents._schema import InvalidArguments
from tframex_nb.errors import ToolError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Place(pydantic.BaseModel):
    """A place."""

    name: str
    at: Point | None = None


class Filters(TypedDict):
    since: date
    tag: NotRequired[str]


def schema_of(function) -> dict[str, Any]:
    return Tool.of(function).parameters


def call(function, arguments):
    """Bind arguments as a model writes them, and call."""
    made = Tool.of(function)
    args, named = made.arguments.bind(json.dumps(arguments))
    return made.function(*args, **named)


def test_hints_and_defaults_become_a_schema():
    """Every kind of type hint, in JSON schema; what has a default is not required."""

    def find(
        place: Place,
        colour: Colour,
        kind: Literal["a", "b"] = "a",
        points: list[Point] | None = None,
        counts: dict[str, int] = {},  # noqa: B006 - people write this
        limit: Annotated[int, Field(ge=1, description="at most so many")] = 10,
        note: Annotated[str, "free text"] = "",
        anything=None,
    ): ...

    schema = schema_of(find)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["place", "colour"]
    properties = schema["properties"]
    assert properties["place"] == {"$ref": "#/$defs/Place"}
    assert schema["$defs"]["Colour"]["enum"] == ["red", "blue"]
    assert properties["kind"] == {"default": "a", "enum": ["a", "b"], "type": "string"}
    assert properties["points"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Point"}
    assert properties["counts"]["additionalProperties"] == {"type": "integer"}
    assert properties["limit"] == {
        "default": 10,
        "description": "at most so many",
        "minimum": 1,
        "type": "integer",
    }
    assert properties["note"]["description"] == "free text"
    assert properties["anything"] == {"default": None}
    assert "title" not in properties["limit"]


def test_arguments_reach_the_function_as_their_types():
    """Validated and coerced as pydantic does: models, enums, dataclasses, dates, numbers."""

    def take(place: Place, colour: Colour, point: Point, filters: Filters, n: int):
        return place, colour, point, filters, n

    arguments = {
        "place": {"name": "Oslo", "at": {"x": 1}},
        "colour": "blue",
        "point": {"x": "1.5"},
        "filters": {"since": "2024-01-31"},
        "n": "7",
    }
    place, colour, point, filters, n = call(take, arguments)
    assert place == Place(name="Oslo", at=Point(1.0))
    assert colour is Colour.BLUE
    assert point == Point(1.5)
    assert filters == {"since": date(2024, 1, 31)}
    assert n == 7


def test_a_default_stays_the_functions_own():
    """What the model leaves out keeps the function's very default, also one JSON cannot say."""
    marker = object()

    def take(x: int = 1, y=marker, z: int = None):  # noqa: RUF013 - people write this
        return x, y, z

    assert call(take, {}) == (1, marker, None)
    assert call(take, {"z": None}) == (1, marker, None)
    assert "default" not in schema_of(take)["properties"]["y"]


def test_a_field_as_default_is_understood():
    """As pydantic's own functions do: the default, the bounds and the description are inside."""

    def take(x: int = Field(3, gt=2, description="more than two")):
        return x

    assert schema_of(take)["properties"]["x"] == {
        "default": 3,
        "description": "more than two",
        "exclusiveMinimum": 2,
        "type": "integer",
    }
    assert call(take, {}) == 3
    assert call(take, {"x": 5}) == 5


def test_keyword_only_positional_only_and_further_arguments():
    """Each kind of parameter gets its value; **kwargs take further ones, validated."""

    def take(a, b=2, /, c=3, *, d, **rest: int):
        return a, b, c, d, rest

    assert call(take, {"a": 1, "d": 4, "c": 5, "z": "9"}) == (1, 2, 5, 4, {"z": 9})
    assert schema_of(take)["additionalProperties"] == {"type": "integer"}
    assert schema_of(take)["required"] == ["a", "d"]


@pytest.mark.parametrize(
    "name", ["schema", "json", "copy", "model_config", "self_", "p0", "class_"]
)
def test_any_parameter_name_works(name):
    """Also the names that pydantic keeps for itself."""
    space: dict[str, Any] = {}
    exec(f"def take({name}: int): return {name}", space)
    assert call(space["take"], {name: 4}) == 4


GOOGLE = """Look something up.

Carefully.

Args:
    word: the word,
        in lower case
    limit (int): how many

Returns:
    Lines.
"""
NUMPY = """Look something up.

Carefully.

Parameters
----------
word : str
    the word, in lower case
limit
    how many

Returns
-------
str
"""
REST = """Look something up.

Carefully.

:param word: the word, in lower case
:param int limit: how many
:returns: lines
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_describe_the_tool_and_its_parameters(text):
    """The summary describes the tool, the argument section each parameter, in three styles."""

    def look(word: str, limit: int = 1): ...

    look.__doc__ = text
    made = Tool.of(look)
    assert made.description == "Look something up.\n\nCarefully."
    assert made.parameters["properties"]["word"]["description"] == "the word, in lower case"
    assert made.parameters["properties"]["limit"]["description"] == "how many"


def test_methods_callables_partials_and_async_functions():
    """Whatever can be called can be a tool, under its own name."""

    class Shop:
        def __init__(self, price: int) -> None:
            self.price = price

        def cost(self, count: int) -> int:
            """Cost of so many."""
            return self.price * count

        def __call__(self, count: int) -> int:
            """Count again."""
            return count

    async def fetch(url: str) -> str:
        return url

    assert call(Shop(3).cost, {"count": 2}) == 6
    assert Tool.of(Shop(3).cost).description == "Cost of so many."
    assert Tool.of(Shop(1)).description == "Count again."
    assert Tool.of(Shop(1)).name == "Shop"
    assert Tool.of(fetch).is_async
    assert Tool.of(functools.partial(fetch)).is_async
    assert not Tool.of(Shop(1)).is_async


def test_what_a_partial_binds_and_private_defaults_are_hidden():
    """A model neither sees nor sets what the developer has bound."""

    def query(sql: str, key: str, _connection=object()):  # noqa: B008 - people write this
        """Query."""
        return sql, key

    bound = functools.partial(query, key="k")
    assert list(schema_of(bound)["properties"]) == ["sql"]
    assert Tool.of(bound).name == "query"
    assert call(bound, {"sql": "select 1"}) == ("select 1", "k")
    assert list(schema_of(functools.partial(query, "select 1"))["properties"]) == ["key"]


def test_hints_local_to_a_function_are_found():
    """Postponed annotations may name what is local to where the tool is defined."""

    class Local(pydantic.BaseModel):
        v: int

    def take(local: Local, many: list[Local]) -> NotDefinedAnywhere:  # noqa: F821 - that is the test
        return local, many

    assert call(take, {"local": {"v": 1}, "many": [{"v": 2}]}) == (Local(v=1), [Local(v=2)])


def test_hints_in_a_namespace_like_a_notebooks_are_found():
    """A cell's function sees the cells' names, also those of later cells."""
    space: dict[str, Any] = {"__name__": "__main__"}
    cell = "from __future__ import annotations\ndef take(item: Item) -> int: return item.n"
    exec(cell, space)
    exec("import pydantic\nclass Item(pydantic.BaseModel):\n    n: int", space)
    assert call(space["take"], {"item": {"n": 3}}) == 3


def test_a_hint_that_cannot_be_found_is_refused():
    """The error names the function and the missing name."""

    def take(x: Missing): ...  # noqa: F821 - that is the test

    with pytest.raises(ToolError) as caught:
        Tool.of(take)
    assert "take has a type hint that cannot be evaluated: name 'Missing'" in caught.value.message
    assert caught.value.hint == "define the type before the tool, where the tool can see it"


def takes_star(*parts: str): ...


def takes_callable(then: collections.abc.Callable[[], None]): ...


def takes_object(pattern: re.Match): ...


@pytest.mark.parametrize(
    ("function", "text", "hint"),
    [
        (takes_star, "takes *parts, and a model passes", "take a list instead: parts: list[str]"),
        (
            takes_callable,
            "takes then: Callable, which a model cannot",
            "functools.partial(function",
        ),
        (takes_object, "takes pattern: Match, which a model cannot", "take plain values"),
        (max, "builtins.max does not say what it takes", "wrap it"),
        (lambda x: x, "has no name that a model could call it by", 'tool(function, name="…")'),
    ],
    ids=["star", "callable", "object", "builtin", "lambda"],
)
def test_what_json_cannot_say_is_refused(function, text, hint):
    """The error names the function, the parameter and a way out."""
    with pytest.raises(ToolError) as caught:
        Tool.of(function)
    assert text in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("größe messen!", "groe_messen_"),
        ("a.b/c", "a_b_c"),
        ("x" * 99, "x" * 64),
        ("fine-1_A", "fine-1_A"),
    ],
    ids=["unicode", "dots", "long", "fine"],
)
def test_names_are_made_acceptable(written, name):
    """Endpoints accept letters, digits, _ and -, at most 64."""
    made = Tool.of(tool(lambda x: x, name=written))
    assert made.name == name
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made.name)


def test_marks_leave_the_function_as_it_was():
    """@tool returns the function itself; tool(function, …) marks a stand-in only."""

    @tool(name="other", thread=True, writes=True)
    def one(x: int) -> int:
        return x

    def two(x: int) -> int:
        return x

    assert one(3) == 3
    assert one.__name__ == "one"
    made = Tool.of(one)
    assert (made.name, made.thread, made.writes, made.is_async) == ("other", True, True, True)
    assert Tool.of(tool(two, name="zwei")).name == "zwei"
    assert Tool.of(two).name == "two"
    assert tool(two) is two


def complaints(function, text):
    made = Tool.of(function)
    with pytest.raises(InvalidArguments) as caught:
        made.arguments.bind(text)
    return str(caught.value)


def test_wrong_arguments_are_listed_field_by_field():
    """Each wrong field, what is wrong with it, what was given, what is expected."""

    def take(place: Place, limit: Annotated[int, Field(ge=1)], kind: Literal["a", "b"] = "a"): ...

    text = complaints(take, '{"place": {"at": {"x": "q"}}, "limit": 0, "kind": "c", "more": 1}')
    assert "- place.name: Field required" in text
    assert "- place.at.x: Input should be a valid number" in text
    assert "got 'q'" in text
    assert (
        '- limit: Input should be greater than or equal to 1, got 0; expected {"minimum": 1' in text
    )
    assert "- kind: Input should be 'a' or 'b', got 'c'" in text
    assert "- more: there is no such argument; expected place, limit, kind" in text
    assert "https://" not in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"x": 1', "Invalid JSON"),
        ("[1]", "Input should be an object"),
        ('"x"', "Input should be an object"),
        ("{'x': 1}", "Invalid JSON"),
        ('{"x": "\\ud800"}', "Invalid JSON"),
        ("{}", "x: Field required"),
        ('{"x": ' + "[" * 100_000, "Invalid JSON"),
        ('{"x": "' + "y" * 9_000 + '"}', "yy…"),
    ],
    ids=["cut", "array", "string", "python", "surrogate", "missing", "deep", "long"],
)
def test_arguments_that_are_no_object_are_told_as_such(text, told):
    """Whatever a model writes ends in an error that it can read, never longer than a line."""

    def take(x: int): ...

    complaint = complaints(take, text)
    assert told in complaint
    assert len(complaint) < 600


@pytest.mark.parametrize("text", ["", "  ", "null", "{}"])
def test_no_arguments_may_be_written_in_several_ways(text):
    """Servers send empty text or null for a tool without arguments."""

    def now(zone: str = "UTC") -> str:
        return zone

    assert Tool.of(now).arguments.bind(text) == ((), {})


def test_many_faults_are_not_all_told():
    """The first ten are enough for a model to mend its call."""

    def take(numbers: list[int]): ...

    text = complaints(take, json.dumps({"numbers": ["x"] * 50}))
    assert text.count("\n") == 10
    assert text.endswith("- and 40 more")
