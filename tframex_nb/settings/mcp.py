"""The table ``[mcp.NAME]``: one MCP server, a program to start or a URL to reach."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from tframex_nb.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.settings.sources import Source

__all__ = ["McpSettings", "check_sources"]

_Seconds = Annotated[float, Field(gt=0, le=86_400, description="seconds, more than 0")]
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_CARRIES = ("env", "headers")  # what may hold a secret
_DIRECTS = ("url", "command", "args", "cwd")  # what decides where that goes


class McpSettings(BaseModel):
    """How one server is reached: ``command`` and what it is given, or ``url`` and ``headers``.

    ``env_from`` names variables of this process that the program gets; ``timeout`` bounds one
    call and ``connect_timeout`` the start, in seconds.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True
    )

    command: str | None = Field(None, description="a program's name or path")
    args: list[str] = Field([], description="a list of texts")
    env: dict[str, SecretStr] = Field({}, description="a table of variables and texts")
    env_from: list[str] = Field([], description="a list of variables' names")
    cwd: str | None = Field(None, description="a folder's path")
    url: str | None = Field(None, description="a URL such as https://host/mcp")
    headers: dict[str, SecretStr] = Field({}, description="a table of header names and texts")
    timeout: _Seconds | None = None
    connect_timeout: _Seconds | None = None

    @field_validator("url")
    @classmethod
    def _clean_url(cls, url: str | None) -> str | None:
        return checked_url(url) if url else None

    @field_validator("headers")
    @classmethod
    def _clean_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or not value.get_secret_value().isprintable():
                raise ValueError("a header's name is letters, digits and -, its text one line")
        return headers

    @field_validator("env")
    @classmethod
    def _clean_env(cls, env: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in env.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value.get_secret_value():
                raise ValueError("a variable's name is letters, digits and _")
            if _REFERENCE.fullmatch(value.get_secret_value()):
                raise ValueError(f"nothing is filled in for {name}: name the variable in env_from")
        return env


def checked_url(text: str) -> str:
    """Return the URL of a server; raises ValueError, whose text never holds what was written."""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must begin with http:// or https:// and name a host")
    if parts.port == 0 or not text.strip().isprintable() or " " in text.strip():
        raise ValueError("it must have no spaces, and a port from 1 to 65535 where it has one")
    if "@" in parts.netloc:
        raise ValueError("it must hold no user or password; give them in headers")
    if parts.fragment:
        raise ValueError("it must have no #")
    return text.strip()


def check_sources(name: str, sources: Mapping[str, Source]) -> bool:
    """Whether all of a server's definition is the user's own, and not a folder's file.

    Raises SettingsError where a less trusted place decides where a secret goes.
    """
    prefix = f"mcp.{name}."
    own = {key[len(prefix) :]: each for key, each in sources.items() if key.startswith(prefix)}
    for carries in _CARRIES:
        for directs in _DIRECTS:
            secret, place = own.get(carries), own.get(directs)
            if secret is not None and place is not None and not place.may_direct(secret):
                raise SettingsError(
                    f"{place} may not receive what {secret} holds: "
                    "a file in a folder could send it anywhere",
                    hint=f"set {directs} where {carries} is set, or remove {place}",
                )
    return all(each.is_own for each in own.values())
