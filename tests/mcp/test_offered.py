"""What a server offers may be anything; what an agent is offered is always usable."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mcp_types import CallToolResult, EmbeddedResource, ResourceLink, TextResourceContents
from mcp_types import Tool as McpTool

from tframex_nb.agents._schema import InvalidArguments
from tframex_nb.mcp.offered import MAX_DESCRIPTION, apart, as_text, as_tools
from tframex_nb.models.cassette.masking import known_secrets

if TYPE_CHECKING:
    from tframex_nb.agents.tools import Tool


async def call(name: str, arguments: dict[str, object]) -> str:
    return f"{name} {arguments}"


def offered(*tools: tuple[str, dict[str, object]]) -> list[Tool]:
    return as_tools("s", [McpTool(name=n, input_schema=schema) for n, schema in tools], call)


def deep(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def test_names_are_what_endpoints_accept_and_each_its_own():
    plain = {"type": "object"}
    odd = ("files/read", "files.read", "ü", "", "x" * 200, "x" * 201)
    names = [tool.name for tool in offered(*((name, plain) for name in odd))]
    assert names == ["files_read", "files_read_2", "u", "x" * 64, "x" * 60 + "_2"]


@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {}, {"type": "object", "x": "y" * 60_000}, deep(5_000)],
    ids=["no object", "empty", "large", "deep"],
)
def test_a_schema_that_no_model_can_be_sent_is_left_out(schema):
    assert [tool.name for tool in offered(("bad", schema), ("good", {"type": "object"}))] == [
        "good"
    ]


def test_a_schema_without_properties_takes_none():
    (tool,) = offered(("x", {"type": "object"}))
    assert tool.parameters == {"type": "object", "properties": {}}
    assert tool.arguments.bind("") == (({},), {})
    assert tool.arguments.bind('{"self": 1, "name": 2}') == (({"self": 1, "name": 2},), {})


def test_a_description_is_bounded():
    made = McpTool(name="x", description="y" * 100_000, input_schema={"type": "object"})
    (tool,) = as_tools("s", [made], call)
    assert len(tool.description) == MAX_DESCRIPTION


def test_only_the_servers_tool_of_two_is_renamed():
    def read() -> str:
        return ""

    (tool,) = offered(("read", {"type": "object"}))
    assert apart([read, tool])[0] is read
    assert apart([read, tool])[1].name == "s_read"
    assert apart([tool]) == [tool]


def test_files_in_a_result_are_text_where_they_are_text():
    held = TextResourceContents(uri="file:///notes.txt", text="remember")
    link = ResourceLink(type="resource_link", name="more", uri="https://example.org/more")
    result = CallToolResult(content=[EmbeddedResource(type="resource", resource=held), link])
    assert as_text(result) == "remember\n[resource more: https://example.org/more]"


def test_data_stands_in_for_a_text_that_is_not_there():
    assert as_text(CallToolResult(content=[], structured_content={"ü": 1})) == '{"ü": 1}'


def test_without_the_package_the_error_is_the_command_that_installs_it():
    code = (
        "import sys, asyncio; sys.modules['mcp'] = None\n"
        "from tframex_nb.mcp import McpServer\n"
        "try: asyncio.run(McpServer('x').tools())\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == (
        "McpError MCP servers need the package mcp, version 2 or newer\n"
        "hint: pip install 'tframex-nb[mcp]'\n"
    )


def test_naming_servers_loads_nothing_of_the_package():
    code = (
        "import sys\nfrom tframex_nb.mcp import McpServers\nMcpServers().states()\n"
        "print([name for name in ('mcp', 'mcp_types', 'httpx2') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_no_recording_holds_a_servers_secret(monkeypatch):
    monkeypatch.setenv("TFRAMEX_MCP__X__COMMAND", "x")
    monkeypatch.setenv("TFRAMEX_MCP__X__ENV", '{"API_KEY": "abc-very-secret", "LANG": "C.UTF-8"}')
    assert "abc-very-secret" in known_secrets()
    assert "C.UTF-8" not in known_secrets()


@pytest.mark.parametrize(
    "text",
    ['{"a":' * 100_000, '{"a":' * 150 + "1" + "}" * 150, '{"a": NaN}', "1" * 5_000, "[]"],
    ids=["unreadable", "deep", "no number", "digits", "no object"],
)
def test_arguments_that_no_message_carries_are_told_to_the_model(text):
    (tool,) = offered(("x", {"type": "object"}))
    with pytest.raises(InvalidArguments):
        tool.arguments.bind(text)


def test_half_a_surrogate_pair_breaks_no_connection():
    (tool,) = offered(("x", {"type": "object"}))
    ((value,), _) = tool.arguments.bind('{"a": ["\\ud800", {"\\udfff": 1}], "b": "\\ud83d\\ude00"}')
    assert value == {"a": ["\ufffd", {"\ufffd": 1}], "b": "\U0001f600"}


def test_all_that_a_server_offers_fits_into_a_question():
    """A thousand tools as large as one may be would be fifty million characters."""
    schema: dict[str, object] = {"type": "object", "x": "y" * 49_000}
    made = offered(*((f"t{number}", schema) for number in range(1_000)))
    assert 10 < len(made) < 30
