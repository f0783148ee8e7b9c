"""A chat with an agent, pressed and typed as a front end does: by messages of its widgets."""

from __future__ import annotations

import ast
import json
import time

import pytest

pytestmark = pytest.mark.kernel

PATIENCE = 20.0  # seconds
SLOW = "text-100000-r100"  # a model that talks for minutes


class ChatPage:
    """What a page knows of a chat: its widgets by what stands on them, and its displays."""

    def __init__(self, kernel, name: str) -> None:
        self.kernel = kernel
        self.cell = kernel.run(f"%agents chat {name}", cell_id=f"chat {time.monotonic()}")
        assert self.cell.status == "ok", self.cell.error
        self.ids: dict[str, str] = {}
        self.learn()

    def learn(self) -> None:
        """Take in the widgets that have come, whatever message of the page set them off."""
        for message in [*self.kernel.strays, *self.cell.messages]:
            if message.type == "comm_open":
                state = message.content["data"]["state"]
                kind = state["_model_name"].removesuffix("Model")
                name = state.get("description") if kind == "Button" else ""
                name = "question" if state.get("_view_count") == 0 else name
                self.ids[name or kind] = message.content["comm_id"]

    def type(self, text: str) -> None:
        self._send("Textarea", {"method": "update", "state": {"value": text}, "buffer_paths": []})

    def choose(self, index: int) -> None:
        self._send("Dropdown", {"method": "update", "state": {"index": index}, "buffer_paths": []})

    def show_question(self) -> None:
        """Tell that the page shows what is asked before a tool acts."""
        seen = {"method": "update", "state": {"_view_count": 1}, "buffer_paths": []}
        self._send("question", seen)

    def press(self, name: str) -> None:
        self._send(name, {"method": "custom", "content": {"event": "click"}})

    def ask(self, text: str) -> None:
        self.type(text)
        self.type(f"{text}\n")

    def value(self, name: str, field: str):
        """The last state that the kernel told of a widget."""
        found = None
        for message in [*self.cell.messages, *self.kernel.strays]:
            if message.type in {"comm_open", "comm_msg"}:
                state = message.content["data"].get("state", {})
                told = message.content["data"].get("method") != "echo_update"
                if told and message.content["comm_id"] == self.ids[name] and field in state:
                    found = state[field]
        return found

    @property
    def past(self) -> str:
        return self._shown(0)

    @property
    def now(self) -> str:
        return self._shown(1)

    def until(self, holds) -> None:
        end = time.monotonic() + PATIENCE
        while not holds(self):
            assert time.monotonic() < end, f"not after {PATIENCE} s: {self.past} / {self.now}"
            time.sleep(0.01)

    def _shown(self, place: int) -> str:
        """Return what stands in a display: a page updates it whichever cell sends the update."""
        displays = [m for m in self.cell.messages if m.type == "display_data"]
        display = displays[place].content["transient"]["display_id"]
        cells = list(self.kernel.cells.values())
        sent = [
            m for messages in (self.kernel.strays, *(c.messages for c in cells)) for m in messages
        ]
        updates = [
            m
            for m in sent
            if m.type == "update_display_data" and m.content["transient"]["display_id"] == display
        ]
        last = max([displays[place], *updates], key=lambda m: m.time)
        return last.content["data"].get("text/markdown", "")

    def _send(self, name: str, data: dict) -> None:
        content = {"comm_id": self.ids[name], "data": data}
        self.kernel.client.shell_channel.send(self.kernel.client.session.msg("comm_msg", content))


def value(kernel, expression: str):
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return ast.literal_eval(cell.displays[-1]["text/plain"])


def prompts(kernel, name: str = "bob") -> list[str]:
    return value(kernel, f"[turn.question for turn in {name}.conversation]")


@pytest.fixture
def bob(kernel):
    """A kernel with an agent that has one turn; nothing runs when the test ends."""
    assert kernel.run("%%agent bob\nOne?", cell_id="one").status == "ok"
    yield kernel
    kernel.run("%runs stop all")
    until_quiet(kernel)


