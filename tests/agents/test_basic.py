"""TFrameX's agents: one prompt, one call, no memory unless asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scripted_server import Say

import tframex_nb.agents
import tframex_nb.systems
from tframex_nb.agents import BaseAgent, BasicAgent, ContextAgent
from tframex_nb.errors import AuthError, InvalidInput
from tframex_nb.messages import Message, ReasoningDelta, RunFailed


def test_basic_agent_keeps_the_seeds_shape(server, play):
    """BasicAgent(agent_id, model).run(prompt, **params) -> str, one call, params unchanged."""
    server.say(Say(["Hel", "lo"], reasoning="hm"))

    async def scene(model):
        agent = BasicAgent(agent_id="my_agent", model=model)
        return await agent.run("Say hello", temperature=0.7, max_tokens=50), agent

    text, agent = play(scene)
    assert text == "Hello"
    body = server.requests[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.7, 50)
    assert server.requests[0].texts == ["Say hello"]
    assert any(isinstance(e, ReasoningDelta) for e in agent.last.events)
    assert agent.last.model == "scripted"
    assert (agent.name, agent.agent_id) == ("my_agent", "my_agent")


@pytest.mark.parametrize(("options", "sent"), [({}, ["b"]), ({"memory": None}, ["a", "A", "b"])])
def test_basic_agent_remembers_only_when_asked(server, play, options, sent):
    """Each run stands alone, as in TFrameX; the turns can still be read."""
    server.say("A", "B")

    async def scene(model):
        agent = BasicAgent("x", model, **options)
        await agent.run("a")
        await agent.run("b")
        return agent

    agent = play(scene)
    assert server.requests[1].texts == sent
    assert len(agent.conversation) == 2


def test_context_agent_puts_its_context_before_the_prompt(server, play):
    """ContextAgent(agent_id, model, context): the model reads both, the run shows the prompt."""
    server.say("blue", "grey")

    async def scene(model):
        agent = ContextAgent("c", model, "The sky is blue {today}.", system="S", memory=4)
        await agent.run("Which colour?")
        agent.context = "The sky is grey."
        await agent.run("And now?")
        return agent

    agent = play(scene)
    asked = "Context:\nThe sky is blue {today}.\n\nWhich colour?"
    assert server.requests[0].texts == ["S", asked]
    now = "Context:\nThe sky is grey.\n\nAnd now?"
    assert server.requests[1].texts == ["S", "Which colour?", "blue", now]
    assert agent.last.prompt == "And now?"
    assert repr(agent) == "<ContextAgent 'c' on scripted: 16 characters of context, 2 turns>"


def test_an_empty_context_adds_nothing(server, play):
    server.say("hi")

    async def scene(model):
        await ContextAgent("c", model).run("hello")

    play(scene)
    assert server.requests[0].texts == ["hello"]


def test_an_error_is_never_an_answer(server, play):
    """A refused key raises, typed; the run holds the failure and the error."""
    server.say(Say(status=401, error="wrong key"))

    async def scene(model):
        agent = BasicAgent("x", model)
        with pytest.raises(AuthError):
            await agent.run("hi")
        return agent

    agent = play(scene)
    assert isinstance(agent.last.events[-1], RunFailed)
    assert agent.last.events[-1].error == "AuthError"
    assert agent.last.text == ""
    assert isinstance(agent.last.error, AuthError)


def test_the_model_and_the_system_message_can_be_given_for_one_run(server, play):
    """They hold for that run only."""
    server.say("a", "b")

    async def scene(model):
        agent = BasicAgent("x", "no-such-model", system="kind")
        await agent.run("1", model=model, system="stern")
        await agent.run("2", model=model)

    play(scene)
    assert [r.texts[0] for r in server.requests] == ["stern", "kind"]


def test_the_base_cannot_be_made():
    """An agent needs its steps."""
    with pytest.raises(TypeError, match="steps"):
        BaseAgent("x")


@pytest.mark.parametrize(
    "package", [tframex_nb.agents, tframex_nb.systems], ids=["agents", "systems"]
)
def test_every_public_name_is_there_and_sorted(package):
    assert package.__all__ == sorted(package.__all__)
    assert dir(package) == package.__all__
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing


def test_importing_agents_loads_nothing_heavy():
    """Both pydantic and httpx wait until a tool's schema or a model is needed."""
    code = (
        "import sys, tframex_nb.agents as a, tframex_nb.systems as s\n"
        "names = [getattr(m, n) for m in (a, s) for n in m.__all__]\n"
        "agent = a.Agent('x'); agent.conversation.reset(); a.tool(print)\n"
        "heavy = {'pydantic', 'httpx', 'starlette', 'IPython', 'docstring_parser', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_prompt_that_is_no_text_is_refused_at_once():
    """A run or its messages, passed on as they are, must not fail deep inside a request."""
    agent = BasicAgent("reader", "demo")
    with pytest.raises(
        InvalidInput, match="'reader' was given a Message in place of a prompt"
    ) as told:
        agent.stream((Message("user", "hi"),))
    assert told.value.hint.endswith("of a run, its .text; messages go to model.stream(messages)")
    assert agent.last is None
