"""A stranger's folder must not lead a key of the user anywhere."""

from __future__ import annotations

import os

import pytest

from tframex_nb.errors import SettingsError
from tframex_nb.settings import load_settings

KEY = "sk-users-own-key"
ENV_PAIR = {"TFRAMEX_API_URL": "https://mine.test/v1", "TFRAMEX_API_KEY": KEY}


@pytest.fixture
def folder(tmp_path):
    """A function that writes the files of a stranger's folder."""

    def write(**files: str):
        names = {"dotenv": ".env", "toml": "tframex.toml", "pyproject": "pyproject.toml"}
        for kind, text in files.items():
            (tmp_path / names[kind]).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def refusal(path, environ, name=None, **arguments) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ, **arguments).connection(name)
    assert KEY not in str(caught.value)
    return caught.value


REDIRECTS = {
    "TFRAMEX_API_URL in .env": {"dotenv": "TFRAMEX_API_URL=http://evil.test\n"},
    "OPENAI_BASE_URL in .env": {"dotenv": "OPENAI_BASE_URL=http://evil.test\n"},
    "TFrameX's names in .env": {"dotenv": "API_URL=http://evil.test\nMODEL_NAME=m\n"},
    "tframex.toml": {"toml": 'api_url = "http://evil.test"'},
    "pyproject.toml": {"pyproject": '[tool.tframex]\napi_url = "http://evil.test"'},
}


@pytest.mark.parametrize("variable", ["TFRAMEX_API_KEY", "OPENAI_API_KEY"])
@pytest.mark.parametrize("files", REDIRECTS.values(), ids=REDIRECTS)
def test_a_folders_url_never_gets_the_environments_key(folder, files, variable):
    """The error names both places and the way out, and the key is not in the settings."""
    path = folder(**files)
    settings = load_settings(path, {variable: KEY})
    assert settings.api_key is None
    error = refusal(path, {variable: KEY})
    assert f"may not receive the key from {variable} in the environment" in error.message
    assert f" in {path}/" in error.message
    assert error.hint.startswith("set the URL where the key is set, if you trust it; or put ")
    assert error.hint.endswith(f"or remove {settings.sources['api_url']}")


def test_the_demo_and_other_settings_still_work_in_such_a_folder(folder):
    path = folder(toml='api_url = "http://evil.test"\nmax_steps = 3')
    assert load_settings(path, {"TFRAMEX_API_KEY": KEY}).max_steps == 3


def test_an_empty_key_beside_the_url_says_that_none_is_needed(folder):
    path = folder(dotenv="TFRAMEX_API_URL=http://local.test\nTFRAMEX_API_KEY=\n")
    connection = load_settings(path, {"OPENAI_API_KEY": KEY}).connection()
    assert connection.api_key is None


def test_a_key_of_the_same_file_goes_with_its_url(folder):
    path = folder(dotenv="TFRAMEX_API_URL=http://own.test\nTFRAMEX_API_KEY=own\n")
    connection = load_settings(path, {"OPENAI_API_KEY": KEY}).connection()
    assert connection.api_key.get_secret_value() == "own"


def test_a_url_of_the_environment_may_use_a_folders_key(folder):
    path = folder(toml='api_key = "folder"')
    connection = load_settings(path, {"TFRAMEX_API_URL": "http://mine.test"}).connection()
    assert connection.api_key.get_secret_value() == "folder"


INTERCEPTIONS = {
    "proxy in .env": {"dotenv": "TFRAMEX_PROXY=http://evil.test:3128\n"},
    "proxy": {"toml": 'proxy = "http://evil.test:3128"'},
    "ca_bundle": {"toml": 'ca_bundle = "evil.pem"'},
    "verify": {"toml": "verify = false"},
    "verify in pyproject": {"pyproject": "[tool.tframex]\nverify = false"},
    "headers": {"toml": '[headers]\nX-Target-Url = "http://evil.test"'},
}


@pytest.mark.parametrize("files", INTERCEPTIONS.values(), ids=INTERCEPTIONS)
def test_nothing_of_a_folder_stands_on_the_keys_way(folder, files):
    error = refusal(folder(**files), ENV_PAIR)
    assert "may not stand between the key from TFRAMEX_API_KEY in the environment" in error.message
    assert error.hint.startswith("set it where the key is set, or remove ")


def test_the_same_is_fine_where_the_key_is_the_folders_own(folder):
    path = folder(
        toml='api_url = "http://own.test"\napi_key = "own"\nproxy = "http://p.test"\nverify = false'
    )
    connection = load_settings(path, {}).connection()
    assert connection.proxy.get_secret_value() == "http://p.test"
    assert connection.verify is False


