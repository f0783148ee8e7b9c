"""MultiCallSystem: many calls at once, a whole file each, one error for all that failed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from scripted_server import Say, until

from tframex_nb.errors import AgentError, BadRequest, InvalidInput, PartialFailure, Truncated
from tframex_nb.messages import RunFailed, RunFinished, TextDelta
from tframex_nb.systems import CallEvent, CallFailed, CallFinished, CallStarted, MultiCallSystem
from tframex_nb.systems.files import AnswerFile, file_stem


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_each_answer_goes_to_its_file(server, play, tmp_path):
    """TFrameX's shape: {"call_1": path, …}, the files whole and exact, params unchanged."""
    server.say(*(Say([f"answer {i}\r\n", "ü😀"]) for i in range(3)))

    async def scene(model):
        system = MultiCallSystem("sampler", model)
        return await system.run("Write", 3, str(tmp_path / "a/b"), "poem", temperature=1), system

    paths, system = play(scene)
    assert list(paths) == ["call_1", "call_2", "call_3"]
    assert paths["call_2"] == str(tmp_path / "a/b" / "poem_2.txt")
    texts = {Path(path).read_bytes().decode() for path in paths.values()}
    assert texts == {f"answer {i}\r\nü😀" for i in range(3)}
    assert names(tmp_path / "a/b") == ["poem_1.txt", "poem_2.txt", "poem_3.txt"]
    assert all(r.texts == ["Write"] and r.body["temperature"] == 1 for r in server.requests)
    assert system.last.usage.total_tokens == 15
    assert f"- call_1: `{paths['call_1']}`" in system.last.text


def test_no_more_calls_run_at_once_than_allowed(server, play, tmp_path):
    """The server never sees more than max_concurrency requests at the same time."""
    full = threading.Barrier(3)
    server.answer = lambda _: Say("x", gate=_Meeting(full))

    async def scene(model):
        return await MultiCallSystem("s", model, max_concurrency=3).run("p", 9, tmp_path)

    assert len(play(scene)) == 9
    assert server.busiest == 3


