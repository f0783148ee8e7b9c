"""The pages on settings and models cannot lie: their blocks run, their tables are complete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tframex_nb.models.demo import VARIANTS
from tframex_nb.models.providers import PRESETS
from tframex_nb.settings import EndpointSettings, Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(root: Path):
    """A function that returns the text of a page."""
    return lambda name: (root / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["settings.md", "models.md"])
def test_python_blocks_run_and_print_what_they_say(page, name, capsys):
    namespace: dict[str, object] = {}
    blocks = BLOCK.findall(page(name))
    assert any(language == "python" for language, _ in blocks)
    for (language, code), (_, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "python":
            exec(compile(code, name, "exec"), namespace)
            assert capsys.readouterr().out == shown


def test_the_dotenv_example_is_read(page, tmp_path):
    code = next(c for language, c in BLOCK.findall(page("settings.md")) if language == "dotenv")
    (tmp_path / ".env").write_text(code)
    assert load_settings(tmp_path, {}).connection().model == "qwen3-8b"


def test_the_toml_example_is_read(page, tmp_path):
    code = next(c for language, c in BLOCK.findall(page("settings.md")) if language == "toml")
    (tmp_path / "tframex.toml").write_text(code)
    assert load_settings(tmp_path, {}).connection("team").timeouts == {"first_byte": 300.0}


def test_every_setting_is_in_the_table(page):
    table = page("settings.md").split("## All of them")[1].split("## ")[0]
    for name in Settings.model_fields.keys() | EndpointSettings.model_fields.keys() - {"url"}:
        assert f"`{name}" in table, name


def test_every_provider_and_variant_is_in_its_table(page):
    text = page("models.md")
    for preset in (p for p in PRESETS.values() if not p.local):
        assert f"| `{preset.name}` |" in text
        assert f"| {preset.lost} |" in text
    for variant in VARIANTS.values():
        assert f"| `{variant.model}` | {variant.about} |" in text
