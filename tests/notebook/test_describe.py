"""What a model is shown of a value is small, true, and never costs the kernel."""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import json
import pathlib
import types
from typing import NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pytest

from tframex_nb.notebook.describe import describe


@dataclasses.dataclass
class Point:
    x: int
    name: str = "p"
    secret: str = dataclasses.field(default="hidden", repr=False)


class Model(pydantic.BaseModel):
    name: str
    key: pydantic.SecretStr
    tags: list[str] = []


class Pair(NamedTuple):
    a: int
    b: str


class Colour(enum.IntEnum):
    RED = 1


class BadRepr:
    def __repr__(self):
        raise ValueError("no")


class BadEverything:
    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (5, "5"),
        (1.5, "1.5"),
        (None, "null"),
        (True, "true"),
        (np.float64(2.5), "2.5"),
        (np.int64(3), "3"),
        ([1, "a", None, {"b": (1, 2)}], '[1, "a", null, {"b": [1, 2]}]'),
        ({"é": {1}}, '{"é": [1]}'),
        (collections.OrderedDict(a=1), '{"a": 1}'),
        (Pair(1, "x"), 'Pair(a=1, b="x")'),
        (Point(1), 'Point(x=1, name="p")'),
        (Colour.RED, "<Colour.RED: 1>"),
        (
            Model(name="n", key="sk-secret"),
            "Model(name=\"n\", key=SecretStr('**********'), tags=[])",
        ),
        (pathlib.PurePosixPath("a/b.txt"), "a/b.txt"),
        (range(10), "range(0, 10)"),
        (BadRepr(), "<BadRepr, whose repr raised ValueError>"),
        ([BadRepr()], "[<BadRepr, whose repr raised ValueError>]"),
    ],
)
def test_small_values_go_whole_and_without_a_note(value, text):
    described = describe(value)
    assert (described.text, described.note) == (text, "")


def test_an_endless_integer_is_not_written_out():
    assert describe(10**9999).text == "<int of 33,216 bits>"


def test_json_like_data_is_json():
    data = [{"id": i, "name": f"row {i}", "tags": ["a", "b"]} for i in range(20)]
    described = describe(data)
    assert json.loads(described.text) == data
    assert described.text.count("\n") == 21
    assert described.note == "list, 20 items, 1.0 kB"


def test_a_long_text_is_cut_with_a_visible_mark():
    described = describe("x" * 5000, cap=1000)
    assert described.text.startswith("x" * 1000 + "\n[… cut here: the first 1,000 of 5,000")
    assert described.note == "str, first 1,000 of 5,000 characters"


@pytest.mark.parametrize(
    "value",
    [
        list(range(10**6)),
        dict.fromkeys(range(10**5), "v" * 100),
        ["x" * 10**7] * 100,
        itertools.repeat([[[[]]]], 10),
        {"a": {"b": list(range(10**6))}},
        set(range(10**5)),
        dict.fromkeys(range(10**5)).items(),
        collections.deque(range(10**5)),
        np.zeros((10**3, 10**3)),
        b"x" * 10**7,
        "line\n" * 10**6,
    ],
    ids=lambda value: type(value).__name__,
)
def test_huge_values_stay_under_the_cap(value):
    assert len(describe(value, cap=2000).text) < 2200


def test_a_cut_container_says_how_long_it_is():
    described = describe(list(range(100_000)), cap=100)
    assert described.text.startswith("[0, 1, 2, ")
    assert "cut here: list, 100,000 items" in described.text
    assert described.note == "list, 100,000 items, first 100 B"


def test_recursion_ends():
    value = {"a": []}
    value["a"].append(value)
    assert describe(value).text == '{"a": [<the same dict again>]}'
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert "…" in describe(deep).text


def test_bytes_are_only_counted():
    for value in (b"secret", bytearray(b"secret"), memoryview(b"secret")):
        described = describe(value)
        assert "6 bytes, not shown" in described.text
        assert "secret" not in described.text


def test_a_value_that_raises_everywhere_is_named():
    assert "cannot be described: RuntimeError" in describe(BadEverything()).text


