"""What is known of a server before it runs: how to reach it, its bounds, whose word that is."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tframex_nb.errors import McpError, SettingsError, nearest
from tframex_nb.http import public_url
from tframex_nb.mcp.faults import McpStartFailed
from tframex_nb.mcp.veil import MASK, Veil, arguments_told, is_secret_name
from tframex_nb.settings.mcp import check_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.settings import Settings
    from tframex_nb.settings.mcp import McpSettings

__all__ = ["Definition", "defined", "find"]

CALL = 60.0  # seconds that a call may take
CONNECT = 30.0  # seconds for the start and for the list of tools; a first start may download
# What a program gets of our environment unasked: what it needs to run, and nothing secret.
PASSED_ON = (
    *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR"),
    *("TZ", "USER"),
)
# What it may need beside that where a company's proxy stands between it and the network.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PROXY = (
    *_PROXIES,
    *map(str.lower, _PROXIES),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"),
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One server: a ``command`` with what it is given, or a ``url`` with its ``headers``.

    ``trusted`` says that the user wrote it, and not a folder's file, which ``place`` names.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_from: tuple[str, ...] = ()
    cwd: str = ""
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = CALL
    connect_timeout: float = CONNECT
    trusted: bool = True
    place: str = ""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            given = "both a command and a url" if self.command else "neither a command nor a url"
            raise McpError(
                f"the MCP server {self.name!r} has {given}",
                hint='command = "uvx", args = ["mcp-server-time"]; or url = "https://host/mcp"',
                server=self.name,
            )

    @property
    def kind(self) -> str:
        """How it is spoken to."""
        return "stdio" if self.command else "http"

    @property
    def target(self) -> str:
        """What is started or reached, without secrets.

        Of what a folder's file defines, every word is told: a mask could hide what it does.
        """
        if self.url:
            return public_url(self.url)
        if not self.trusted:
            return _joined([self.command, *self.args])
        return self.veil.text(_joined([self.command, *arguments_told(self.args)]))

    @property
    def sets(self) -> str:
        """The variables that the program gets; of what a folder's file sets, the values too.

        One such as ``LD_PRELOAD`` decides what runs.
        """
        if self.trusted:
            return ", ".join(self.env)
        shown = (f"{n}={MASK if is_secret_name(n) else v}" for n, v in self.env.items())
        return ", ".join(_joined([each]) for each in shown)

    @property
    def veil(self) -> Veil:
        """What takes the values that nobody may see out of a text."""
        passed = ((name, os.environ.get(name, "")) for name in self.env_from)
        return Veil([*self.env.items(), *self.headers.items(), *passed])

    @property
    def missing_proxy(self) -> str:
        """A hint at what a program behind a proxy is not given, where there is one here."""
        held = {**dict.fromkeys(self.env), **dict.fromkeys(self.env_from)}
        names = [n for n in PROXY if os.environ.get(n) and n not in held] if self.command else []
        if not names:
            return ""
        told = ", ".join(f'"{name}"' for name in names)
        return f"; if it downloads: it gets no proxy or certificate from here, env_from = [{told}]"

    @property
    def fingerprint(self) -> str:
        """What trust is given to: a definition that changes is another one."""
        parts = (self.command, self.args, sorted(self.env.items()), self.env_from, self.cwd)
        text = json.dumps((self.name, *parts, self.url, sorted(self.headers.items())))
        return hashlib.sha256(text.encode()).hexdigest()

    def environment(self) -> dict[str, str]:
        """Return the program's environment; raises McpStartFailed where a variable is not set."""
        missing = [name for name in self.env_from if name not in os.environ]
        if missing:
            raise McpStartFailed(
                f"the MCP server {self.name!r} wants {', '.join(missing)}, which is not set here",
                hint=f"set it, or take it out of env_from of [mcp.{self.name}]",
                server=self.name,
            )
        passed = {n: os.environ[n] for n in (*PASSED_ON, *self.env_from) if n in os.environ}
        # A program that is installed beside us is found, after all others of its name.
        beside = str(Path(sys.executable).parent)
        passed["PATH"] = os.pathsep.join(filter(None, (passed.get("PATH"), beside)))
        return {**passed, **self.env}


def defined(settings: Settings) -> dict[str, Definition | SettingsError | McpError]:
    """Return what is set under ``mcp``, by name; an error in the place of what cannot be used."""
    found: dict[str, Definition | SettingsError | McpError] = {}
    for name, table in sorted(settings.mcp.items()):
        try:
            found[name] = _definition(name, table, settings)
        except (SettingsError, McpError) as exc:
            found[name] = exc
    return found


def find(settings: Settings, name: str) -> Definition:
    """Return one server's definition; raises McpError where there is none, or none to use."""
    known = defined(settings)
    found = known.get(name.lower())
    if found is None:
        hint = f"set it: [mcp.{name}] in tframex.toml; {nearest(name, known)}"
        raise McpError(f"no MCP server {name!r} is set", hint=hint, server=name)
    if isinstance(found, Exception):
        raise found
    return found


def _definition(name: str, table: McpSettings, settings: Settings) -> Definition:
    trusted = check_sources(name, settings.sources)
    places = [str(each) for key, each in settings.sources.items() if key.startswith(f"mcp.{name}.")]
    try:
        cwd = str(Path(table.cwd).expanduser()) if table.cwd else ""
    except RuntimeError as exc:  # of a user who is not there
        raise McpError(
            f"the MCP server {name!r} has no folder {table.cwd!r}: {exc}",
            hint=f"mend cwd of [mcp.{name}]",
            server=name,
        ) from exc
    return Definition(
        name=name,
        command=table.command or "",
        args=tuple(table.args),
        env={n: value.get_secret_value() for n, value in table.env.items()},
        env_from=tuple(table.env_from),
        cwd=cwd,
        url=table.url or "",
        headers={n: value.get_secret_value() for n, value in table.headers.items()},
        timeout=table.timeout or CALL,
        connect_timeout=table.connect_timeout or CONNECT,
        trusted=trusted,
        place=min(places, default=""),
    )


def _joined(words: list[str]) -> str:
    """Return words as one line in which each can be told, and nothing unseen is left."""
    return " ".join(shlex.quote(each) if each.isprintable() else repr(each) for each in words)
