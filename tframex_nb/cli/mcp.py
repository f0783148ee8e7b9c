"""Agents and functions as an MCP server, from the command line."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import InvalidInput, SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Sequence

    from tframex_nb.agents import BaseAgent
    from tframex_nb.messages import Event
    from tframex_nb.runtime import Runtime

__all__ = ["add_options", "serve_mcp"]

PORT = 8760


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="module:object, path/to/file.py:object, or path/to/file.py for all agents and "
        "@tool functions there",
    )
    parser.add_argument(
        "--http",
        nargs="?",
        type=int,
        const=PORT,
        metavar="PORT",
        help=f"serve at this port of 127.0.0.1 and not over stdio (default: {PORT}; 0: any)",
    )
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help="the environment variable with the token that HTTP clients must send (default: a "
        "new one, printed to stderr)",
    )
    parser.add_argument(
        "--schema",
        action="append",
        default=[],
        metavar="AGENT=TARGET",
        help="the type of an agent's answer, as in clerk=bills.py:Invoice; may be repeated",
    )
    parser.add_argument("--name", default="tframex-nb", help="the server's name for clients")
    parser.add_argument("-m", "--model", help="the model of every agent here")


def serve_mcp(options: argparse.Namespace) -> int:
    """Load the targets and serve them; return the exit code."""
    from tframex_nb.mcp.server import need_sdk

    need_sdk()
    token = _token(options.token_env, wanted=options.http is not None)
    if options.http is not None:
        with contextlib.redirect_stdout(sys.stderr):
            return _serve(options, token=token)
    from tframex_nb.mcp.server_stdio import claimed

    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "A client starts this; for one that connects: --http. Ctrl-C ends it.", file=sys.stderr
        )
    with claimed() as channel:
        return _serve(options, channel=channel)


def _serve(
    options: argparse.Namespace,
    *,
    token: str = "",
    channel: Any = None,  # a ``Channel``, whose module is imported late
) -> int:
    # With the SDK, which a target of its name must not hide
    import tframex_nb.mcp.server_calls  # noqa: F401  # see above
    from tframex_nb.mcp.server import build_server
    from tframex_nb.mcp.server_sources import find_object, things_of
    from tframex_nb.runtime import Runtime

    things = things_of(options.targets)
    schemas = {name: find_object(where) for name, where in map(_pair, options.schema)}
    runtime = Runtime()
    server = build_server(
        *things, name=options.name, model=options.model, schemas=schemas, ask=_Asker(runtime)
    )
    count = len(server.offers)
    print(f"{count} tool{'s' * (count != 1)}: {', '.join(server.offers)}", file=sys.stderr)
    for name in (each.name for each in things if getattr(each, "description", None) == ""):
        print(f"{name} has no description: clients are told its name alone", file=sys.stderr)
    if channel is None:
        from tframex_nb.mcp.server_http import run_http

        return run_http(server, port=options.http, token=token, aclose=runtime.aclose)
    from tframex_nb.mcp.server_stdio import run_stdio

    return run_stdio(server, channel, aclose=runtime.aclose)


class _Asker:
    """Asks agents through the runtime, where frameworks are."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(
        self,
        agent: BaseAgent,
        prompt: str,
        /,
        **options: Any,  # what ``RunRequest`` takes
    ) -> AsyncIterator[Event]:
        from tframex_nb.runtime import RunRequest

        return self._runtime.stream(RunRequest(agent, prompt, **options))


def _token(name: str | None, *, wanted: bool) -> str:
    """Return the token of the environment, where a variable is named for it."""
    if name is None:
        return ""
    if not wanted:
        raise InvalidInput("--token-env is for --http", hint="over stdio nobody else can listen")
    token = os.environ.get(name, "")
    if not token:
        raise SettingsError(
            f"the environment variable {name} is not set",
            hint="set it, or leave --token-env out: a new token is made then",
        )
    return token


def _pair(given: str) -> Sequence[str]:
    name, equals, where = given.partition("=")
    if not (name and equals and where):
        raise InvalidInput(
            f"--schema {given!r} is not AGENT=TARGET", hint="as in --schema clerk=bills.py:Invoice"
        )
    return name, where