def test_a_provider_key_is_guarded_in_the_same_way(folder):
    from tframex_nb.settings import Source

    path = folder(toml='proxy = "http://evil.test"')
    settings = load_settings(path, {"OPENAI_API_KEY": KEY})
    key = settings.provider_key(["OPENAI_API_KEY"])
    with pytest.raises(SettingsError, match="may not stand between"):
        settings.connect_to("https://api.openai.com/v1", Source("builtin", "openai"), key)


INDIRECTIONS = {
    "api_key_env": 'api_key_env = "OPENAI_API_KEY"',
    "env_key": 'env_key = "OPENAI_API_KEY"',
    "api_key_command": 'api_key_command = "cat ~/.key"',
    "dollar": 'api_key = "${OPENAI_API_KEY}"',
    "bare dollar": 'api_key = "$OPENAI_API_KEY"',
    "env:": 'api_key = "env:OPENAI_API_KEY"',
    "percent": 'api_key = "%OPENAI_API_KEY%"',
    "shell": 'api_key = "$(cat ~/.key)"',
    "header": '[headers]\nX-Key = "${OPENAI_API_KEY}"',
    "endpoint": '[endpoints.a]\nurl = "http://evil.test"\napi_key = "${OPENAI_API_KEY}"',
    "endpoint header": '[endpoints.a]\nurl = "http://evil.test"\nheaders = {K = "$OPENAI_API_KEY"}',
    "endpoint env": '[endpoints.a]\nurl = "http://evil.test"\napi_key_env = "OPENAI_API_KEY"',
}


@pytest.mark.parametrize("toml", INDIRECTIONS.values(), ids=INDIRECTIONS)
def test_a_toml_file_cannot_point_at_a_variable(folder, toml):
    error = refusal(folder(toml=toml), {"OPENAI_API_KEY": KEY})
    assert "a file in a folder may not read the environment" in error.message
    assert error.hint.startswith("set URL and key in the environment both")


@pytest.mark.parametrize(
    "line",
    [
        "TFRAMEX_API_KEY=${OPENAI_API_KEY}",
        'TFRAMEX_API_KEY="x${OPENAI_API_KEY}"',
        "A=${OPENAI_API_KEY}\nTFRAMEX_API_KEY=${A}",
        "TFRAMEX_API_URL=http://evil.test/${OPENAI_API_KEY}",
        "TFRAMEX_API_KEY=${TFRAMEX_API_KEY}",
    ],
)
def test_a_dotenv_cannot_interpolate_the_environment(folder, line):
    path = folder(dotenv=f"TFRAMEX_API_URL=http://evil.test\n{line}\n")
    error = refusal(path, {"OPENAI_API_KEY": KEY})
    assert "may not be used: it refers to ${" in error.message


def test_a_foreign_variable_may_refer_to_anything(folder):
    path = folder(dotenv="PATH_X=${HOME}/x\nOPENAI_API_KEY=${SECRET}\n")
    settings = load_settings(path, {"SECRET": KEY})
    assert settings.provider_key(["OPENAI_API_KEY"]) is None


def test_an_environments_key_of_an_endpoint_stays_off_a_folders_url(folder):
    path = folder(toml='[endpoints.team]\nurl = "http://evil.test"')
    error = refusal(path, {"TFRAMEX_ENDPOINTS__TEAM__API_KEY": KEY}, "team")
    assert "endpoints.team.url in " in error.message
    assert "TFRAMEX_ENDPOINTS__TEAM__API_KEY in the environment" in error.message


def test_a_folder_cannot_put_a_proxy_before_the_environments_endpoint(folder):
    path = folder(toml='[endpoints.team]\nproxy = "http://evil.test"')
    environ = {
        "TFRAMEX_ENDPOINTS__TEAM__URL": "https://team.test",
        "TFRAMEX_ENDPOINTS__TEAM__API_KEY": KEY,
    }
    error = refusal(path, environ, "team")
    assert error.message.startswith("endpoints.team.proxy in ")


@pytest.mark.parametrize("name", [" team", "team ", "team:gpt", "", "te am", "team\\u00a0", "-x"])
def test_no_second_name_means_an_endpoint_of_the_environment(folder, name):
    """A space around a name would be dropped, and its values stand in the other's place."""
    path = folder(toml=f'[endpoints."{name}"]\nurl = "http://evil.test"')
    environ = {"TFRAMEX_ENDPOINTS__TEAM__URL": "https://team.test"}
    with pytest.raises(SettingsError, match="can be no endpoint's name") as caught:
        load_settings(path, environ)
    assert caught.value.hint == "allowed: letters, digits, and _ - . between them"


def test_headers_and_verify_of_the_default_endpoint_stay_there(folder):
    path = folder(toml='[endpoints.team]\nurl = "https://team.test"')
    environ = {**ENV_PAIR, "TFRAMEX_HEADERS": '{"X-Key": "s"}', "TFRAMEX_VERIFY": "false"}
    connection = load_settings(path, environ).connection("team")
    assert dict(connection.headers) == {}
    assert connection.verify is True


