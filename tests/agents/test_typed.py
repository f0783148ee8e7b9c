"""Typed answers: checked, asked for again in sight, and kept as the run's output."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from scripted_server import Say
from typing_extensions import TypedDict

from tframex_nb.agents import Agent, BasicAgent
from tframex_nb.agents.typed_forms import AnswerForm, Mismatch
from tframex_nb.errors import BadRequest, InvalidAnswer, InvalidInput, ServerError
from tframex_nb.messages import AnswerChecked, AnswerRejected, event_from_dict
from tframex_nb.models import shared_endpoints
from tframex_nb.runs import collect


class Opaque:
    """A class that says nothing of its fields."""


class Item(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    total: float
    items: list[Item] = []
    note: str | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class City(TypedDict):
    name: str
    people: int


CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["name", "people"],
    "additionalProperties": False,
}
GOOD = '{"total": 3.5, "items": [], "note": null}'
REFUSED = Say(status=400, error="Unknown parameter: 'response_format.json_schema'.")


def ask(play, schema, *, tools=(), agent=None, turns=("go",), **options):
    """Ask in turns; return the agent and the run of the last one, or its error."""

    async def scene(model):
        asked = agent or Agent("clerk", model, tools=tools)
        asked.model = model
        run: Any = None
        for prompt in turns:
            try:
                run = await collect(asked.stream(prompt, schema=schema, **options))
            except InvalidAnswer as exc:
                run = exc
        return asked, run

    return play(scene)


def lines(run):
    return [part.event.line for part in run.parts if part.kind == "note"]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class TestTheAnswer:
    @pytest.mark.parametrize(
        ("schema", "said", "output"),
        [
            (Invoice, GOOD, Invoice(total=3.5)),
            (Point, '{"x": "1", "y": 2}', Point(1, 2)),
            (City, '{"name": "Oslo", "people": 7}', {"name": "Oslo", "people": 7}),
            (CITY, '{"name": "Oslo", "people": 7}', {"name": "Oslo", "people": 7}),
            (list[Item], '{"answer": [{"name": "a", "price": 1}]}', [Item(name="a", price=1)]),
            (list[Item], '[{"name": "a", "price": 1}]', [Item(name="a", price=1)]),
            (Literal["yes", "no"], '{"answer": "no"}', "no"),
            (TypeAdapter(dict[str, int]), '{"answer": {"a": 1}}', {"a": 1}),
            (dict[str, int], '{"answer": 1}', {"answer": 1}),
            (Invoice | Point, '{"answer": {"x": 3, "y": 4}}', Point(3, 4)),
            ({"type": "array", "items": {"type": "integer"}}, '{"answer": [1]}', [1]),
            ({}, "[1, 2]", [1, 2]),
        ],
        ids=lambda value: str(getattr(value, "__name__", value))[:30],
    )
    def test_it_is_an_instance_of_what_was_asked_for(self, server, play, schema, said, output):
        server.say(said)
        agent, run = ask(play, schema)
        assert run.output == output
        assert type(run.output) is type(output)
        assert agent.last.output == output
        assert run.text == said
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "said",
        [f"```json\n{GOOD}\n```", f"Here it is:\n\n~~~\n{GOOD}\n~~~\nDone.", f"\n  {GOOD}\n\n"],
        ids=["fence", "words around", "space"],
    )
    def test_a_fence_around_the_document_does_no_harm(self, server, play, said):
        server.say(said)
        _, run = ask(play, Invoice)
        assert run.output == Invoice(total=3.5)

    def test_it_is_shown_as_code(self, server, play):
        """A model's JSON is no Markdown, however its strings look."""
        server.say('{"total": 1, "note": "*a* <b> [x](http://y)"}')
        _, run = ask(play, Invoice)
        bundle = run._repr_mimebundle_()
        assert (
            '```json\n{\n  "total": 1,\n  "note": "*a* <b> [x](http://y)"\n}\n```'
            in (bundle["text/markdown"])
        )
        assert bundle["text/plain"].startswith('{\n  "total": 1,')

    def test_its_events_travel_as_json(self, server, play):
        server.say("no", GOOD)
        agent, _ = ask(play, Invoice)
        told = [e for e in agent.last.events if isinstance(e, (AnswerRejected, AnswerChecked))]
        assert [type(e) for e in told] == [AnswerRejected, AnswerChecked]
        rejected, checked = (event_from_dict(json.loads(json.dumps(e.to_dict()))) for e in told)
        assert rejected == told[0]
        assert checked.data == {"total": 3.5, "items": [], "note": None}

    def test_the_demo_model_gives_it(self):
        async def scene():
            run = await collect(Agent("clerk", "demo").stream("Read the bill", schema=Invoice))
            await shared_endpoints().aclose()
            return run

        assert isinstance(asyncio.run(scene()).output, Invoice)