def until_quiet(kernel) -> None:
    end = time.monotonic() + PATIENCE
    while "stop ID" in kernel.run("%runs").displays[0]["text/plain"]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_enter_sends_and_the_turn_joins_those_of_the_cells(bob):
    """Earlier turns are shown; the next cell's model is sent what the chat said."""
    chat = ChatPage(bob, "bob")
    assert "One?" in chat.past
    chat.ask("Two?")
    chat.until(lambda c: "Two?" in c.past)
    chat.until(lambda c: c.value("Send", "disabled") is False)
    assert chat.value("Textarea", "value") == ""
    bob.run("%%agent bob\nThree?", cell_id="three")
    chat.until(lambda c: "Three?" in c.past)
    assert prompts(bob) == ["One?", "Two?", "Three?"]
    assert not [m for m in bob.strays if m.type in {"display_data", "update_display_data"}]


def test_a_pasted_line_and_a_new_line_inside_are_not_sent(bob):
    chat = ChatPage(bob, "bob")
    chat.type("ab")
    chat.type("a\nb")
    chat.type("a\nb and a whole line that was pasted\n")
    assert prompts(bob) == ["One?"]
    chat.press("Send")
    chat.until(lambda c: "whole line" in c.past)
    assert prompts(bob) == ["One?", "a\nb and a whole line that was pasted"]


def test_a_run_of_a_chat_is_shown_and_stopped_by_runs(bob):
    """The kernel is free meanwhile, and the output is in the chat's cell alone."""
    chat = ChatPage(bob, "bob")
    bob.run(f"bob.model = {SLOW!r}")
    chat.ask("Tell me.")
    chat.until(lambda c: "ZQ0" in c.now)
    assert "bob" in bob.run("%runs").displays[0]["text/plain"].splitlines()[1]
    others = [bob.run("print('free'); 1") for _ in range(3)]
    number = value(
        bob, "get_ipython().magics_manager.registry['AgentMagics'].session.background.active[0].id"
    )
    bob.run(f"%runs stop {number}")
    chat.until(lambda c: "stopped" in c.past and c.now == "")
    assert "Tell me." in chat.past
    assert all(cell.stdout == "free\n" and len(cell.displays) == 1 for cell in others)


def test_stop_and_changing_a_turn_and_asking_the_stale_anew(bob):
    chat = ChatPage(bob, "bob")
    chat.ask("Two?")
    chat.until(lambda c: c.value("Label", "value") == "2 turns")
    bob.run(f"bob.model = {SLOW!r}")
    chat.ask("Three?")
    chat.until(lambda c: "ZQ0" in c.now)
    chat.press("Stop")
    chat.until(lambda c: "Three?" in c.past and "stopped" in c.past)
    bob.run("bob.model = 'text-40'")
    chat.until(lambda c: c.value("Send", "disabled") is False)
    chat.choose(1)
    chat.until(lambda c: c.value("Textarea", "value") == "One?")
    chat.ask("Uno?")
    chat.until(lambda c: "Uno?" in c.past and c.past.count("*stale*") == 2)
    chat.until(lambda c: c.value("Send", "disabled") is False)
    chat.press("Re-run stale turns")
    chat.until(lambda c: "stale" not in c.past and "stopped" not in c.past)
    assert prompts(bob) == ["Uno?", "Two?", "Three?"]
    assert value(bob, "[t.key for t in bob.conversation][0]") == "one"


def test_two_chats_and_a_cell_at_once_leave_the_conversation_whole(bob):
    bob.run("bob.model = 'text-400-r100'")
    first, second = ChatPage(bob, "bob"), ChatPage(bob, "bob")
    first.ask("A?")
    second.ask("B?")
    bob.run("%%agent bob\nC?", cell_id="c")
    for chat in (first, second):
        chat.until(lambda c: all(f"> {x}?" in c.past for x in "ABC"))
    assert sorted(prompts(bob)) == ["A?", "B?", "C?", "One?"]
    assert value(bob, "all(t.status == 'finished' for t in bob.conversation)")


