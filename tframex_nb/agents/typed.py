"""Typed answers: steps whose answer is checked against a form, and asked for again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tframex_nb.agents.running import closing
from tframex_nb.agents.typed_forms import AnswerForm, Mismatch
from tframex_nb.errors import FrameworkFailed, InvalidAnswer, InvalidInput, ModelError
from tframex_nb.messages import (
    AnswerChecked,
    AnswerRejected,
    Event,
    Message,
    MessageFinished,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tframex_nb.models.base import ChatModel

__all__ = ["FormTold", "Steps", "typed"]

# Statuses with which endpoints refuse what they do not know
_REFUSING = frozenset({400, 404, 415, 422, 500, 501})
_FORM = re.compile(
    r"response.?(format|mime|schema)|json.?(schema|object|mode)|structured.?output|guided|grammar"
    r"|requested parameters",
    re.IGNORECASE,
)
_THIS_SCHEMA = re.compile(
    r"invalid schema|schema error|(convert|pars)\w* (the )?(grammar|schema)", re.IGNORECASE
)
# How frameworks say that an answer is not in the form that they asked for
_MISFORMED = re.compile(
    r"schema|structured.?output|ValidationError|ModelBehaviorError|UnexpectedModelBehavior|JSON"
    r"|ValueError: .*line \d+ column \d+"
)
_OF_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})
_AGAIN = "That answer does not match. What is wrong:\n{problems}\nGive the whole answer again."
_NOW = "Give this answer in the form that is asked for, from what is known by now."


class Steps(Protocol):
    """An agent's steps, or an engine's: ``BaseAgent.steps`` without the agent."""

    def __call__(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one answer."""
        ...


@dataclass(frozen=True, slots=True)
class FormTold(Event):
    """The endpoint does not hold the form of the answer, so the prompt tells it."""

    type: ClassVar[str] = "form_told"
    model: str
    reason: str

    @property
    def subject(self) -> str:
        """The endpoint."""
        return "response_format"

    @property
    def line(self) -> str:
        """Who does not hold it, and what happens now."""
        return f"{self.model} {self.reason}: the schema goes into the prompt"


def typed(
    steps: Steps,
    schema: Any,  # a type, or a JSON schema
    *,
    agent: str,
    tries: int,
    tools: Sequence[Any] = (),  # whatever the agent offers
    takes_schema: bool = True,
) -> Steps:
    """Return steps that end with a checked answer, or with InvalidAnswer after ``tries``.

    ``tools`` are those that the steps offer where no parameter names others. ``takes_schema``
    says whether ``response_format`` means anything to the steps. Raises InvalidInput where
    ``schema`` describes no answer, or there is nothing to try.
    """
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise InvalidInput(
            f"tries={tries!r}: {agent} could not be asked even once", hint="1 or more"
        )
    form = AnswerForm.of(schema)
    return _Typed(steps, form, agent, tries, bool(tools), takes_schema=takes_schema)


