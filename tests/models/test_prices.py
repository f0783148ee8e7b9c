"""What calls cost: by the kept data as it is installed, by the settings, or not known."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal

import genai_prices
import pytest

from tframex_nb.errors import SettingsError
from tframex_nb.messages import Usage
from tframex_nb.models.prices import price_of, usd
from tframex_nb.models.providers import PRESETS
from tframex_nb.settings import load_settings

OPENAI = "https://api.openai.com/v1"

# A model of each provider that the kept data has, by the URL of our preset.
KNOWN = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "openrouter": "openai/gpt-4o",
    "groq": "llama-3.3-70b-versatile",
    "mistral": "mistral-large-latest",
    "deepseek": "deepseek-chat",
    "together": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "xai": "grok-4",
}


def kept(model: str, provider: str, usage: Usage, **context: str) -> Decimal:
    """What the package says itself."""
    tokens = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
    price = genai_prices.calc_price(
        tokens, model, provider_id=provider, price_context=context or None
    )
    return price.total_price


@pytest.mark.parametrize("name", KNOWN)
def test_every_preset_has_the_price_of_its_provider(name):
    usage = Usage(prompt_tokens=1_000, completion_tokens=100)
    price = price_of(KNOWN[name], api_url=PRESETS[name].url)
    provider = {"gemini": "google", "xai": "x-ai"}.get(name, name)
    assert price is not None
    assert price.cost(usage) == kept(KNOWN[name], provider, usage) > 0
    assert price.source.startswith(f"genai-prices: {provider} ")


def test_every_provider_with_a_key_is_among_them():
    assert {preset.name for preset in PRESETS.values() if preset.keys} == KNOWN.keys()


def test_cached_tokens_cost_what_cached_tokens_cost():
    whole = Usage(prompt_tokens=10_000, completion_tokens=10)
    cached = Usage(prompt_tokens=10_000, completion_tokens=10, cached_tokens=9_000)
    price = price_of("gpt-4o-mini", api_url=OPENAI)
    assert price.cost(cached) == kept("gpt-4o-mini", "openai", cached) < price.cost(whole)


def test_reasoning_is_part_of_the_completion_and_costs_nothing_twice():
    price = price_of("o3", api_url=OPENAI)
    thought = Usage(prompt_tokens=10, completion_tokens=500, reasoning_tokens=400)
    assert price.cost(thought) == price.cost(Usage(prompt_tokens=10, completion_tokens=500))


def test_more_cached_than_asked_is_no_error():
    usage = Usage(prompt_tokens=5, completion_tokens=1, cached_tokens=50)
    assert price_of("gpt-4o-mini", api_url=OPENAI).cost(usage) > 0


def test_a_service_tier_has_its_price():
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000)
    price = price_of("o3", api_url=OPENAI)
    assert price.cost(usage, tier="flex") == kept("o3", "openai", usage, service_tier="flex")
    assert price.cost(usage, tier="flex") < price.cost(usage)


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("gpt-4o-mini", "http://127.0.0.1:8000/v1"),
        ("gpt-4o-mini", "https://localhost/v1"),
        ("gpt-4o-mini", "http://gpu:8000/v1"),
        ("gpt-4o-mini", "https://proxy.example/v1"),
        ("gpt-4o-mini", ""),
        ("ft:gpt-4o-mini:acme", OPENAI),
        ("no-such-model", OPENAI),
        ("", OPENAI),
    ],
)
def test_what_is_not_known_has_no_price(model, url):
    """The name of a model alone says nothing: a local server may call its own model so."""
    assert price_of(model, api_url=url) is None


def settings(prices: dict, **environ: str):
    return load_settings(environ={"TFRAMEX_PRICES": json.dumps(prices), **environ})


def test_a_price_of_the_settings_is_exact():
    own = settings({"m": {"input": 0.1, "output": "0.3", "cached": 0.01}})
    price = price_of("m", settings=own)
    usage = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)
    assert price.cost(usage) == Decimal("0.00000142")  # (5 x 0.1 + 2 x 0.01 + 3 x 0.3) / 10^6
    assert price.source == "TFRAMEX_PRICES in the environment"
    uncached = price_of("m", settings=settings({"m": {"input": 1, "output": 2}}))
    assert uncached.cost(usage) == Decimal("0.000013")


def test_an_endpoints_own_price_comes_before_that_of_the_name():
    own = settings({"m": {"input": 1, "output": 1}, "team:m": {"input": 2, "output": 2}})
    million = Usage(prompt_tokens=1_000_000)
    assert price_of("m", label="team:m", settings=own).cost(million) == 2
    assert price_of("m", label="other:m", settings=own).cost(million) == 1


def test_the_environment_may_name_a_lower_price_and_a_folders_file_may_not(tmp_path):
    """A file that came with a folder would else make every cap worthless."""
    usage = Usage(prompt_tokens=1_000, completion_tokens=1_000)
    known = price_of("gpt-4o", api_url=OPENAI).cost(usage)
    free = {"gpt-4o": {"input": 0, "output": 0}}
    assert price_of("gpt-4o", api_url=OPENAI, settings=settings(free)).cost(usage) == 0
    for price, cost in ((0, known), (10_000, 20)):
        text = f'[prices."gpt-4o"]\ninput = {price}\noutput = {price}\n'
        (tmp_path / "tframex.toml").write_text(text)
        found = price_of("gpt-4o", api_url=OPENAI, settings=load_settings(tmp_path, {}))
        assert found.cost(usage) == cost
    local = price_of("gpt-4o", api_url="http://gpu/v1", settings=load_settings(tmp_path, {}))
    assert local.cost(usage) == 20  # nothing else is known there


@pytest.mark.parametrize(
    "text",
    [
        '{"m": {"input": -1, "output": 1}}',
        '{"m": {"input": "NaN", "output": 1}}',
        '{"m": {"input": 1}}',
        '{"m": {"x": 1}}',
        '{"m": 3}',
        "3",
        "not json",
    ],
)
def test_a_price_that_is_none_is_told(text):
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"TFRAMEX_PRICES": text})
    assert caught.value.message.startswith("TFRAMEX_PRICES in the environment is not valid")
    assert "input" in caught.value.hint


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0.00000142", "< $0.0001"),
        ("0.0000999999", "< $0.0001"),
        ("0.0001", "$0.0001"),
        ("0.00115", "$0.0012"),
        ("0.25", "$0.25"),
        ("0.1", "$0.10"),
        ("0.12345", "$0.1235"),
        ("0.99999", "$1.00"),
        ("1", "$1.00"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_amounts_are_shown_with_what_matters(amount, shown):
    assert usd(Decimal(amount)) == shown


def test_a_run_without_a_known_provider_loads_no_prices():
    """Half a second of CPU is spent only where a price can be known."""
    code = (
        "import sys\n"
        "from tframex_nb import Agent\n"
        "agent = Agent('a', 'demo:fast')\n"
        "agent.run_sync('hello')\n"
        "print('genai_prices' in sys.modules, agent.last.cost, agent.last.budget.spent.price)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == "False None no price known", done.stderr
