"""The stage: the few files of this package that a worker needs, in a folder of their own.

The folder stands in the user's cache and is named by the hash of what is in it, so that kernels
share it and a changed adapter gets another one. Each file is replaced in one step, and a kernel
completes the whole folder before it starts a worker there: two may do that at once. A worker runs
what lies in it, so nobody else may write there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import tframex_nb

if TYPE_CHECKING:
    from tframex_nb.frameworks.worker.source import AdapterSource

__all__ = ["Stage", "cache_folder"]

_STAGED = (
    "errors.py",
    "messages.py",
    "frameworks/base.py",
    "frameworks/requests.py",
    "frameworks/worker/cells.py",
    "frameworks/worker/child.py",
    "frameworks/worker/protocol.py",
    "frameworks/worker/travel.py",
    "frameworks/worker/wire.py",
)
_PACKAGES = ("", "frameworks/", "frameworks/worker/", "frameworks/adapters/")
# An adapter in the kernel's own environment may import the rest of the package from there.
_INIT = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
_ADAPTERS = "frameworks/adapters"
_KEEP = 30 * 24 * 3600  # seconds that an unused stage is kept


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder for a worker's ``sys.path``, and the module in it that defines the adapter."""

    path: Path
    module: str

    @classmethod
    def of(cls, adapter: AdapterSource, root: Path | None = None) -> Stage:
        """Return the stage of an adapter, written where it is not there; raises OSError."""
        stem = Path(adapter.filename).stem
        stem = stem if stem.isidentifier() and not stem.startswith("_") else "adapter"
        files = _files()
        files[f"{_ADAPTERS}/{stem}.py"] = adapter.source
        place = root or cache_folder() / "workers"
        folder = place / _digest(files)
        for each in (place.parent, place, folder) if root is None else (place, folder):
            _own(each)
        for name, text in files.items():
            _write(folder / "tframex_nb" / name, text)
        os.utime(folder)
        _prune(folder.parent)
        return cls(folder, f"tframex_nb.{_ADAPTERS}.{stem}".replace("/", "."))


def cache_folder() -> Path:
    """Return the folder of this package in the user's cache."""
    if sys.platform == "darwin":
        fallback = Path.home() / "Library" / "Caches"
    else:
        fallback = Path.home() / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or fallback) / "tframex-nb"


def _files() -> dict[str, str]:
    """Return the files of every stage: the protocol, the child, and the adapters.

    All of these, since an adapter of the user's may be made of one of ours.
    """
    package = Path(tframex_nb.__file__).parent
    adapters = sorted(path.name for path in (package / _ADAPTERS).glob("*.py"))
    names = [*_STAGED, *(f"{_ADAPTERS}/{name}" for name in adapters if name != "__init__.py")]
    files = {name: (package / name).read_text(encoding="utf-8") for name in names}
    return files | {f"{folder}__init__.py": _INIT for folder in _PACKAGES}


def _digest(files: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name]}\0".encode())
    return digest.hexdigest()[:20]


def _own(folder: Path) -> None:
    """Make a folder that only this user can write to; raises OSError where it is another's."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.getuid():
        why = "it is another user's; set XDG_CACHE_HOME to a folder of your own"
        raise PermissionError(errno.EPERM, why, str(folder))
    if found.st_mode & 0o022:
        folder.chmod(0o700)


def _write(path: Path, text: str) -> None:
    """Make a file hold a text, in one step; nothing is written where it does already."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as new:
        new.write(data)
    Path(new.name).replace(path)


def _prune(root: Path) -> None:
    """Remove the stages that no kernel has asked for in a long time."""
    oldest = time.time() - _KEEP
    for folder in root.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another kernel was faster
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