def test_a_pair_stays_together_when_an_argument_names_another_origin(tmp_path):
    """The key belongs to its pair; a later 401 can say so."""
    environ = {**ENV_PAIR, "TFRAMEX_HEADERS": '{"X-Key": "s"}'}
    settings = load_settings(tmp_path, environ, api_url="http://other.test")
    connection = settings.connection()
    assert connection.api_key is None
    assert dict(connection.headers) == {}
    assert connection.notes == (
        (
            "the key from TFRAMEX_API_KEY in the environment belongs to https://mine.test "
            "and is not sent"
        ),
    )
    assert settings.notes[0].startswith("TFRAMEX_HEADERS in the environment is not used")


def test_a_pair_serves_another_path_of_its_origin(tmp_path):
    settings = load_settings(tmp_path, ENV_PAIR, api_url="https://mine.test/v2")
    assert settings.connection().api_key.get_secret_value() == KEY


def test_openais_key_goes_to_no_other_url_that_an_argument_names(tmp_path):
    settings = load_settings(tmp_path, {"OPENAI_API_KEY": KEY}, api_url="http://other.test")
    assert settings.connection().api_key is None
    settings = load_settings(tmp_path, {"OPENAI_API_KEY": KEY}, api_url="https://api.openai.com/v1")
    assert settings.connection().api_key.get_secret_value() == KEY


def test_a_key_without_a_pair_goes_to_the_arguments_url(tmp_path):
    settings = load_settings(tmp_path, {"TFRAMEX_API_KEY": KEY}, api_url="http://other.test")
    assert settings.connection().api_key.get_secret_value() == KEY


def test_a_link_out_of_the_folder_gives_no_key_to_the_folders_url(tmp_path):
    """A link to the user's other file must not make its key the stranger's."""
    private = tmp_path / "private"
    private.mkdir()
    (private / "mine.toml").write_text(f'api_key = "{KEY}"')
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "tframex.toml").symlink_to(private / "mine.toml")
    (stranger / ".env").write_text("TFRAMEX_API_URL=http://evil.test\n")
    error = refusal(stranger, {})
    assert "may not receive the key from api_key in " in error.message


def test_a_linked_dotenv_with_url_and_key_works(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "env").write_text("TFRAMEX_API_URL=http://a.test\nTFRAMEX_API_KEY=k\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".env").symlink_to(tmp_path / "home" / "env")
    connection = load_settings(tmp_path / "project", {}).connection()
    assert connection.api_key.get_secret_value() == "k"


def note_of(path) -> str:
    settings = load_settings(path, {})
    assert settings.sources == {}
    return settings.notes[0]


def test_a_huge_dotenv_is_not_read(tmp_path):
    (tmp_path / ".env").write_text("TFRAMEX_MODEL=x\n" + "#" * 300_000)
    assert note_of(tmp_path) == f"{tmp_path}/.env is not used: it is larger than 256 KiB"


def test_a_binary_dotenv_is_not_read(tmp_path):
    (tmp_path / ".env").write_bytes(bytes(range(256)) * 4)
    assert note_of(tmp_path) == f"{tmp_path}/.env is not used: it is not UTF-8 text"


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / ".env")
    assert note_of(tmp_path) == f"{tmp_path}/.env is not used: it is no regular file"


def test_a_device_behind_a_link_is_not_read(tmp_path):
    (tmp_path / ".env").symlink_to("/dev/zero")
    assert "it is no regular file" in note_of(tmp_path)


def test_a_link_in_a_circle_and_a_dead_one_are_notes(tmp_path):
    (tmp_path / ".env").symlink_to(tmp_path / ".env")
    assert "is not used" in note_of(tmp_path)


def test_a_folder_named_dotenv_is_a_note(tmp_path):
    (tmp_path / ".env").mkdir()
    assert "is not used" in note_of(tmp_path)


def test_a_foreign_pyproject_that_is_broken_is_a_note(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "uses-tframex" = 3\n')
    assert note_of(tmp_path) == f"{tmp_path}/pyproject.toml is not used: it is not TOML"


def test_our_broken_pyproject_is_an_error_that_shows_no_text(tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[tool.tframex]\napi_key = "{KEY}\n')
    error = refusal(tmp_path, {})
    assert "pyproject.toml is not valid TOML (line 2, column" in error.message


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"#" * 300_000, b"a = [" + b"[" * 5000],
    ids=["binary", "huge", "deep"],
)
def test_our_unreadable_toml_is_an_error(tmp_path, content):
    (tmp_path / "tframex.toml").write_bytes(content)
    assert str(tmp_path / "tframex.toml") in refusal(tmp_path, {}).message
