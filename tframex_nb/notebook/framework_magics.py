"""The magics of frameworks: ``%frameworks``, ``%%framework`` and ``%%compare``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from IPython.core.magic import cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from tframex_nb.agents.approval import POLICIES
from tframex_nb.interrupts import RunStopped, run_sync
from tframex_nb.notebook.lowered import LoweredMagics, parse
from tframex_nb.notebook.output_forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.notebook.sides import Comparison

__all__ = ["FrameworkMagics"]

_STOPPED = {
    "compare": "Stopped: all runs were interrupted; the partial answers are kept.",
    "framework": "Stopped: the cell was interrupted in its worker.",
    "frameworks": "Stopped.",
}


class _Stopped(RunStopped):
    """The user stopped a magic of frameworks; ``text`` is the one line about it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def _render_traceback_(self) -> list[str]:
        return [self.text]


@magics_class
class FrameworkMagics(LoweredMagics):
    """``%frameworks``, ``%%framework``, ``%%compare``."""

    valued: ClassVar[frozenset[str]] = frozenset({"frameworks"})

    @no_var_expand
    @line_magic
    @magic_arguments()
    @argument(
        "verb",
        nargs="?",
        default="",
        help="load, reload, unload, install, remove, use, reconfigure, show, template or why",
    )
    @argument("subject", nargs="?", default="", help="a framework, a template, a path, a class")
    @argument("--offline", action="store_true", help="install: fetch nothing, use what is cached")
    @argument("--streaming", action="store_true", help="why: it must stream")
    @argument("--tools", action="store_true", help="why: it must call tools")
    @argument("--memory", action="store_true", help="why: it must remember earlier turns")
    @argument("--capability", action="append", help="why, template: it must have this (repeatable)")
    @argument("--prefer", help="template: the frameworks that come first, a,b,c")
    @argument("--fallback", help="template: the generic template that stands in, such as task")
    def frameworks(self, line: str) -> object:
        """List the agent frameworks; ``.to_pandas()`` gives a DataFrame.

        ``install NAME`` makes a framework's own environment, after telling its size; ``remove``
        takes it away. ``use NAME|auto|native`` says what runs that name none. ``why TEMPLATE``
        shows how ``auto`` would choose, and returns the Resolution. ``show NAME`` tells all of
        one. ``template NAME --prefer a,b --capability x`` describes a template; ``template`` alone
        lists them. ``load PATH|module:Class|CLASS`` adds an adapter, ``reload`` takes its changed
        file, ``unload`` forgets it. ``reconfigure [PATH]`` reads runtime-config.yaml anew.
        """
        return run_sync(self._frameworks(line))

    @no_var_expand
    @cell_magic
    @magic_arguments()
    @argument("name", help="the framework in whose worker the cell runs")
    def framework(self, line: str, cell: str) -> None:
        """Run the cell in a framework's own environment, to define what agents use there.

        ``from notebook import weather`` gives it a tool of this notebook. What it defines is
        named by ``%%agent -f NAME --object NAME_OF_IT``. Running the cell again replaces it.
        """
        run_sync(self._framework(line, cell))

    @no_var_expand
    @cell_magic
    @magic_arguments()
    @argument("name", nargs="?", default="", help="an agent to ask; it learns nothing of it")
    @argument("-f", "--frameworks", help="a,b,c, or all that are ready")
    @argument("-t", "--template", help="what kind of agent it is; auto chooses by it")
    @argument("-m", "--model", help="MODEL, ENDPOINT:MODEL or demo")
    @argument("--api-url", help="an OpenAI-compatible URL")
    @argument("-s", "--system", help="what the agent is; {{ expr }} is evaluated")
    @argument("--tools", help="functions, agents, MCP servers: a,b,mcp:NAME,mcp:NAME/c")
    @argument("--schema", help="what each answer must match: a type or JSON schema")
    @argument("--tries", type=int, help="answers that each is asked for until one matches (3)")
    @argument("--as", dest="form", choices=FORMS, help="how the answers are wanted and shown")
    @argument("-c", "--context", action="append", help="a variable to send along (repeatable)")
    @argument("--approve", choices=POLICIES, help="which tools are asked about before they act")
    @argument("-p", "--param", action="append", help="k=v, sent to the endpoint unchanged")
    @argument("-o", "--out", default="", help="bind the comparison to this name")
    @argument("--max-steps", type=int, help="bound on model calls in one run")
    @argument("--max-cost", help="USD that all of them may cost together")
    @argument("--max-tokens-total", help="tokens that all of them may spend together")
    @argument("--no-interpolate", action="store_true", help="take {{ }} as text")
    @argument("--background", action="store_true", help="go on at once; the cell gives a handle")
    def compare(self, line: str, cell: str) -> Comparison | BackgroundRun:
        """Ask several frameworks the same at once; the answers stream side by side.

        The comparison is bound to ``_``, ``Out[n]`` and ``--out``: ``.runs`` by name,
        ``.outputs`` for what ``--schema`` or ``--as`` made of them, ``.to_pandas()`` for the
        figures. One that fails leaves the others running.
        """
        made = run_sync(self._compare(line, cell))
        self.session.shown.add(id(made))
        return made

    def work(self, magic: str, line: str, cell: str) -> Coroutine[None, None, object]:
        """Return the work of a magic, not begun yet."""
        if magic == "frameworks":
            return self._frameworks(line)
        return self._framework(line, cell) if magic == "framework" else self._compare(line, cell)

    def stopped(self, magic: str, _line: str) -> RunStopped:
        """Return what tells the user that a magic was interrupted."""
        return _Stopped(_STOPPED[magic])

    async def _frameworks(self, line: str) -> object:
        from tframex_nb.notebook.frameworks_view import frameworks_view

        return await frameworks_view(self.session, parse(self.frameworks, line), self._display)

    async def _framework(self, line: str, cell: str) -> None:
        from tframex_nb.notebook.framework_cells import run_framework_cell

        await run_framework_cell(self.session, parse(self.framework, line).name, cell)

    async def _compare(self, line: str, cell: str) -> Comparison | BackgroundRun:
        from tframex_nb.notebook.compare import CompareJob, compare, names_to_compare
        from tframex_nb.notebook.questions import Questions
        from tframex_nb.notebook.served import served_tools

        options: Any = parse(self.compare, line)  # argparse's Namespace
        served = await served_tools(self.session, self.wishes, options)
        question = Questions(self.session, self.wishes, served).of_comparison(options, cell)
        names, note = await names_to_compare(self.session, options.frameworks)
        notes = (*question.notes, note) if note else question.notes
        question = dataclasses.replace(question, notes=notes)
        if not options.background:
            return await compare(self.session, question, names)
        from tframex_nb.notebook.background_cells import start

        return await start(self.session, CompareJob(self.session, question, names), question)

    @property
    def _display(self) -> str:
        return "" if self.wishes.display == "auto" else str(self.wishes.display)
