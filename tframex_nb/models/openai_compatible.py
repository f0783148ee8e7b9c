"""A chat model behind any OpenAI-compatible HTTP endpoint (vLLM, llama.cpp, OpenAI …).

The protocol: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import functools
import json
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from tframex_nb.errors import BadRequest, BadResponse, ModelError, SettingsError
from tframex_nb.http import (
    Timeouts,
    TransportOptions,
    bytes_of,
    check_url,
    public_url,
    read_bounded,
)
from tframex_nb.messages import Event, Message, Retrying
from tframex_nb.models._call import answer
from tframex_nb.models._faults import (
    Target,
    bare,
    from_exception,
    from_status,
    shown,
    strange_body,
)
from tframex_nb.models._listing import listed_models
from tframex_nb.models._pool import Pool
from tframex_nb.models._retry import RetryPolicy
from tframex_nb.models._waits import Waits
from tframex_nb.models.base import PooledModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

__all__ = ["VLLMModel"]

_LISTING = 8 << 20  # bytes of a model list that are read at most
_SECRET_HEADERS = ("authorization", "key", "token", "cookie", "secret")


class VLLMModel(PooledModel):
    """A chat model on an OpenAI-compatible endpoint; satisfies ``ChatModel``.

    ``api_url`` is the part before ``/chat/completions``. ``defaults`` are sampling parameters
    for each call (``max_tokens``, ``temperature``, anything); they go to the endpoint unchanged,
    and so do those of a call. ``reasoning="inline"`` leaves ``<think>`` blocks in the text;
    reasoning that comes in a field of its own stays apart either way.

    The connections belong to the model: they are opened at the first call, for the running
    loop, and closed by ``aclose`` or ``async with``.

    Raises ``SettingsError`` for a URL, a key or a header that cannot be sent.
    """

    def __init__(
        self,
        model_name: str,
        api_url: str,
        api_key: str | SecretStr | None = None,
        *,
        label: str = "",
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        transport: TransportOptions | None = None,
        reasoning: Literal["separate", "inline"] = "separate",
        headers: Mapping[str, str | SecretStr] | None = None,
        **defaults: Any,  # sampling parameters go to the endpoint unchanged
    ) -> None:
        url = check_url(api_url)
        self._model_name = model_name
        self._label = label or model_name
        self._base, self._query, login = _split(url)
        self._key = _secret(api_key or "")
        self._extra = {name: _secret(value) for name, value in (headers or {}).items()}
        _check_headers({"the API key": self._key, **self._extra})
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self._inline = reasoning == "inline"
        self._defaults = defaults
        self._ask_usage = True
        secrets = [v for n, v in self._extra.items() if _is_secret(n)]
        self._target = Target(public_url(self._base), model_name, (self._key, login, *secrets))
        self._pool = Pool(
            self._base,
            options=transport or TransportOptions(),
            timeouts=self._timeouts,
            headers=functools.partial(_headers, self._key, login, self._extra),
        )

    @property
    def model_name(self) -> str:
        """The model's name as the endpoint knows it."""
        return self._model_name

    @property
    def api_url(self) -> str:
        """The endpoint's base URL, without credentials."""
        return self._target.url

    @property
    def label(self) -> str:
        """What people see in a footer."""
        return self._label

    @property
    def max_tokens(self) -> int | None:
        """The bound on an answer that is sent along, where there is one."""
        bound = self._defaults.get("max_completion_tokens") or self._defaults.get("max_tokens")
        return bound if isinstance(bound, int) else None

    async def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one model call in a list per read; see ``stream``."""
        await self._pool.open()
        waits = Waits(self._timeouts)
        started = False
        attempt = 0
        try:
            while True:
                body = self._body(messages, params)
                try:
                    answering = self._answer(body, waits, pieces)
                    async with contextlib.aclosing(answering) as batches:
                        async for events in batches:
                            started = True
                            yield events
                except ModelError as exc:
                    fault = exc
                else:
                    return
                if started:
                    raise shown(fault)
                if self._refuses_usage(fault):
                    self._ask_usage = False
                    continue
                delay = self._retry.delay(fault, attempt)
                if delay is None or delay > waits.left:
                    raise shown(fault)
                attempt += 1
                yield [Retrying(attempt, delay, f"{type(fault).__name__}: {fault.message}")]
                await asyncio.sleep(delay)
        finally:
            waits.close()

    def sibling(self) -> Self:
        """Return the same model with connections of its own, for another event loop."""
        other = copy.copy(self)
        other._pool = self._pool.sibling()  # noqa: SLF001 - our own copy
        return other

    async def list_models(self) -> list[str]:
        """Return the names that the endpoint lists under ``/models``, sorted."""
        await self._pool.open()
        waits = Waits(self._timeouts)
        waits.expect_first_byte()
        begun = False
        try:
            async with contextlib.AsyncExitStack() as stack:
                with waits:
                    request = self._pool.request("GET", self._url("/models"))
                    response = await stack.enter_async_context(request)
                    begun = True
                    body = await read_bounded(bytes_of(response), _LISTING)
        except ModelError:
            raise
        except Exception as exc:  # noqa: BLE001 - the one wall around httpx, which raises many
            fault = from_exception(
                self._target, exc, "", begun=begun, proxied=self._pool.through_proxy
            )
            raise fault from bare(exc)
        finally:
            waits.close()
        if not response.is_success:
            raise from_status(self._target, response.status_code, response.headers, body)
        return _names(self._target, body, response.headers)

    def secrets(self) -> list[str]:
        """Return what is sent along and may be shown nowhere."""
        return self._pool.secrets()

    def let_go(self) -> None:
        """Close the connections from any thread, on their own loop; what is read there goes on."""
        self._pool.let_go()

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._pool.aclose()

    def __repr__(self) -> str:
        return f"VLLMModel({self._model_name!r}, {self.api_url!r})"

    def _answer(self, body: bytes, waits: Waits, pieces: bool) -> AsyncGenerator[list[Event], None]:
        return answer(
            self._pool,
            self._url("/chat/completions"),
            body,
            waits=waits,
            target=self._target,
            inline=self._inline,
            pieces=pieces,
        )

    def _url(self, path: str) -> str:
        return self._base + path + self._query

    def _body(
        self, messages: Sequence[Message | Mapping[str, Any]], params: Mapping[str, Any]
    ) -> bytes:
        usage = {"stream_options": {"include_usage": True}} if self._ask_usage else {}
        payload = {
            "model": self._model_name,
            "messages": [m.to_dict() if isinstance(m, Message) else dict(m) for m in messages],
            **usage,
            **self._defaults,
            **params,
            "stream": True,
        }
        given = {name: value for name, value in payload.items() if value is not None}
        try:
            text = json.dumps(given, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise BadRequest(
                f"the request to {self.api_url} is not JSON: {exc}",
                hint="parameters and messages are text, numbers, booleans, lists and dicts",
                url=self.api_url,
            ) from exc
        return text.encode("utf-8", "replace")  # half a surrogate pair becomes "?"

    def _refuses_usage(self, fault: ModelError) -> bool:
        refused = fault.status in {400, 422} and self._ask_usage
        return refused and any(
            word in fault.message for word in ("stream_options", "include_usage")
        )


def _headers(key: SecretStr, login: SecretStr, extra: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return the client's headers; this frame is gone before anything is sent.

    It holds no model: in a reference cycle, a forgotten model could not close its connections.
    """
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
    }
    if key.get_secret_value():
        headers["authorization"] = f"Bearer {key.get_secret_value()}"
    elif login.get_secret_value():
        headers["authorization"] = f"Basic {login.get_secret_value()}"
    return {**headers, **{name.lower(): value.get_secret_value() for name, value in extra.items()}}