class _Meeting:
    """A gate that opens when three requests stand before it."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self._barrier = barrier

    def wait(self, timeout: float) -> None:
        self._barrier.wait(timeout)


def test_one_error_holds_what_was_completed_and_each_failure(server, play, tmp_path):
    """A refused call and a cut one: typed, with the partial text kept, the others whole."""
    server.say("one", Say(status=400, error="no such thing"), Say(["par", "tial"], cut=True))

    async def scene(model):
        system = MultiCallSystem("s", model, max_concurrency=1)
        with pytest.raises(PartialFailure) as caught:
            await system.run("p", 3, tmp_path, "out")
        return system, caught.value

    system, error = play(scene)
    assert error.completed == {"call_1": str(tmp_path / "out_1.txt")}
    kinds = {name: type(exc) for name, exc in error.failures.items()}
    assert kinds == {"call_2": BadRequest, "call_3": Truncated}
    assert error.message.startswith("2 of 3 calls failed: call_2: BadRequest: ")
    assert "; call_3: Truncated: " in error.message
    assert error.hint.endswith(
        "the error's .completed holds the whole answers, .failures the reasons"
    )
    assert names(tmp_path) == ["out_1.txt", "out_3.partial.txt"]
    assert (tmp_path / "out_3.partial.txt").read_text() == "partial"
    assert isinstance(system.last.events[-1], RunFailed)
    assert system.last.usage.total_tokens == 5


def test_many_failures_are_told_in_one_line(server, play, tmp_path):
    """The first three reasons, and how many more; nothing counts as completed."""
    server.answer = lambda _: Say(status=401, error="bad key")

    async def scene(model):
        await MultiCallSystem("s", model).run("p", 5, tmp_path)

    with pytest.raises(PartialFailure) as caught:
        play(scene)
    assert caught.value.message.startswith("5 of 5 calls failed: call_1: AuthError: ")
    assert caught.value.message.endswith("; and 2 more")
    assert caught.value.completed == {}
    assert names(tmp_path) == []


def test_the_events_are_tagged_by_call(server, play, tmp_path):
    """Progress per call: started, its own events inside, finished or failed."""
    server.say("one", Say(status=400, error="no"))

    async def scene(model):
        system = MultiCallSystem("s", model, max_concurrency=1)
        events = []
        try:
            async for event in system.stream("p", 2, tmp_path, "x"):
                events.append(event)  # noqa: PERF401 - the events before the error count
        except PartialFailure:
            return events

    events = play(scene)
    assert [e for e in events if isinstance(e, CallStarted)] == [
        CallStarted("call_1", 1, 2),
        CallStarted("call_2", 2, 2),
    ]
    text = [e for e in events if isinstance(e, CallEvent) and isinstance(e.event, TextDelta)]
    assert [(e.call, e.event.text) for e in text] == [("call_1", "one")]
    assert text[0].to_dict() == {
        "type": "call_event",
        "call": "call_1",
        "event": {"type": "text_delta", "text": "one"},
    }
    assert CallFinished("call_1", str(tmp_path / "x_1.txt")) in events
    failed = next(e for e in events if isinstance(e, CallFailed))
    assert (failed.call, failed.error, failed.partial) == ("call_2", "BadRequest", "")


def test_stopping_closes_every_stream_and_keeps_the_partials(server, play, tmp_path):
    """No call goes on in the background; a whole file is never half."""
    server.answer = lambda _: Say("half", hold=True)

    async def scene(model):
        system = MultiCallSystem("s", model)
        task = asyncio.create_task(system.run("p", 3, tmp_path, "x"))
        await until(lambda: system.last and str(system.last.events).count("half") == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for index in range(3):
            assert await asyncio.to_thread(server.wait_closed, index)
        return system, asyncio.all_tasks() - {asyncio.current_task()}

    system, tasks = play(scene)
    assert tasks == set()
    assert system.last.status == "interrupted"
    assert names(tmp_path) == [f"x_{i}.partial.txt" for i in (1, 2, 3)]
    assert (tmp_path / "x_1.partial.txt").read_text() == "half"


def test_a_failed_call_leaves_an_earlier_whole_answer_alone(server, play, tmp_path):
    """And a whole answer takes the place of an earlier partial one."""
    (tmp_path / "x_1.txt").write_text("earlier")
    (tmp_path / "x_2.partial.txt").write_text("earlier")
    server.say(Say("new", cut=True), "whole")

    async def scene(model):
        await MultiCallSystem("s", model, max_concurrency=1).run("p", 2, tmp_path, "x")

    with pytest.raises(PartialFailure):
        play(scene)
    assert names(tmp_path) == ["x_1.partial.txt", "x_1.txt", "x_2.txt"]
    assert (tmp_path / "x_1.txt").read_text() == "earlier"


def test_a_model_that_cancels_itself_is_a_failure_of_its_call(tmp_path):
    """Neither silence nor success."""

    class Cancelling:
        model_name = label = "cancelling"

        async def stream(self, messages, **params):
            yield TextDelta("a")
            raise asyncio.CancelledError

    with pytest.raises(PartialFailure) as caught:
        MultiCallSystem("s", Cancelling()).run_sync("p", 2, tmp_path)
    assert str(caught.value.failures["call_2"]) == "call_2 was cancelled"


@pytest.mark.parametrize(
    ("written", "stem"),
    [
        ("poem", "poem"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "answer"),
        ("/abs/path", "_abs_path"),
        ("C:\\x", "C_x"),
        (".hidden", "hidden"),
        ("", "answer"),
        ("Größe 1", "Größe 1"),
        ("a\x00b\n", "a_b_"),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_a_base_filename_stays_in_its_folder(server, play, tmp_path, written, stem):
    """No separators, no leading dots, no more bytes than a file system takes."""
    assert file_stem(written) == stem
    server.say("x")

    async def scene(model):
        return await MultiCallSystem("s", model).run("p", 1, tmp_path / "out", written)

    path = Path(play(scene)["call_1"])
    assert path.resolve().parent == (tmp_path / "out").resolve()
    assert names(tmp_path) == ["out"]


def test_a_link_in_the_folder_is_not_followed(tmp_path):
    """The whole file replaces the link; what it points to stays."""
    target = tmp_path / "precious.txt"
    target.write_text("keep")
    (tmp_path / "x_1.txt").symlink_to(target)
    file = AnswerFile(tmp_path, "x_1", tag="t")
    file.write("new")
    file.finish()
    assert target.read_text() == "keep"
    assert (tmp_path / "x_1.txt").read_text() == "new"


def test_a_folder_that_cannot_be_is_an_error(tmp_path, server, play):
    """Before any call is made."""
    (tmp_path / "file").write_text("")

    async def scene(model):
        await MultiCallSystem("s", model).run("p", 2, tmp_path / "file" / "out")

    with pytest.raises(AgentError, match="cannot hold the answers") as caught:
        play(scene)
    assert caught.value.hint == "pass an output_dir that can be written to"
    assert server.requests == []


def test_a_file_that_cannot_be_written_fails_only_its_call(tmp_path, server, play):
    """A folder in the way of one answer: the others are whole."""
    server.answer = lambda _: Say("x")
    (tmp_path / "x_2.txt").mkdir()

    async def scene(model):
        await MultiCallSystem("s", model).run("p", 3, tmp_path, "x")

    with pytest.raises(PartialFailure) as caught:
        play(scene)
    assert list(caught.value.completed) == ["call_1", "call_3"]
    assert isinstance(caught.value.failures["call_2"], OSError)
    assert (tmp_path / "x_2.partial.txt").read_text() == "x"


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_call_is_refused(count):
    with pytest.raises(InvalidInput, match=f"num_calls={count}") as caught:
        MultiCallSystem("s", "demo").run_sync("p", count, ".", "x")
    assert caught.value.hint == "num_calls must be 1 or more"
    with pytest.raises(InvalidInput, match="max_concurrency=0"):
        MultiCallSystem("s", "demo", max_concurrency=0)


def test_run_sync_gives_the_same(server, tmp_path):
    from tframex_nb.models import VLLMModel

    server.say("x")
    model = VLLMModel("m", server.url)
    system = MultiCallSystem("s", model)
    assert list(system.run_sync("p", 1, tmp_path)) == ["call_1"]
    assert isinstance(system.last.events[-1], RunFinished)
    asyncio.run(model.aclose())
