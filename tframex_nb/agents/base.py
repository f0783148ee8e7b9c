"""The base of every agent: a run is streamed, recorded, and remembered as a turn."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tframex_nb import interrupts
from tframex_nb.agents.approval import approver_in_force, asking
from tframex_nb.agents.conversation import Conversation
from tframex_nb.agents.engines import named
from tframex_nb.agents.prompts import announced, read_prompt
from tframex_nb.agents.running import closing, label_of, run_events
from tframex_nb.messages import Message
from tframex_nb.models.budget import Budget, budgets_of_a_run
from tframex_nb.runs import Run, observe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tframex_nb.agents.approval import Approver
    from tframex_nb.agents.conversation import Draft
    from tframex_nb.agents.engines import Engine, Engines
    from tframex_nb.agents.prompts import Prompt
    from tframex_nb.agents.tools import Tool
    from tframex_nb.agents.typed import Steps
    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["BaseAgent"]

TRIES = 3  # answers that are asked for where one has to match a schema
MEMORY = 40  # messages, some twenty turns; without a bound a long notebook overflows the context
MAX_DESCRIPTION = 1024  # characters; OpenAI refuses longer descriptions of tools


class BaseAgent(ABC):
    """An agent: it answers prompts with a model. Subclasses write ``steps``.

    ``model`` is a model, a name that ``%models`` lists, or None for what the settings say.
    ``description`` tells other agents what to ask it, where it is one of their tools.
    ``memory`` bounds how many earlier messages are sent, the newest: None for all, 0 for none.
    ``last`` is the latest run, also while it goes on and when it failed. ``budget`` is what its
    runs have spent; a cap that is set there holds for all of them. ``engines`` are the
    frameworks that the agent may name, handed to it by whoever has them.
    """

    def __init__(
        self,
        agent_id: str,
        model: ChatModel | str | None = None,
        *,
        system: str = "",
        description: str = "",
        memory: int | None = MEMORY,
    ) -> None:
        self.agent_id = agent_id
        self.model = model
        self.system = system
        self.description = description
        self.last: Run | None = None
        self.engines: Engines | None = None
        self.conversation = Conversation(memory)
        self.budget = Budget(name=f"the agent {agent_id!r}")

    @property
    def id(self) -> str:
        """The agent's id, as frameworks know it."""
        return self.agent_id

    @property
    def name(self) -> str:
        """What people call the agent."""
        return self.agent_id

    @property
    def memory(self) -> int | None:
        """How many earlier messages are sent at most; None for all."""
        return self.conversation.limit

    @memory.setter
    def memory(self, memory: int | None) -> None:
        self.conversation.limit = memory

    @abstractmethod
    def steps(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one answer; write it as an async generator.

        ``messages`` are the system message, the earlier turns and the prompt. An exception
        fails the run.
        """

    def stream(
        self,
        prompt: str | Sequence[Any],  # text, or a list of text and what goes along with it
        *,
        turn: str | None = None,
        model: ChatModel | str | None = None,
        system: str | None = None,
        remember: bool = True,
        fresh: bool = False,
        engine: Engine | None = None,
        schema: Any = None,  # a type, or a JSON schema
        tries: int = TRIES,
        budget: Budget | None = None,
        approve: Approver | None = None,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of a run: ``RunStarted`` first, one terminal event last.

        ``prompt`` is text, or a list: text, ``Path``s, figures and images, which are sent as
        images, sound and files. It is read at once, and so are the files that it names.
        ``turn`` is the key of the turn: a run with the same key sees the turns before it and
        replaces it. ``model`` and ``system`` hold for this run only. ``fresh`` sees no earlier
        turn and, when remembered, starts the conversation anew. ``remember=False`` leaves the
        conversation as it is. ``engine`` takes the place of this agent's own
        steps: another framework than the one that the agent names. ``budget`` bounds what the run
        may spend. ``approve`` is asked before a tool runs; a run inside another asks whom that one
        asks, any other asks nobody. An error is yielded as ``RunFailed`` and then raised.

        ``schema`` is what the answer has to look like: a type that pydantic takes, or a JSON
        schema. The run's ``output`` is the checked answer; one that does not match is asked for
        again, ``tries`` times in all, and then fails the run with InvalidAnswer. Raises
        InvalidInput at once where the prompt cannot be sent, or the schema describes no answer, and
        AgentError where the framework that the agent names cannot be had here.
        """
        asked = read_prompt(prompt, self.name)
        approve = approve or approver_in_force()
        engine = engine or named(self)
        steps = self.steps if engine is None else functools.partial(engine.steps, self)
        if schema is not None:
            steps = self._typed(steps, schema, tries, engine)
        run = self._run_of(asked, label_of(model or self.model), engine)
        run.form = "" if schema is None else "json"
        run.budget = Budget(within=budget)
        budgets = budgets_of_a_run(run.budget, budget, self.budget)

        def answer(draft: Draft) -> AsyncIterator[Event]:
            said = self.system if system is None else system
            head = (Message("system", said),) if said else ()
            messages = [*head, *draft.history, Message("user", asked.content)]
            return run_events(
                run,
                model or self.model,
                lambda found: announced(
                    asking(steps(messages, model=found, **params), approve), asked.attached
                ),
                budgets=budgets,
            )

        return self._remembered(run, answer, turn=turn, remember=remember, fresh=fresh)

    def _run_of(self, asked: Prompt, model: str, engine: Engine | None) -> Run:
        """Make the record of a run that is to begin; it is the agent's last one from now on."""
        framework = "native" if engine is None else engine.framework
        run = Run(agent=self.name, model=model, framework=framework, prompt=asked.text)
        run.content = asked.content
        self.last = run
        return run

    async def run(self, prompt: str | Sequence[Any], **params: Any) -> str:  # as ``stream``
        """Return the text of the answer; takes what ``stream`` takes, raises its errors."""
        return await interrupts.guarded(self._answer(prompt, **params))

    def run_sync(self, prompt: str | Sequence[Any], **params: Any) -> str:  # as ``stream``
        """Return the text of the answer from synchronous code."""
        return interrupts.run_sync(self._answer(prompt, **params))

    def as_tool(self, *, name: str = "", description: str = "") -> Tool:
        """Return the agent as a tool with one argument, for another agent.

        A run as a tool neither sees nor changes the conversation.
        """
        from tframex_nb.agents.nesting import agent_tool

        told = description or self.description or f"Ask the agent {self.name!r}. {self.system}"
        return agent_tool(
            self.name,
            self._answer,
            name=name or self.name,
            description=told.strip()[:MAX_DESCRIPTION],
            own_model=self.model is not None,
        )

    def __repr__(self) -> str:
        turns = len(self.conversation)
        parts = [*self._parts(), f"{turns} turn{'' if turns == 1 else 's'}"]
        model = label_of(self.model) or "the default model"
        return f"<{type(self).__name__} {self.name!r} on {model}: {', '.join(parts)}>"

    async def _remembered(
        self,
        run: Run,
        answer: Callable[[Draft], AsyncIterator[Event]],
        *,
        turn: str | None,
        remember: bool,
        fresh: bool,
    ) -> AsyncIterator[Event]:
        """Record the run, and keep its turn just before the terminal event, or at a stop."""
        draft = self.conversation.begin(turn, fresh=fresh, keep=remember)
        pending = remember
        try:
            async with closing(observe(answer(draft), run)) as events:
                async for event in events:
                    if pending and run.status != "running":
                        pending = False
                        self.conversation.commit(draft, run)
                    yield event
        finally:
            if pending:
                self.conversation.commit(draft, run)

    async def _answer(self, prompt: str | Sequence[Any], **params: Any) -> str:  # as ``stream``
        """Return the text of the answer; inside another run, whose interrupt ends this too."""
        events = self.stream(prompt, **params)
        run = self.last
        assert run is not None  # ``stream`` has just set it
        async with closing(events):
            async for _ in events:
                pass
        return run.text

    def _typed(self, steps: Steps, schema: Any, tries: int, engine: Engine | None) -> Steps:
        """Return the steps with an answer that is checked."""
        from tframex_nb.agents.typed import typed

        return typed(
            steps,
            schema,
            agent=self.name,
            tries=tries,
            tools=getattr(self, "tools", ()),
            takes_schema=getattr(engine, "takes_schema", True),
        )

    def _parts(self) -> list[str]:
        """Return what a subclass adds to the repr."""
        return []
