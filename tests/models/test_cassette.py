"""Cassettes: what a model answered comes again, piece by piece, with nothing behind it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from decimal import Decimal

import pytest
from scripted_server import Say, ScriptedServer

from tframex_nb import Agent, Budget
from tframex_nb.errors import (
    AuthError,
    BudgetExceeded,
    CassetteMiss,
    ConnectionFailed,
    RateLimited,
    SettingsError,
    Truncated,
)
from tframex_nb.http import Timeouts
from tframex_nb.messages import MessageFinished, ReasoningDelta, TextDelta, ToolCallStarted, Usage
from tframex_nb.models import Endpoints, RetryPolicy, VLLMModel
from tframex_nb.models._tool_calls import ToolCallDelta
from tframex_nb.models.base import StreamingModel
from tframex_nb.models.cassette import Cassettes, TapedModel, shared_cassettes

ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
ONCE = RetryPolicy(retries=0)
LONG = "Write a long poem about the sea, the wind and the ships."


@pytest.fixture
def server():
    server = ScriptedServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def cassettes(tmp_path) -> Cassettes:
    made = Cassettes()
    made.use("record", folder=tmp_path / "tapes", name="test")
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tapes" / "test.ndjson"


def again(mode: str, path, **options) -> Cassettes:
    """Return the cassettes of a new process, on the same file."""
    made = Cassettes()
    made.use(mode, folder=path.parent, name=path.stem, **options)
    return made


def model_of(server, **options) -> VLLMModel:
    return VLLMModel("m", server.url, "a-key-of-a-test", **{"retry": ONCE, **options})


def ask(cassettes, server, messages=ASK, *, pieces=False, model=None, **params):
    """Make one call and return its batches, and its error if it raised one."""
    taped = cassettes.model(model or model_of(server))

    async def main():
        batches, error = [], None
        try:
            async for events in taped.batches(messages, params, pieces=pieces):
                batches += [list(events)]
        except Exception as exc:
            error = exc
        await taped.aclose()
        return batches, error

    return asyncio.run(main())


def text_of(batches) -> str:
    return "".join(e.text for batch in batches for e in batch if isinstance(e, TextDelta))


def say(cassettes, server, prompt, **options) -> str:
    batches, error = ask(cassettes, server, [{"role": "user", "content": prompt}], **options)
    if error is not None:
        raise error
    return text_of(batches)


RICH = Say(
    ["Grüße, ", "你好 ", "👩‍🚀", "\u2028", "!"],
    reasoning="first I think",
    calls=[("weather", {"city": "Oslo"}), ("clock", {})],
    usage=(9, 4),
)


@pytest.mark.parametrize("pieces", [False, True], ids=["whole calls", "pieces"])
def test_a_replay_gives_the_same_events_in_the_same_batches(cassettes, server, path, pieces):
    server.say(RICH)
    recorded = ask(cassettes, server, pieces=pieces)
    assert recorded[1] is None
    kinds = {type(event) for batch in recorded[0] for event in batch}
    call = ToolCallDelta if pieces else ToolCallStarted
    assert kinds == {TextDelta, ReasoningDelta, call, Usage, MessageFinished}
    for _ in range(2):
        assert ask(again("replay", path), server, pieces=pieces) == recorded
    assert len(server.requests) == 1


@pytest.mark.parametrize("pieces", [False, True], ids=["then whole", "then in pieces"])
def test_what_a_framework_recorded_answers_an_agent_too(cassettes, server, path, pieces):
    """One reads tool calls in pieces, the other whole ones."""
    server.say(RICH, RICH)
    ask(cassettes, server, pieces=not pieces)
    played = [e for batch in ask(again("replay", path), server, pieces=pieces)[0] for e in batch]
    wanted = [e for batch in ask(cassettes, server, pieces=pieces)[0] for e in batch]
    if not pieces:
        assert [(e.type, e.text) if isinstance(e, TextDelta) else e.type for e in played] == [
            (e.type, e.text) if isinstance(e, TextDelta) else e.type for e in wanted
        ]
    last = played[-1]
    assert isinstance(last, MessageFinished)
    assert [call.name for call in last.message.tool_calls] == ["weather", "clock"]


def test_replay_needs_no_server_no_key_and_no_endpoint(server, path, tmp_path, monkeypatch):
    """A name that means nothing here means what was recorded under it."""
    monkeypatch.setenv("TFRAMEX_ENDPOINTS__TEAM__URL", server.url)
    monkeypatch.setenv("TFRAMEX_ENDPOINTS__TEAM__API_KEY", "a-key-of-a-test")
    recording = again("record", path)
    server.say("one answer")
    endpoints = Endpoints()
    taped = recording.model("team:m", endpoints=endpoints)
    assert say(recording, server, "hello", model=taped) == "one answer"
    asyncio.run(endpoints.aclose())
    monkeypatch.delenv("TFRAMEX_ENDPOINTS__TEAM__URL")
    monkeypatch.delenv("TFRAMEX_ENDPOINTS__TEAM__API_KEY")
    replaying = again("replay", path)
    for name in ("team:m", "team", "m"):
        taped = replaying.model(name, endpoints=Endpoints())
        assert isinstance(taped, TapedModel)
        assert taped.inner is None
        assert taped.label == "team:m"
        assert say(replaying, server, "hello", model=taped) == "one answer"
    with pytest.raises(SettingsError, match="no endpoint is set for the model"):
        again("record", path).model("stranger", endpoints=Endpoints())


def test_without_any_setting_the_only_recorded_endpoint_is_meant(server, path, monkeypatch):
    monkeypatch.setenv("TFRAMEX_API_URL", server.url)
    monkeypatch.setenv("TFRAMEX_MODEL", "m")
    recording, endpoints = again("record", path), Endpoints()
    server.say("one answer")
    asked = recording.model(None, endpoints=endpoints)
    say(recording, server, "hello", model=asked)
    asyncio.run(endpoints.aclose())
    monkeypatch.delenv("TFRAMEX_API_URL")
    monkeypatch.delenv("TFRAMEX_MODEL")
    replaying = again("replay", path)
    taped = replaying.model(None, endpoints=Endpoints())
    assert taped.label == asked.label == "m"
    assert say(replaying, server, "hello", model=taped) == "one answer"


def test_the_same_question_gets_its_answers_in_order_then_the_last(cassettes, server, path):
    server.say("one", "two", "three")
    assert [say(cassettes, server, "and?") for _ in range(3)] == ["one", "two", "three"]
    replaying = again("replay", path)
    assert [say(replaying, server, "and?") for _ in range(5)] == [
        "one",
        "two",
        "three",
        "three",
        "three",
    ]
    replaying.use("replay", folder=path.parent, name="test")
    assert say(replaying, server, "and?") == "one"


def test_a_new_recording_takes_the_place_of_the_old_ones(cassettes, server, path):
    server.say("old one", "old two", "kept", "new")
    for prompt in ("q", "q", "other"):
        say(cassettes, server, prompt)
    assert say(again("record", path), server, "q") == "new"
    replaying = again("replay", path)
    assert [say(replaying, server, p) for p in ("q", "q", "other")] == ["new", "new", "kept"]


def test_auto_asks_once_and_is_free_afterwards(server, path):
    server.say("one", "two")
    for _ in range(2):
        cassettes = again("auto", path)
        assert [say(cassettes, server, p) for p in ("a", "b", "a")] == ["one", "two", "one"]
    assert len(server.requests) == 2


def test_an_error_is_recorded_with_what_came_before_it(cassettes, server, path):
    """A stream that was cut, with its text; a refusal; a retry that went well."""
    server.say(
        Say(["half ", "an "], cut=True),
        Say(status=401, error="no such key"),
        Say(status=429, error="later"),
        "at last",
    )
    retrying = model_of(server, retry=RetryPolicy(retries=1, backoff=0.01))
    recorded = [
        ask(cassettes, server, [{"role": "user", "content": "cut"}]),
        ask(cassettes, server, [{"role": "user", "content": "key"}]),
        ask(cassettes, server, [{"role": "user", "content": "retry"}], model=retrying),
    ]
    assert [type(error) for _, error in recorded] == [Truncated, AuthError, type(None)]
    replaying = again("replay", path)
    for prompt, (batches, error) in zip(("cut", "key", "retry"), recorded, strict=True):
        played, fault = ask(replaying, server, [{"role": "user", "content": prompt}])
        assert played == batches
        assert type(fault) is type(error)
        if error is not None:
            assert (str(fault), fault.url, fault.status, fault.received, fault.transient) == (
                str(error),
                error.url,
                error.status,
                error.received,
                error.transient,
            )
    assert recorded[2][0][0][0].type == "retrying"


def test_auto_keeps_no_error_and_asks_anew_where_one_is_recorded(cassettes, server, path):
    server.say(Say(status=429, error="later"), Say(status=429, error="later"), "now")
    with pytest.raises(RateLimited):
        say(cassettes, server, "q")
    auto = again("auto", path)
    with pytest.raises(RateLimited):
        say(auto, server, "q")
    assert len(again("replay", path).current.recordings) == 1
    assert say(auto, server, "q") == "now"
    assert say(again("replay", path), server, "q") == "now"


def test_a_miss_names_the_nearest_recording_and_the_difference(cassettes, server, path):
    server.say("one", "two")
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    say(cassettes, server, "What is the weather in Oslo?", tools=tools, temperature=0.2)
    say(cassettes, server, "Write a poem about the sea.")
    with pytest.raises(CassetteMiss) as caught:
        say(again("replay", path), server, "What is the weather in Rome?", temperature=0.7)
    assert caught.value.message == (
        f"{server.url}:m was asked what is not recorded: 'What is the weather in Rome?'; "
        "the nearest of 2 in test.ndjson is 'What is the weather in Oslo?'"
    )
    assert caught.value.difference == (
        "--- recorded",
        "+++ asked",
        "-user: What is the weather in Oslo?",
        "-temperature: 0.2",
        '-tool: {"name": "weather", "parameters": {}}',
        "+user: What is the weather in Rome?",
        "+temperature: 0.7",
    )
    assert "TFRAMEX_CASSETTE=record" in caught.value.hint
    shown = caught.value._render_traceback_()
    assert shown[1:-1] == list(caught.value.difference)
    assert "-temperature: 0.2" in str(caught.value)
    assert len(server.requests) == 2


def test_a_long_line_is_shown_where_it_differs(cassettes, server, path):
    server.say("one")
    long = "word " * 200
    say(cassettes, server, f"{long}red {long}")
    with pytest.raises(CassetteMiss) as caught:
        say(again("replay", path), server, f"{long}blue {long}")
    removed, added = caught.value.difference[2:]
    assert "word red word" in removed
    assert "word blue word" in added
    assert max(map(len, caught.value.difference)) < 120


def test_an_empty_cassette_says_how_to_record(server, path):
    with pytest.raises(CassetteMiss, match="holds no recording") as caught:
        say(again("replay", path), server, "q")
    assert "%cassettes use record" in caught.value.hint
    assert not path.parent.exists()
    assert server.requests == []


def test_another_model_or_endpoint_is_another_question(cassettes, server, path):
    server.say("one")
    say(cassettes, server, "q")
    other = VLLMModel("n", server.url)
    elsewhere = VLLMModel("m", "http://127.0.0.1:9/v1")
    for model, lines in (
        (other, ("-model: m", "+model: n")),
        (elsewhere, (f"-endpoint: {server.url}", "+endpoint: http://127.0.0.1:9/v1")),
    ):
        _, error = ask(
            again("replay", path), server, [{"role": "user", "content": "q"}], model=model
        )
        assert isinstance(error, CassetteMiss)
        assert error.difference[2:] == lines


def test_ids_of_tool_calls_and_the_order_of_keys_do_not_matter(cassettes, server, path):
    def dialogue(one: str, two: str, arguments: str, **result):
        def call(call_id):
            function = {"name": "f", "arguments": arguments}
            return {"id": call_id, "type": "function", "function": function}

        return [
            {"role": "user", "content": [{"type": "text", "text": "go"}]},
            {"role": "assistant", "content": None, "tool_calls": [call(one), call(two)]},
            {"role": "tool", "tool_call_id": two, "content": "2", **result},
            {"content": "1", "tool_call_id": one, "role": "tool"},
        ]

    server.say("done")
    recorded = ask(cassettes, server, dialogue("a", "b", '{"x": 1, "y": 2}'), user="me", seed=1)
    same = dialogue("call_77", "call_9", '{"y":2,"x":1}', id="msg_1")
    same[0]["content"] = "go"
    assert ask(again("replay", path), server, same, seed=1, stream=True) == recorded
    crossed = dialogue("a", "b", '{"x": 1, "y": 2}')
    crossed[2]["tool_call_id"], crossed[3]["tool_call_id"] = "a", "b"
    assert isinstance(ask(again("replay", path), server, crossed, seed=1)[1], CassetteMiss)


def test_ids_and_times_in_a_text_matter_only_where_they_were_recorded(cassettes, server, path):
    """Replay looks past them and says so; two that were recorded are told apart; auto asks."""
    order = "Order 0f8fad5b-d9cb-469f-a165-7086728{} of 2026-11-2{} 10:00:00"
    one, two = order.format("50e01", 1), order.format("50e02", 2)
    server.say("one", "two", "three")
    assert [say(cassettes, server, q) for q in (one, two)] == ["one", "two"]
    replaying = again("replay", path)
    assert [say(replaying, server, q) for q in (two, one)] == ["two", "one"]
    replaying = again("replay", path)
    fresh = [order.format("60e03", 7), order.format("60e04", 8)]
    assert [say(replaying, server, q) for q in fresh] == ["one", "two"]
    taped = again("replay", path).model(model_of(server))
    say(replaying, server, fresh[0], model=taped)
    assert taped.notes == ("replayed", "ids or times differ from the recording")
    assert say(again("auto", path), server, fresh[0]) == "three"


def test_pauses_are_replayed_on_request_only(cassettes, server, path):
    gate = threading.Event()
    server.say(Say(["a", "b"], gate=gate))
    threading.Timer(0.3, gate.set).start()
    say(cassettes, server, "q")

    async def seconds(replaying):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        taped = replaying.model(model_of(server))
        await taped.run([{"role": "user", "content": "q"}])
        return loop.time() - begun

    assert asyncio.run(seconds(again("replay", path, timing=True))) >= 0.25
    assert asyncio.run(seconds(again("replay", path))) < 0.25


def test_an_answer_beyond_the_bound_is_given_and_not_recorded(cassettes, server, path):
    server.say("x" * 600, Say(["x" * 600, "y" * 600]))
    for _ in range(2):
        taped = cassettes.model(model_of(server))
        taped.deck.limit = 1000
        ask(cassettes, server, [{"role": "user", "content": "q"}], model=taped)
    assert taped.notes == ("not recorded: the answer is larger than 1,000 characters",)
    assert [text_of(r.events) for r in cassettes.current.recordings] == ["x" * 600]


def test_what_was_left_early_is_not_recorded(cassettes, server, path):
    server.say(Say(["a", "b"], hold=True))

    async def main():
        taped = cassettes.model(model_of(server))
        events = taped.stream(ASK)
        assert (await anext(events)).text == "a"
        await events.aclose()
        await taped.aclose()

    asyncio.run(main())
    assert server.wait_closed()
    assert cassettes.current.recordings == []


def test_a_folder_that_cannot_be_written_costs_nobody_the_answer(server):
    cassettes = Cassettes()
    cassettes.use("record", folder="/proc/nowhere", name="test")
    server.say("the answer")
    taped = cassettes.model(model_of(server))
    assert say(cassettes, server, "q", model=taped) == "the answer"
    assert len(taped.notes) == 1
    assert taped.notes[0].startswith("not recorded: ")


def test_a_folder_that_is_none_is_told_before_anything_is_asked(cassettes, server, tmp_path):
    (tmp_path / "tapes").write_text("a file")
    with pytest.raises(SettingsError, match=r"cannot be read: Not a directory") as caught:
        say(cassettes, server, "q")
    assert "choose another folder" in caught.value.hint
    assert server.requests == []


class Own(StreamingModel):
    """A model of the user's own, which is no pooled one."""

    model_name = label = "own"
    asked = 0

    async def stream(self, messages, **params):
        self.asked += 1
        from tframex_nb.messages import Message

        yield TextDelta("mine")
        yield MessageFinished(Message("assistant", "mine"))

    async def aclose(self):
        pass


