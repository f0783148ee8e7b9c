"""Real servers from PyPI, unmodified: today's protocol and the one before, stdio and HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from tframex_nb.mcp import McpServer


async def convert(server: McpServer) -> dict[str, object]:
    async with asyncio.timeout(60), server:
        tools = {tool.name: tool for tool in await server.tools()}
        assert set(tools) >= {"convert_time", "get_current_time"}
        said = await tools["convert_time"].function(
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        )
        return json.loads(said)


@pytest.mark.parametrize("era", ["new", "old"])
def test_a_real_server_over_stdio(real, era):
    server = McpServer(real(era, "mcp-server-time"), ["--local-timezone", "UTC"])
    assert asyncio.run(convert(server))["time_difference"] == "+9.0h"


def test_a_real_server_over_http(real, serve):
    time = [real("old", "mcp-server-time"), "--local-timezone", "UTC"]
    url = serve(lambda port: [real("old", "mcp-proxy"), f"--port={port}", "--", *time])
    assert asyncio.run(convert(McpServer(url=url)))["time_difference"] == "+9.0h"


def test_a_real_server_refuses_a_wrong_argument(real):
    from tframex_nb.mcp import McpCallFailed

    async def main():
        async with McpServer(real("old", "mcp-server-time"), ["--local-timezone", "UTC"]) as server:
            (tool,) = await server.tools("get_current_time")
            with pytest.raises(McpCallFailed, match="Error processing mcp-server-time"):
                await tool.function({"timezone": "Nowhere"})

    asyncio.run(main())
