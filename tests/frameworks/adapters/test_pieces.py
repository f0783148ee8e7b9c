"""What the adapters of smolagents, CrewAI and AutoGen can be asked without their frameworks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tframex_nb.errors import FrameworkFailed
from tframex_nb.frameworks.adapters._schema import check_document, model_of
from tframex_nb.frameworks.adapters.autogen import AutoGenFramework
from tframex_nb.frameworks.adapters.crewai import CrewAIFramework
from tframex_nb.frameworks.adapters.smolagents import SmolagentsFramework, _Answer
from tframex_nb.frameworks.base import CAPABILITIES, AgentSpec, FrameworkIntegration

TEXT = 'Ünï "quoted" \\ back\n\t{"a": 1}\n😀 漢字 \u2028 end'
ADAPTERS = [CrewAIFramework, AutoGenFramework, SmolagentsFramework]
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "size": {"enum": ["small", "big"]},
        "schema": {"type": ["integer", "null"]},
        "_id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "parks": {"type": "array", "items": {"$ref": "#/$defs/Park"}},
    },
    "required": ["city", "size"],
    "$defs": {
        "Park": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "in": {"$ref": "#/$defs/Park"}},
            "required": ["name"],
        }
    },
}


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as it is"])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 1000])
def test_an_answer_is_read_while_its_json_is_written(width: int, ascii_only: bool) -> None:
    """However the JSON is cut, also within an escape or a pair of surrogates."""
    written = json.dumps({"answer": TEXT}, ensure_ascii=ascii_only)
    answer = _Answer(wanted=True)
    pieces = [answer.feed(written[i : i + width]) for i in range(0, len(written), width)]
    assert "".join(pieces) == TEXT
    for piece in pieces:
        piece.encode()  # no half of a pair


def test_text_comes_before_the_json_is_whole() -> None:
    """A piece is text as soon as its own characters are known."""
    answer = _Answer(wanted=True)
    assert [answer.feed(x) for x in ('{"ans', 'wer": "', "Hel", "lo \\", "n", "you")] == [
        "",
        "",
        "Hel",
        "lo ",
        "\n",
        "you",
    ]


def test_arguments_of_another_form_are_no_text() -> None:
    """They are told whole when the run has its answer."""
    assert _Answer(wanted=True).feed('{"answer": 42}') == ""
    assert _Answer(wanted=True).feed('"plain"') == ""
    assert _Answer(wanted=False).feed('{"answer": "x"}') == ""


@pytest.mark.parametrize(
    "document",
    [
        {"city": "Oslo", "size": "big"},
        {"city": "Oslo", "size": "small", "schema": None, "_id": "x", "parks": []},
        {"city": "O", "size": "big", "parks": [{"name": "F", "in": {"name": "O"}}]},
    ],
    ids=["least", "odd names", "nested in itself"],
)
def test_a_document_of_the_schema_passes_and_comes_back_the_same(document: Any) -> None:
    """Names that pydantic keeps for itself are kept, and what was left out stays out."""
    text = json.dumps(document)
    check_document(text, CITY, "autogen")
    back = model_of(CITY, "autogen").model_validate_json(text)
    assert json.loads(back.model_dump_json(by_alias=True, exclude_unset=True)) == document


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        '{"city": "Oslo"}',
        '{"city": "Oslo", "size": "huge"}',
        '{"city": "Oslo", "size": "big", "more": 1}',
        '{"city": "Oslo", "size": "big", "parks": [{"nom": "F"}]}',
    ],
    ids=["no JSON", "missing", "enum", "more", "nested"],
)
def test_a_document_that_does_not_match_is_refused(text: str) -> None:
    """The error names the framework and says what is wrong."""
    with pytest.raises(FrameworkFailed, match="autogen: the answer does not match") as caught:
        check_document(text, CITY, "autogen")
    assert caught.value.framework == "autogen"


def test_a_schema_that_is_no_objects_is_refused() -> None:
    """The hint says how to wrap it."""
    with pytest.raises(FrameworkFailed, match="not an object") as caught:
        model_of({"type": "string"}, "crewai")
    assert "wrap it" in caught.value.hint


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_each_capability_is_told_with_its_reason(adapter: type[FrameworkIntegration]) -> None:
    """All nine, and what is not native says why."""
    assert set(adapter.capabilities) == set(CAPABILITIES)
    for name, each in adapter.capabilities.items():
        assert (each.level == "native") == (not each.reason), name


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_configuration_is_judged_without_the_framework(
    adapter: type[FrameworkIntegration],
) -> None:
    """Wrong types are errors that name the field; what is not read is a warning."""
    framework = adapter()
    wrong = dict.fromkeys(framework.configuration, object())
    spec = AgentSpec("a", configuration={**wrong, "nonsense": 1})
    found = asyncio.run(framework.validate_configuration(spec))
    assert {each.field for each in found.errors} == {f"configuration.{key}" for key in wrong}
    assert [each.field for each in found.warnings] == ["configuration.nonsense"]
    assert asyncio.run(framework.validate_configuration(AgentSpec("a"))).is_valid
