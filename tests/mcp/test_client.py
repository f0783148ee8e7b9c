"""Tools of MCP servers, over stdio and HTTP, and all that can go wrong with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from mcp_pids import wait_gone
from scripted_server import Say

from tframex_nb import Agent
from tframex_nb.agents._results import MAX_RESULT, render
from tframex_nb.agents.toolbox import Toolbox
from tframex_nb.errors import McpError, ToolError
from tframex_nb.mcp import (
    McpCallFailed,
    McpConnectionLost,
    McpServer,
    McpStartFailed,
    McpTimeout,
)
from tframex_nb.messages import ToolCall
from tframex_nb.models import VLLMModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tframex_nb.agents.tools import Tool

ENDLESS = """
import sys, time
print("warming up", file=sys.stderr, flush=True)
sys.stdin.readline()
time.sleep(1000)
"""
CHATTY = """
import sys
sys.stdin.readline()
sys.stdout.write("x" * 40_000_000)
sys.stdout.flush()
sys.stdin.read()
"""


def with_tools(server: McpServer, test: Callable[[dict[str, Tool]], Awaitable[Any]]) -> Any:
    """Run ``test`` with a server's tools by name; a server that hangs fails it."""

    async def main() -> Any:
        async with asyncio.timeout(60):
            return await test({tool.name: tool for tool in await server.tools()})

    return asyncio.run(main())


def with_server(server: McpServer, test: Callable[[dict[str, Tool]], Awaitable[Any]]) -> Any:
    """Do the same, and end the server."""
    try:
        return with_tools(server, test)
    finally:
        asyncio.run(server.aclose())


async def run(tools: dict[str, Tool], name: str, arguments: str = "{}") -> tuple[str, bool]:
    """Call a tool as an agent does; return what the model reads and whether it is an error."""
    box = Toolbox(tools.values())
    results = [event async for event in box.run([ToolCall("1", name, arguments)])]
    return results[-1].content, results[-1].is_error


@pytest.fixture(scope="module")
def piped(tricks: list[str]) -> Iterator[McpServer]:
    """The server of tricks behind a pipe, started once for the tests of this file."""
    server = McpServer(tricks[0], tricks[1:], name="tricks")
    asyncio.run(server.tools())
    yield server
    asyncio.run(server.aclose())


@pytest.fixture(params=["stdio", "http"])
def either(
    request: pytest.FixtureRequest, piped: McpServer, tricks_url: str
) -> Iterator[McpServer]:
    """The server of tricks, behind a pipe and behind a URL."""
    if request.param == "stdio":
        yield piped
        return
    server = McpServer(url=tricks_url, name="tricks")
    yield server
    asyncio.run(server.aclose())


def test_a_tool_says_what_it_takes_where_it_is_from_and_whether_it_writes(either):
    async def test(tools):
        add, grow = tools["add"], tools["grow"]
        assert (add.description, add.origin, add.writes) == (
            "Add two numbers.",
            "mcp:tricks",
            False,
        )
        assert add.parameters["properties"]["a"]["type"] == "integer"
        assert add.parameters["required"] == ["a", "b"]
        assert grow.writes
        assert await run(tools, "add", '{"a": 40, "b": 2}') == ("42", False)

    with_tools(either, test)


def test_an_agent_uses_a_tool_of_a_server(either, server):
    server.say(Say(calls=[("add", {"a": 40, "b": 2})]), "It is 42.")

    async def test(tools):
        async with VLLMModel("scripted", server.url) as model:
            text = await Agent("clerk", tools=tools.values(), model=model).run("what is it?")
        assert text == "It is 42."
        assert server.requests[1].messages[-1]["content"] == "42"

    with_tools(either, test)


def test_ten_megabytes_are_cut_and_said_to_be(either):
    async def test(tools):
        text, is_error = await run(tools, "huge")
        assert not is_error
        assert len(text) < MAX_RESULT + 200
        assert "[cut: the first 20,000 of 10,000,000 characters" in text

    with_tools(either, test)


def test_a_message_beyond_all_bounds_ends_the_server(tmp_path):
    (tmp_path / "chatty.py").write_text(CHATTY)

    async def main():
        async with McpServer(sys.executable, [str(tmp_path / "chatty.py")], name="chatty"):
            pass

    with pytest.raises(McpStartFailed, match="sent a message of more than 32 MiB"):
        asyncio.run(main())


def test_a_tool_that_fails_says_so_to_the_model(either):
    async def test(tools):
        text, is_error = await run(tools, "fail")
        assert is_error
        assert text.startswith("McpCallFailed: Error executing tool fail")
        text, is_error = await run(tools, "add", '{"a": "no number"}')
        assert is_error
        assert "valid integer" in text
        text, is_error = await run(tools, "add", "[1]")
        assert is_error
        assert "an object is expected" in text

    with_tools(either, test)


