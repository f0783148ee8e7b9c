"""The page on MCP cannot lie about the client: its settings are read, its code runs."""

from __future__ import annotations

import re
from pathlib import Path

from tframex_nb.mcp.definition import find
from tframex_nb.settings import load_settings
from tframex_nb.settings.mcp import McpSettings

PAGE = Path(__file__).parents[2] / "docs" / "mcp.md"


def blocks() -> list[tuple[str, str]]:
    part = PAGE.read_text(encoding="utf-8").partition("\n## Serving agents")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def test_the_servers_of_the_page_can_be_set(tmp_path):
    (text,) = (code for language, code in blocks() if language == "toml")
    (tmp_path / "tframex.toml").write_text(text)
    settings = load_settings(tmp_path, {})
    assert find(settings, "time").command == "uvx"
    assert find(settings, "team").url == "https://tools.team.example/mcp"


def test_the_code_of_the_page_runs(tmp_path, capsys):
    use, clock = (code for language, code in blocks() if language == "python")
    (tmp_path / "clock.py").write_text(clock)
    exec(compile(use, "mcp.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == blocks()[-2][1] == "noon reads 12:00\n"


def test_every_setting_is_in_the_table():
    table = PAGE.read_text().split("## The settings of a server")[1].split("## ")[0]
    for name in McpSettings.model_fields:
        assert f"`{name}`" in table, name