class TestWhatTheEndpointIsAsked:
    def sent(self, server, play, schema):
        server.say("null")
        with pytest.raises(InvalidAnswer):
            raise ask(play, schema, tries=1)[1]
        return server.requests[0].body["response_format"]["json_schema"]

    def test_a_model_is_sent_strict(self, server, play):
        """Each object is closed and gives all its properties, as strict mode wants it."""
        sent = self.sent(server, play, Invoice)
        assert (sent["name"], sent["strict"]) == ("Invoice", True)
        assert sent["schema"]["required"] == ["total", "items", "note"]
        assert sent["schema"]["additionalProperties"] is False
        assert sent["schema"]["$defs"]["Item"]["additionalProperties"] is False
        assert "default" not in json.dumps(sent)

    def test_what_is_no_object_is_wrapped_in_one(self, server, play):
        sent = self.sent(server, play, list[Item])
        assert (sent["name"], sent["strict"]) == ("list_Item", True)
        assert sent["schema"]["required"] == ["answer"]
        assert sent["schema"]["properties"]["answer"]["items"] == {"$ref": "#/$defs/Item"}
        assert "Item" in sent["schema"]["$defs"]

    def test_a_recursive_model_has_an_object_at_its_root(self, server, play):
        sent = self.sent(server, play, Node)
        assert sent["strict"] is True
        assert sent["schema"]["properties"]["kids"]["items"] == {"$ref": "#/$defs/Node"}

    @pytest.mark.parametrize(
        "schema",
        [
            dict[str, int],
            Annotated[str, Field(min_length=3)],
            tuple[int, str],
            {**CITY, "required": ["name"]},
            {**CITY, "additionalProperties": True},
        ],
        ids=["any keys", "min_length", "tuple", "optional", "open"],
    )
    def test_what_strict_mode_cannot_say_is_sent_as_it_is(self, server, play, schema):
        sent = self.sent(server, play, schema)
        assert sent["strict"] is False

    def test_a_schema_that_is_strict_already_stays_so(self, server, play):
        sent = self.sent(server, play, CITY)
        assert (sent["name"], sent["strict"]) == ("City", True)
        assert sent["schema"]["properties"] == CITY["properties"]

    def test_a_decimal_is_sent_without_the_pattern_that_no_endpoint_takes(self, server, play):
        class Price(BaseModel):
            amount: Decimal

        server.say('{"amount": "1.50"}')
        _, run = ask(play, Price)
        assert run.output == Price(amount=Decimal("1.50"))
        sent = server.requests[0].body["response_format"]["json_schema"]
        assert "(?" not in json.dumps(sent)

    def test_an_open_model_stays_open(self, server, play):
        class Loose(BaseModel):
            model_config = ConfigDict(extra="allow")
            a: int

        sent = self.sent(server, play, Loose)
        assert sent["strict"] is False
        assert sent["schema"]["additionalProperties"] is True

    def test_any_json_is_asked_for_in_words_too(self, server, play):
        """OpenAI refuses ``json_object`` where no message says JSON."""
        server.say("{}")
        ask(play, {})
        assert server.requests[0].body["response_format"] == {"type": "json_object"}
        assert "JSON" in server.requests[0].texts[-1]

    def test_the_prompt_is_left_alone_where_the_endpoint_holds_the_schema(self, server, play):
        server.say(GOOD)
        ask(play, Invoice)
        assert server.requests[0].texts == ["go"]


