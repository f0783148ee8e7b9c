"""The configuration: the whole file, each fault with its place, swapped as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tframex_nb.errors import SettingsError
from tframex_nb.frameworks.config import RuntimeConfig, load_config
from tframex_nb.frameworks.configuration import Configuration

WHOLE = """\
frameworks:
  discovery:
    auto_scan: false
    directories:
      - adapters
      - /opt/custom-frameworks
    watch: true
  default_framework: "native"
  template_mappings:
    "customer-service-bot":
      preferred: ["langgraph", "crewai"]
      required_capabilities: ["streaming", "memory"]
    "triage":
      preferred_frameworks: crewai
      fallback_type: task
      template_version: 1.2
      framework_versions: {crewai: ">=1,<2"}
  framework_specific:
    langgraph:
      max_concurrent_executions: 50
      timeout_seconds: 300
      memory_limit_mb: 1024
      weight: 12.5
    crewai:
      workers: 3
      idle_seconds: 60
  additional_frameworks:
    - "pkg.module:Class"
    - own/adapter.py
    - own/adapter.py:Second
    - {class: "pkg.other:Class", name: other}
    - {path: mine.py}
  weights: {autogen: 7}
  policy: measured
  balance: true
  environments: ~/shared
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="runtime-config.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def error_of(path):
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    assert str(path) in caught.value.message
    return caught.value


def test_the_whole_file_is_read(write, tmp_path):
    path = write(WHOLE)
    config = load_config(path)
    assert config.file == path
    assert not config.discovery.auto_scan
    assert config.discovery.watch
    folders = [str(each) for each in config.discovery.directories]
    assert folders == [str(tmp_path / "adapters"), "/opt/custom-frameworks"]
    assert config.default_framework == "native"
    assert config.limits("langgraph").max_concurrent_executions == 50
    assert config.limits("langgraph").timeout_seconds == 300
    assert config.limits("langgraph").memory_limit_mb == 1024
    assert config.limits("crewai").workers == 3
    assert config.limits("unheard").timeout_seconds is None
    assert config.template_mappings["triage"].preferred_frameworks == ("crewai",)
    assert config.template_mappings["triage"].template_version == "1.2"
    assert config.policy == "measured"
    assert config.balance
    assert config.environments == Path.home() / "shared"
    assert [str(each) for each in config.additional_frameworks] == [
        "pkg.module:Class",
        str(tmp_path / "own/adapter.py"),
        f"{tmp_path / 'own/adapter.py'}:Second",
        "pkg.other:Class",
        str(tmp_path / "mine.py"),
    ]


def test_weights_are_built_in_configured_and_own(write):
    config = load_config(write(WHOLE))
    weights = {n: config.weight(n) for n in ("langgraph", "crewai", "autogen", "native")}
    assert weights == {"langgraph": 12.5, "crewai": 8, "autogen": 7, "native": 5}
    assert RuntimeConfig().weight("langgraph") == 10


@pytest.mark.parametrize("text", ["", "frameworks:\n", "frameworks: {discovery: }\n"])
def test_an_empty_file_sets_nothing(write, text):
    assert load_config(write(text)).model_dump() == RuntimeConfig().model_dump()


@pytest.mark.parametrize(
    ("text", "place", "told", "hint"),
    [
        ("frameworks: [", "line 1, column 14", "not valid YAML", "mend that line"),
        ("a: 1", "line 1, column 1", "unknown key 'a'", "belongs below frameworks:"),
        ("[1]", "line 1, column 1", "holds no table", "frameworks:"),
        (
            "frameworks:\n  defaultframework: x",
            "line 2, column 3",
            "frameworks.defaultframework",
            "did you mean 'default_framework'?",
        ),
        (
            "frameworks:\n  discovery:\n    directory: x",
            "line 3, column 5",
            "frameworks.discovery.directory: there is no such key",
            "did you mean 'directories'?",
        ),
        (
            "frameworks:\n  framework_specific:\n    x: {timeout: 3}",
            "line 3, column 9",
            "there is no such key",
            "did you mean 'timeout_seconds'?",
        ),
        (
            "frameworks:\n  framework_specific:\n    x: {timeout_seconds: soon}",
            "line 3, column 9",
            "framework_specific.x.timeout_seconds",
            "",
        ),
        (
            "frameworks:\n  template_mappings:\n    t: {preferred: [a], preferred_frameworks: [b]}",
            "line 3, column 9",
            "are one",
            "write one of them",
        ),
        (
            "frameworks:\n  template_mappings:\n    t: {framework_versions: {x: new}}",
            "line 3, column 30",
            "must be a range",
            "",
        ),
        (
            "frameworks:\n  template_mappings: {t: {template_version: new}}",
            "line 2, column 27",
            "must be a version",
            "",
        ),
        (
            "frameworks:\n  additional_frameworks: [justaname]",
            "line 2, column 27",
            "must be pkg.module:Class",
            "justaname:ClassName",
        ),
        ("frameworks: {policy: standart}", "line 1, column 14", "policy", "'standard'"),
        ("frameworks: {weights: {a: .nan}}", "line 1, column 24", "weights.a", ""),
        ("frameworks:\n  balance: true\n  balance: false", "line 3, column 3", "twice", "remove"),
        ("frameworks: !!python/name:os.system ", "line 1, column 13", "not valid YAML", ""),
    ],
    ids=lambda value: value[:40].replace("\n", " "),
)
def test_a_fault_is_told_with_its_place_and_the_next_move(write, text, place, told, hint):
    error = error_of(write(text))
    assert f"({place})" in error.message
    assert told in error.message
    assert hint in error.hint
    assert error.hint


