"""The table [mcp.NAME]: where it may stand, what it may hold, whose word it is."""

from __future__ import annotations

import pytest

from tframex_nb.errors import McpError, SettingsError
from tframex_nb.mcp.definition import defined, find
from tframex_nb.settings import load_settings

SECRET = "sk-verysecret"


def test_a_server_of_the_environment_is_the_users_own(tmp_path):
    environ = {
        "TFRAMEX_MCP__TIME__COMMAND": "uvx",
        "TFRAMEX_MCP__TIME__ARGS": '["mcp-server-time", "--local-timezone=UTC"]',
        "TFRAMEX_MCP__TIME__ENV": '{"TOKEN": "sk-verysecret"}',
        "TFRAMEX_MCP__TIME__TIMEOUT": "5",
    }
    made = find(load_settings(tmp_path, environ), "Time")
    assert (made.command, made.args) == ("uvx", ("mcp-server-time", "--local-timezone=UTC"))
    assert (made.env, made.timeout, made.connect_timeout) == ({"TOKEN": SECRET}, 5.0, 30.0)
    assert made.trusted
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tframex.toml", '[mcp.time]\ncommand = "uvx"'),
        ("pyproject.toml", '[tool.tframex.mcp.time]\ncommand = "uvx"'),
        (".env", "TFRAMEX_MCP__TIME__COMMAND=uvx"),
    ],
)
def test_a_server_of_a_folders_file_may_be_a_strangers(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    made = find(load_settings(tmp_path, {}), "time")
    assert (made.command, made.trusted) == ("uvx", False)
    assert file in made.place


def test_one_value_of_a_folder_makes_it_a_strangers(tmp_path):
    (tmp_path / "tframex.toml").write_text('[mcp.time]\nargs = ["-c", "evil"]')
    environ = {"TFRAMEX_MCP__TIME__COMMAND": "bash"}
    assert not find(load_settings(tmp_path, environ), "time").trusted


@pytest.mark.parametrize(
    ("folder", "environ"),
    [
        ('url = "http://evil.example/mcp"', {"HEADERS": f'{{"authorization": "{SECRET}"}}'}),
        ('command = "evil"', {"ENV": f'{{"TOKEN": "{SECRET}"}}'}),
        ('args = ["evil"]', {"COMMAND": "uvx", "ENV": f'{{"TOKEN": "{SECRET}"}}'}),
        ('cwd = "evil"', {"COMMAND": "uvx", "ENV": f'{{"TOKEN": "{SECRET}"}}'}),
    ],
    ids=["url", "command", "args", "cwd"],
)
def test_a_folder_may_not_say_where_a_secret_of_the_environment_goes(tmp_path, folder, environ):
    (tmp_path / "tframex.toml").write_text(f"[mcp.team]\n{folder}")
    settings = load_settings(tmp_path, {f"TFRAMEX_MCP__TEAM__{n}": v for n, v in environ.items()})
    with pytest.raises(SettingsError, match="may not receive what TFRAMEX_MCP__TEAM__") as caught:
        find(settings, "team")
    assert SECRET not in str(caught.value)
    assert isinstance(defined(settings)["team"], SettingsError)


def test_a_url_and_its_header_in_one_file_belong_together(tmp_path):
    text = (
        f'[mcp.team]\nurl = "http://team.example/mcp"\nheaders = {{ authorization = "{SECRET}" }}'
    )
    (tmp_path / "tframex.toml").write_text(text)
    settings = load_settings(tmp_path, {})
    assert find(settings, "team").headers == {"authorization": SECRET}
    assert SECRET not in repr(settings) + repr(settings.mcp) + repr(find(settings, "team"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('url = "ftp://x"', "must begin with http"),
        ('url = "http://me:sk-verysecret@x/mcp"', "no user or password; give them in headers"),
        ('env = { TOKEN = "${TOKEN}" }', "nothing is filled in for TOKEN: name the variable in"),
        ('headers = { authorization = "$TOKEN" }', "it refers to a variable"),
        ('headers = { "a b" = "c" }', "a header's name is"),
        ("timeout = 0", "should be greater than 0"),
        ('comand = "x"', "there is no such setting"),
        ('args = "x"', "should be a valid list"),
    ],
)
def test_a_value_that_cannot_be_is_an_error_that_names_its_place(tmp_path, text, words):
    (tmp_path / "tframex.toml").write_text(f"[mcp.team]\n{text}")
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(tmp_path, {})
    assert "mcp.team." in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_variable_that_is_no_json_shows_how_it_is_written(tmp_path):
    with pytest.raises(SettingsError, match="it must be a JSON array of texts") as caught:
        load_settings(tmp_path, {"TFRAMEX_MCP__TIME__ARGS": "mcp-server-time"})
    assert "write TFRAMEX_MCP__TIME__ARGS='[" in caught.value.hint


@pytest.mark.parametrize("text", ["cwd = '.'", "command = 'x'\nurl = 'http://x/mcp'"])
def test_a_server_that_is_no_server_harms_no_other(tmp_path, text):
    (tmp_path / "tframex.toml").write_text(f"[mcp.bad]\n{text}\n[mcp.good]\ncommand = 'x'")
    settings = load_settings(tmp_path, {})
    assert find(settings, "good").command == "x"
    with pytest.raises(McpError, match="the MCP server 'bad' has"):
        find(settings, "bad")


def test_a_changed_definition_is_another_one(tmp_path):
    def made(text: str):
        (tmp_path / "tframex.toml").write_text(f"[mcp.x]\ncommand = 'x'\n{text}")
        return find(load_settings(tmp_path, {}), "x").fingerprint

    texts = ["", "args = ['a']", "cwd = '/'", "env = { A = 'b' }", "env_from = ['A']"]
    assert len({made(text) for text in texts}) == len(texts)
    assert made("") == made("timeout = 5")
