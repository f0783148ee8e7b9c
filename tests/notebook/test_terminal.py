"""IPython in a real terminal: a pseudo-terminal, typed into, read as the eye reads it."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

import pexpect
import pyte
import pytest
from naps import NAP
from scripted_server import Say, scripted_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clock_server import Clock

pytestmark = [
    pytest.mark.kernel,
    # pexpect forks, and the kernels of the other tests have left threads of pyzmq's
    pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning"),
]

ROWS, COLUMNS = 300, 160
PATIENCE = 20.0  # seconds
PROMPT = re.compile(r"^In \[(\d+)\]:\s*$", re.MULTILINE)
STOPPED = "Stopped: the run was interrupted; the partial answer is kept."


class Terminal:
    """IPython under a terminal emulator; ``screen`` is what a person sees.

    ``number`` is that of the prompt which waits.
    """

    def __init__(self, cwd: Path, **env: str) -> None:
        self.raw = ""
        self.number = 0
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self._screen)
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor"],
            cwd=str(cwd),
            env={
                **os.environ,
                "TERM": "xterm",
                "IPYTHONDIR": str(cwd / "ipython"),
                "PROMPT_TOOLKIT_NO_CPR": "1",  # the emulator does not say where its cursor is
                **env,
            },
            dimensions=(ROWS, COLUMNS),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        self.wait_for_prompt()

    @property
    def screen(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def run(self, code: str) -> str:
        """Type a cell, wait for the next prompt; return what appeared below the cell."""
        self.start(code)
        self.wait_for_prompt()
        return self.shown()

    def start(self, code: str) -> None:
        """Type a cell; IPython takes two empty lines as the end of a longer one."""
        self._screen.reset()
        self.raw = ""
        self._child.send("\r".join([*code.split("\n"), ""]))
        if "\n" in code:
            self._child.send("\r\r")

    def shown(self) -> str:
        """What stands between the last line that was typed and the prompt."""
        lines = self.screen.split("\n")
        end = max(i for i, line in enumerate(lines) if PROMPT.match(line))
        typed = [i for i, line in enumerate(lines) if re.match(r"(In \[\d+\]| +\.\.\.):", line)]
        begin = max((i for i in typed if i < end), default=-1) + 1
        return "\n".join(lines[begin:end]).strip("\n")

    def wait_for(self, text: str) -> None:
        """Read until the text is on the screen."""
        self._read_until(lambda: text in self.screen, text)

    def wait_for_prompt(self) -> None:
        """Read until the last line is the next empty prompt."""
        self._read_until(lambda: self._waiting() > self.number, "the next prompt")
        self.number = self._waiting()

    def press(self, key: str) -> None:
        self._child.send(key)

    def close(self) -> None:
        self._child.close(force=True)

    def _waiting(self) -> int:
        """The number of the empty prompt in the last line, or 0."""
        match = PROMPT.match(self.screen.split("\n")[-1])
        return int(match[1]) if match else 0

    def _read_until(self, condition, what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{what} never came:\n{self.screen}")
            try:
                text = self._child.read_nonblocking(65536, timeout=0.5)
            except pexpect.TIMEOUT:
                continue
            self.raw += text
            self._stream.feed(text)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, clock_server: Clock) -> Iterator[Terminal]:
    terminal = Terminal(
        tmp_path_factory.mktemp("terminal"),
        TFRAMEX_API_URL=clock_server.url,
        TFRAMEX_MODEL="text-40",
    )
    assert terminal.run("%load_ext tframex_nb") == ""
    yield terminal
    terminal.close()


@pytest.fixture
def terminal(opened: Terminal, clock: Clock) -> Terminal:
    """A terminal with the extension loaded, its model on the clock server."""
    del clock
    return opened


def test_an_answer_is_text_and_nothing_else(terminal: Terminal) -> None:
    """The words, then the footer; no ``Out[n]:`` line, no Markdown object."""
    shown = terminal.run("%%agent -m demo:fast\nWhat can you do?")
    assert "# Demo answer" in shown
    assert shown.split("\n")[-1].startswith("[demo: the words are scripted · demo:fast · ")
    assert "Out[" not in shown


def test_text_arrives_in_steps(terminal: Terminal) -> None:
    terminal.start("%%agent -m text-400-r100\ngo")
    terminal.wait_for("ZQ0 001")
    assert " 090" not in terminal.screen
    terminal.wait_for_prompt()
    assert " 099" in terminal.shown()
    assert "[text-400-r100 · native" in terminal.shown()


def test_ctrl_c_stops_and_the_next_input_works(terminal: Terminal) -> None:
    terminal.start("%%agent -m text-100000-r100 --out r\ngo")
    terminal.wait_for("ZQ0 001")
    terminal.press("\x03")
    terminal.wait_for_prompt()
    lines = terminal.shown().split("\n")
    assert lines[0].startswith("ZQ0 001")
    assert "[stopped · text-100000-r100 · native" in terminal.shown()
    assert lines[-1] == STOPPED
    assert "Traceback" not in terminal.shown()
    assert "('interrupted', 'ZQ0 001')" in terminal.run("r.status, r.text[:7]")
    assert "ZQ0" in terminal.run("%%agent\ngo on")


def test_a_tool_that_writes_is_asked_about_by_typing(terminal: Terminal) -> None:
    """A denial is told; Ctrl-C at the question ends the run; the next input works."""
    terminal.run("from tframex_nb import tool; saved = []")
    terminal.run("save = tool(lambda path='x': saved.append(path), name='save', writes=True)")
    cell = "%%agent -m tool-save --tools save --out r\ngo"
    terminal.start(cell)
    terminal.wait_for("Allow? y(es), n(o) [and why], e(dit), a(lways):")
    terminal.press("n too early\r")
    terminal.wait_for_prompt()
    assert "save: denied: too early" in terminal.screen
    terminal.start(cell)
    terminal.wait_for("Allow? y(es)")
    terminal.press("\x03")
    terminal.wait_for_prompt()
    assert STOPPED in terminal.screen
    terminal.start(cell)
    terminal.wait_for("Allow? y(es)")
    terminal.press("y\r")
    terminal.wait_for_prompt()
    assert "save: allowed" in terminal.screen
    assert "['x']" in terminal.run("saved")


def test_ctrl_c_before_the_first_byte(terminal: Terminal, clock: Clock) -> None:
    terminal.start("%%agent -m hang\ngo")
    while not clock.runs():
        time.sleep(0.01)
    terminal.press("\x03")
    terminal.wait_for_prompt()
    assert terminal.shown().split("\n")[-1] == STOPPED


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_ctrl_c_during_a_tool(terminal: Terminal, kind: str) -> None:
    sleep = "await asyncio.sleep(30)" if "async" in kind else NAP
    terminal.run(f"import asyncio, time\n{kind} nap(): 'Nap.'; print('napping'); {sleep}")
    terminal.start("%%agent -m tool-nap --tools nap\ngo")
    terminal.wait_for("napping")
    terminal.press("\x03")
    terminal.wait_for_prompt()
    assert terminal.shown().split("\n")[-1] == STOPPED


def test_ask_takes_a_question_mark(terminal: Terminal, clock: Clock) -> None:
    """IPython would take the mark for a request for help."""
    shown = terminal.run("%ask what is this?")
    assert shown.startswith("ZQ0")
    assert clock.runs()[-1]["messages"][-1]["content"] == "what is this?"


def test_the_run_is_bound_to_out_and_underscore(terminal: Terminal) -> None:
    number = terminal.number
    terminal.run("%%agent --out r\ngo")
    assert terminal.run(f"_ is r, Out[{number}] is r").endswith("(True, True)")


def test_a_run_as_a_value_is_its_transcript(terminal: Terminal) -> None:
    """The terminal has no Markdown: the same plain text as in the cell."""
    terminal.run("%%agent --out r\ngo")
    shown = terminal.run("r")
    assert "ZQ0 001" in shown
    assert "[text-40 · native" in shown
    assert "Run(" not in shown


def test_a_run_that_was_just_shown_is_no_second_transcript(terminal: Terminal) -> None:
    """Under %%time the cell has a value; its answer stands there already."""
    shown = terminal.run("%%time\n%%agent\ngo")
    assert shown.count("ZQ0 001") == 1
    assert "]: <Run finished: agent on text-40, 40 characters, " in shown.split("\n")[-1]


def test_tables_are_plain_text(terminal: Terminal) -> None:
    terminal.run("%%agent\ngo")
    *_, row, session = terminal.run("%runs").split("\n")
    assert row.startswith("agent")
    assert not re.search(r"\d\.\d{6}", row)
    assert session.startswith("this session: ")


@pytest.mark.parametrize(
    "code",
    [
        "%time r = get_ipython().run_cell_magic('agent', '', 'go')",
        "%%time\n%%agent\ngo",
        "from tframex_nb import Agent; print(Agent('bob', model='text-40').run_sync('go'))",
        "from tframex_nb import Agent; print(await Agent('bob', model='text-40').run('go'))",
    ],
    ids=["%time", "%%time", "run_sync", "await"],
)
def test_every_way_to_run_works(terminal: Terminal, code: str) -> None:
    shown = terminal.run(code)
    assert "ZQ0 001" in shown
    assert "Error" not in shown


def test_a_failing_model_is_two_lines(terminal: Terminal) -> None:
    shown = terminal.run("%%agent -m err-401\nhi")
    *_, what, hint = shown.split("\n")
    assert "refused the API key (401)" in shown
    assert hint.startswith("hint: ") or what.startswith("hint: ")
    assert "Traceback" not in shown


def test_the_models_escape_sequences_never_reach_the_terminal(terminal: Terminal) -> None:
    """Colours, titles, cursor moves, also where a sequence is cut over two pieces."""
    evil = ["a\x1b", "[31mred \x1b]0;own", "ed\x07 \x1b[2J\x1b[H \x9b5m b\x08\r\x00", "end"]
    with scripted_server(Say(evil)) as server:
        shown = terminal.run(f"%%agent -m evil --api-url {server.url}\ngo")
    assert shown.startswith("ared")
    assert "end" in shown
    for sequence in ("\x1b[31m", "\x1b]0;", "\x1b[2J\x1b[H ", "\x9b", "\x08\r\x00"):
        assert sequence not in terminal.raw


@pytest.fixture
def own_terminal(tmp_path: Path, clock: Clock) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="text-100-r20")
    assert terminal.run("%load_ext tframex_nb") == ""
    yield terminal
    terminal.close()


def test_a_background_run_goes_on_at_the_prompt_and_prints_when_it_is_done(
    own_terminal: Terminal,
) -> None:
    """Whole, above what is being typed, which stays."""
    shown = own_terminal.run("%%agent --background --out h\ngo")
    assert shown == "<BackgroundRun 1 running: agent; %runs stop 1>"
    own_terminal.press("1 + 1")
    own_terminal.wait_for("tokens/s]")
    assert "[background 1: agent]\nZQ0 001" in own_terminal.screen
    own_terminal.press("\r")
    own_terminal.wait_for("]: 2")
    own_terminal.wait_for_prompt()
    assert own_terminal.run("(await h).status").endswith("]: 'finished'")


def test_a_background_run_that_fails_says_so_in_the_terminal(own_terminal: Terminal) -> None:
    own_terminal.run("%%agent --background -m err-401 --out h\ngo")
    own_terminal.wait_for("hint: ")
    assert "AuthError: " in own_terminal.screen
    assert "Traceback" not in own_terminal.screen


@pytest.mark.parametrize("end", ["%unload_ext tframex_nb", "exit()"])
def test_a_background_run_ends_with_the_terminal_and_the_extension(
    own_terminal: Terminal, clock: Clock, end: str
) -> None:
    own_terminal.run("%%agent --background -m text-100000-r20\ngo")
    while not any(run["first"] for run in clock.runs()):
        own_terminal.run("1")
    own_terminal.start(end)
    own_terminal.wait_for("[stopped · text-100000-r20")
    assert "ZQ0" in own_terminal.screen
    assert clock.runs()[0]["closed"]
    assert "Error" not in own_terminal.screen
    assert "destroyed" not in own_terminal.screen
