"""What ``tframex-nb mcp`` is given on the command line, and how it says no."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tframex_nb.errors import AgentError, InvalidInput, ToolError
from tframex_nb.mcp.server import build_server, serve
from tframex_nb.mcp.server_sources import find_object, things_of

AGENTS = """
from tframex_nb import BasicAgent, tool
from tframex_nb.agents import Tool
from library import shared

@tool
def marked() -> str: ...

def plain() -> str: ...

renamed = tool(plain, name="renamed")
several = [marked, plain]
one = BasicAgent("one")
"""


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of agents, which imports a function that another file marks."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("agents_here", "library"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Path("library.py").write_text("from tframex_nb import tool\n@tool\ndef shared() -> str: ...\n")
    Path("agents_here.py").write_text(AGENTS)
    return "agents_here.py"


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["agents_here.py"], ["marked", "renamed", "one"]),
        (["agents_here"], ["marked", "renamed", "one"]),
        (["agents_here.py:plain"], ["plain"]),
        (["agents_here:plain", "agents_here.py:one", "agents_here:one"], ["plain", "one"]),
        (["agents_here.py:several"], ["marked", "plain"]),
        (["library.py", "agents_here.py"], ["shared", "marked", "renamed", "one"]),
    ],
    ids=["a file", "a module", "an object of a file", "one thing twice", "a list", "two files"],
)
def test_targets_name_agents_and_functions(
    agents: str, targets: list[str], names: list[str]
) -> None:
    """Of a whole file its own agents and marked functions count, not what it imports."""
    assert list(build_server(*things_of(targets)).offers) == names


def test_a_file_hides_no_module_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("json.py").write_text("def read() -> str: ...\n")
    assert find_object("json.py:read").__module__ == "json_served"
    assert sys.modules["json"] is json
    del sys.modules["json_served"]


def test_a_schema_that_is_no_object_is_wrapped() -> None:
    from tframex_nb import BasicAgent

    server = build_server(BasicAgent("lister"), schemas={"lister": list[int]})
    listed = server.offers["lister"].listed()
    assert listed.output_schema is not None
    assert listed.output_schema["type"] == "object"
    assert listed.output_schema["properties"]["answer"]["type"] == "array"


def test_what_cannot_be_served_is_refused() -> None:
    from tframex_nb import BasicAgent

    with pytest.raises(ToolError, match="two tools are called 'a'"):
        build_server(BasicAgent("a"), BasicAgent("a"))
    with pytest.raises(ToolError, match="nothing to serve"):
        build_server()
    with pytest.raises(ToolError, match="is a int, not a tool"):
        build_server(3)
    with pytest.raises(InvalidInput, match="is no type"):
        build_server(BasicAgent("a"), schemas={"a": "Bill"})
    with pytest.raises(AgentError) as caught:
        build_server(BasicAgent("clerk"), schemas={"clark": int})
    assert caught.value.hint == "did you mean 'clerk'?"


async def _inside() -> None:
    from tframex_nb import BasicAgent

    serve(BasicAgent("a"))


def test_serve_wants_a_process_of_its_own() -> None:
    import asyncio

    with pytest.raises(AgentError, match="here an event loop runs"):
        asyncio.run(_inside())


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.py"], "there is no file nothing.py"),
        (["no_such_module:x"], "there is no module 'no_such_module'"),
        (["what is this"], "names nothing that can be served"),
        (["library.py:sharde"], "did you mean 'shared'?"),
        (["empty.py"], "defines no agent and no function with @tool"),
        (
            ["broken.py"],
            "broken.py could not be loaded: ZeroDivisionError: division by zero (line 2)",
        ),
        (["leaves.py"], "leaves.py could not be loaded: SystemExit: 3 (line 2)"),
        (["lacks:x"], "No module named 'absent'"),
        (["library.py", "--schema", "Bill"], "is not AGENT=TARGET"),
        (["library.py", "--schema", "clerk=library.py"], "names no object"),
        (["library.py", "--schema", "clerk=library.py:shared"], "no agent 'clerk'"),
        (["library.py", "--token-env", "TOKEN"], "--token-env is for --http"),
        (["library.py", "--http", "0", "--token-env", "TOKEN"], "TOKEN is not set"),
        (["library.py", "--http", "70000"], "port 70000 of 127.0.0.1 cannot be had"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_says_what_to_do(agents: str, arguments: list[str], said: str) -> None:
    """On stderr, without a traceback and with a hint; nothing is on stdout."""
    Path("empty.py").write_text("x = 1\n")
    Path("broken.py").write_text("#\n1 / 0\n")
    Path("leaves.py").write_text("import sys\nsys.exit(3)\n")
    Path("lacks.py").write_text("import absent\n")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_sdk_is_named_with_the_line_that_installs_it(agents: str) -> None:
    done = run("library.py", start="sys.modules['mcp'] = None; ")
    assert done.returncode == 2
    assert "pip install 'tframex-nb[mcp]'" in done.stderr


def run(*arguments: str, start: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; {start}from tframex_nb.cli import main; sys.exit(main())",
            "mcp",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ},
    )
