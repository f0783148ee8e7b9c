"""A package index on loopback with tiny wheels in it; any wheel can be held back for a while."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def wheel(name: str, version: str = "1.0", *, modules: int = 1, requires: str = "") -> bytes:
    """Return a wheel, as bytes, whose package says its own version."""
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {f"{name}/m{i}.py": f"NUMBER = {i}\n" for i in range(1, modules)}
    files |= {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return packed.getvalue()


@dataclass
class PackageIndex:
    """What is served: the bytes of each file by its name; ``asked`` counts the downloads."""

    files: Mapping[str, bytes]
    asked: list[str] = field(default_factory=list)
    held: str = ""
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def hold(self, name: str) -> None:
        """Keep back the wheel of this package, or every page ("*"), until ``released`` is set."""
        self.held = name
        self.reached.clear()
        self.released.clear()

    def lock(self, folder: Path, *names: str, head: str = "") -> Path:
        """Write a lock of these packages, with their true hashes."""
        lines = [head]
        for name in names or sorted({each.split("-")[0] for each in self.files}):
            file = next(each for each in self.files if each.startswith(f"{name}-"))
            digest = hashlib.sha256(self.files[file]).hexdigest()
            lines.append(f"{name}=={file.split('-')[1]} \\\n    --hash=sha256:{digest}")
        path = folder / "tiny.txt"
        path.write_text("\n".join(lines) + "\n")
        return path

    def page(self, name: str) -> str:
        """Return the page of one package (PEP 503); metadata is served apart, as PyPI does."""
        mine = [each for each in self.files if each.startswith(f"{name}-")]
        link = '<a href="/files/{0}" data-dist-info-metadata="true">{0}</a>\n'
        return "".join(link.format(each) for each in mine)

    def metadata(self, file: str) -> bytes:
        """Return the metadata of one wheel (PEP 658)."""
        with zipfile.ZipFile(BytesIO(self.files[file])) as archive:
            inside = next(each for each in archive.namelist() if each.endswith("/METADATA"))
            return archive.read(inside)


class IndexServer(http.server.ThreadingHTTPServer):
    """Serves a ``PackageIndex``; closing it waits for nobody."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, index: PackageIndex) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.index = index
        index.url = f"http://127.0.0.1:{self.server_port}/simple"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what the tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: IndexServer

    def do_GET(self) -> None:
        self._answer(self.path.strip("/").split("/"), body=True)

    def do_HEAD(self) -> None:
        self._answer(self.path.strip("/").split("/"), body=False)

    def _answer(self, path: list[str], *, body: bool) -> None:
        index = self.server.index
        if path[0] == "simple" and index.held == "*":
            self._wait()
        file, whole = path[-1], False
        if file.removesuffix(".metadata") in index.files:
            whole = file in index.files and body
            data = index.files.get(file) or index.metadata(file.removesuffix(".metadata"))
            kind = "application/octet-stream"
        elif page := index.page(file):
            data, kind = page.encode(), "text/html"
        else:
            self.send_error(404)
            return
        if whole:
            index.asked.append(file)
        if whole and index.held and file.startswith(f"{index.held}-"):
            self._wait()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _wait(self) -> None:
        self.server.index.reached.set()
        self.server.index.released.wait(30)

    def log_message(self, *_: object) -> None:
        """Stay silent."""
