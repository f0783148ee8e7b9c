"""The variants of the demo model: how fast it writes, and how it fails when asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["VARIANTS", "Fault", "Variant", "find", "variant_names"]

Fault = Literal["", "cut", "stall", "hang", "garbage", "flaky"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of the demo model: ``demo:NAME``.

    ``rate`` is in tokens per second, 0 for as fast as the wire; ``at_most`` bounds the whole
    answer in seconds, 0 for no bound; ``status`` is the HTTP error it gives instead.
    """

    name: str
    about: str
    rate: float = 70.0
    at_most: float = 2.2
    status: int = 0
    code: str = ""
    fault: Fault = ""

    @property
    def model(self) -> str:
        """The name of the model on the wire."""
        return f"demo:{self.name}" if self.name else "demo"


_ALL = (
    Variant("", "answers in Markdown and shows what it was asked"),
    Variant("fast", "the same without pacing", rate=0),
    Variant("slow", "a long answer, slowly: press stop", rate=8, at_most=0),
    Variant("long", "100 kB of Markdown, without pacing", rate=0),
    Variant("think", "reasons before it answers"),
    Variant("loop", "calls a tool at every step, for ever"),
    Variant("length", "stops at its token limit (finish_reason length)"),
    Variant("400", "the request is refused", status=400, code="invalid_request"),
    Variant("401", "the API key is refused", status=401, code="invalid_api_key"),
    Variant("403", "the key may not use this model", status=403, code="forbidden"),
    Variant("404", "the model does not exist", status=404, code="model_not_found"),
    Variant("429", "too many requests; Retry-After is one second", status=429, code="rate_limit"),
    Variant("quota", "the quota is spent", status=429, code="insufficient_quota"),
    Variant("500", "the server fails", status=500, code="server_error"),
    Variant("503", "the server is overloaded", status=503, code="overloaded"),
    Variant("flaky", "fails twice with 503, then answers", fault="flaky"),
    Variant("cut", "drops the connection in mid-answer", fault="cut"),
    Variant("stall", "stops sending in mid-answer and keeps the connection", fault="stall"),
    Variant("hang", "never sends a first byte", fault="hang"),
    Variant("garbage", "sends what is no JSON", fault="garbage"),
)

VARIANTS = {variant.model: variant for variant in _ALL}


def find(model: str) -> Variant | None:
    """Return the variant of this model name, or None."""
    return VARIANTS.get(model)


def variant_names() -> list[str]:
    """Return every model name that the demo server has, ``demo`` first."""
    return list(VARIANTS)
