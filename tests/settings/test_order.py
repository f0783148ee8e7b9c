"""Which place gives a value, and what an invalid one says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tframex_nb.errors import SettingsError
from tframex_nb.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, **files: str) -> Path:
    """Write the settings files of a folder; the names are dotenv, toml and pyproject."""
    names = {"dotenv": ".env", "toml": "tframex.toml", "pyproject": "pyproject.toml"}
    for kind, text in files.items():
        (folder / names[kind]).write_text(text, encoding="utf-8")
    return folder


def error_of(folder: Path, environ: dict[str, str] | None = None, **arguments) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(folder, environ or {}, **arguments)
    return caught.value


def test_nothing_set_gives_the_defaults(tmp_path):
    settings = load_settings(tmp_path, {})
    assert settings.api_url is None
    assert settings.api_key is None
    assert settings.sources == {}
    assert settings.discover
    assert repr(settings) == "<Settings, all default>"


def test_each_place_comes_before_the_next(tmp_path):
    """Arguments, TFRAMEX_*, .env, tframex.toml, pyproject.toml."""
    write(
        tmp_path,
        dotenv="TFRAMEX_MODEL=dotenv\nTFRAMEX_MAX_STEPS=3\nTFRAMEX_RETRIES=3\n",
        toml='model = "toml"\nmax_steps = 4\nretries = 4\nmax_tokens = 4\nmax_connections = 4',
        pyproject='[tool.tframex]\nmodel = "py"\nmax_connections = 5\ncontext_cap = 555',
    )
    environ = {"TFRAMEX_MODEL": "environment", "TFRAMEX_MAX_STEPS": "2"}
    settings = load_settings(tmp_path, environ, model="argument")
    assert settings.model == "argument"
    assert settings.max_steps == 2
    assert settings.retries == 3
    assert settings.max_tokens == 4
    assert settings.max_connections == 4
    assert settings.context_cap == 555
    places = {name: str(source) for name, source in settings.sources.items()}
    assert places == {
        "model": "the argument model",
        "max_steps": "TFRAMEX_MAX_STEPS in the environment",
        "retries": f"TFRAMEX_RETRIES in {tmp_path / '.env'}",
        "max_tokens": f"max_tokens in {tmp_path / 'tframex.toml'}",
        "max_connections": f"max_connections in {tmp_path / 'tframex.toml'}",
        "context_cap": f"tool.tframex.context_cap in {tmp_path / 'pyproject.toml'}",
    }


def test_openai_names_count_after_all_of_ours(tmp_path):
    environ = {"OPENAI_BASE_URL": "http://openai.test", "OPENAI_API_KEY": "k1"}
    settings = load_settings(tmp_path, environ)
    assert settings.connection().url == "http://openai.test/v1"
    assert settings.connection().api_key.get_secret_value() == "k1"
    write(tmp_path, toml='api_url = "http://ours.test"\napi_key = "k2"')
    connection = load_settings(tmp_path, environ).connection()
    assert connection.url == "http://ours.test/v1"
    assert connection.api_key.get_secret_value() == "k2"


def test_openai_key_alone_is_no_default_endpoint(tmp_path):
    settings = load_settings(tmp_path, {"OPENAI_API_KEY": "k1"})
    assert settings.api_url is None
    assert settings.api_key is None
    assert settings.provider_key(["OPENAI_API_KEY"]).key.get_secret_value() == "k1"


LEGACY = (
    'API_URL="https://seed.test/v1"\nAPI_KEY=seed-key\nMODEL_NAME="Qwen/Qwen3"  # which\n'
    "MAX_TOKENS=32\nTEMPERATURE=0.7\n"
)


def test_the_seeds_names_count_in_a_dotenv_only(tmp_path):
    environ = dict(line.split("=", 1) for line in LEGACY.splitlines())
    assert load_settings(tmp_path, environ).sources == {}
    write(tmp_path, dotenv=LEGACY)
    connection = load_settings(tmp_path, {}).connection()
    assert connection.url == "https://seed.test/v1"
    assert connection.api_key.get_secret_value() == "seed-key"
    assert (connection.model, connection.max_tokens, connection.temperature) == (
        "Qwen/Qwen3",
        32,
        0.7,
    )


def test_the_seeds_names_come_last_and_together(tmp_path):
    """With another URL in use, TFrameX's model and key belong elsewhere."""
    write(tmp_path, dotenv=LEGACY)
    settings = load_settings(tmp_path, {"TFRAMEX_API_URL": "http://ours.test"})
    connection = settings.connection()
    assert connection.url == "http://ours.test/v1"
    assert connection.api_key is None
    assert connection.model is None
    assert connection.notes == (
        f"the key from API_KEY in {tmp_path / '.env'} belongs to https://seed.test and is not sent",
    )


