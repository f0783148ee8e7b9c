"""The magics: each parses its line, calls one function and returns one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from IPython.core.error import UsageError
from IPython.core.magic import (
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from IPython.core.magic_arguments import argument, magic_arguments

from tframex_nb.agents.approval import POLICIES
from tframex_nb.interrupts import run_sync
from tframex_nb.notebook import execution
from tframex_nb.notebook.lowered import LoweredMagics, parse
from tframex_nb.notebook.output_forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tframex_nb.notebook.background import BackgroundRun
    from tframex_nb.runs import Run

__all__ = ["AgentMagics"]


@magics_class
class AgentMagics(LoweredMagics):
    """``%%agent``, ``%ask``, ``%fix``, ``%agents``, ``%models``, ``%runs``, ``%cassettes``."""

    valued: ClassVar[frozenset[str]] = frozenset({"agents"})

    @no_var_expand
    @cell_magic
    @magic_arguments()
    @argument(
        "name", nargs="?", default="", help="the agent or system; a new name defines an agent"
    )
    @argument("-m", "--model", help="MODEL, ENDPOINT:MODEL or demo, for this run")
    @argument("--api-url", help="an OpenAI-compatible URL, for this run")
    @argument("-s", "--system", help="what the agent is; {{ expr }} is evaluated")
    @argument("-f", "--framework", help="what it runs on: NAME, native, or auto to choose one")
    @argument("-t", "--template", help="what kind of agent it is; auto chooses by it")
    @argument("--explain", action="store_true", help="show how the framework was chosen")
    @argument("--object", help="what to run in its place: a graph, crew or team, or its builder")
    @argument("--tools", help="functions, agents, MCP servers: a,b,mcp:NAME,mcp:NAME/c")
    @argument("--schema", help="what the answer must match: a type or JSON schema of the notebook")
    @argument("--tries", type=int, help="answers that are asked for until one matches (3)")
    @argument("--as", dest="form", choices=FORMS, help="how the answer is wanted and shown")
    @argument("-c", "--context", action="append", help="a variable to send along (repeatable)")
    @argument("--approve", choices=POLICIES, help="which tools are asked about before they act")
    @argument("-p", "--param", action="append", help="k=v, sent to the endpoint unchanged")
    @argument("-o", "--out", default="", help="bind the run to this name")
    @argument("--max-steps", type=int, help="bound on model calls in one run")
    @argument("--max-cost", help="USD that the run may cost, agents that it asks included")
    @argument("--max-tokens-total", help="tokens that the run may spend, prompts included")
    @argument("--memory", type=int, help="messages of the conversation that are sent at most")
    @argument("--fresh", action="store_true", help="start the conversation anew")
    @argument("--no-interpolate", action="store_true", help="take {{ }} as text")
    @argument("--define", action="store_true", help="define the agent; run only with a prompt")
    @argument("--background", action="store_true", help="go on at once; the cell gives a handle")
    def agent(self, line: str, cell: str) -> Run | BackgroundRun | None:
        """Ask an agent; the cell is the prompt, the answer streams into it.

        The run is bound to ``_``, ``Out[n]``, ``--out`` and the agent's ``.last``. With a name
        the conversation goes on from cell to cell; running a cell again replaces its turn.
        """
        return execution.run_blocking(self.session, self._agent(parse(self.agent, line), cell))

    @no_var_expand
    @line_magic
    def ask(self, line: str) -> Run | BackgroundRun | None:
        """Ask in one line: ``%ask what is a monad?`` or ``%ask analyst: and in short?``."""
        return execution.run_blocking(self.session, self._ask(line))

    @no_var_expand
    @line_magic
    def fix(self, line: str) -> Run | BackgroundRun | None:
        """Explain the last error, or that of cell n (``%fix 3``), and show the mended cell."""
        return execution.run_blocking(self.session, self._fix(line))

    @no_var_expand
    @line_cell_magic
    def agents(self, line: str, cell: str = "") -> object:
        """List the agents; ``show NAME``, ``history NAME``, ``reset NAME``, ``chat NAME``.

        ``show NAME N`` tells all of a turn, ``drop NAME N`` forgets it. ``edit NAME N new text``
        asks it with other words, in a cell below ``%%agents edit NAME N`` too; ``rerun NAME N``
        asks it as it was; both take ``--rerun-rest`` for the turns after it. ``rerun NAME`` asks
        the stale turns anew. ``save NAME [FILE]`` writes the conversation, ``load FILE [NAME]``
        takes it back; ``--force`` replaces what is there.
        """
        return run_sync(self._agents(line, cell))

    @line_magic
    def models(self, line: str) -> object:
        """List the models that can be used; ``use NAME``, ``connect NAME|URL``."""
        from tframex_nb.notebook.views import models_view

        return models_view(self.session, _words(line))

    @line_magic
    def cassettes(self, line: str) -> object:
        """List this notebook's recordings; ``use record|replay|auto|off [DIR]``.

        ``show N`` tells all of one, ``clear`` deletes them.
        """
        from tframex_nb.notebook.cassettes_view import cassettes_view

        return cassettes_view(_words(line))

    @line_magic
    def runs(self, line: str) -> object:
        """List the runs of this kernel; ``.to_pandas()`` gives a DataFrame.

        Those in the background that run or wait come first; ``stop ID|all`` ends them.
        """
        from tframex_nb.notebook.views import runs_view

        return runs_view(self.session, _words(line))

    def work(self, magic: str, line: str, cell: str) -> Coroutine[None, None, object]:
        """Return the work of a magic, not begun yet."""
        if magic == "agents":
            return self._agents(line, cell)
        if magic == "ask":
            return self._ask(line)
        if magic == "fix":
            return self._fix(line)
        return self._agent(parse(self.agent, line), cell)

    async def _agent(
        self, options: Any, cell: str
    ) -> Run | BackgroundRun | None:  # argparse's Namespace
        from tframex_nb.notebook.framework_choice import check_known
        from tframex_nb.notebook.questions import Questions
        from tframex_nb.notebook.served import served_tools

        if options.framework:
            await check_known(self.session, [options.framework])
        served = await served_tools(self.session, self.wishes, options)
        question = Questions(self.session, self.wishes, served).of_cell(options, cell)
        if question is None:
            return None
        if not options.background:
            return await execution.show(self.session, question)
        from tframex_nb.notebook.background_cells import AgentJob, start

        return await start(self.session, AgentJob(self.session, question), question)

    async def _agents(self, line: str, cell: str) -> object:
        from tframex_nb.notebook.dialogue import agents_magic

        return await agents_magic(self.session, self.wishes, line, cell)

    async def _ask(self, line: str) -> Run:
        from tframex_nb.notebook.questions import Questions

        question = Questions(self.session, self.wishes).of_line(line)
        return await execution.show(self.session, question)

    async def _fix(self, line: str) -> Run:
        from tframex_nb.notebook.fix import SYSTEM, insert_mended, prompt_of_error
        from tframex_nb.notebook.questions import Questions

        number, prompt = prompt_of_error(self.session, line)
        questions = Questions(self.session, self.wishes)
        notes = (f"fixing cell {number}",)
        run = await execution.show(
            self.session, questions.of_text(prompt, notes=notes, system=SYSTEM)
        )
        insert_mended(self.session, run)
        return run


def _words(line: str) -> list[str]:
    """Return the words of a table magic's line; a table takes no options."""
    words = line.split()
    if any(word.startswith("-") for word in words):
        raise UsageError(f"no such option: {' '.join(words)}")
    return words