def test_a_model_of_the_users_own_is_recorded_too(cassettes, path):
    own = Own()
    assert asyncio.run(cassettes.model(own).run(ASK)) == "mine"
    assert asyncio.run(again("replay", path).model(own).run(ASK)) == "mine"
    assert own.asked == 1


def test_half_a_surrogate_pair_can_be_asked_and_recorded(cassettes, server, path):
    server.say("fine")
    assert say(cassettes, server, "odd \ud83d text") == "fine"
    assert say(again("replay", path), server, "odd \ud83d text") == "fine"


def test_off_wraps_nothing(tmp_path, server):
    model = model_of(server)
    assert Cassettes().model(model) is model


def test_the_settings_choose_the_mode_and_the_folder(monkeypatch, tmp_path, server):
    monkeypatch.setenv("TFRAMEX_CASSETTE", "record")
    (tmp_path / "tframex.toml").write_text('cassette_dir = "here"\n')
    monkeypatch.setenv("JPY_SESSION_NAME", "work/My notebook.ipynb")
    server.say("x")
    cassettes = Cassettes()
    say(cassettes, server, "q")
    assert (tmp_path / "here" / "My-notebook.ndjson").is_file()
    monkeypatch.setenv("TFRAMEX_CASSETTE", "reply")
    with pytest.raises(SettingsError, match="TFRAMEX_CASSETTE in the environment is not valid"):
        _ = cassettes.mode