@pytest.mark.parametrize(
    "dotenv",
    [
        "API_KEY=of-some-other-program\n",
        "API_URL=https://backend.test\nAPI_KEY=x\n",
        "TEMPERATURE=warm\nMAX_TOKENS=lots\nMODEL_NAME=resnet\n",
        "API_URL=not a url\nMODEL_NAME=m\n",
        "OPENAI_BASE_URL=nonsense\n",
        "this is no .env at all {{{\n===\n",
        "",
    ],
)
def test_a_foreign_dotenv_changes_nothing(tmp_path, dotenv):
    write(tmp_path, dotenv=dotenv)
    assert load_settings(tmp_path, {}).sources == {}


def test_dotenv_syntax_that_people_use(tmp_path):
    write(
        tmp_path,
        dotenv='# mine\nexport TFRAMEX_MODEL="a b"\n'
        "HOST='h.test'\nTFRAMEX_API_URL=http://${HOST}:8000\n"
        "TFRAMEX_API_KEY='k' # comment\nOTHER=\"two\nlines\"\nTFRAMEX_MAX_STEPS = 5\n",
    )
    settings = load_settings(tmp_path, {})
    assert settings.model == "a b"
    assert settings.api_url == "http://h.test:8000/v1"
    assert settings.api_key.get_secret_value() == "k"
    assert settings.max_steps == 5


def test_a_changed_dotenv_counts_at_once(tmp_path):
    write(tmp_path, dotenv="TFRAMEX_MODEL=one\n")
    assert load_settings(tmp_path, {}).model == "one"
    write(tmp_path, dotenv="TFRAMEX_MODEL=two\n")
    assert load_settings(tmp_path, {}).model == "two"


def test_files_are_found_up_to_the_projects_root(tmp_path):
    project = tmp_path / "project"
    inside = project / "notebooks" / "deep"
    inside.mkdir(parents=True)
    write(tmp_path, dotenv="TFRAMEX_MAX_STEPS=9\n")
    write(project, toml='model = "root"')
    assert load_settings(inside, {}).model is None  # no root is marked yet
    (project / ".git").mkdir()
    settings = load_settings(inside, {})
    assert settings.model == "root"
    assert settings.max_steps != 9  # what lies above the root is not read


def test_named_endpoints_take_over_what_they_do_not_set(tmp_path):
    write(
        tmp_path,
        toml="""
            temperature = 0.5
            timeouts = {connect = 3, run = 60}
            [endpoints.Team]
            url = "https://team.test"
            api_key = "team-key"
            model = "gpt"
            timeouts.run = 5
            headers = {X-Team = "a"}
        """,
    )
    settings = load_settings(tmp_path, {"TFRAMEX_ENDPOINTS__TEAM__MODEL": "other"})
    connection = settings.connection("TEAM")
    assert connection.url == "https://team.test/v1"
    assert connection.model == "other"
    assert connection.temperature == 0.5
    assert connection.timeouts == {"connect": 3.0, "run": 5.0}
    assert connection.headers["X-Team"].get_secret_value() == "a"


def test_headers_in_a_variable_are_json(tmp_path):
    environ = {"TFRAMEX_API_URL": "http://h.test", "TFRAMEX_HEADERS": '{"X-A": "b"}'}
    connection = load_settings(tmp_path, environ).connection()
    assert connection.headers["X-A"].get_secret_value() == "b"