def test_exceptions_show_their_traceback():
    try:
        int("x")
    except ValueError as exc:
        described = describe(exc, cap=5000)
    assert "int(" in described.text
    assert described.text.endswith("invalid literal for int() with base 10: 'x'")
    assert describe(ValueError("y" * 9000), cap=100).text.startswith("[… cut here: the last 100")


def test_code_is_its_source():
    assert describe(test_code_is_its_source).text.startswith("def test_code_is_its_source():")
    assert describe(Point).text.startswith("@dataclasses.dataclass\nclass Point:")
    assert describe(len).text.startswith("builtins.len(obj, /)")
    assert describe(json).text.startswith("module json\n")
    assert "names: dump" in describe(json).text
    assert "source" not in describe(types.ModuleType("empty")).note


FRAME = pd.DataFrame(
    {"name": ["a|b", None] * 500, "price": [1.23456789] * 1000, "when": pd.Timestamp("2026-01-02")}
)


def test_a_frame_is_schema_and_head():
    described = describe(FRAME)
    lines = described.text.split("\n")
    assert lines[0] == "DataFrame: 1,000 rows \u00d7 3 columns"
    assert lines[3].endswith("| 500 |")
    assert lines[4] == "| price | float64 | 1,000 |"
    assert "First 10 rows:" in lines
    assert lines[-10] == "| 0 | a\\|b | 1.23457 | 2026-01-02 00:00:00 |"
    assert described.note.startswith("DataFrame 1,000 \u00d7 3, schema and first 10 rows, ")


def test_a_small_frame_goes_whole():
    described = describe(FRAME.head(2))
    assert "All 2 rows:" in described.text
    assert "schema and all 2 rows" in described.note


@pytest.mark.parametrize("cap", [200, 1000, 4000])
def test_wide_and_long_frames_stay_under_the_cap(cap):
    wide = pd.DataFrame(np.zeros((50, 3000))).add_prefix("a long column name ")
    described = describe(wide, cap=cap)
    assert len(described.text) < cap + 200
    assert "more columns" in described.text
    long = pd.DataFrame({"text": ["word " * 10_000] * 50})
    assert len(describe(long, cap=cap).text) < cap + 200


def test_odd_frames_are_described():
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert "| a | int64 | 1 |\n| a | int64 | 1 |" in describe(twice).text
    deep = pd.DataFrame({("a", "b"): [1]}, index=pd.MultiIndex.from_tuples([("x", 1)]))
    assert "| ('a', 'b') | int64 | 1 |" in describe(deep).text
    assert describe(pd.DataFrame()).text.startswith("DataFrame: 0 rows")
    assert "Series: 1,000 rows" in describe(FRAME["price"]).text
    assert "a subclass" in describe(type("Mine", (pd.DataFrame,), {})({"a subclass": [1]})).text


def test_arrays_say_type_and_shape():
    assert describe(np.arange(3)).text == "array of int64, shape 3\narray([0, 1, 2])"
    described = describe(np.zeros((300, 40)))
    assert described.text.startswith(
        "array of float64, shape 300 \u00d7 40\nfirst 20 values: [0.0,"
    )


@pytest.fixture(scope="module")
def pl():
    """Polars keeps a pool of its own for the life of the process: open it before the test."""
    polars = pytest.importorskip("polars")
    describe(polars.LazyFrame({"a": [1]}))
    describe(polars.DataFrame({"a": [1, None]}))
    return polars


def test_polars_frames(pl):
    described = describe(pl.DataFrame({"a": [1, None], "b": ["x", "y"]}))
    assert "| a | Int64 | 1 |" in described.text
    assert "| None | y |" in described.text
    assert "not collected" in describe(pl.LazyFrame({"a": [1]})).text
    assert "Series: 2 rows" in describe(pl.Series("s", [1, 2])).text


def test_arrow_tables():
    pa = pytest.importorskip("pyarrow")
    described = describe(pa.table({"a": [1, None], "b": ["x", "y"]}))
    assert "| a | int64 | 1 |" in described.text
    assert described.note.startswith("Table 2 \u00d7 2, schema and all 2 rows")