class Node(BaseModel):
    value: int
    kids: list[Node] = []


class TestAnInvalidAnswer:
    def test_is_asked_for_again_in_sight(self, server, play):
        """The model is told what is wrong, and people see the line and both answers."""
        server.say('{"total": "much", "items": [{"name": "a"}]}', GOOD)
        _, run = ask(play, Invoice)
        assert run.output == Invoice(total=3.5)
        (line,) = lines(run)
        assert line.startswith("answer 1 of 3 does not match Invoice: total: Input should be")
        assert line.endswith('got "much" (and 1 more)')
        second = server.requests[1]
        assert second.roles == ["user", "assistant", "user"]
        assert second.texts[1].startswith('{"total": "much"')
        assert "- total: Input should be a valid number" in second.texts[2]
        assert "- items.0.price: Field required" in second.texts[2]
        assert '"properties"' in second.texts[2], "the model may never have seen the schema"
        assert [part.kind for part in run.parts] == ["text", "note", "text"]

    def test_fails_the_run_after_the_last_try(self, server, play):
        server.say("{}", '{"total": 1, "note": 2}', '{"total": []}')
        agent, error = ask(play, Invoice, tries=3)
        assert isinstance(error, InvalidAnswer)
        assert error.received == '{"total": []}'
        assert error.problems == ("total: Input should be a valid number, got []",)
        assert error.message == (
            "'clerk' gave no answer that matches Invoice in 3 tries: "
            "total: Input should be a valid number, got []"
        )
        assert "tries" in error.hint
        assert len(server.requests) == 3
        assert agent.last.status == "failed"
        assert agent.last.text == '{"total": []}'
        assert agent.last.output is None

    def test_sends_only_the_latest_failed_answer_along(self, server, play):
        server.say("{}", '{"total": []}', GOOD)
        ask(play, Invoice)
        assert server.requests[2].texts[1] == '{"total": []}'
        assert len(server.requests[2].roles) == 3

    def test_is_not_remembered_once_a_valid_one_came(self, server, play):
        server.say("{}", GOOD, '{"total": 9}')
        agent, run = ask(play, Invoice, turns=("one", "two"))
        assert run.output == Invoice(total=9)
        assert [t.messages[-1].text for t in agent.conversation] == [GOOD, '{"total": 9}']
        assert server.requests[2].roles == ["user", "assistant", "user"]
        assert server.requests[2].texts == ["one", GOOD, "two"]

    def test_is_remembered_where_it_was_the_last(self, server, play):
        server.say("[]", "{}")
        agent, error = ask(play, Invoice, tries=2)
        assert isinstance(error, InvalidAnswer)
        assert [m.text for m in agent.conversation.messages()] == ["go", "{}"]

    def test_names_what_a_json_schema_forbids(self, server, play):
        server.say('{"name": "Oslo", "people": 0, "x": 1}', '{"name": "Oslo", "people": 2}')
        _, run = ask(play, CITY)
        assert run.output == {"name": "Oslo", "people": 2}
        told = server.requests[1].texts[-1]
        assert "people: 0 is less than the minimum of 1" in told
        assert "'x' was unexpected" in told

    def test_that_was_cut_off_says_so(self, server, play):
        server.say(Say('{"total": 1', finish="length"), Say('{"total": 1', finish="length"))
        _, error = ask(play, Invoice, tries=2)
        assert error.problems[0] == "it was cut off at the token limit"
        assert error.hint == "raise max_tokens"

    def test_that_is_empty_can_be_answered_again(self, server, play):
        """An assistant message without content is refused by many endpoints."""
        server.say("", GOOD)
        _, run = ask(play, Invoice)
        assert run.output == Invoice(total=3.5)
        assert all(server.requests[1].texts)

    def test_of_a_validator_of_the_user_is_told_in_its_words(self, server, play):
        from pydantic import field_validator

        class Even(BaseModel):
            n: int

            @field_validator("n")
            @classmethod
            def even(cls, n: int) -> int:
                if n % 2:
                    raise ValueError("must be even")
                return n

        server.say('{"n": 3}', '{"n": 4}')
        _, run = ask(play, Even)
        assert run.output == Even(n=4)
        assert "n: Value error, must be even, got 3" in server.requests[1].texts[-1]