def test_a_picture_becomes_a_note(either):
    async def test(tools):
        assert (await run(tools, "picture"))[0].startswith("[image: image/png, 1")

    with_tools(either, test)


def test_a_changed_list_is_seen(either):
    async def test(before):
        assert "fresh" not in before
        await run(before, "grow", '{"name": "fresh"}')
        async with asyncio.timeout(10):
            while "fresh" not in (after := {t.name: t for t in await either.tools()}):
                await asyncio.sleep(0.01)
        return await run(after, "fresh")

    assert with_tools(either, test) == ("fresh", False)


def test_a_call_that_is_cancelled_is_told_to_the_server_and_returns_at_once(either, tmp_path):
    trace = tmp_path / "trace"

    async def test(tools):
        call = asyncio.create_task(tools["slow"].function({"seconds": 60, "trace": str(trace)}))
        while not trace.exists():
            await asyncio.sleep(0.01)
        call.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - start < 5
        while trace.read_text() != "cancelled":
            await asyncio.sleep(0.01)
        assert await run(tools, "add", '{"a": 1, "b": 1}') == ("2", False)

    with_tools(either, test)


def test_a_call_that_takes_too_long_is_given_up(tricks):
    async def test(tools):
        text, is_error = await run(tools, "slow", '{"seconds": 60}')
        assert is_error
        assert "McpTimeout: the MCP server 'slow' did not answer the call of slow" in text
        assert "wait longer: timeout or connect_timeout of [mcp.slow]" in text

    with_server(McpServer(tricks[0], tricks[1:], name="slow", timeout=0.3), test)


def test_a_server_that_dies_in_mid_call_is_told_of_and_started_anew(tricks):
    async def test(tools):
        pids = (await run(tools, "processes"))[0]
        text, is_error = await run(tools, "die", '{"word": "out of luck"}')
        assert is_error
        assert "McpConnectionLost: the MCP server 'tricks' ended: out of luck" in text
        wait_gone(pids)
        assert await run(tools, "add", '{"a": 1, "b": 1}') == ("2", False)

    with_server(McpServer(tricks[0], tricks[1:], name="tricks"), test)


def test_a_server_that_is_killed_in_mid_call_is_told_of(tricks, tmp_path):
    trace = tmp_path / "trace"

    async def test(tools):
        pids = (await run(tools, "processes"))[0]
        arguments = {"seconds": 60, "trace": str(trace)}
        calls = [asyncio.create_task(tools["slow"].function(arguments)) for _ in range(3)]
        while not trace.exists():
            await asyncio.sleep(0.01)
        os.kill(int(pids.split()[0]), signal.SIGKILL)
        for call in calls:
            with pytest.raises(McpConnectionLost, match="ended"):
                await call
        wait_gone(pids)

    with_server(McpServer(tricks[0], tricks[1:], name="tricks"), test)


def test_nothing_of_a_server_outlives_it(tricks):
    async def test(tools):
        return (await run(tools, "processes"))[0]

    wait_gone(with_server(McpServer(tricks[0], tricks[1:]), test))


def test_a_closed_server_is_not_started_by_its_tools(tricks):
    async def main():
        async with McpServer(tricks[0], tricks[1:]) as server:
            tools = {tool.name: tool for tool in await server.tools()}
        return await run(tools, "add", '{"a": 1, "b": 1}')

    text, is_error = asyncio.run(main())
    assert is_error
    assert "the MCP server was closed" in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-thing"], "cannot be started: no-such-thing: No such file or directory"),
        (
            [sys.executable, "-c", "import sys; sys.exit('no key for sk-verysecret')"],
            r"cannot be started: no key for \*\*\*",
        ),
        ([sys.executable, "-c", "print('hello')"], "cannot be started: hello"),
    ],
    ids=["no command", "stderr", "no server"],
)
def test_a_program_that_does_not_start_says_why(command, words):
    async def main():
        async with McpServer(command[0], command[1:], env={"KEY": "sk-verysecret"}, name="x"):
            pass

    with pytest.raises(McpStartFailed, match=words) as caught:
        asyncio.run(main())
    assert "sk-verysecret" not in f"{caught.value} {caught.value.stderr}"
    assert "[mcp.x]" in caught.value.hint


def test_a_folder_that_is_not_there_is_told_of():
    async def main():
        async with McpServer(sys.executable, cwd="/no/such/folder"):
            pass

    with pytest.raises(McpStartFailed, match="No such file or directory"):
        asyncio.run(main())


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)

    async def main():
        command = [str(tmp_path / "endless.py")]
        async with McpServer(sys.executable, command, name="endless", connect_timeout=0.5):
            pass

    with pytest.raises(McpTimeout, match=r"did not start within 0\.5 s"):
        asyncio.run(main())


