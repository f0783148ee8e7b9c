"""A chat model of one endpoint, made at its first call: resolving a name does no I/O."""

from __future__ import annotations

import contextlib
import copy
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tframex_nb.errors import AuthError, ModelNotFound, SettingsError
from tframex_nb.models._lookup import DEMO
from tframex_nb.models.base import PooledModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from tframex_nb.messages import Event, Message
    from tframex_nb.models.openai_compatible import VLLMModel

__all__ = ["EndpointModel"]

_SHOWN = 8  # models that an error lists


@dataclass(slots=True)
class _Choice:
    """The model that is used; siblings share it, so that the endpoint is asked once."""

    name: str | None


class EndpointModel(PooledModel):
    """A model that is reached through an endpoint's name; satisfies ``ChatModel``.

    ``make`` builds the model for a model's name. Without a name, the endpoint is asked for its
    models at the first call: the only one is used, several are an error that lists them. It is
    asked again once that model is gone from there.
    ``notes`` say why no key is sent; a refused key is explained with them.
    """

    def __init__(
        self,
        endpoint: str,
        model_name: str | None,
        make: Callable[[str], VLLMModel],
        *,
        notes: Sequence[str] = (),
        label: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._choice = _Choice(model_name)
        self._asked = model_name is None
        self._make = make
        self._named = endpoint not in {"", DEMO}
        self._notes = tuple(notes)
        self._label = label
        self._inner: VLLMModel | None = None
        self._siblings: weakref.WeakSet[EndpointModel] = weakref.WeakSet()

    @property
    def model_name(self) -> str:
        """The model's name as the endpoint knows it; empty until it has been asked."""
        return self._choice.name or ""

    @property
    def label(self) -> str:
        """What people see in a footer, such as ``team:gpt-5`` or ``demo``."""
        if self._label:
            return self._label
        parts = [part for part in (self._endpoint, self._choice.name) if part]
        return ":".join(parts) or "the endpoint's model"

    @property
    def api_url(self) -> str:
        """The endpoint's base URL, without credentials."""
        return self._model().api_url

    @property
    def place(self) -> tuple[str, str]:
        """The endpoint, by name or URL, and the model; empty where the endpoint's only one."""
        name = "" if self._asked else self.model_name
        return self._endpoint or self.api_url, name

    def secrets(self) -> list[str]:
        """Return what is sent along and may be shown nowhere; the demo's is of no use outside."""
        return [] if self._endpoint == DEMO else self._model().secrets()

    async def batches(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        params: Mapping[str, Any],  # sampling parameters go to the endpoint unchanged
        *,
        pieces: bool = False,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one model call in a list per read; see ``VLLMModel.stream``.

        Raises ``SettingsError`` where no model is named and the endpoint has several.
        """
        try:
            await self.find_name()
            answering = self._model().batches(messages, params, pieces=pieces)
            async with contextlib.aclosing(answering) as batches:
                async for events in batches:
                    yield events
        except AuthError as exc:
            self._explain(exc)
            raise
        except ModelNotFound:
            self._choice.name = None if self._asked else self._choice.name
            raise

    @property
    def max_tokens(self) -> int | None:
        """The bound on an answer that is sent along, where there is one."""
        return self._model().max_tokens

    async def find_name(self) -> None:
        """Ask the endpoint for its only model where none is named; raises ``SettingsError``."""
        if self._choice.name is None:
            self._choice.name = await self._only_model()

    async def list_models(self) -> list[str]:
        """Return the names that the endpoint lists."""
        try:
            return await self._model().list_models()
        except AuthError as exc:
            self._explain(exc)
            raise

    def sibling(self) -> Self:
        """Return the same model with connections of its own, for another event loop."""
        other = copy.copy(self)  # the choice is shared
        other._inner = None  # noqa: SLF001 - our own copy
        other._siblings = weakref.WeakSet()  # noqa: SLF001 - our own copy
        self._siblings.add(other)
        return other

    def let_go(self) -> None:
        """Close the connections from any thread, on their own loop; what is read there goes on."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.let_go()

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        for other in self._siblings:
            other.let_go()
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    def __repr__(self) -> str:
        return f"<EndpointModel {self.label}>"

    def _model(self) -> VLLMModel:
        name = self._choice.name or ""
        if self._inner is None or self._inner.model_name != name:
            self._inner = self._make(name)
        return self._inner

    async def _only_model(self) -> str:
        nameless = self._make("")  # of its own: several calls may ask at the same time
        try:
            names = await nameless.list_models()
        finally:
            await nameless.aclose()
        if len(names) == 1:
            return names[0]
        where = self._endpoint or nameless.api_url
        prefix = f"{self._endpoint}:" if self._endpoint else ""
        if not names:
            raise SettingsError(f"{where} has no model loaded", hint="load one there first")
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise SettingsError(
            f"{where} has {len(names)} models and none is chosen",
            hint=f"choose one with -m {prefix}{names[0]}, or set TFRAMEX_MODEL; it has: {shown}",
        )

    def _explain(self, error: AuthError) -> None:
        """Say how this very endpoint gets a key, and why none was sent."""
        why, set_key, _ = error.hint.partition(": set TFRAMEX_API_KEY")
        if set_key and self._named:
            how = f"%models connect {self._endpoint}, or set its key"
            error.hint = f"{why}: {how}; no key yet? use -m demo"
        if self._notes and self._notes[0] not in error.hint:
            error.hint = "; ".join(part for part in (error.hint, *self._notes) if part)