class TestAnEndpointThatHoldsNoSchema:
    def test_that_refuses_it_gets_it_in_the_prompt(self, server, play):
        server.say(REFUSED, GOOD)
        _, run = ask(play, Invoice)
        assert run.output == Invoice(total=3.5)
        assert lines(run) == ["scripted refuses response_format: the schema goes into the prompt"]
        second = server.requests[1]
        assert "response_format" not in second.body
        assert second.texts[0].startswith("go\n\nAnswer with one JSON document")
        assert '"total"' in second.texts[0]

    def test_is_asked_only_once_for_it(self, server, play):
        """Later runs on this model tell the schema at once; conversations keep the bare prompt."""
        server.say(REFUSED, GOOD, GOOD)
        agent, run = ask(play, Invoice, turns=("one", "two"))
        assert len(server.requests) == 3
        assert lines(run) == []
        assert [m.text for m in agent.conversation.messages()] == ["one", GOOD, "two", GOOD]

    def test_that_ignores_it_gets_it_in_the_prompt(self, server, play):
        server.say("It is about three.", GOOD)
        _, run = ask(play, Invoice)
        assert run.output == Invoice(total=3.5)
        assert lines(run)[0].startswith("answer 1 of 3 does not match Invoice: it is no JSON")
        assert lines(run)[1].startswith("scripted does not hold response_format")
        assert "response_format" not in server.requests[1].body

    def test_a_schema_that_it_cannot_take_is_not_held_against_it(self, server, play):
        said = "Invalid schema for response_format 'Invoice': something in it"
        server.say(Say(status=400, error=said), GOOD, GOOD)
        ask(play, Invoice, turns=("one", "two"))
        assert ["response_format" in r.body for r in server.requests] == [True, False, True]

    def test_another_fault_stays_what_it_is(self, server, play):
        server.say(Say(status=400, error="temperature is out of range"))
        with pytest.raises(BadRequest, match="temperature"):
            ask(play, Invoice)
        server.say(*[Say(status=500, error="out of memory")] * 5)
        with pytest.raises(ServerError):
            ask(play, Invoice)


class TestWithTools:
    def test_tools_come_first_and_a_good_answer_needs_no_form(self, server, play):
        """Where both at once are refused, or held to the form, tools would never be called."""
        server.say(Say(calls=[("add", {"a": 1, "b": 2})]), '{"total": 3}')
        _, run = ask(play, Invoice, tools=[add])
        assert run.output == Invoice(total=3)
        assert [r.body.get("response_format") for r in server.requests] == [None, None]
        assert server.requests[0].tool_names == ["add"]
        assert "JSON" in server.requests[0].texts[0]
        assert lines(run) == []

    def test_a_free_answer_is_then_asked_for_in_its_form(self, server, play):
        server.say(Say(calls=[("add", {"a": 1, "b": 2})]), "The sum is 3.", '{"total": 3}')
        agent, run = ask(play, Invoice, tools=[add])
        assert run.output == Invoice(total=3)
        last = server.requests[2]
        assert last.body["response_format"]["json_schema"]["name"] == "Invoice"
        assert last.tool_names == []
        assert last.roles == ["user", "assistant", "tool", "assistant", "user"]
        assert lines(run) == ["the answer is asked for as Invoice"]
        assert [m.role for m in agent.last.messages] == ["user", "assistant", "tool", "assistant"]

    def test_an_invalid_answer_keeps_what_the_tools_said(self, server, play):
        server.say(Say(calls=[("add", {"a": 1, "b": 2})]), "3", "{}", '{"total": 3}')
        _, run = ask(play, Invoice, tools=[add])
        assert run.output == Invoice(total=3)
        assert server.requests[3].roles == ["user", "assistant", "tool", "assistant", "user"]
        assert server.requests[3].texts[2] == "3"
        assert len(run.tool_calls) == 1

    def test_where_no_form_is_held_the_tools_stay(self, server, play):
        server.say(Say(calls=[("add", {"a": 1, "b": 2})]), "Three.", REFUSED, '{"total": 3}')
        _, run = ask(play, Invoice, tools=[add])
        assert run.output == Invoice(total=3)
        assert server.requests[3].tool_names == ["add"]
        assert "response_format" not in server.requests[3].body


