"""The file of a conversation: what it holds, what it never holds, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tframex_nb import Agent
from tframex_nb.agents.conversation import Conversation, Turn
from tframex_nb.agents.transcripts import SavedConversation, decode, encode
from tframex_nb.errors import InvalidInput
from tframex_nb.messages import Message, ToolCall, Usage

if TYPE_CHECKING:
    from pathlib import Path

# Its bytes happen to look like a key.
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,AKIA{'A' * 16}/w=="}}
SECRET = "planted-secret-0123456789"


def conversation(*turns: Turn) -> Conversation:
    made = Conversation()
    made.take(turns)
    return made


def turn(text="Why?", answer="So.", *, key=None, **more) -> Turn:
    messages = (Message("user", text), Message("assistant", answer))
    return Turn(key, messages, "run1", "finished", **more)


@pytest.fixture
def rich() -> Conversation:
    """Every kind of thing that a conversation can hold."""
    called = (
        Message("user", [{"type": "text", "text": "Look."}, IMAGE]),
        Message("assistant", "", (ToolCall("1", "f", '{"x": 1}'),), reasoning="Hm."),
        Message("tool", "2", tool_call_id="1", name="f"),
        Message("assistant", "Zwei — 二 🙂"),
    )
    usage = Usage(7, 3)
    first = Turn("cell-1", called, "run0", "finished", usage=usage, seconds=1.5)
    return conversation(first, turn(stale=True), turn(key="cell-2"))


def test_what_is_saved_comes_back_as_it_was(rich, tmp_path):
    rich.save(tmp_path / "c.json")
    back = Conversation(limit=3)
    back.load(tmp_path / "c.json")
    assert back.turns == rich.turns
    assert back.limit == 3
    assert Conversation.from_dict(rich.to_dict()).turns == rich.turns


def test_a_key_that_was_given_to_a_turn_is_not_kept(rich):
    """It is told from those of the next conversation by its place alone."""
    assert rich.key(2).startswith("@")
    assert rich.to_dict()["turns"][1]["cell"] is None


def test_an_agent_is_described_without_what_it_can_do():
    def secret_tool(x: int) -> int:
        return x

    agent = Agent("bob", "demo", tools=[secret_tool], system="Be brief.", max_steps=3, memory=None)
    about = encode(agent.conversation, agent)["agent"]
    assert about["tools"] == ["secret_tool"]
    assert (about["name"], about["model"], about["max_steps"]) == ("bob", "demo", 3)
    assert (about["system"], about["memory"], about["kind"]) == ("Be brief.", None, "Agent")


def test_no_secret_is_saved_wherever_it_stood(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_API_KEY", SECRET)
    key = "sk-proj-abcdef0123456789abcd"
    said = f"{SECRET} {key}"
    messages = (
        Message("user", [{"type": "text", "text": said}, {"type": "file", SECRET: said}]),
        Message("assistant", said, (ToolCall(said, said, f'{{"a": "{said}"}}'),), reasoning=said),
        Message("tool", said, tool_call_id=said, name=said),
    )
    agent = Agent("bob", "demo", system=said, description=said)
    agent.conversation.take([Turn(said, messages, said, "finished")])
    from tframex_nb.agents.transcript_files import write

    write(tmp_path / "c.json", encode(agent.conversation, agent))
    raw = (tmp_path / "c.json").read_text()
    assert SECRET not in raw
    assert key not in raw
    assert "***" in raw
    assert Conversation.from_dict(json.loads(raw)).turns[0].question == "*** ***"


def test_an_image_is_kept_as_it_is(rich):
    assert rich.to_dict()["turns"][0]["messages"][0]["content"][1] == IMAGE


def test_nothing_is_overwritten_unasked_and_no_other_file_ever(rich, tmp_path):
    path, other = tmp_path / "c.json", tmp_path / "notes.txt"
    rich.save(path)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="exists") as caught:
        conversation().save(path)
    assert "--force" in caught.value.hint
    assert path.read_bytes() == before
    conversation().save(path, force=True)
    assert json.loads(path.read_text())["turns"] == []
    other.write_text("mine")
    with pytest.raises(InvalidInput, match="is not overwritten"):
        rich.save(other, force=True)
    assert other.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.json", "notes.txt"]


def test_a_file_that_cannot_be_written_leaves_nothing(rich, tmp_path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        rich.save(tmp_path / "nowhere" / "c.json")
    assert not list(tmp_path.iterdir())


def whole() -> dict:
    return conversation(turn(key="a"), turn(key="b")).to_dict()


def changed(path: str, value: object) -> str:
    """Return a file with one value changed: ``turns.0.stale``."""
    data = whole()
    *way, last = path.split(".")
    place = data
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps(whole())[:300], "no JSON at line 1, column"),
        ("", "no JSON at line 1"),
        ("[1]", "it holds no object"),
        ("{}", "'tframex_conversation' is missing"),
        (changed("tframex_conversation", 2), "of version 2, and 1 is known"),
        (changed("tframex_conversation", "1"), "tframex_conversation: "),
        (changed("turns.1.messages.0.role", "system"), "turns[1].messages[0].role: "),
        (changed("turns.0.status", "running"), "turns[0].status: "),
        (changed("turns.0.stale", "no"), "turns[0].stale: "),
        (changed("turns.0.evil", 1), "turns[0].evil: "),
        (changed("turns.0.seconds", -1), "turns[0].seconds: "),
        (changed("turns.1.cell", "a"), "owns two of them"),
        (changed("turns.1.cell", "@1"), "is no id of a cell"),
        (changed("turns", [whole()["turns"][0] | {"cell": None}] * 501), "turns: "),
        (changed("turns.0.messages.0.content", [{"x": "\ud800"}]), "half of a surrogate pair"),
        (changed("turns.0.seconds", float("nan")), "NaN is no number"),
        (changed("turns.0.prompt_tokens", 10**400), "turns[0].prompt_tokens: "),
        ("[" * 200_000, "nested deeper than 32"),
        (changed("turns.0.messages.0.content", [{"a": json.loads("[" * 40 + "]" * 40)}]), "deeper"),
        ('{"tframex_conversation": 1, "turns": [], "turns": []}', "names a field twice"),
    ],
    ids=lambda value: value[:24] if len(value) < 60 else "",
)
def test_a_file_that_is_none_is_refused_with_the_place(text, told, tmp_path):
    """And what was remembered stays."""
    path = tmp_path / "c.json"
    path.write_text(text)
    there = conversation(turn("Kept?"))
    with pytest.raises(InvalidInput) as caught:
        there.load(path)
    assert told in str(caught.value)
    assert "c.json" in caught.value.message
    assert caught.value.hint
    assert [t.question for t in there] == ["Kept?"]


def test_bytes_that_are_no_text_and_too_many_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    path.write_bytes(b'{"\xff')
    with pytest.raises(InvalidInput, match="no UTF-8 at byte 2"):
        Conversation().load(path)
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(InvalidInput, match="more than 64 MiB"):
        Conversation().load(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        Conversation().load(tmp_path)


def test_a_fault_is_told_in_few_words_whatever_its_name():
    with pytest.raises(InvalidInput) as caught:
        decode({**whole(), "x" * 5000: 1})
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("url", ["file:///etc/passwd", "FILE:/x", "/etc/passwd", "ftp://x/y", ""])
def test_no_file_makes_the_endpoint_read_one(url):
    """An endpoint fetches what an image's address names; vLLM can be told to read files."""
    for held in ({"url": url}, url):
        part = {"type": "image_url", "image_url": held}
        turn = {"messages": [{"role": "user", "content": [part]}]}
        with pytest.raises(InvalidInput, match="no address of the web"):
            decode({"tframex_conversation": 1, "turns": [turn]})


def test_the_schema_in_the_docs_is_the_one_that_holds(root: Path):
    written = json.loads((root / "docs" / "conversation.schema.json").read_text())
    assert written == SavedConversation.model_json_schema()
