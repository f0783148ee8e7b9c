"""ChainOfAgents: windows with overlap, a running summary, then the answer."""

from __future__ import annotations

import asyncio

import pytest
from scripted_server import Say, until

from tframex_nb.errors import AgentError, InvalidInput, ModelError
from tframex_nb.messages import RunFinished, RunStarted
from tframex_nb.systems import CallStarted, ChainOfAgents
from tframex_nb.systems.chain import windows


@pytest.mark.parametrize(
    ("text", "size", "overlap", "parts"),
    [
        ("abcdefghij", 4, 1, ["abcd", "defg", "ghij"]),
        ("abcdefghijk", 4, 1, ["abcd", "defg", "ghij", "jk"]),
        ("abcdef", 3, 0, ["abc", "def"]),
        ("abcdefg", 3, 0, ["abc", "def", "g"]),
        ("abc", 10, 5, ["abc"]),
        ("a", 10, 9, ["a"]),
        ("abcd", 4, 3, ["abcd"]),
        ("abcde", 4, 3, ["abcd", "bcde"]),
    ],
)
def test_windows_overlap_and_none_is_lost(text, size, overlap, parts):
    """The step is size - overlap; the last window may be shorter and is always there."""
    assert list(windows(text, size, overlap)) == parts


@pytest.mark.parametrize("length", range(1, 40))
def test_windows_hold_every_character_once_beside_the_overlap(length):
    """Joined without their overlaps they are the text, whatever its length."""
    text = "".join(chr(0x4E00 + i) for i in range(length))
    for size in range(1, 12):
        for overlap in range(size):
            first, *rest = windows(text, size, overlap)
            assert first + "".join(part[overlap:] for part in rest) == text
            assert all(len(part) > overlap for part in rest)


def test_each_part_updates_the_summary_and_the_last_call_answers(server, play):
    """N parts make N + 1 calls; each sees the summary before it, params unchanged."""
    server.say("S1", "S2", Say(["The ", "answer"]))

    async def scene(model):
        chain = ChainOfAgents("reader", model, chunk_size=4, chunk_overlap=1)
        return await chain.run("What {is} it?", "abcdefg", temperature=0), chain

    text, chain = play(scene)
    assert text == "The answer"
    first, second, last = (r.texts[0] for r in server.requests)
    assert "abcd" in first
    assert "part 1 of 2" in first
    assert "defg" in second
    assert "S1" in second
    assert "abcd" not in second
    assert "S2" in last
    assert "defg" not in last
    assert all("What {is} it?" in r.texts[0] for r in server.requests)
    assert all(r.body["temperature"] == 0 for r in server.requests)
    assert chain.last.usage.total_tokens == 15
    assert chain.last.text == "The answer"


def test_the_events_tell_which_call_runs(server, play):
    """A CallStarted before each model call; one terminal event."""
    server.say("S1", "answer")

    async def scene(model):
        return [e async for e in ChainOfAgents("r", model).stream("q", "a short text")]

    events = play(scene)
    started = [e for e in events if isinstance(e, CallStarted)]
    assert started == [CallStarted("part 1 of 1", 1, 2), CallStarted("answer", 2, 2)]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].text == "answer"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused_at_once(text):
    """Before any call; the error is a ValueError too."""
    chain = ChainOfAgents("reader", "demo")
    with pytest.raises(InvalidInput) as caught:
        chain.run_sync("q", text)
    assert caught.value.message == "'reader' was given an empty text to read"
    assert caught.value.hint == "pass the text as long_text; without one, ask an agent"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, 9), (0, 0), (4, -1), (-5, None)])
def test_windows_that_do_not_advance_are_refused(size, overlap):
    with pytest.raises(InvalidInput, match="would not advance") as caught:
        ChainOfAgents("reader", "demo", chunk_size=size, chunk_overlap=overlap)
    assert caught.value.hint == "chunk_overlap must be 0 or more, and smaller than chunk_size"


def test_a_summary_without_text_is_an_error(server, play):
    """Going on would lose the parts so far in silence."""
    server.say("S1", Say("", reasoning="hm", finish="length"))

    async def scene(model):
        await ChainOfAgents("reader", model, chunk_size=4, chunk_overlap=0).run("q", "abcdefgh")

    with pytest.raises(AgentError) as caught:
        play(scene)
    assert caught.value.message == "'reader': the model gave no text for part 2 of 2"
    assert caught.value.hint.startswith("raise max_tokens")


def test_a_model_error_fails_the_run(server, play):
    """What the parts gave so far stays in the run."""
    server.say("S1", Say(status=400, error="too long"))

    async def scene(model):
        chain = ChainOfAgents("reader", model)
        with pytest.raises(ModelError):
            await chain.run("q", "text")
        return chain

    chain = play(scene)
    assert chain.last.status == "failed"
    assert chain.last.text == "S1"


def test_stopping_closes_the_stream(server, play):
    server.say("S1", Say("half", hold=True))

    async def scene(model):
        chain = ChainOfAgents("reader", model)
        task = asyncio.create_task(chain.run("q", "text"))
        await until(lambda: chain.last and chain.last.text == "half")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.wait_closed)
        return chain

    assert play(scene).last.status == "interrupted"


def test_the_repr_tells_id_and_model():
    assert repr(ChainOfAgents("reader", "demo")) == "<ChainOfAgents 'reader' on demo>"