@pytest.mark.parametrize(
    ("environ", "toml", "message", "hint"),
    [
        (
            {"TFRAMEX_MAX_STEP": "3"},
            "",
            "TFRAMEX_MAX_STEP in the environment: there is no such setting",
            "did you mean 'TFRAMEX_MAX_STEPS'?",
        ),
        (
            {"TFRAMEX_MAX_STEPS": "many"},
            "",
            "TFRAMEX_MAX_STEPS in the environment is not valid: should be a valid integer",
            "allowed: a whole number from 1 to 1000",
        ),
        ({}, "modle = 'x'", "modle in {toml}: there is no such setting", "did you mean 'model'?"),
        (
            {},
            "reasoning = 'loud'",
            "reasoning in {toml} is not valid: should be 'separate' or 'inline'",
            "allowed: 'separate' or 'inline'",
        ),
        (
            {"TFRAMEX_MCP": "{}"},
            "",
            "TFRAMEX_MCP in the environment is a table, not a value",
            "set what is in it, such as TFRAMEX_MCP__NAME__COMMAND",
        ),
        (
            {"TFRAMEX_TIMEOUTS": "5"},
            "",
            "TFRAMEX_TIMEOUTS in the environment is a table, not a value",
            "set what is in it, such as TFRAMEX_TIMEOUTS__CONNECT",
        ),
        ({}, "timeouts = 5", "timeouts in {toml} must be a table", "write it as [timeouts]"),
        (
            {},
            "timeouts.conect = 5",
            "timeouts.conect in {toml}: there is no such setting",
            "did you mean 'timeouts.connect'?",
        ),
        (
            {},
            "timeouts.run = -1",
            "timeouts.run in {toml} is not valid: should be greater than 0",
            "allowed: seconds, more than 0",
        ),
        (
            {},
            "[endpoints.a]\nurl = 'ftp://x'",
            "endpoints.a.url in {toml} is not valid: it must begin with http://",
            "allowed: a URL such as https://host/v1",
        ),
        ({}, "model = 'x", "{toml} is not valid TOML (end of document)", "mend that line"),
        (
            {"TFRAMEX_HEADERS": "x"},
            "",
            "TFRAMEX_HEADERS in the environment is not valid: it must be a JSON object",
            "write TFRAMEX_HEADERS=",
        ),
        (
            {"TFRAMEX_API_URL": "http://user:pw@h.test"},
            "",
            "it must hold no user or password",
            "allowed: a URL such as",
        ),
    ],
)
def test_an_invalid_value_names_place_and_what_is_allowed(tmp_path, environ, toml, message, hint):
    if toml:
        write(tmp_path, toml=toml)
    error = error_of(tmp_path, environ)
    assert message.format(toml=tmp_path / "tframex.toml") in error.message
    assert hint in error.hint


def test_an_unknown_argument_names_the_nearest(tmp_path):
    assert "did you mean 'max_steps'?" in error_of(tmp_path, max_stepz=3).hint


SECRET = "sk-THIS-IS-SECRET"


@pytest.mark.parametrize(
    "environ",
    [
        {"TFRAMEX_API_URL": SECRET},
        {"TFRAMEX_API_KEY": f"{SECRET} and more"},
        {"TFRAMEX_MAX_STEPS": SECRET},
        {"TFRAMEX_TEMPERATURE": SECRET},
        {"TFRAMEX_VERIFY": SECRET},
        {"TFRAMEX_REASONING": SECRET},
        {"TFRAMEX_HEADERS": SECRET},
        {"TFRAMEX_HEADERS": f'{{"bad name": "{SECRET}"}}'},
        {"TFRAMEX_ENDPOINTS__A__URL": SECRET},
        {"TFRAMEX_API_URL": f"http://x:{SECRET}@h.test"},
    ],
    ids=lambda e: next(iter(e)),
)
def test_an_error_never_shows_the_value(tmp_path, environ):
    error = error_of(tmp_path, environ)
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_no_repr_shows_a_secret(tmp_path):
    write(tmp_path, toml=f'[endpoints.a]\nurl = "http://a.test"\napi_key = "{SECRET}"')
    environ = {
        "TFRAMEX_API_URL": "http://h.test",
        "TFRAMEX_API_KEY": SECRET,
        "TFRAMEX_PROXY": f"http://u:{SECRET}@p.test",
        "TFRAMEX_HEADERS": f'{{"X-Key": "{SECRET}"}}',
        "ANTHROPIC_API_KEY": SECRET,
    }
    settings = load_settings(tmp_path, environ)
    shown = [repr(settings), str(settings), repr(settings.connection()), repr(settings.endpoints)]
    shown += [repr(settings.connection("a")), repr(settings.sources), repr(settings.__dict__)]
    shown += [repr(settings.provider_key(["ANTHROPIC_API_KEY"])), settings.model_dump_json()]
    assert SECRET not in "".join(shown)
    assert settings.connection().api_key.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://h.test/v1/chat/completions", "https://h.test/v1"),
        ("https://h.test/openai/v1beta", "https://h.test/openai/v1beta"),
        ("https://H.Test/V2", "https://h.test/V2"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_v1_is_added_only_where_there_is_no_path(tmp_path, written, meant):
    assert load_settings(tmp_path, {}, api_url=written).api_url == meant


def test_settings_are_frozen(tmp_path):
    settings = load_settings(tmp_path, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.model = "x"
    assert isinstance(settings, Settings)


def test_a_working_directory_that_is_gone_is_no_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    settings = load_settings(environ={})
    assert settings.notes == ("the working directory does not exist: no file is read",)
    os.chdir(tmp_path)