def test_who_does_not_know_its_notebook_plays_the_whole_folder(path, server, monkeypatch):
    server.say("a's", "b's")
    for name in ("a", "b"):
        cassettes = Cassettes()
        cassettes.use("record", folder=path.parent, name=name)
        say(cassettes, server, f"from {name}")
    nameless = Cassettes()
    nameless.use("replay", folder=path.parent)
    assert [say(nameless, server, f"from {n}") for n in "ab"] == ["a's", "b's"]
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "notebooks/a.ipynb::Cell 0 (setup)")
    assert nameless.current.path.name == "a.ndjson"


def test_replay_does_not_reach_for_what_it_would_ask(cassettes, server, path):
    """The endpoint is there and would answer; nothing is sent."""
    server.say("one", "never")
    say(cassettes, server, "q")
    quick = VLLMModel("m", server.url, timeouts=Timeouts(connect=1))
    say(again("replay", path), server, "q", model=quick)
    assert len(server.requests) == 1
    assert quick._pool._home is None


def test_a_model_that_is_gone_is_recorded_as_gone(cassettes, path):
    gone = VLLMModel("m", "http://127.0.0.1:9/v1", retry=ONCE)
    assert isinstance(ask(cassettes, None, model=gone)[1], ConnectionFailed)
    assert isinstance(ask(again("replay", path), None, model=gone)[1], ConnectionFailed)


