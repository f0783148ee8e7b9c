"""From a cell's options and text to one question for one agent."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import keyword
import re
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.agents import Agent
from tframex_nb.agents.base import TRIES
from tframex_nb.errors import nearest
from tframex_nb.interrupts import call_tool
from tframex_nb.notebook.approvals import approver_of
from tframex_nb.notebook.budgets import budget_of
from tframex_nb.notebook.describe import describe
from tframex_nb.notebook.execution import Question
from tframex_nb.notebook.framework_choice import choice_of, subject_of
from tframex_nb.notebook.namespace import (
    find_agent,
    find_system,
    get_agent,
    look_up,
    names_of,
    names_of_tools,
    taken_by,
)
from tframex_nb.notebook.output_forms import form_of, schema_of, told
from tframex_nb.notebook.prompts import render, text_alone, together
from tframex_nb.notebook.served import named_tools
from tframex_nb.notebook.system_cells import system_request
from tframex_nb.runtime import RunRequest
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.agents import BaseAgent
    from tframex_nb.agents.approval import Approver
    from tframex_nb.agents.tools import Tool
    from tframex_nb.notebook.config import TFrameX
    from tframex_nb.notebook.session import Session

__all__ = ["Questions"]

# Arguments of a run that are no sampling parameters, and the option that sets each.
NOT_SENT = {
    "approve": "--approve",
    "budget": "--max-cost or --max-tokens-total",
    "engine": "--framework",
    "fresh": "--fresh",
    "max_steps": "--max-steps",
    "messages": "",
    "model": "--model",
    "prompt": "",
    "remember": "",
    "schema": "--schema",
    "self": "",
    "stream": "",
    "system": "--system",
    "tools": "--tools",
    "tries": "--tries",
    "turn": "",
}
_NAMED = re.compile(r"([A-Za-z_]\w*)\s*:\s*(.+)$", re.DOTALL)


class Questions:
    """The questions of one execution: the settings are read once, now."""

    def __init__(
        self, session: Session, config: TFrameX, served: Mapping[str, list[Tool]] | None = None
    ) -> None:
        self.session = session
        self.namespace = session.shell.user_ns
        self.served = served or {}
        self.settings = load_settings()
        self.config = config
        self.interpolate = bool(config.interpolate)
        self.cap = config.context_cap or self.settings.context_cap
        self.display = "" if config.display == "auto" else str(config.display)

    def of_cell(self, options: Any, cell: str) -> Question | None:  # argparse's Namespace
        """Return the question of an ``%%agent`` cell, or None where it only defines.

        A name may hold a system, too. Raises UsageError for options that make no sense, PromptError
        for a failing expression.
        """
        _check(options, cell)
        self._check_out(options)
        budget = budget_of(options)
        framework = choice_of(options.framework)
        form = form_of(options, prompted=bool(cell.strip()))
        params = _params(options.param or [])
        literal = options.no_interpolate or not self.interpolate
        text, notes = self._fill(cell.rstrip("\n"), literal=literal)
        system = find_system(self.namespace, options.name)
        if system is not None:
            text = text_alone(text, f"{options.name} is a system, which is asked in text alone")
            request, read = system_request(system, text, options, params, self._look_up)
            request = dataclasses.replace(request, budget=budget)
            return Question(request, (*notes, *read), options.out, self.display, form=form)
        schema = schema_of(self.namespace, options.schema, form)
        context, sizes = self._context(options.context or [])
        subject = subject_of(self.session, options.object)
        agent = self._agent_of(options, literal=literal)
        if not cell.strip():
            return None
        request = RunRequest(
            agent,
            prompt=together(context, text),
            model=options.model,
            api_url=options.api_url,
            turn=self.session.turn(agent.agent_id),
            fresh=options.fresh,
            remember=bool(options.name),
            schema=schema,
            tries=TRIES if options.tries is None else options.tries,
            params={**params, **told(form, agent.system)},
            framework=framework,
            template=options.template or "",
            subject=subject,
            budget=budget,
            approve=self._approver(options.approve, background=options.background),
        )
        notes = (*notes, *sizes)
        return Question(
            request, notes, options.out, self.display, explain=options.explain, form=form
        )

    def of_comparison(self, options: Any, cell: str) -> Question:  # argparse's Namespace
        """Return the question of a ``%%compare`` cell, its framework still to be named.

        A named agent is asked with what it remembers, and neither learns nor changes.
        """
        if not cell.strip():
            raise UsageError("the prompt is empty: write it below the %%compare line")
        self._check_out(options)
        form = form_of(options, prompted=True)
        schema = schema_of(self.namespace, options.schema, form)
        literal = options.no_interpolate or not self.interpolate
        params = _params(options.param or [])
        text, notes = self._fill(cell.rstrip("\n"), literal=literal)
        context, sizes = self._context(options.context or [])
        existing = get_agent(self.namespace, options.name) if options.name else None
        system, tools = self._said(options, existing, literal=literal)
        agent = copy.copy(existing) if existing is not None else self._new("agent")
        self._equip(agent, system, tools, options.max_steps)
        request = RunRequest(
            agent,
            prompt=together(context, text),
            model=options.model,
            api_url=options.api_url,
            remember=False,
            schema=schema,
            tries=TRIES if options.tries is None else options.tries,
            params={**params, **told(form, agent.system)},
            template=options.template or "",
            budget=budget_of(options, name="the comparison"),
            approve=self._approver(options.approve, background=options.background),
        )
        return Question(request, (*notes, *sizes), options.out, self.display, form=form)

    def of_line(self, line: str) -> Question:
        """Return the question of an ``%ask`` line; ``NAME:`` in front names a known agent."""
        text, agent = line.strip(), None
        match = _NAMED.match(text)
        if match and (agent := find_agent(self.namespace, match[1])) is not None:
            text = match[2]
        named = re.fullmatch(r"(\w+)\s*:", text)
        if not text or (named and find_agent(self.namespace, named[1]) is not None):
            raise UsageError("nothing asked: %ask what is a monad?")
        prompt, notes = self._fill(text, literal=not self.interpolate)
        return self.of_text(prompt, agent, notes)

    def of_text(
        self,
        prompt: str | list[Any],  # text and images, as ``BaseAgent.stream`` takes them
        agent: BaseAgent | None = None,
        notes: tuple[str, ...] = (),
        *,
        system: str = "",
    ) -> Question:
        """Return a question as it stands; without an agent, a passing one without memory."""
        if agent is not None:
            turn = self.session.turn(agent.agent_id)
            request = RunRequest(agent, prompt, turn=turn, approve=self._approver())
            return Question(request, notes, display=self.display)
        request = RunRequest(self._new("agent", system=system), prompt, remember=False)
        return Question(request, notes, display=self.display)

    def of_turn(
        self,
        agent: BaseAgent,
        prompt: str | list[Any],  # text and images, as ``BaseAgent.stream`` takes them
        *,
        turn: str | None,
        typed: bool,
        background: bool = False,
    ) -> Question:
        """Return a prompt in the place of a turn, or as a new one; tools are found anew by name.

        What was ``typed`` is filled in as in a cell; what was asked before is sent as it was.
        """
        self._equip(agent, None, self._tools(argparse.Namespace(tools=None), agent), None)
        notes: tuple[str, ...] = ()
        if typed and isinstance(prompt, str):
            prompt, notes = self._fill(prompt, literal=not self.interpolate)
        question = self.of_text(prompt, agent, notes)
        approve = self._approver(background=background)
        request = dataclasses.replace(question.request, turn=turn, approve=approve)
        return dataclasses.replace(question, request=request)

    def _approver(self, wish: str | None = None, *, background: bool = False) -> Approver | None:
        return approver_of(self.session, wish, self.config, self.settings, background=background)

    def _new(self, name: str, **options: Any) -> Agent:  # Agent's own options
        bounds = {"memory": self.settings.memory_messages, "max_steps": self.settings.max_steps}
        return Agent(name, **{**bounds, **options})

    def _agent_of(self, options: Any, *, literal: bool) -> BaseAgent:
        """Return the agent of a cell: the named one, a new one, or a passing one."""
        name = options.name
        existing = find_agent(self.namespace, name) if name else None
        taken = taken_by(self.namespace, name) if name and existing is None else ""
        if taken:
            raise UsageError(f"no agent can be called {name!r}: {taken}")
        system, tools = self._said(options, existing, literal=literal)
        model = options.model if name else None
        agent = existing or self._new(name or "agent", model=model)
        self._equip(agent, system, tools, options.max_steps)
        if name and (existing is None or options.define):
            _settle(agent, options)
        if options.memory is not None:
            agent.memory = options.memory
        if options.define and options.model:
            agent.model = options.model
        if name:
            self._keep(name, agent, options, existing)
        return agent

    def _keep(self, name: str, agent: BaseAgent, options: Any, existing: BaseAgent | None) -> None:
        if options.tools is not None:
            self.session.tool_names[agent] = _names(options.tools)
        if existing is None:
            self.namespace[name] = agent

    def _tools(self, options: Any, existing: BaseAgent | None) -> list[Any] | None:
        """Find the tools by name, anew for each run: a cell that redefines one is enough."""
        names = self.session.tool_names.get(existing) if existing is not None else None
        if options.tools is not None:
            names = _names(options.tools)
        if names is None:
            return None
        found = named_tools(names, self._look_up, self.served, existing)
        for each in found:  # an agent that is asked as a tool may run on another framework
            if getattr(each, "framework", "") and hasattr(each, "engines"):
                each.engines = self.session.runtime.frameworks
        return found

    def _said(
        self, options: Any, existing: BaseAgent | None, *, literal: bool
    ) -> tuple[str | None, list[Any] | None]:
        """Return the system message and the tools of a cell, None for what it leaves open."""
        said = options.system
        system = None if said is None else self._fill(said, literal=literal)[0]
        if system is not None:
            system = text_alone(system, "a system message is text alone")
        return system, self._tools(options, existing)

    def _equip(
        self, agent: BaseAgent, system: str | None, tools: list[Any] | None, max_steps: int | None
    ) -> None:
        if tools is not None or max_steps is not None:
            if not isinstance(agent, Agent):
                kind = type(agent).__name__
                raise UsageError(
                    f"{agent.agent_id} is a {kind}, which takes no tools: use Agent(...)"
                )
            if max_steps is not None:
                agent.max_steps = max_steps
            if tools is not None:
                agent.tools = tools
        if system is not None:
            agent.system = system

    def _look_up(self, option: str, name: str) -> Any:  # whatever the user named
        try:
            return look_up(self.namespace, name)
        except KeyError as exc:
            names = names_of_tools if option == "--tools" else names_of
            known = nearest(name, names(self.namespace))
            raise UsageError(f"{option}: {exc.args[0]!r} is not defined; {known}") from None

    def _fill(self, text: str, *, literal: bool) -> tuple[str | list[Any], tuple[str, ...]]:
        """Return the prompt with its expressions evaluated, and what the big ones became."""
        if literal or "{{" not in text:
            return text, ()
        rendered = call_tool(
            render, text, self._values(), describe=functools.partial(describe, cap=self.cap)
        )
        return rendered.prompt, tuple(rendered.notes)

    def _values(self) -> Mapping[str, Any]:
        """Return what ``{{ }}`` can name: the user's variables, ``In``, ``Out`` and ``Err``."""
        inputs = {n: source for n, source in enumerate(self.session.inputs) if n}
        cells = {"In": _Cells("In", inputs), "Err": _Cells("Err", self.session.errors)}
        return ChainMap(cells, self.namespace)

    def _check_out(self, options: Any) -> None:  # argparse's Namespace
        out = options.out
        if out and (not out.isidentifier() or keyword.iskeyword(out)):
            raise UsageError(f"--out {out!r} is not a name that Python allows")
        if out and (out == options.name or find_agent({out: self.namespace.get(out)}, out)):
            raise UsageError(
                f"--out {out!r}: that name holds the agent, and {out}.last is its last run anyway"
            )

    def _context(self, names: list[str]) -> tuple[str | list[Any], tuple[str, ...]]:
        parts: list[Any] = []  # text and images
        notes = []
        for name in names:
            value = self._look_up("--context", name)
            described = call_tool(describe, value, cap=self.cap, name=name)
            parts += [f"{name}:\n", described.attachment or described.text, "\n\n"]
            if described.attachment is not None:
                continue  # the run says what was sent
            size = f"{len(described.text):,} characters"
            notes.append(f"sent {name}: {described.note or size}")
        return together(*parts), tuple(notes)


