"""The page on MCP cannot lie about the server: its file is served as it says."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from mcp_served import over_stdio, text_of

from tframex_nb.mcp.server_sources import things_of

PAGE = Path(__file__).parents[2] / "docs" / "mcp.md"


def test_the_page_serves_what_it_says(monkeypatch) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Serving agents")[2]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (file, python), (config,) = (
        [text for kind, text in blocks if kind == each] for each in ("python", "json")
    )
    Path("sales.py").write_text(file, encoding="utf-8")
    client = json.loads(config)["mcpServers"]["sales"]
    assert client["command"] == "tframex-nb"

    async def main() -> None:
        async with over_stdio(*client["args"][1:]) as connected:
            tools = {tool.name: tool for tool in (await connected.list_tools()).tools}
            shown = next(text for kind, text in blocks if kind == "console")
            assert f"3 tools: {', '.join(tools)}\n" in shown
            assert tools["forecaster"].output_schema is not None
            result = await connected.call_tool("revenue_of", {"region": "north"})
            assert text_of(result) == '{"north":120.5}'

    asyncio.run(main())
    monkeypatch.setattr(sys, "path", list(sys.path))
    space = {name: value for value in things_of(["sales.py"]) for name in [value_name(value)]}
    space["Forecast"] = sys.modules["sales"].Forecast
    exec(python, space)
    assert repr(space["server"]) == next(text for kind, text in blocks if kind == "text").strip()
    del sys.modules["sales"]


def value_name(value: object) -> str:
    return str(getattr(value, "name", None) or getattr(value, "__name__", ""))