def test_an_error_is_shown_in_the_chat(bob):
    chat = ChatPage(bob, "bob")
    bob.run("bob.model = 'err-401'")
    chat.ask("Two?")
    chat.until(lambda c: "AuthError" in c.now)
    assert "failed" in chat.past
    chat.until(lambda c: c.value("Send", "disabled") is False)
    chat.ask("{{ nothing_of_this_name }}")
    chat.until(lambda c: "PromptError" in c.now)


def test_a_tool_that_prints_and_asks_does_so_in_the_chat_s_cell(bob):
    bob.run(
        "from tframex_nb import tool\n"
        "@tool(writes=True)\ndef wipe(what: str):\n    'Wipe.'\n    print('wiped', what)\n"
        "    return 'ok'"
    )
    bob.run('bob.tools = [wipe]; bob.model = \'tool-wipe-{"what":"all"}\'')
    chat = ChatPage(bob, "bob")
    chat.ask("Wipe it.")
    chat.until(lambda c: any("wipe" in json.dumps(d) for d in c.cell.displays[3:]))
    assert "wiped" not in chat.cell.stdout
    chat.learn()
    chat.show_question()
    chat.press("Allow")
    chat.until(lambda c: "wiped all" in c.cell.stdout)
    chat.until(lambda c: "Wipe it." in c.past)
    assert not [m for m in bob.strays if "wipe" in json.dumps(m.content) and "display" in m.type]


@pytest.mark.parametrize(
    ("size", "most"), [(10_000, 500_000), (100_000, 5_000_000)], ids=["10 kB", "100 kB"]
)
def test_the_bytes_on_the_wire_stay_bounded(bob, size, most):
    """Each update carries the whole answer, at an interval that grows with it."""
    chat = ChatPage(bob, "bob")
    bob.run(f"bob.model = 'text-{size}-r1000-c{size // 2500}'")
    before = sum(m.size for m in chat.cell.messages)
    chat.ask("Tell me much.")
    chat.until(lambda c: "Tell me much." in c.past and c.now == "")
    sent = sum(m.size for m in chat.cell.messages) - before
    assert size < sent < most


def test_a_cell_that_runs_again_puts_its_earlier_chat_away(bob):
    bob.run("%agents chat bob", cell_id="again")
    cell = bob.run("%agents chat bob", cell_id="again")
    assert cell.status == "ok"
    registry = "get_ipython().magics_manager.registry['AgentMagics'].session.chats"
    assert value(bob, f"[c.origin[0] for c in {registry}].count('again')") == 1


def test_close_leaves_plain_markdown(bob):
    chat = ChatPage(bob, "bob")
    chat.press("Close")
    chat.until(lambda c: c.cell.displays[2] == {"text/plain": "", "text/markdown": ""})
    assert "One?" in chat.past
    assert "widget" not in json.dumps(chat.cell.displays)


def test_where_nobody_can_press_a_chat_says_what_to_do_instead(bob):
    cell = bob.run("%agents chat bob", allow_stdin=False)
    assert cell.status == "ok"
    assert "%ask bob:" in cell.displays[0]["text/plain"]
    assert not [m for m in cell.messages if m.type == "comm_open"]


def test_a_chat_can_be_used_from_python(bob):
    chat = ChatPage(bob, "bob")
    cell = bob.run("c = %agents chat bob\nh = c.send('Two?')\nrun = await h\nrun.text[:3]")
    assert cell.displays[-1]["text/plain"] == "'ZQ0'"
    cell = bob.run("c.close(); c.send('Three?')")
    assert "is closed" in cell.error[0]
    chat.until(lambda c: "Two?" in c.past)


def test_unloading_puts_the_chats_away_and_leaves_the_turns(bob):
    bob.run("bob.model = 'text-100000-r100'")
    chat = ChatPage(bob, "bob")
    chat.ask("Tell me.")
    chat.until(lambda c: "ZQ0" in c.now)
    try:
        assert bob.run("%unload_ext tframex_nb").status == "ok"
        chat.until(lambda c: "widget" not in json.dumps(c.cell.displays))
        assert "One?" in chat.past
    finally:
        assert bob.run("%load_ext tframex_nb").status == "ok"