class _Cells(dict[int, str]):
    """Texts by the number of their cell."""

    def __init__(self, name: str, texts: Mapping[int, str]) -> None:
        super().__init__(texts)
        self._name = name

    def __missing__(self, number: object) -> str:
        known = ", ".join(str(n) for n in self) or "no cell"
        raise LookupError(f"{self._name}[{number!r}] does not exist; there is {known}")


def _settle(agent: BaseAgent, options: Any) -> None:  # argparse's Namespace
    """Let an agent keep the framework and the template that its definition names."""
    kept = {"framework": options.framework, "template_id": options.template}
    given = {name: value for name, value in kept.items() if value is not None}
    if given and not isinstance(agent, Agent):
        kind = type(agent).__name__
        raise UsageError(f"{agent.agent_id} is a {kind}, which names no framework: use Agent(...)")
    for name, value in given.items():
        setattr(agent, name, value)


def _check(options: Any, cell: str) -> None:  # argparse's Namespace
    if options.define and not options.name:
        raise UsageError("--define needs a name: %%agent analyst --define")
    if not cell.strip() and not options.define:
        raise UsageError("the prompt is empty: write it below the %%agent line, or add --define")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _params(pairs: list[str]) -> dict[str, Any]:  # any JSON
    """Read ``k=v`` pairs; a value is JSON where it can be, else text."""
    params: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"-p {pair!r}: write it as -p temperature=0.2")
        if key in NOT_SENT:
            instead = f"use {NOT_SENT[key]}" if NOT_SENT[key] else "the cell sets it"
            raise UsageError(f"-p {pair!r}: {key} is no sampling parameter; {instead}")
        try:
            params[key] = json.loads(value)
        except ValueError:
            params[key] = value
    return params
