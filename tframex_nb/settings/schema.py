"""What can be set: the fields, their bounds, and what is allowed in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from tframex_nb.errors import SettingsError, nearest
from tframex_nb.settings.connection import Connection, Guard
from tframex_nb.settings.mcp import McpSettings  # noqa: TC001 - pydantic reads the annotations
from tframex_nb.settings.sources import Credential, Source
from tframex_nb.settings.urls import base_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["EndpointSettings", "Origins", "PriceSettings", "Settings", "TimeoutSettings"]

_Seconds = Annotated[float, Field(gt=0, le=86_400, description="seconds, more than 0")]
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Origins:
    """What the loader knows beside the values.

    ``sources`` by dotted name; ``refusal`` is the error for using the default key, if it may not
    be used; ``key_notes`` say which keys belong elsewhere; ``foreign`` are providers' own keys.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    key_notes: tuple[str, ...] = ()
    refusal: SettingsError | None = None
    foreign: Mapping[str, Credential] = field(default_factory=dict, repr=False)


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True
    )


class TimeoutSettings(_Frozen):
    """Bounds of the waits, in seconds; what is left out keeps the built-in bound."""

    connect: _Seconds | None = None
    first_byte: _Seconds | None = None
    between_chunks: _Seconds | None = None
    run: _Seconds | None = None


class PriceSettings(_Frozen):
    """What one model costs, in USD per million tokens; ``cached`` is as ``input`` if left out."""

    input: Decimal = Field(ge=0, allow_inf_nan=False)
    output: Decimal = Field(ge=0, allow_inf_nan=False)
    cached: Decimal | None = Field(None, ge=0, allow_inf_nan=False)


class _Connectable(_Frozen):
    """What a named endpoint and the default endpoint have in common."""

    api_key: SecretStr | None = Field(None, description="text without spaces")
    model: str | None = Field(None, max_length=300, description="a model's name")
    headers: dict[str, SecretStr] | None = Field(
        None, description="a table of header names and texts"
    )
    proxy: SecretStr | None = Field(None, description="a URL such as http://host:port")
    ca_bundle: str | None = Field(None, description="the path of a PEM file")
    verify: bool | None = Field(None, description="true or false")
    reasoning: Literal["separate", "inline"] | None = Field(
        None, description="'separate' or 'inline'"
    )
    temperature: float | None = Field(None, ge=0, le=10, description="a number from 0 to 10")
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1 on")
    max_connections: int | None = Field(
        None, ge=1, le=10_000, description="a whole number from 1 to 10000"
    )
    retries: int | None = Field(None, ge=0, le=20, description="a whole number from 0 to 20")
    timeouts: TimeoutSettings = TimeoutSettings()

    @field_validator("api_key")
    @classmethod
    def _clean_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value().strip()
        if any(not ("!" <= letter <= "~") for letter in text):
            raise ValueError("it holds spaces or letters that no API key has")
        return SecretStr(text) if text else None

    @field_validator("headers")
    @classmethod
    def _clean_headers(cls, headers: dict[str, SecretStr] | None) -> dict[str, SecretStr] | None:
        for name, value in (headers or {}).items():
            if not _HEADER.fullmatch(name) or "\n" in value.get_secret_value():
                raise ValueError("a header's name is letters, digits and -, its text one line")
        return headers


class EndpointSettings(_Connectable):
    """One named endpoint: ``[endpoints.NAME]``."""

    url: str | None = Field(None, description="a URL such as https://host/v1")

    @field_validator("url")
    @classmethod
    def _clean_url(cls, url: str | None) -> str | None:
        return base_url(url) if url else None


