"""%tools and --tools mcp:NAME in a real kernel, with a real server full of tricks."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from mcp_pids import wait_gone

pytestmark = pytest.mark.kernel

TRICKS = str(Path(__file__).parents[1] / "servers" / "mcp_tricks.py")
OWN = {
    "TFRAMEX_MODEL": "demo:fast",
    "TFRAMEX_MCP__TRICKS__COMMAND": sys.executable,
    "TFRAMEX_MCP__TRICKS__ARGS": json.dumps([TRICKS]),
    "TFRAMEX_MCP__BROKEN__COMMAND": "no-such-thing",
}
FOLDER = f"""
[mcp.shady]
command = "{sys.executable}"
args = ["{TRICKS}"]
env = {{ TOKEN = "sk-verysecret" }}
"""


@pytest.fixture(scope="module")
def shared_kernel(new_kernel):
    kernel = new_kernel(**OWN)
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def own_kernel(new_kernel):
    kernel = new_kernel(**OWN)
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def shady(kernel):
    """A server that a file of the kernel's folder defines."""
    kernel.run(f"from pathlib import Path; Path('tframex.toml').write_text({FOLDER!r})")
    yield
    kernel.run("Path('tframex.toml').unlink()")


def last(kernel, code: str) -> str:
    cell = kernel.run(code)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


def processes(kernel) -> str:
    """Let the server start children; return its pid and theirs."""
    said = last(kernel, "%%agent --tools mcp:tricks/processes\nprocesses()")
    return re.search(r"gave `(\d+ \d+ \d+)`", said)[1]


def test_a_cell_starts_the_server_that_it_names_and_its_agent_keeps_the_tools(kernel):
    kernel.run("%tools stop tricks")
    cell = kernel.run("%%agent clerk --tools mcp:tricks/add\nadd(a=40, b=2)")
    assert cell.status == "ok", cell.error
    assert cell.displays[0] == {"text/plain": "started MCP server tricks"}
    assert "`add` gave `42`" in cell.displays[1]["text/plain"]
    cell = kernel.run("%%agent clerk\nadd(a=1, b=2)")
    assert len(cell.displays) == 1  # nothing had to be started
    assert "`add` gave `3`" in cell.displays[0]["text/plain"]


def test_an_agents_server_is_started_anew_where_it_was_stopped(kernel):
    kernel.run("%%agent clerk --tools mcp:tricks/add\nadd(a=40, b=2)")
    assert "off" in last(kernel, "%tools stop tricks")
    cell = kernel.run("%%agent clerk\nadd(a=1, b=2)")
    assert cell.displays[0] == {"text/plain": "started MCP server tricks"}
    assert "`add` gave `3`" in cell.displays[1]["text/plain"]


def test_a_server_that_dies_leaves_the_answer_and_the_kernel(kernel):
    said = last(kernel, "%%agent --tools mcp:tricks --approve never\ndie(word='out of luck')")
    assert "McpConnectionLost: the MCP server 'tricks' ended" in said
    assert "`add` gave `2`" in last(kernel, "%%agent --tools mcp:tricks\nadd(a=1, b=1)")


def test_comparing_uses_a_server_too(kernel):
    said = last(kernel, "%%compare -f native --tools mcp:tricks/add\nadd(a=40, b=2)")
    assert "42" in said


def test_a_tool_of_a_name_that_is_taken_gets_its_servers_name(kernel):
    kernel.run("def add(a: int, b: int) -> int:\n    return -1")
    kernel.run("%%agent clerk --tools add,mcp:tricks --define")
    names = kernel.run("print(*(tool.name for tool in clerk.tools))").stdout.split()
    assert names[:3] == ["add", "tricks_add", "hostile"]


@pytest.mark.parametrize(
    ("word", "error", "hint"),
    [
        ("mcp:trick", "McpError: no MCP server 'trick' is set", "did you mean 'tricks'?"),
        ("mcp:tricks/ad", "McpError: the MCP server 'tricks' has no tool 'ad'", "mean 'add'?"),
        (
            "mcp:broken",
            "McpStartFailed: the MCP server 'broken' cannot be started: "
            "no-such-thing: No such file or directory",
            "[mcp.broken]",
        ),
    ],
)
def test_a_word_that_names_nothing_to_use_is_one_error(kernel, word, error, hint):
    cell = kernel.run(f"%%agent --tools {word}\nhello")
    assert cell.error[0] == error
    assert hint in cell.error[1]
    assert len(cell.error) == 2
    assert cell.stderr == ""


