"""The main job without a browser: cells that run, and an answer that streams, in a terminal."""

from __future__ import annotations

import shlex
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

__all__ = ["run_demo"]

_DATA = """\
revenue = {"Oslo": 120, "Lima": 80, "Pune": 310}

def revenue_of(city: str) -> int:
    \"\"\"Return the revenue of a city, in thousands.\"\"\"
    return revenue[city]"""

_QUESTION = "What is the revenue of Oslo?"

_VALUE = '{"status": run.status, "tokens": run.usage.total_tokens, "words": len(run.text.split())}'

_NEXT = """\
Next:
  tframex-nb lab                         the tour in ten cells, in JupyterLab (here: make lab)
  tframex-nb demo -m demo:slow           press Ctrl-C while it writes: the text stays
  tframex-nb demo -m demo:401            what an error looks like
  tframex-nb models                      which models could answer instead of the demo"""


def run_demo(*, model: str = "demo", prompt: str | None = None) -> int:
    """Run the demonstration's cells one after the other and show each; return the exit code.

    A cell that fails ends it with 2. One that is stopped does not: the partial answer is there.
    """
    with tempfile.TemporaryDirectory(prefix="tframex-nb-") as folder:
        shell = _shell(folder)
        try:
            done = all(_run(shell, cell) for cell in _cells(model, prompt))
        finally:
            shell.run_line_magic("unload_ext", "tframex_nb")
    if done:
        print(_NEXT)
    return 0 if done else 2


def _cells(model: str, prompt: str | None) -> list[str]:
    chosen = shlex.quote(model)
    if prompt is None:
        asking = f"%%agent analyst -m {chosen} --tools revenue_of --out run\n{_QUESTION}"
        return ["%load_ext tframex_nb", _DATA, asking, _VALUE]
    # On a command line braces are text, as everything else is.
    asking = f"%%agent -m {chosen} --no-interpolate --out run\n{prompt}"
    return ["%load_ext tframex_nb", asking, _VALUE]


def _run(shell: InteractiveShell, cell: str) -> bool:
    """Show and run one cell; say whether the next may run."""
    first, *rest = cell.splitlines()
    mark = f"In [{shell.execution_count}]: "
    print(
        "\n".join([mark + first, *(f"{'...: ':>{len(mark)}}{line}" for line in rest)]), flush=True
    )
    result: ExecutionResult = shell.run_cell(cell, store_history=True)
    print(flush=True)
    return result.success or _stopped(result)


def _stopped(result: ExecutionResult) -> bool:
    return isinstance(result.error_in_exec, KeyboardInterrupt)


def _shell(folder: str) -> InteractiveShell:
    """Return IPython's shell of this process, without the user's profile, history or colours."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class DemoShell(InteractiveShell):
        def _showtraceback(
            self, etype: Any, _evalue: Any, stb: list[str]
        ) -> None:  # IPython's hook
            """Errors go to stderr; other people's keep their traceback."""
            stream = sys.stderr if issubclass(etype, TFrameXError) else sys.stdout
            print(self.InteractiveTB.stb2text(stb), file=stream)

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    return DemoShell.instance(config=config, ipython_dir=folder)
