"""The command line: ``tframex-nb demo | lab | doctor | models | frameworks | mcp | version``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    # What argparse gives for sub-commands has no public name.
    _Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # see above

__all__ = ["main"]

REFUSED = 2  # exit code of an error that has a next move, as argparse's own
STOPPED = 130  # exit code of a process that Ctrl-C ended, as a shell counts it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    0 is done, 1 is a check that failed, 2 an error that says its next move, 130 Ctrl-C.
    """
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except TFrameXError as error:
        print("\n".join(error._render_traceback_()), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tframex-nb",
        description="Agents in notebook cells. In a notebook: %load_ext tframex_nb",
        epilog="Begin with: tframex-nb demo",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_lab(commands)
    _add_doctor(commands)
    _add_models(commands)
    _add_frameworks(commands)
    _add_mcp(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _add_demo(commands: _Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="let an agent answer in a cell, here in the terminal",
        description="Run notebook cells in this terminal: load the extension, give an agent a "
        "tool, ask it, go on with its answer. No key and no network are needed.",
    )
    parser.add_argument("-p", "--prompt", help="ask this instead of the prepared question")
    parser.add_argument(
        "-m",
        "--model",
        default="demo",
        help="the model that answers: demo, demo:slow, NAME, ENDPOINT:NAME (default: demo)",
    )
    parser.set_defaults(command=_demo)


def _add_lab(commands: _Commands) -> None:
    parser = commands.add_parser(
        "lab",
        help="open the tour in JupyterLab",
        description="Copy the notebooks of the tour into this folder, unless they are there, and "
        "open the first in JupyterLab. What follows -- goes to JupyterLab unchanged.",
    )
    parser.add_argument("arguments", nargs="*", metavar="-- ARGUMENT", help="for JupyterLab")
    parser.set_defaults(command=_lab)


def _add_doctor(commands: _Commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check this installation and say what to do next",
        description="Check Python, Jupyter, the settings, the endpoint and the demo model. "
        "The exit code is 1 where a check failed.",
    )
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.set_defaults(command=_doctor)


def _add_models(commands: _Commands) -> None:
    parser = commands.add_parser(
        "models",
        help="list the models that can be used",
        description="List what is configured, what answers on this host, and the demo model. "
        "No key is sent anywhere.",
    )
    parser.add_argument("verb", nargs="?", choices=["list"], default="list", help="the default")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(command=_models)


def _add_frameworks(commands: _Commands) -> None:
    parser = commands.add_parser(
        "frameworks",
        help="list, install and remove the environments of agent frameworks",
        description="Each framework runs in an environment of its own, made by uv from hashed "
        "locks. Nothing is downloaded unless install is called.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    listing = verbs.add_parser("list", help="which have an environment here (the default)")
    for each in (parser, listing):
        each.add_argument("--json", action="store_true", help="print the table as JSON")
    plan = verbs.add_parser("plan", help="say what an installation would bring")
    install = verbs.add_parser("install", help="make environments")
    remove = verbs.add_parser("remove", help="delete environments")
    for each in (plan, install, remove):
        each.add_argument("names", nargs="*", metavar="NAME", help="a framework")
        each.add_argument("--all", action="store_true", help="every framework")
    install.add_argument(
        "--offline", action="store_true", help="only from uv's cache or a local mirror"
    )
    remove.add_argument("--stale", action="store_true", help="only those of older locks")
    parser.set_defaults(command=_frameworks, needs_names=parser.error)


def _add_mcp(commands: _Commands) -> None:
    from tframex_nb.cli.mcp import add_options, serve_mcp

    parser = commands.add_parser(
        "mcp",
        help="serve agents and functions to MCP clients",
        description="Be an MCP server whose tools are agents and functions. A client starts this "
        "command itself and talks over stdin and stdout; with --http it connects.",
    )
    add_options(parser)
    parser.set_defaults(command=serve_mcp)


def _demo(options: argparse.Namespace) -> int:
    from tframex_nb.cli.demo import run_demo

    return run_demo(model=options.model, prompt=options.prompt)


def _lab(options: argparse.Namespace) -> int:
    from tframex_nb.cli.lab import open_lab

    return open_lab(options.arguments)


def _doctor(options: argparse.Namespace) -> int:
    from tframex_nb.cli.doctor import examine, report

    checks = examine()
    print(report(checks, as_json=options.json))
    return int(any(check.state == "fail" for check in checks))


def _models(options: argparse.Namespace) -> int:
    from tframex_nb.cli.models import list_models

    print(list_models(as_json=options.json))
    return 0


def _frameworks(options: argparse.Namespace) -> int:
    from tframex_nb.cli import frameworks

    if options.verb in (None, "list"):
        print(frameworks.list_frameworks(as_json=options.json))
        return 0
    if bool(options.names) == options.all:
        options.needs_names(f"{options.verb} wants NAME …, or --all")
    if options.verb == "install":
        return frameworks.install_frameworks(options.names, offline=options.offline)
    if options.verb == "remove":
        return frameworks.remove_frameworks(options.names, stale=options.stale)
    print(frameworks.plan_frameworks(options.names))
    return 0


def _version(_options: argparse.Namespace) -> int:
    from tframex_nb import __version__

    print(f"tframex-nb {__version__}, Python {sys.version.split()[0]}")
    return 0