class TestWhatCannotWork:
    @pytest.mark.parametrize(
        ("schema", "words"),
        [
            ("Invoice", "'Invoice' is no type"),
            (Invoice(total=1), "is no type"),
            ([Item], "is no type"),
            (add, "is no type"),
            (3, "3 is no type"),
            (Opaque, "schema=Opaque describes no JSON"),
            ({"type": "objct"}, "no JSON schema: 'objct' is not valid"),
            ({"name": "text"}, "says nothing of the answer"),
            ({"type": int}, "no JSON schema"),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_a_schema_that_describes_nothing_is_refused_at_once(self, schema, words):
        agent = Agent("clerk", "demo")
        with pytest.raises(InvalidInput, match=words) as caught:
            agent.stream("go", schema=schema)
        assert caught.value.hint
        assert agent.last is None

    def test_a_typed_dict_that_pydantic_cannot_read_says_what_to_do(self):
        import sys
        import typing

        if sys.version_info >= (3, 12):
            pytest.skip("later versions of Python have it as pydantic wants it")

        class Old(typing.TypedDict):
            a: int

        with pytest.raises(InvalidInput) as caught:
            Agent("clerk", "demo").stream("go", schema=Old)
        assert caught.value.hint == "on Python 3.11 import TypedDict from typing_extensions"

    @pytest.mark.parametrize("tries", [0, -1, True, 1.5])
    def test_no_try_at_all_is_refused(self, tries):
        with pytest.raises(InvalidInput, match="could not be asked even once"):
            Agent("clerk", "demo").stream("go", schema=Invoice, tries=tries)

    def test_two_forms_at_once_are_refused(self, server, play):
        with pytest.raises(InvalidInput, match="response_format"):
            ask(play, Invoice, response_format={"type": "json_object"})
        assert not server.requests

    def test_a_reference_is_never_fetched(self, server, play):
        schema = {"type": "object", "properties": {"a": {"$ref": f"{server.url}/x.json"}}}
        server.say('{"a": 1}')
        with pytest.raises(InvalidInput, match="which it does not hold"):
            ask(play, schema)
        assert len(server.requests) == 1


def test_an_agent_without_tools_gives_typed_answers_too(server, play):
    server.say(GOOD)
    _, run = ask(play, Invoice, agent=BasicAgent("plain"))
    assert run.output == Invoice(total=3.5)


def test_a_stop_in_a_second_try_keeps_its_text(server, play):
    server.say("{}", Say('{"total', hold=True))

    async def scene(model):
        agent = Agent("clerk", model)
        events = agent.stream("go", schema=Invoice)
        async for event in events:
            if getattr(event, "text", "") == '{"total':
                break
        await events.aclose()
        return agent.last

    run = play(scene)
    assert run.status == "interrupted"
    assert run.text == '{"total'
    assert [m.text for m in run.messages] == ["go", '{"total']
    assert server.wait_closed()


class Size(Enum):
    SMALL = "s"


def test_a_form_says_what_is_wrong_line_by_line():
    form = AnswerForm.of(list[Annotated[int, Field(gt=0)]])
    with pytest.raises(Mismatch) as caught:
        form.check(json.dumps([0] * 30))
    assert len(caught.value.problems) == 11
    assert caught.value.problems[0] == "0: Input should be greater than 0, got 0"
    assert caught.value.problems[-1] == "and 20 more"
    assert AnswerForm.of(Size).check('"s"')[0] is Size.SMALL
