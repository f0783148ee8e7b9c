"""``{{ expression }}`` in a prompt is the user's code; what values say is never code."""

from __future__ import annotations

import math

import pytest

from tframex_nb.errors import PromptError
from tframex_nb.notebook.describe import Description
from tframex_nb.notebook.describe import describe as real_describe
from tframex_nb.notebook.prompts import render


def describe(value, *, name=""):
    return Description(str(value), f"{len(value)} rows" if isinstance(value, list) else "")


def text(template, /, **names):
    return render(template, names, describe=describe).text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no braces", "no braces"),
        ("", ""),
        ("{{ x }}", "7"),
        ("{{x}}{{ x }}", "77"),
        ("a {{ x + 1 }} b", "a 8 b"),
        ("{x} { x } }} {", "{x} { x } }} {"),
        (r"\{{ x }} {{ x }}", "{{ x }} 7"),
        (r"\\{{ x }}", r"\{{ x }}"),
        ("{{ {'a': {'b': x}}['a']['b'] }}", "7"),
        ("{{{'a': x}['a']}}", "7"),
        ("{{ {'a': {'b': 1}} }}", "{'a': {'b': 1}}"),
        ("{{ {1: {2: 3}}}}.", "{1: {2: 3}}."),
        ("{{ '}}' }}", "}}"),
        ('{{ "{{ x }}" }}', "{{ x }}"),
        ("{{ f'{x}' }}", "7"),
        ("{{\n  x +\n  1\n}}", "8"),
        ("{{ [i * x for i in (1, 2)] }}", "[7, 14]"),
        ("{{ (lambda: x)() }}", "7"),
        ("{{ pi:.2f }}", "3.14"),
        ("{{ x:>4 }}|", "   7|"),
        ("{{ d['a:b'] }}", "1"),
        ("{{ len(s) }}", "5"),
        ("{{ x }} é {{ s }}", "7 é hello"),
    ],
)
def test_renders(template, expected):
    assert text(template, x=7, pi=math.pi, s="hello", d={"a:b": 1}) == expected


def test_values_are_never_interpolated_again():
    assert text("{{ a }}{{ b }}", a="{{ b }}", b="{{ a }}") == "{{ b }}{{ a }}"


def test_special_names_are_what_the_caller_gives():
    names = {"In": {3: "1/0"}, "Out": {3: 42}, "Err": {3: "ZeroDivisionError"}}
    assert text("{{ In[3] }} {{ Out[3] }} {{ Err[3] }}", **names) == "1/0 42 ZeroDivisionError"


def test_an_expression_is_evaluated_and_noted_once():
    calls = []

    def rows():
        calls.append(1)
        return [1, 2]

    done = render("{{ rows() }} {{ rows() }}", {"rows": rows}, describe=describe)
    assert (done.text, calls) == ("[1, 2] [1, 2]", [1])
    assert done.notes == ("rows(): 2 rows",)
    assert done.values == {"rows()": [1, 2]}


def test_the_namespace_stays_as_it_is():
    names = {"x": 1}
    assert render("{{ (y := x) }}", names, describe=describe).text == "1"
    assert names == {"x": 1}


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("a\nb {{ pricee }}", "line 2 of the prompt: 'pricee' is not defined", "'price'"),
        ("{{ qqq }}", "line 1 of the prompt: 'qqq' is not defined", "known: "),
        ("{{ 1 / 0 }}", "{{ 1 / 0 }} raised ZeroDivisionError: division by zero", "mend"),
        ("{{ broken() }}", "{{ broken() }} raised NameError: name 'inner'", "mend"),
        ("{{ x", "line 1 of the prompt: {{ is never closed by }}", r"\{{"),
        ("{{ }}", "{{ }} holds nothing", r"\{{"),
        ("{{ x y }}", "{{ x y }} is not a Python expression", r"\{{"),
        ("{{ x = 1 }}", "{{ x = 1 }} is not a Python expression", r"\{{"),
        ("{{ import os }}", "is not a Python expression", "--no-interpolate"),
        ("{{ price:.2q }}", "'price' cannot be formatted with '.2q'", "{{ price:.2f }}"),
        ("{{ " + "(" * 300 + " }}", "is not a Python expression", r"\{{"),
        ("{{ " + "x " * 9000 + "}}", "is never closed by }}", r"\{{"),
    ],
)
def test_errors_say_what_and_where_and_what_next(template, message, hint):
    def broken():
        return inner  # noqa: F821 - undefined on purpose

    with pytest.raises(PromptError) as caught:
        text(template, price=2.0, broken=broken)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_many_unknown_names_are_not_listed():
    names = {f"name{i}": i for i in range(50)}
    with pytest.raises(PromptError) as caught:
        render("{{ zzz }}", names, describe=describe)
    assert caught.value.hint == "define zzz in a cell first"


def test_the_user_can_stop_an_expression():
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text("{{ stopped() }}", stopped=stopped)


def test_the_note_names_the_expression():
    done = render("{{ xs }}", {"xs": list(range(300))}, describe=real_describe)
    assert done.notes[0].startswith("xs: list, 300 items")