@dataclass(frozen=True, slots=True)
class _Typed:
    """Steps with a form; each call is one run."""

    steps: Steps
    form: AnswerForm
    agent: str
    tries: int
    has_tools: bool
    takes_schema: bool

    def __call__(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of every try, and the checked answer."""
        if "response_format" in params:
            raise InvalidInput(
                "schema and response_format both say what the answer looks like",
                hint="leave response_format out: the schema becomes one",
            )
        tools = bool(params["tools"]) if "tools" in params else self.has_tools
        held = self.takes_schema and _bottom(model) not in _unable()
        # Many endpoints that are held to a form cannot call tools: first the tools, then the form
        return _Course(self, messages, model, params, tools, held, draft=tools and held).events()


@dataclass(slots=True)
class _Course:
    """One run: what was said so far, and how the next try is asked.

    ``held`` says that the endpoint is asked to hold the form, ``draft`` that tools come first.
    """

    typed: _Typed
    messages: list[Message]
    model: ChatModel
    params: dict[str, Any]  # sampling parameters
    tools: bool
    held: bool
    draft: bool
    attempt: int = 0
    spoken: list[Message] = field(default_factory=list)  # tool calls and results
    wrong: Message | None = None
    problems: tuple[str, ...] = ()

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events of the run's tries."""
        form = self.typed.form
        while True:
            reply = _Reply()
            try:
                steps = self.typed.steps(self._asked(), model=self.model, **self._options())
                async with closing(steps) as events:
                    async for event in events:
                        reply.hear(event)
                        yield event
            except (ModelError, FrameworkFailed) as exc:
                told = self._unheld(exc, reply)
                if told is None:
                    raise
                yield told
                if self.attempt == self.typed.tries:
                    raise self._invalid(reply) from exc
                continue
            self.spoken += reply.spoken
            try:
                value, data = form.check(reply.text)
            except Mismatch as exc:
                for said in self._rejected(reply, exc):
                    yield said
                if self.attempt == self.typed.tries:
                    raise self._invalid(reply) from exc
            else:
                yield AnswerChecked(form.name, data, value)
                return

    def _asked(self) -> list[Message]:
        """Return the messages of the next try; what is asked of the model comes last."""
        words = []
        if self.wrong is not None or self.spoken:
            listed = "\n".join(f"- {problem}" for problem in self.problems)
            words.append(_AGAIN.format(problems=listed) if listed else _NOW)
        again = bool(self.problems)
        if not self.held or self.draft or again or self.typed.form.always_told:
            words.append(self.typed.form.instruction)
        text = "\n\n".join(words)
        if self.wrong is None and not self.spoken:
            *earlier, prompt = self.messages
            return [*earlier, _with(prompt, text)]
        wrong = [self.wrong] if self.wrong is not None else []
        return [*self.messages, *self.spoken, *wrong, Message("user", text)]

    def _options(self) -> dict[str, Any]:  # sampling parameters
        if not self.held or self.draft:
            return self.params
        without = {"tools": ()} if self.tools else {}
        rest = {k: v for k, v in self.params.items() if not (self.tools and k in _OF_TOOLS)}
        return {**rest, **without, "response_format": self.typed.form.response_format}

    def _unheld(self, exc: ModelError | FrameworkFailed, reply: _Reply) -> Event | None:
        """Go on without the endpoint's help where that is what failed; else return None."""
        if not self.held or self.draft:
            return None
        if isinstance(exc, FrameworkFailed):
            if not _MISFORMED.search(exc.message):
                return None
            self.held = False
            reply.text = reply.text or exc.received
            return self._reject(reply, (exc.message,))
        if exc.status not in _REFUSING or not _FORM.search(exc.message):
            return None
        self._tell(lasting=not _THIS_SCHEMA.search(exc.message))
        return FormTold(self.model.label, "refuses response_format")

    def _rejected(self, reply: _Reply, fault: Mismatch) -> list[Event]:
        """Note an answer that does not match; return what is shown of it."""
        if self.draft:
            self.draft = False
            self.wrong = Message("assistant", reply.text) if reply.text else None
            return [AnswerRejected(self.typed.form.name, 0, self.typed.tries)]
        cut = ("it was cut off at the token limit",) if reply.cut else ()
        shown: list[Event] = [self._reject(reply, (*cut, *fault.problems))]
        if self.held and fault.no_json and not reply.cut and self.attempt < self.typed.tries:
            self._tell(lasting=True)
            shown.append(FormTold(self.model.label, "does not hold response_format"))
        return shown

    def _reject(self, reply: _Reply, problems: tuple[str, ...]) -> AnswerRejected:
        self.attempt += 1
        self.problems = problems
        self.wrong = Message("assistant", reply.text or "(no answer)")
        return AnswerRejected(self.typed.form.name, self.attempt, self.typed.tries, problems)

    def _tell(self, *, lasting: bool) -> None:
        """Tell the form in the prompt from now on; ``lasting``: for later runs, too."""
        self.held = False
        if lasting:
            with contextlib.suppress(TypeError):  # a model that cannot be kept in mind
                _unable().add(_bottom(self.model))

    def _invalid(self, reply: _Reply) -> InvalidAnswer:
        name, tries = self.typed.form.name, self.typed.tries
        count = "its only try" if tries == 1 else f"{tries} tries"
        return InvalidAnswer(
            f"{self.typed.agent!r} gave no answer that matches {name} in {count}: "
            + "; ".join(self.problems),
            hint="raise max_tokens" if reply.cut else "say more in the prompt, or allow more tries",
            received=reply.text,
            problems=self.problems,
        )


@dataclass(slots=True)
class _Reply:
    """What one try says: its last text, and the tool calls and results before it."""

    text: str = ""
    cut: bool = False
    spoken: list[Message] = field(default_factory=list)
    _depth: int = 0

    def hear(self, event: Event) -> None:
        """Take in one event; those of agents that work inside the try do not count."""
        if isinstance(event, RunStarted):
            self._depth += 1
        elif isinstance(event, (RunFinished, RunFailed, RunInterrupted)):
            self._depth -= 1
        elif not self._depth:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self.text += text
            case MessageFinished(message=message) if message.tool_calls:
                self.spoken.append(dataclasses.replace(message, reasoning=""))
                self.text = ""
            case MessageFinished(message=message):
                self.text = message.text or self.text
                self.cut = event.finish_reason == "length"
            case ToolResult():
                self.spoken.append(
                    Message("tool", event.content, tool_call_id=event.id, name=event.name)
                )


def _with(prompt: Message, text: str) -> Message:
    """Return a prompt with a text below it."""
    if not text:
        return prompt
    if isinstance(prompt.content, str):
        return dataclasses.replace(prompt, content=f"{prompt.content}\n\n{text}")
    part = {"type": "text", "text": text}
    return dataclasses.replace(prompt, content=[*prompt.content, part])


def _bottom(model: ChatModel) -> ChatModel:
    """Return the model that all others around it, such as one that counts, are about."""
    while (inner := getattr(model, "inner", None)) is not None:
        model = inner
    return model


@functools.cache
def _unable() -> weakref.WeakSet[ChatModel]:
    """Return the models of this process that were found to hold no form.

    What an endpoint can do is learnt once in a process, hence the cached owner.
    """
    return weakref.WeakSet()