def _split(url: str) -> tuple[str, str, SecretStr]:
    """Return the base of an endpoint's URL, its query with the question mark, and its login.

    A user and a password in a URL would end up in logs: they become an Authorization header.
    """
    parts = urlsplit(url)
    login, _, netloc = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    base = urlunsplit((parts.scheme, netloc, path, "", ""))
    basic = base64.b64encode(unquote(login).encode()).decode()
    return base, f"?{parts.query}" if parts.query else "", SecretStr(basic)


def _secret(value: str | SecretStr) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(value)


def _is_secret(header: str) -> bool:
    return any(word in header.lower() for word in _SECRET_HEADERS)


def _check_headers(values: Mapping[str, SecretStr]) -> None:
    """Refuse what would break out of its header line; the value is not shown."""
    for name, value in values.items():
        text = value.get_secret_value()
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise SettingsError(
                f"{name} holds a line break, a space around it, or a character beyond ASCII",
                hint="copy it again; a key read from a file may end in a line break: use .strip()",
            )


def _names(target: Target, body: bytes, headers: Mapping[str, str]) -> list[str]:
    try:
        names = listed_models(body)
    except ValueError:
        raise strange_body(target, body, headers) from None
    if names is None:
        raise BadResponse(
            f"{target.url} lists no models",
            hint="api_url mostly ends in /v1, as in http://localhost:8000/v1",
            url=target.url,
            status=200,
        )
    return names
