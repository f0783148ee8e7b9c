"""Turns: owned by their cells, kept when stopped, bounded by the newest messages."""

from __future__ import annotations

import asyncio

import pytest
from scripted_server import Say

from tframex_nb.agents import Agent, Conversation
from tframex_nb.errors import InvalidInput, ModelError
from tframex_nb.messages import Message, MessageFinished, ToolCall, ToolResult
from tframex_nb.runs import Run


def ended(prompt, *messages, status="finished"):
    """A run that gave these messages."""
    run = Run(prompt=prompt)
    for message in messages:
        if message.role == "tool":
            run.record(ToolResult(message.tool_call_id, message.name, message.text))
        else:
            run.record(MessageFinished(message))
    run.status = status
    return run


def say(conversation, prompt, answer, key=None):
    """Add a turn of one question and one answer."""
    run = ended(prompt, Message("assistant", answer))
    conversation.commit(conversation.begin(key), run)


def texts(conversation, before=None):
    return [m.text for m in conversation.messages(before)]


def test_an_agent_remembers_its_turns(server, play):
    """Each prompt is sent with the turns before it, and the system message first."""
    server.say("Hi Ada.", "Ada.")

    async def scene(model):
        agent = Agent("a", model, system="Be kind.")
        await agent.run("I am Ada.")
        await agent.run("Who am I?")

    play(scene)
    assert server.requests[1].texts == ["Be kind.", "I am Ada.", "Hi Ada.", "Who am I?"]


def test_a_rerun_replaces_its_own_turn_and_outdates_the_later_ones(server, play):
    """The cell's second run sees only the turns before it."""
    server.say("A1", "B1", "C1", "B2", "D1")

    async def scene(model):
        agent = Agent("a", model)
        for key, prompt in [("1", "a"), ("2", "b"), ("3", "c"), ("2", "b again"), (None, "d")]:
            await agent.run(prompt, turn=key)
        return agent

    agent = play(scene)
    assert server.requests[3].texts == ["a", "A1", "b again"]
    assert server.requests[4].texts == ["a", "A1", "b again", "B2", "c", "C1", "d"]
    assert [(t.key, t.stale) for t in agent.conversation] == [
        ("1", False),
        ("2", False),
        ("3", True),
        (None, False),
    ]
    assert repr(agent.conversation) == "<Conversation: 4 turns, 1 stale>"


def test_a_rerun_of_a_stale_turn_is_fresh_again():
    """Stale says that something before has changed since the turn was made."""
    conversation = Conversation()
    for key in "abab":
        say(conversation, key, key.upper(), key)
    assert [t.stale for t in conversation] == [False, False]


def test_fresh_starts_anew_and_remember_false_leaves_no_turn(server, play):
    """With fresh it forgets; fresh without remember only looks away; remember=False still sees."""
    server.say(*"12345")

    async def scene(model):
        agent = Agent("a", model)
        await agent.run("one")
        await agent.run("two", remember=False)
        await agent.run("three", fresh=True, remember=False)
        await agent.run("four")
        await agent.run("five", fresh=True)
        return agent

    agent = play(scene)
    sent = [r.texts for r in server.requests]
    assert sent == [
        ["one"],
        ["one", "1", "two"],
        ["three"],
        ["one", "1", "four"],
        ["five"],
    ]
    assert [t.messages[0].text for t in agent.conversation] == ["five"]


def test_a_failed_turn_keeps_its_partial_text(server, play):
    """What was received stays in the conversation, marked by its status."""
    server.say(Say(["half ", "an answer"], cut=True), "whole")

    async def scene(model):
        agent = Agent("a", model)
        with pytest.raises(ModelError):
            await agent.run("one")
        await agent.run("go on")
        return agent

    agent = play(scene)
    assert server.requests[1].texts == ["one", "half an answer", "go on"]
    assert [t.status for t in agent.conversation] == ["failed", "finished"]


def test_a_turn_without_a_word_is_kept_and_not_sent(server, play):
    """Many chat templates refuse two user messages in a row."""
    server.say(Say(status=401, error="no"), "whole")

    async def scene(model):
        agent = Agent("a", model)
        with pytest.raises(ModelError):
            await agent.run("one")
        await agent.run("two")
        return agent

    agent = play(scene)
    assert server.requests[1].texts == ["two"]
    assert len(agent.conversation) == 2


