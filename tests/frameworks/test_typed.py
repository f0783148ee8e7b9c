"""Typed answers on the real frameworks: by their own structured output, else by the prompt."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from pydantic import BaseModel
from scripted_server import Say, server

from tframex_nb.agents import Agent
from tframex_nb.errors import InvalidAnswer
from tframex_nb.models import VLLMModel
from tframex_nb.runs import collect
from tframex_nb.runtime import RunRequest, Runtime

__all__ = ["server"]

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(240)]

OWN = ["native", "langgraph", "crewai", "openai_agents", "pydantic_ai", "autogen"]
ALL = [*OWN, "agent_framework", "smolagents"]
GOOD = '{"total": 3.5, "items": []}'
REFUSED = Say(status=400, error="Unknown parameter: 'response_format'.")


class Item(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    total: float
    items: list[Item]


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: one
        b: another
    """
    return a + b


@pytest.fixture
def ask(installed):
    """Ask an agent on a framework; return the run of each prompt, or its error."""

    def run(framework: str, model, *prompts: str, tools=(), **options):
        installed(framework)

        async def scene():
            runtime = Runtime()
            agent = Agent("clerk", model, tools=tools)
            runs = []
            try:
                for prompt in prompts:
                    wish = {"schema": Invoice, **options}
                    request = RunRequest(agent, prompt, framework=framework, **wish)
                    with contextlib.suppress(InvalidAnswer):
                        await collect(runtime.stream(request))
                    runs.append(agent.last)
            finally:
                await runtime.aclose()
                if isinstance(model, VLLMModel):
                    await model.aclose()
            return runs, agent

        return asyncio.run(scene())

    return run


def lines(run):
    return [part.event.line for part in run.parts if part.kind == "note"]


def scripted(server):
    return VLLMModel("scripted", server.url)


@pytest.mark.parametrize("framework", ALL)
def test_the_demo_model_gives_a_typed_answer(ask, framework):
    (run, many), _ = ask(framework, "demo:fast", "Read the bill", "Once more")
    assert isinstance(run.output, Invoice)
    assert isinstance(many.output, Invoice)
    assert run.framework == framework


@pytest.mark.parametrize("framework", ALL)
def test_a_list_is_a_typed_answer_too(ask, framework):
    (run,), _ = ask(framework, "demo:fast", "List them", schema=list[Item])
    assert run.output
    assert all(isinstance(each, Item) for each in run.output)


@pytest.mark.parametrize("framework", ALL)
def test_tools_are_called_before_the_form_is_asked_for(ask, server, framework):
    def reply(request):
        if len(server.requests) == 1:
            return Say(calls=[("add", {"a": 1, "b": 2})])
        holds = "response_format" in request.body or framework == "smolagents"
        return _final(request, GOOD if holds else "It is three.")

    server.answer = reply
    (run,), _ = ask(framework, scripted(server), "1 + 2?", tools=[add])
    assert run.output == Invoice(total=3.5, items=[])
    assert [call.name for call in run.tool_calls] == ["add"]
    assert "response_format" not in server.requests[0].body
    assert not any("response_format" in r.body and r.tool_names for r in server.requests)


@pytest.mark.parametrize("framework", ALL)
def test_an_endpoint_that_refuses_the_form_is_told_in_the_prompt(ask, server, framework):
    def reply(request):
        return REFUSED if "response_format" in request.body else _final(request, GOOD)

    server.answer = reply
    (first, second), agent = ask(framework, scripted(server), "one", "two")
    assert first.output == second.output == Invoice(total=3.5, items=[])
    held = framework != "smolagents"
    said = ["scripted refuses response_format: the schema goes into the prompt"]
    assert lines(first) == (said if held else [])
    assert lines(second) == []
    assert sum("response_format" in r.body for r in server.requests) == held
    assert [m.text for m in agent.conversation.messages()] == ["one", GOOD, "two", GOOD]


@pytest.mark.parametrize("framework", ALL)
def test_an_endpoint_that_ignores_the_form_is_told_in_the_prompt(ask, server, framework):
    """Each framework fails in its own words where it cannot read the answer."""

    def reply(request):
        return _final(request, GOOD if "JSON schema" in str(request.messages) else "About three.")

    server.answer = reply
    (run,), agent = ask(framework, scripted(server), "one")
    assert run.output == Invoice(total=3.5, items=[])
    if framework != "smolagents":
        assert lines(run)[0].startswith("answer 1 of 3 does not match Invoice: ")
    assert [m.text for m in agent.conversation.messages()] == ["one", GOOD]


@pytest.mark.parametrize("framework", ALL)
def test_an_answer_that_never_matches_ends_in_our_error(ask, server, framework):
    server.answer = lambda request: _final(request, '{"total": "much", "items": []}')
    (run,), _ = ask(framework, scripted(server), "one")
    assert isinstance(run.error, InvalidAnswer)
    assert any("total" in problem for problem in run.error.problems)
    assert json.loads(run.error.received) == {"total": "much", "items": []}
    assert lines(run)[-1].startswith("answer 3 of 3 does not match Invoice: ")


@pytest.mark.parametrize("framework", ALL)
def test_the_last_try_ends_in_our_error_whoever_finds_the_fault(ask, server, framework):
    server.answer = lambda request: _final(request, "About three.")
    (run,), _ = ask(framework, scripted(server), "one", tries=1)
    assert isinstance(run.error, InvalidAnswer)
    assert run.error.problems


GRAPH = """
def build(model):
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph

    llm = ChatOpenAI(model=model.name, base_url=model.base_url, api_key=model.api_key)

    def answer(state):
        return {"messages": [llm.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph
"""


def test_a_graph_of_the_users_own_is_told_in_the_prompt(ask, server, tmp_path, monkeypatch):
    (tmp_path / "graph_of_mine.py").write_text(GRAPH)
    monkeypatch.syspath_prepend(str(tmp_path))
    import graph_of_mine

    server.say("{}", GOOD)
    (run,), _ = ask("langgraph", scripted(server), "one", subject=graph_of_mine.build)
    assert run.output == Invoice(total=3.5, items=[])
    assert lines(run)[0].startswith("answer 1 of 3 does not match Invoice: ")
    assert all("response_format" not in r.body for r in server.requests)


def _final(request, text: str) -> Say:
    """Say a text, as the tool through which smolagents wants its answers where it offers one."""
    if "final_answer" in request.tool_names:
        return Say(calls=[("final_answer", {"answer": text})])
    return Say(text)