def test_a_folders_server_is_not_started_before_the_user_says_so(kernel, shady):
    table = last(kernel, "%tools")
    assert "not trusted: %tools show shady, then trust shady" in table
    for code in ("%%agent --tools mcp:shady\nhello", "%tools start shady"):
        cell = kernel.run(code)
        assert cell.error[0].startswith("McpUntrusted: the MCP server 'shady' is not started")
        assert cell.error[1].endswith("if you want that: %tools trust shady")
    said = last(kernel, "%tools trust shady")
    assert TRICKS in said
    assert "TOKEN" in said
    assert "sk-verysecret" not in said
    assert "mcp:shady/add" in last(kernel, "%tools start shady")
    kernel.run("Path('tframex.toml').write_text(Path('tframex.toml').read_text() + 'cwd = \"/\"')")
    assert kernel.run("%tools start shady").error[0].startswith("McpUntrusted")


def test_the_table_lists_functions_agents_and_servers_and_escapes_them(kernel):
    kernel.run(
        "from tframex_nb import Agent, tool\n"
        "@tool(writes=True)\ndef delete(path: str, force: bool = False) -> str:\n"
        '    "Delete a file <script>."\n    return path\n'
        "def unmarked(): ...\nhelper = Agent('helper', tools=[delete])\n%tools start tricks"
    )
    cell = kernel.run("table = %tools\ntable")
    lines = {line.split(" | ")[0].strip("| "): line for line in cell.markdown.splitlines()}
    assert "unmarked" not in lines
    row = "| delete | path: string, force?: boolean | notebook | yes | helper |  |"
    assert lines["delete"].startswith(row)
    assert "prompt: string | agent" in lines["helper"]
    assert "a: integer, b: integer | mcp:tricks |  |" in lines["mcp:tricks/add"]
    assert " | yes | " in lines["mcp:tricks/grow"]
    assert "<script>" not in cell.markdown
    assert "<img" not in cell.markdown
    assert "\x1b" not in json.dumps(cell.displays, ensure_ascii=False)
    assert "\u202e" not in json.dumps(cell.displays, ensure_ascii=False)


def test_one_tool_is_shown_with_its_schema(kernel):
    kernel.run("%tools start tricks")
    said = last(kernel, "%tools show mcp:tricks/add")
    assert '"required": ["a", "b"]' in said
    assert "Add two numbers." in said
    assert "ready" in last(kernel, "%tools show tricks")
    cell = kernel.run("%tools show ad")
    assert "no such tool" in cell.stderr + "".join(cell.error)


@pytest.mark.parametrize("line", ["%tools sow x", "%tools start", "%tools --all"])
def test_a_line_that_means_nothing_is_a_usage_error(kernel, line):
    cell = kernel.run(line)
    assert cell.status == "error"
    assert "UsageError" in cell.stderr + "".join(cell.error)


def test_words_of_servers_are_completed(kernel):
    kernel.run("%tools start tricks")
    assert "mcp:tricks" in kernel.complete("%%agent --tools mcp:tr")
    assert "mcp:tricks/add" in kernel.complete("%%agent --tools x,mcp:tricks/a")
    assert kernel.complete("%tools start tr") == ["tricks"]
    assert set(kernel.complete("%tools st")) == {"start", "stop"}


def test_an_interrupt_ends_a_call_at_once(kernel):
    kernel.run("%tools start tricks")
    cell = kernel.start(
        "%%agent --tools mcp:tricks/slow --approve never\nslow(seconds=60, trace='trace')"
    )
    cell.wait_for("slow")
    end = time.monotonic() + 30
    folder = Path(f"/proc/{kernel.pid}/cwd")
    while not (folder / "trace").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    start = kernel.interrupt()
    kernel.wait(cell)
    assert cell.idle - start < 5
    assert cell.status == "error"
    assert kernel.run("1").status == "ok"


def test_an_interrupt_ends_a_start(own_kernel, tmp_path):
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(1000)")
    own_kernel.run(
        f"import os; os.environ['TFRAMEX_MCP__ENDLESS__COMMAND'] = {sys.executable!r}\n"
        f"os.environ['TFRAMEX_MCP__ENDLESS__ARGS'] = '[\"{tmp_path}/endless.py\"]'"
    )
    cell = own_kernel.start("%tools start endless")
    cell.wait_for("starting MCP server endless")
    start = own_kernel.interrupt()
    own_kernel.wait(cell)
    assert cell.idle - start < 5
    assert "not started: MCP server endless" in json.dumps(cell.displays)


def test_unloading_ends_the_servers(own_kernel):
    pids = processes(own_kernel)
    own_kernel.run("%unload_ext tframex_nb")
    wait_gone(pids)


def test_the_end_of_the_kernel_ends_the_servers(new_kernel):
    kernel = new_kernel(**OWN)
    kernel.run("%load_ext tframex_nb")
    pids = processes(kernel)
    kernel.close()
    wait_gone(pids)


def test_a_kernel_that_is_killed_leaves_no_server(own_kernel):
    pids = processes(own_kernel)
    os.kill(own_kernel.pid, signal.SIGKILL)
    wait_gone(pids)
