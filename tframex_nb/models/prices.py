"""What model calls cost: from the settings, or from the data that genai-prices keeps.

Its prices come with the installed package and are never fetched from here. A price that is not
known is None, never zero: a server on this host may still be billed by somebody.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.models.providers import PRESETS
from tframex_nb.settings.urls import is_loopback, origin

if TYPE_CHECKING:
    from tframex_nb.messages import Usage
    from tframex_nb.settings import Settings

__all__ = ["Price", "SetPrice", "is_kept", "load_kept", "price_of", "usd"]

MILLION = 1_000_000
_SMALLEST = Decimal("0.0001")  # USD; what is less is shown as less than this


class Price(Protocol):
    """What one model costs."""

    @property
    def source(self) -> str:
        """Where the price comes from, for the eye."""
        ...

    def cost(self, usage: Usage, *, tier: str = "") -> Decimal:
        """Return what one call costs, in USD; ``tier`` is the service tier that it asked for."""
        ...


@dataclass(frozen=True, slots=True)
class SetPrice:
    """A price from the settings, in USD per million tokens; cached tokens cost ``cached``."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    source: str = ""

    def cost(self, usage: Usage, *, tier: str = "") -> Decimal:  # noqa: ARG002 - one price for all
        """Return what one call costs, in USD; reasoning is part of the completion."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        spent = (usage.prompt_tokens - cached) * self.input
        spent += cached * (self.input if self.cached is None else self.cached)
        return (spent + usage.completion_tokens * self.output) / MILLION


@dataclass(frozen=True, slots=True)
class _KeptPrice:
    """A price of genai-prices, with its tiers, its hours and its changes over time."""

    provider: Any  # genai-prices' own, as is the model: they are imported at first use
    model: Any

    @property
    def source(self) -> str:
        """The package and what it calls this model."""
        return f"genai-prices: {self.provider.id} {self.model.id}"

    def cost(self, usage: Usage, *, tier: str = "") -> Decimal:
        """Return what one call costs now, in USD."""
        from genai_prices import Usage as Tokens

        tokens = Tokens(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=min(usage.cached_tokens, usage.prompt_tokens),
            output_tokens=usage.completion_tokens,
        )
        context = {"service_tier": tier} if tier else None
        priced = self.model.calc_price(tokens, self.provider, price_context=context)
        return Decimal(priced.total_price)


@dataclass(frozen=True, slots=True)
class _Dearer:
    """The higher of two prices, call by call."""

    one: Price
    other: Price

    @property
    def source(self) -> str:
        """Where both come from."""
        return f"the higher of {self.one.source} and {self.other.source}"

    def cost(self, usage: Usage, *, tier: str = "") -> Decimal:
        """Return what one call costs, in USD."""
        return max(self.one.cost(usage, tier=tier), self.other.cost(usage, tier=tier))


def price_of(
    model: str, *, api_url: str = "", label: str = "", settings: Settings | None = None
) -> Price | None:
    """Return what a model costs, or None where nobody has said.

    The settings name it by ``ENDPOINT:MODEL`` or by the model's name. A file that came with a
    folder cannot make a price that is known cheaper: a cap would hold no more. The first call
    for a provider reads the kept data, half a second of CPU.
    """
    kept = _kept_price(model, api_url)
    given = _given_price(model, label, settings)
    if given is None or settings is None:
        return kept
    if kept is None or settings.sources["prices"].is_own:
        return given
    return _Dearer(given, kept)


def is_kept(api_url: str) -> bool:
    """Whether the kept data may know who this is; nothing is loaded to tell."""
    return api_url.startswith("https://") and not is_loopback(api_url)


def load_kept() -> None:
    """Read the kept data, where that was not done yet; for a thread."""
    _snapshot()


def usd(amount: Decimal) -> str:
    """Return an amount for the eye: $0.0012, $0.25, $1,234.50, or that it is less than $0.0001."""
    if 0 < amount < _SMALLEST:
        return f"< ${_SMALLEST}"
    if amount >= 1 or not amount:
        return f"${amount.quantize(Decimal('0.01'), ROUND_HALF_UP):,}" if amount else "$0"
    text = str(amount.quantize(_SMALLEST, ROUND_HALF_UP))
    return f"${text[:4]}{text[4:].rstrip('0')}"


def _given_price(model: str, label: str, settings: Settings | None) -> SetPrice | None:
    prices = settings.prices if settings is not None else {}
    found = next((prices[name] for name in (label, model) if name in prices), None)
    if found is None or settings is None:
        return None
    source = str(settings.sources["prices"])
    return SetPrice(found.input, found.output, found.cached, source)


def _kept_price(model: str, api_url: str) -> _KeptPrice | None:
    if not model or not is_kept(api_url):
        return None
    alias = next((p.name for p in PRESETS.values() if origin(p.url) == origin(api_url)), None)
    for where in ({"provider_api_url": f"{api_url}/"}, {"provider_id": alias}):
        if all(where.values()):
            try:
                found = _find(model, **where)
            except LookupError:
                continue
            return found if _is_whole(found.model) else None
    return None


def _find(
    model: str, *, provider_api_url: str | None = None, provider_id: str | None = None
) -> _KeptPrice:
    known = _snapshot()
    return _KeptPrice(*known.find_provider_model(model, None, provider_id, provider_api_url))


def _is_whole(model: Any) -> bool:  # genai-prices' own
    """Whether text costs something known both ways; what is sold by other units is not known."""
    from datetime import UTC, datetime

    prices = model.get_prices(datetime.now(tz=UTC))
    return prices.input_mtok is not None and prices.output_mtok is not None


@functools.cache
def _snapshot() -> Any:  # genai-prices' own: it is imported at first use
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()