def test_a_start_that_is_cancelled_leaves_nothing(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)

    async def main():
        server = McpServer(sys.executable, [str(tmp_path / "endless.py")])
        starting = asyncio.create_task(server.tools())
        await asyncio.sleep(0.3)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await server.aclose()

    asyncio.run(main())


def test_a_start_that_is_given_up_is_not_the_next_ones(tricks):
    async def main():
        server = McpServer(tricks[0], tricks[1:])
        try:
            first = asyncio.create_task(server.tools())
            await asyncio.sleep(0.1)
            first.cancel()
            second = asyncio.create_task(server.tools())
            assert len(await second) > 5
            with pytest.raises(asyncio.CancelledError):
                await first
        finally:
            await server.aclose()

    asyncio.run(main())


def test_a_server_that_is_stopped_while_it_starts_says_so(tricks):
    async def main():
        server = McpServer(tricks[0], tricks[1:], name="x")
        starting = asyncio.create_task(server.tools())
        await asyncio.sleep(0.1)
        await server.aclose()
        with pytest.raises(McpError, match="was stopped while it started"):
            await starting

    asyncio.run(main())


def test_many_who_need_it_start_it_once(tricks):
    async def main():
        server = McpServer(tricks[0], tricks[1:])
        try:
            lists = await asyncio.gather(*(server.tools() for _ in range(5)))
            pids = await asyncio.gather(
                *(run({t.name: t for t in tools}, "processes") for tools in lists)
            )
            return {text.split()[0] for text, _ in pids}
        finally:
            await server.aclose()

    assert len(asyncio.run(main())) == 1


def test_a_blocked_loop_does_not_stop_a_call(either, tmp_path):
    """The connection is on a thread of its own: what a server says is read meanwhile."""
    trace = tmp_path / "trace"

    async def test(tools):
        call = asyncio.create_task(tools["slow"].function({"seconds": 0.2, "trace": str(trace)}))
        await asyncio.sleep(0.05)
        time.sleep(0.6)  # a cell that computes
        start = time.monotonic()
        assert await call == "late"
        return time.monotonic() - start

    assert with_tools(either, test) < 0.2


def test_any_loop_may_call(either):
    async def test(tools):
        answers = []
        call = tools["add"].function
        thread = threading.Thread(
            target=lambda: answers.append(asyncio.run(call({"a": 1, "b": 2})))
        )
        thread.start()
        await asyncio.to_thread(thread.join)
        return answers

    assert with_tools(either, test) == ["3"]


def test_a_program_gets_no_secret_of_ours_that_it_was_not_promised(tricks, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    monkeypatch.setenv("GITHUB_TOKEN", "ghp-promised")

    async def test(tools):
        return (await run(tools, "environment"))[0]

    server = McpServer(tricks[0], tricks[1:], env={"A": "b"}, env_from=["GITHUB_TOKEN"])
    text = with_server(server, test)
    assert "sk-ours" not in text
    assert "GITHUB_TOKEN=***" in text  # it came, and does not go on to a model
    assert "A=b" in text


def test_a_promised_variable_that_is_not_set_is_told_of(tricks):
    async def main():
        async with McpServer(tricks[0], tricks[1:], env_from=["NO_SUCH_VARIABLE"]):
            pass

    with pytest.raises(McpStartFailed, match="wants NO_SUCH_VARIABLE, which is not set"):
        asyncio.run(main())


def test_two_servers_can_be_told_apart(either):
    async def test(tools):
        one = tools["add"]
        with pytest.raises(ToolError, match="two tools are called 'add'"):
            Toolbox([one, *await either.tools("add")])
        return [tool.name for tool in Toolbox([one, *await either.tools("add", prefix="b_")])]

    assert with_tools(either, test) == ["add", "b_add"]


def test_an_unknown_tool_names_the_nearest(either):
    async def test(_):
        with pytest.raises(McpError, match="has no tool 'ad'") as caught:
            await either.tools("ad")
        assert "did you mean 'add'?" in caught.value.hint

    with_tools(either, test)


def test_neither_command_nor_url_is_an_error():
    with pytest.raises(McpError, match="neither a command nor a url"):
        McpServer()
    with pytest.raises(McpError, match="both a command and a url"):
        McpServer("x", url="http://127.0.0.1:1/mcp")


def test_what_a_result_holds_is_text_for_a_model(either):
    async def test(tools):
        text, _ = await run(tools, "hostile")
        assert render(text) == text
        assert "onerror" in text  # shown only through the markdown of answers, which defangs it

    with_tools(either, test)


def test_its_repr_holds_no_secret(tricks):
    server = McpServer(tricks[0], tricks[1:], env={"KEY": "sk-verysecret"}, name="x")
    assert repr(server) == "<McpServer x: off>"
    assert "sk-verysecret" not in repr(server._slot.definition)


def test_a_failed_call_is_an_error_of_its_own(either):
    async def test(tools):
        with pytest.raises(McpCallFailed):
            await tools["fail"].function({})

    with_tools(either, test)