def test_a_file_of_aliases_is_refused_before_it_grows(write):
    """Ten lines of aliases may mean millions of values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "too many values" in error_of(write("\n".join(lines))).message


def test_a_file_that_cannot_be_read_is_told(tmp_path, write):
    assert "does not exist" in error_of(tmp_path / "none.yaml").message
    assert "is no file" in error_of(tmp_path).message
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in error_of(binary).message
    assert "KiB" in error_of(write("#" * 300_000)).message


def test_the_environment_names_the_file(write, monkeypatch):
    path = write(WHOLE, "other.yaml")
    monkeypatch.setenv("TFRAMEX_RUNTIME_CONFIG", str(path))
    assert load_config().file == path


def test_a_file_that_merely_lies_here_is_not_read(write):
    """It may load code, and the folder may be anyone's."""
    write(WHOLE)
    config = load_config()
    assert config.file is None
    assert config.discovery.directories == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "TFRAMEX_RUNTIME_CONFIG=runtime-config.yaml\n"),
        ("tframex.toml", 'runtime_config = "runtime-config.yaml"\n'),
        ("pyproject.toml", '[tool.tframex]\nruntime_config = "runtime-config.yaml"\n'),
    ],
)
def test_a_folders_own_settings_cannot_name_it(write, name, text):
    write(WHOLE)
    write(text, name)
    config = load_config()
    assert config.file is None
    assert "may load code" in config.notes[0]


def test_names_that_nobody_has_are_told(write):
    config = load_config(write("frameworks: {framework_specific: {langgrph: {weight: 1}}}"))
    told = config.strangers(["langgraph", "crewai"])
    assert told == (
        "framework_specific names 'langgrph', which is not registered; did you mean 'langgraph'?",
    )


def test_reconfiguring_returns_what_changed(write):
    path = write("frameworks: {weights: {a: 1}, balance: true}")
    held = Configuration(load_config(path))
    write("frameworks: {weights: {a: 2}, policy: measured}")
    assert held.reconfigure() == (
        "balance: True -> (not set)",
        "policy: (not set) -> measured",
        "weights.a: 1.0 -> 2.0",
    )
    assert held.current.policy == "measured"
    assert held.generation == 1
    assert held.reconfigure() == ()


def test_a_configuration_that_is_refused_changes_nothing(write):
    path = write("frameworks: {weights: {a: 1}}")
    held = Configuration(load_config(path))
    before = held.current
    write("frameworks: {weights: {a: 2}, policy: nothing}")
    with pytest.raises(SettingsError):
        held.reconfigure()
    write("frameworks: {weights: {a: 2}}")

    def refuse(config):
        raise SettingsError(f"no: {config.weights}")

    with pytest.raises(SettingsError, match="no: "):
        held.reconfigure(check=refuse)
    assert held.current is before
    assert held.generation == 0


def test_a_changed_file_is_seen_once_until_it_is_read(write):
    path = write("frameworks: {balance: true}")
    held = Configuration(load_config(path))
    assert not held.changed()
    os.utime(path)
    assert not held.changed()  # touched, and the same text
    write("frameworks: {balance: True}")  # as many bytes
    assert held.changed()
    held.reconfigure()
    assert not held.changed()
    write("frameworks: [")
    assert held.changed()
    with pytest.raises(SettingsError):
        held.reconfigure()
    assert not held.changed()  # told already
    assert not Configuration().changed()
