"""uv as a child process: where it is, what it is told, how it is watched and ended."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from tframex_nb.errors import InstallFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["ask_uv", "find_uv", "masked", "uv_environment", "watch_uv"]

TICK = 0.25  # seconds between two reports
QUESTION = 30.0  # seconds that a short question to uv may take
WIDTH = 240  # columns of the terminal that uv draws its progress on

# A password may hold a / or an @ that nobody has encoded; some indexes take a token in the query.
_CREDENTIALS = re.compile(
    r"""(?<=://)[^\s"'<>]+(?=@)|(?<=[?&])((?:\w*(?:token|key|secret|password|sig))=)[^&\s"'<>]+""",
    re.IGNORECASE,
)

# What would turn uv, or the Python that it starts, away from the environment that it is to make.
_MISLEADING = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_PROJECT_ENVIRONMENT"),
    *("UV_NO_PROGRESS", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_NO_BINARY", "RUST_LOG"),
)


def find_uv() -> str:
    """Return uv's binary: the one of the ``uv`` package, else the one on the PATH."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise InstallFailed("uv is not here, and it makes the environments", hint="pip install uv")
    return found


def masked(text: str) -> str:
    """Return a text without the credentials of the URLs in it."""
    return _CREDENTIALS.sub(r"\1***", text)


def uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that uv gets: the user's own, index and proxies included.

    pip's ``PIP_INDEX_URL`` counts where uv has no index of its own.
    """
    kept = {name: value for name, value in environ.items() if name not in _MISLEADING}
    index = kept.get("PIP_INDEX_URL")
    if index and "UV_INDEX_URL" not in kept:
        kept.setdefault("UV_DEFAULT_INDEX", index)
    return {**kept, "NO_COLOR": "1", "TERM": "xterm", "UV_PYTHON_DOWNLOADS": "never"}


def ask_uv(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Ask uv a short question and wait for the answer; the output is text."""
    command = [find_uv(), *arguments]
    try:
        return subprocess.run(  # noqa: S603 - a list, never a shell
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=QUESTION,
            env=uv_environment(os.environ),
            cwd=cwd,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise InstallFailed(
            f"uv did not answer: {masked(str(exc))}", hint="pip install --upgrade uv"
        ) from exc


async def watch_uv(
    arguments: Sequence[str],
    *,
    cwd: Path,
    hold: int,
    read: Callable[[str], None],
    tick: Callable[[], Awaitable[None]],
) -> int:
    """Run uv to its end and return its exit code; ``read`` gets what it draws, as it draws it.

    uv draws on a pseudo-terminal: only there does it count. ``tick`` is awaited four times a
    second. ``hold`` is a file descriptor that uv keeps open, so that a file lock on it lasts as
    long as uv does. A cancellation kills uv and all that it started.
    """
    terminal, child = _open_terminal()
    try:
        process = await asyncio.create_subprocess_exec(
            find_uv(),
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=child,
            env=uv_environment(os.environ),
            cwd=cwd,
            pass_fds=(hold,),
            start_new_session=True,
        )
    except BaseException:  # a terminal is closed, whatever kept uv from starting
        os.close(terminal)
        raise
    finally:
        os.close(child)
    reader = _Reader(terminal, read)
    ended = asyncio.ensure_future(process.wait())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=TICK)
            await tick()
        reader.drain()
        return ended.result()
    finally:
        try:
            if not ended.done():
                _kill_group(process.pid)
                await asyncio.shield(ended)
        finally:
            reader.close()


class _Reader:
    """Reads the terminal as uv writes; a full terminal would stop uv."""

    def __init__(self, terminal: int, read: Callable[[str], None]) -> None:
        self._terminal = terminal
        self._read = read
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(terminal, self._take)

    def drain(self) -> None:
        """Take what is left after uv has ended."""
        while self._take():
            pass

    def close(self) -> None:
        self._loop.remove_reader(self._terminal)
        os.close(self._terminal)

    def _take(self) -> bool:
        try:
            data = os.read(self._terminal, 65536)
        except BlockingIOError:
            return False
        except OSError:  # Linux says EIO where nobody holds the other end
            data = b""
        if not data:
            self._loop.remove_reader(self._terminal)
            return False
        self._read(self._decoder.decode(data))
        return True


def _open_terminal() -> tuple[int, int]:
    import fcntl
    import struct
    import termios

    terminal, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    os.set_blocking(terminal, False)
    return terminal, child


def _kill_group(leader: int) -> None:
    """Kill uv and what it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
