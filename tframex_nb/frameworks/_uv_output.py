"""What uv draws on a terminal while it installs, read back as steps, a line and errors."""

from __future__ import annotations

import re

from tframex_nb.errors import InstallFailed
from tframex_nb.frameworks._uv import masked

__all__ = ["UvOutput", "failure"]

_BREAK = re.compile(r"(?:\x1b\[[0-9;?]*[A-Za-z]|[\r\n])+")  # a redraw, or the end of a line
_SPINNER = re.compile(r"^[\u2800-\u28ff]\s*")
_FILE = re.compile(r"(\S+) +-{10,} +([\d.]+) ?(\S*)/([\d.]+ ?\S+)")
_PREPARING = re.compile(r"Preparing packages\.\.\. \((\d+)/(\d+)\)")
_PLACING = re.compile(r"[\u2588-\u2593\s]*\[(\d+)/(\d+)\] ")  # a bar, then the count
_PINNED = re.compile(r"[\w.-]+(?:\[.*\])?==\S+$")
_PADDING = re.compile(r" {3,}")
_KEPT = 40  # lines of what uv said that an error may need

# uv's words, what they mean, and the next move.
_FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left|os error 28\b|Disk quota|os error 122\b",
        "the disk is full",
        "free some space, or choose another disk: TFRAMEX_FRAMEWORKS_DIR=/path",
    ),
    (
        r"Hash mismatch",
        "a package is not the one that the lock names",
        "do not use that index or mirror; `uv cache clean NAME` drops a copy that it spoiled",
    ),
    (
        r"network was disabled|--offline|offline mode",
        "it is not all in uv's cache, and the network was not to be used",
        "install it once with the network, or name a mirror: UV_FIND_LINKS or UV_DEFAULT_INDEX",
    ),
    (
        r"\b(?:401|403|407)\b|Unauthorized|Forbidden",
        "the package index refused access",
        "check the credentials in UV_DEFAULT_INDEX (or PIP_INDEX_URL), or the proxy",
    ),
    (
        r"error sending request|Failed to (?:fetch|download)|dns error|connect error|timed out",
        "the package index cannot be reached",
        "check the network, or name a mirror in UV_DEFAULT_INDEX; then the same line goes on",
    ),
    (
        r"Read-only file system|Permission denied|os error (?:13|30)\b",
        "the folder cannot be written to",
        "choose a folder of your own: TFRAMEX_FRAMEWORKS_DIR=/path",
    ),
    (
        r"--require-hashes|pinned with|hash(?:es)? (?:is|are) (?:required|missing)",
        "the lock has requirements without a version or a hash",
        "make it with: uv pip compile --universal --generate-hashes",
    ),
    (
        r"no wheels? with a matching|no usable wheels|has no wheels|building .* is disabled",
        "a package has no wheel for this system",
        "it cannot run here; another Python or a newer system may have one",
    ),
    (
        r"was not found in the package registry|no version of|not found in the provided",
        "the package index does not have all that the lock names",
        "a mirror may lag behind: try another one in UV_DEFAULT_INDEX",
    ),
)
_UNKNOWN = "look at what uv says; `python -m uv --version` must be 0.9 or newer"


class UvOutput:
    """Follows one installation of ``packages`` distributions.

    Each is fetched, placed and compiled: ``done`` of ``total`` steps. ``line`` says what uv does
    now, ``said`` holds its last lines.
    """

    def __init__(self, packages: int) -> None:
        self.packages = packages
        self.done = 0
        self.line = "starting"
        self.said: list[str] = []
        self.compiling = False
        self._rest = ""

    @property
    def total(self) -> int:
        """How many steps there are."""
        return 3 * self.packages

    def feed(self, text: str) -> None:
        """Take what uv drew, in pieces of any size."""
        *whole, self._rest = _BREAK.split(self._rest + text)
        for each in whole:
            self._take(each)

    def end(self) -> None:
        """Take what no line break has ended."""
        self._take(self._rest)
        self._rest = ""

    def compiled(self, share: float) -> None:
        """Note which share of the modules is compiled, from 0 to 1; uv itself does not tell."""
        self.done = max(self.done, int(self.packages * (2 + min(share, 1.0))))
        self.line = f"compiling: {min(share, 1.0):.0%}"

    def _take(self, drawn: str) -> None:
        text = masked(_SPINNER.sub("", drawn.rstrip()))
        if not text.strip():
            return
        if found := _PREPARING.search(text):
            self._fetching(text, int(found[1]), int(found[2]))
        elif found := _PLACING.match(text):
            self.done = max(self.done, self.packages + int(found[1]))
            self.line = f"placed {found[1]} of {found[2]}"
        for part in _PADDING.split(text):  # a drawing is padded, and what follows is glued to it
            if part and not _FILE.search(text) and not _PREPARING.search(part):
                self._say(part)

    def _fetching(self, text: str, ready: int, missing: int) -> None:
        cached = max(self.packages - missing, 0) if missing else 0
        self.done = max(self.done, cached + ready)
        self.line = f"fetched {ready} of {missing}" if missing else "looking what is to be fetched"
        if file := _FILE.search(text[text.index(")") :]):
            self.line += f", {file[1]} {file[2]} of {file[4]}"

    def _say(self, line: str) -> None:
        if line.startswith("Installed "):
            self.done, self.compiling = max(self.done, 2 * self.packages), True
        elif _PINNED.match(line):
            self.line = f"resolving {line}"
        elif not _PLACING.match(line) and not line.startswith(("+ ", "Using ")):
            self.line = line
        if not self.said or self.said[-1] != line:
            self.said = [*self.said[1 - _KEPT :], line]


def failure(framework: str, said: list[str]) -> InstallFailed:
    """Return the error for what uv said; credentials are masked."""
    words = _from_the_error_on(said)
    text = masked(" ".join(words))
    for pattern, reason, hint in _FAULTS:
        if re.search(pattern, text, re.IGNORECASE):
            return InstallFailed(
                f"{framework} was not installed: {reason} ({_short(text)})",
                hint=hint,
                framework=framework,
            )
    return InstallFailed(
        f"{framework} was not installed: {_short(text) or 'uv ended without a word'}",
        hint=_UNKNOWN,
        framework=framework,
    )


def _from_the_error_on(said: list[str]) -> list[str]:
    starts = [i for i, line in enumerate(said) if line.startswith("error")]
    return [line.strip() for line in (said[starts[0] :] if starts else said[-5:])]


def _short(text: str) -> str:
    most = 400  # characters
    return text if len(text) <= most else text[:most] + " …"
