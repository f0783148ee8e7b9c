"""Where a value came from, and how far that place is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["Credential", "Key", "Layer", "Source", "SourceKind"]

SourceKind = Literal["builtin", "argument", "memory", "environment", "dotenv", "toml", "pyproject"]

Key = tuple[str, ...]  # the path of a value, such as ("endpoints", "team", "url")

_TRUST: dict[SourceKind, int] = {
    "builtin": 5,
    "argument": 4,
    "memory": 4,
    "environment": 3,
    "dotenv": 2,
    "toml": 1,
    "pyproject": 1,
}


@dataclass(frozen=True, slots=True)
class Source:
    """The place of one value: what kind it is, the file if any, and the key there.

    ``linked`` marks a file that is a link out of its folder: what it holds belongs elsewhere.
    """

    kind: SourceKind
    key: str
    file: str = ""
    linked: bool = False

    @property
    def trust(self) -> int:
        """How far a value at this place is trusted; a folder's files least."""
        return _TRUST[self.kind]

    @property
    def is_own(self) -> bool:
        """Whether the user put it there: not a file that may have come with a folder."""
        return self.trust >= _TRUST["environment"]

    @property
    def secrecy(self) -> int:
        """The trust that another value must have before it decides about a key from here."""
        return max(self.trust, _TRUST["environment"]) if self.linked else self.trust

    def may_direct(self, key: Source) -> bool:
        """Whether a value from here may decide where the key from ``key`` goes."""
        same_file = bool(self.file) and self.file == key.file
        return same_file or self.trust >= key.secrecy

    def __str__(self) -> str:
        match self.kind:
            case "argument":
                return f"the argument {self.key}"
            case "memory":
                return f"the key given to connect {self.key}".rstrip()
            case "builtin":
                return f"the preset {self.key}"
            case "environment":
                return f"{self.key} in the environment"
            case _:
                return f"{self.key} in {self.file}"


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key and where it came from."""

    key: SecretStr
    source: Source


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one place and one family of names (ours, OpenAI's, TFrameX's)."""

    family: Literal["tframex", "openai", "legacy"]
    values: dict[Key, tuple[Any, Source]] = field(repr=False)  # raw: text, number, table

    def get(self, *key: str) -> tuple[Any, Source] | None:
        """Return a raw value and its source, or None."""
        return self.values.get(key)