def test_the_file_is_json_by_line_with_what_people_look_for_first(cassettes, server, path):
    server.say("The sun shines.")
    say(cassettes, server, "What is the weather?")
    head, line, end, rest = path.read_text(encoding="utf-8").split("\n")
    assert (json.loads(head), json.loads(end), rest) == (
        {"tframex_cassette": 1},
        {"end": True},
        "",
    )
    data = json.loads(line)
    assert list(data.items())[:2] == [
        ("asked", "What is the weather?"),
        ("answer", "The sun shines."),
    ]
    assert data["request"] == {"messages": [{"role": "user", "content": "What is the weather?"}]}


def test_an_agent_inside_an_agent_is_recorded_once(server, path):
    """The inner one is asked with the outer one's model, which is taped already."""
    shared = shared_cassettes()
    inner = Agent("inner", description="knows it")
    server.say(
        Say(calls=[("inner", {"prompt": "what?"})]), Say("it is so"), Say("they say: it is so")
    )

    def run(mode):
        shared.use(mode, folder=path.parent, name=path.stem)
        model = model_of(server)

        async def main():
            try:
                return await Agent("outer", model=model, tools=[inner]).run("go")
            finally:
                await model.aclose()

        return asyncio.run(main())

    try:
        assert [run("record"), run("replay")] == ["they say: it is so"] * 2
        assert len(shared.current.recordings) == len(server.requests) == 3
    finally:
        shared.use(None)


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, tframex_nb.models.cassette\n"
        "print([m for m in ('httpx', 'pydantic', 'IPython', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_budget_stopped_or_refused_ends_in_replay_as_it_did(path, server):
    """The notebook of today is the test of tomorrow, its budget cells too."""
    server.say(Say(["word "] * 400))
    told = []
    for mode in ("record", "replay"):
        shared = shared_cassettes()
        shared.use(mode, folder=path.parent, name=path.stem)
        try:
            for cap in (100, 4):
                agent = Agent("writer", model_of(server))
                with pytest.raises(BudgetExceeded) as caught:
                    agent.run_sync(LONG, budget=Budget(max_tokens_total=cap))
                error = caught.value
                told.append((str(error), error.hint, error.spent, error.cap, agent.last.text))
        finally:
            shared.use("off")
    stopped, refused = told[:2]
    assert stopped[-1].startswith("word word")
    assert refused[-1] == ""
    assert told[2:] == [stopped, refused]
    assert len(server.requests) == 1


def test_a_budget_in_dollars_is_kept_exactly(path, server):
    """What was spent is a Decimal before and after."""
    server.say(Say(["word "] * 400))
    prices = {"m": {"input": "0.5", "output": "1.5"}}
    os.environ["TFRAMEX_PRICES"] = json.dumps(prices)
    caught = []
    try:
        for mode in ("record", "replay"):
            shared_cassettes().use(mode, folder=path.parent, name=path.stem)
            with pytest.raises(BudgetExceeded) as error:
                Agent("w", model_of(server)).run_sync("Go on.", budget=Budget(max_cost="0.0001"))
            caught.append((error.value.spent, error.value.cap))
    finally:
        shared_cassettes().use("off")
        del os.environ["TFRAMEX_PRICES"]
    assert caught[0] == caught[1]
    assert isinstance(caught[1][0], Decimal)