def test_two_runs_at_once_see_only_what_was_there_when_they_began(server, play):
    """Neither sees half of the other; both are kept, in the order in which they began."""
    server.answer = lambda request: Say("answer to " + request.texts[-1])

    async def scene(model):
        agent = Agent("a", model)
        await agent.run("zero")
        await asyncio.gather(agent.run("one"), agent.run("two"))
        return agent

    agent = play(scene)
    assert [t.messages[0].text for t in agent.conversation] == ["zero", "one", "two"]
    assert [len(r.texts) for r in server.requests] == [1, 3, 3]


def test_the_later_of_two_runs_of_one_turn_wins():
    """A slow run of a cell does not overwrite the run that came after it."""
    conversation = Conversation()
    slow, quick = conversation.begin("cell"), conversation.begin("cell")
    conversation.commit(quick, ended("q", Message("assistant", "new")))
    conversation.commit(slow, ended("q", Message("assistant", "old")))
    assert texts(conversation) == ["q", "new"]


def test_turns_are_kept_in_the_order_in_which_they_began():
    """Not in the order in which they ended."""
    conversation = Conversation()
    first, second = conversation.begin(), conversation.begin()
    conversation.commit(second, ended("2", Message("assistant", "b")))
    conversation.commit(first, ended("1", Message("assistant", "a")))
    assert texts(conversation) == ["1", "a", "2", "b"]


def test_a_run_that_a_reset_overtook_is_not_remembered():
    """It belongs to a conversation that is gone."""
    conversation = Conversation()
    draft = conversation.begin()
    conversation.reset()
    conversation.commit(draft, ended("q", Message("assistant", "a")))
    assert conversation.turns == []


CALL = ToolCall("c1", "look", "{}")


def tool_turn(conversation):
    conversation.commit(
        conversation.begin(),
        ended(
            "q",
            Message("assistant", "", tool_calls=(CALL,)),
            Message("tool", "found", tool_call_id="c1", name="look"),
            Message("assistant", "answer"),
        ),
    )


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (None, ["old", "OLD", "q", "", "found", "answer"]),
        (6, ["old", "OLD", "q", "", "found", "answer"]),
        (5, ["q", "", "found", "answer"]),
        (4, ["q", "", "found", "answer"]),
        (3, ["", "found", "answer"]),
        (2, ["answer"]),
        (1, ["answer"]),
        (0, []),
    ],
)
def test_the_newest_messages_are_kept_and_no_call_is_torn(limit, kept):
    """Never more than the limit, never a result without its call, a question first if it fits."""
    conversation = Conversation(limit)
    say(conversation, "old", "OLD")
    tool_turn(conversation)
    assert texts(conversation) == kept


def test_the_system_message_is_always_sent(server, play):
    """Memory bounds the earlier messages, not the system message or the prompt."""
    server.say("A", "B", "C")

    async def scene(model):
        agent = Agent("a", model, system="S", memory=2)
        for prompt in "abc":
            await agent.run(prompt)

    play(scene)
    assert server.requests[2].texts == ["S", "b", "B", "c"]


def test_a_call_that_a_stop_left_without_result_is_sent_with_one():
    """Endpoints refuse a tool call without its result."""
    conversation = Conversation()
    run = ended("q", Message("assistant", "I look.", tool_calls=(CALL,)), status="interrupted")
    conversation.commit(conversation.begin(), run)
    sent = conversation.messages()
    assert [m.role for m in sent] == ["user", "assistant", "tool"]
    assert sent[-1].tool_call_id == "c1"
    assert sent[-1].text == "Not run: the turn ended before this tool was called."
    assert len(conversation.turns[0].messages) == 2


def test_messages_before_a_turn():
    """What a turn of this key is, or would be, sent."""
    conversation = Conversation()
    for key in "abc":
        say(conversation, key, key.upper(), key)
    assert texts(conversation, "b") == ["a", "A"]
    assert texts(conversation, "new") == ["a", "A", "b", "B", "c", "C"]


def test_a_negative_memory_is_refused():
    with pytest.raises(InvalidInput, match="memory=-1") as caught:
        Agent("a", memory=-1)
    assert caught.value.hint == "memory=0 remembers nothing, memory=None all"


def test_a_conversation_does_not_grow_for_ever():
    """The oldest turns fall out; what is sent is bounded long before."""
    conversation = Conversation(2)
    for number in range(510):
        say(conversation, str(number), "a")
    assert len(conversation) == 500
    assert conversation.turns[0].messages[0].text == "10"
    assert texts(conversation) == ["509", "a"]