class Settings(_Connectable):
    """Every setting; made by ``load_settings``, never changed afterwards.

    ``sources`` says for each value that was set where it came from, by its dotted name;
    ``notes`` says what was found and not used.
    """

    api_url: str | None = Field(None, description="a URL such as http://localhost:8000/v1")
    endpoints: dict[str, EndpointSettings] = {}
    mcp: dict[str, McpSettings] = {}
    memory_messages: int = Field(40, ge=2, le=10_000, description="a whole number from 2 on")
    max_steps: int = Field(12, ge=1, le=1_000, description="a whole number from 1 to 1000")
    background_limit: int = Field(4, ge=1, le=100, description="a whole number from 1 to 100")
    context_cap: int = Field(4_000, ge=200, description="characters, a whole number from 200 on")
    image_max_bytes: int = Field(
        3_500_000, ge=10_000, le=50_000_000, description="bytes, a whole number from 10000 on"
    )
    image_max_side: int = Field(
        2_048, ge=64, le=16_384, description="pixels, a whole number from 64 to 16384"
    )
    file_max_bytes: int = Field(
        10_000_000, ge=1_000, le=100_000_000, description="bytes, a whole number from 1000 on"
    )
    discover: bool = Field(True, description="true or false")  # noqa: FBT003 - pydantic's default
    keyring: bool = Field(False, description="true or false")  # noqa: FBT003 - pydantic's default
    approve: Literal["all", "writes", "never"] = Field(
        "writes", description="'all', 'writes' or 'never'"
    )
    cassette: Literal["off", "record", "replay", "auto"] | None = Field(
        None, description="'record', 'replay', 'auto' or 'off'"
    )
    cassette_dir: str | None = Field(None, description="a folder's path")
    prices: dict[str, PriceSettings] = Field(
        {}, description="tables of USD per million tokens by model: input, output, cached"
    )
    session_max_cost: Decimal | None = Field(
        None, gt=0, allow_inf_nan=False, description="USD, more than 0"
    )
    session_max_tokens: int | None = Field(None, ge=1, description="a whole number from 1 on")
    runtime_config: str | None = Field(None, description="the path of a runtime-config.yaml")

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @field_validator("api_url")
    @classmethod
    def _clean_url(cls, url: str | None) -> str | None:
        return base_url(url) if url else None

    @property
    def sources(self) -> dict[str, Source]:
        """Where each value that was set came from, by its dotted name."""
        return dict(self._origins.sources)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found and not used, one sentence each."""
        return self._origins.notes

    def connection(self, name: str | None = None, key: Credential | None = None) -> Connection:
        """Return how to reach the default endpoint, or the named one.

        ``key`` takes the place of the one that is set. Raises ``SettingsError`` where a key
        would go to a place that a less trusted source chose, where an endpoint is not known, or
        has no URL.
        """
        return self._default() if name is None else self._named(name, key)

    def connect_to(
        self, url: str, source: Source, credential: Credential | None, *, name: str = ""
    ) -> Connection:
        """Return a connection to ``url`` with this key, under the same rules as any other.

        Where an endpoint ``name`` is set, its model and its other values hold.
        """
        own = self.endpoints.get(name)
        guard = Guard(self._origins.sources, f"endpoints.{name}.", over=own)
        model = own.model if own is not None else None
        return guard.connection(self, url, source, credential, model=model)

    def endpoint_key(self, name: str) -> Credential | None:
        """Return the key that is set for a named endpoint."""
        own = self.endpoints.get(name)
        if own is None or own.api_key is None:
            return None
        return Credential(own.api_key, self._origins.sources[f"endpoints.{name}.api_key"])

    def given_key(self) -> Credential | None:
        """Return the key of the default endpoint, with its place."""
        if self.api_key is None:
            return None
        return Credential(self.api_key, self._origins.sources["api_key"])

    def provider_key(self, names: Iterable[str]) -> Credential | None:
        """Return the first key that the environment or the ``.env`` has under these names."""
        foreign = self._origins.foreign
        return next((foreign[name] for name in names if name in foreign), None)

    def foreign_secrets(self) -> list[str]:
        """Return the keys of providers that the environment and the ``.env`` hold."""
        return [found.key.get_secret_value() for found in self._origins.foreign.values()]

    def _default(self) -> Connection:
        if self._origins.refusal is not None:
            raise self._origins.refusal
        if self.api_url is None:
            raise SettingsError(
                "no endpoint is set", hint="set TFRAMEX_API_URL, or use -m demo, which needs none"
            )
        guard = Guard(self._origins.sources, "", own=True, notes=self._origins.key_notes)
        source = self._origins.sources["api_url"]
        return guard.connection(self, self.api_url, source, self.given_key(), model=self.model)

    def _named(self, name: str, key: Credential | None) -> Connection:
        name = name.lower()
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            raise SettingsError(f"no endpoint {name!r} is set", hint=nearest(name, self.endpoints))
        if endpoint.url is None:
            hint = f"set its url beside the rest, or TFRAMEX_ENDPOINTS__{name.upper()}__URL"
            raise SettingsError(f"the endpoint {name!r} has no url", hint=hint)
        source = self._origins.sources[f"endpoints.{name}.url"]
        return self.connect_to(endpoint.url, source, key or self.endpoint_key(name), name=name)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}: {source}" for name, source in sorted(self._origins.sources.items())
        )
        return f"<Settings from {shown}>" if shown else "<Settings, all default>"

    __str__ = __repr__

    def adopt(self, origins: Origins) -> Settings:
        """Take in what the loader knows about the origins; called once, by the loader."""
        self._origins = origins
        return self
