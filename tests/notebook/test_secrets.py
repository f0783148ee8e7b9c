"""Keys appear nowhere: whatever happens to them, nothing that is shown or kept holds one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest

pytestmark = pytest.mark.kernel

ENVIRONMENT_KEY = "sk-planted-in-the-environment-0123456789"
TYPED_KEY = "sk-planted-by-getpass-9876543210"
FILE_KEY = "sk-planted-in-a-file-5555555555"
KEYS = (ENVIRONMENT_KEY, TYPED_KEY, FILE_KEY)


class Echo(BaseHTTPRequestHandler):
    """An endpoint that answers with an error and repeats the key that it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("authorization", "none")
        self.server.keys.append(key)
        message = f"Incorrect API key provided: {key.removeprefix('Bearer ')}"
        body = json.dumps({"error": {"message": message}}).encode()
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.send_header("www-authenticate", key)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.keys = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


CELLS = [
    "import logging; logging.basicConfig(level=logging.DEBUG)",
    "%%agent\nhello",
    "%%agent bob\nhello",
    """import os; from tframex_nb import Agent, VLLMModel, collect
m = VLLMModel('x', URL, os.environ['TFRAMEX_API_KEY']); m""",
    "m.__dict__, vars(m)",
    "await m.run([{'role': 'user', 'content': 'hi'}])",
    """import traceback
try: await m.run([{'role': 'user', 'content': 'hi'}])
except Exception as e:
    print(traceback.format_exc(), repr(e), e.__dict__)
    whole = traceback.TracebackException.from_exception(e, capture_locals=True)
    print(''.join(whole.format()))""",
    "%xmode Verbose",
    "await m.run([{'role': 'user', 'content': 'hi'}])",
    "VLLMModel('x', URL, os.environ['TFRAMEX_API_KEY'] + '\\n')",
    "%xmode Context",
    "from tframex_nb.settings import load_settings; s = load_settings(); s",
    "s.model_dump(), s.sources, s.connection()",
    "s.model_dump_json()",
    "%models",
    "%models use team:gpt",
    "%ask hello",
    "%agents\n",
    "%agents show bob",
    "%agents history bob",
    "%runs",
    "bob.last, bob.last.events, bob.last.summary(), bob.last.error",
    "%config TFrameX",
    "%fix 3",
    "from tframex_nb.models import shared_endpoints; shared_endpoints().__dict__",
]


def test_no_key_is_shown_logged_or_saved(new_kernel, echo, tmp_path):
    """Environment, file and getpass keys, an endpoint that echoes them, DEBUG logging."""
    url = f"http://127.0.0.1:{echo.server_port}/v1"
    team = f'[endpoints.team]\nurl = "{url}"\napi_key = "{FILE_KEY}"\n'
    log_path = tmp_path / "kernel.log"
    with log_path.open("w") as log:
        kernel = new_kernel(
            log=log, TFRAMEX_API_URL=url, TFRAMEX_API_KEY=ENVIRONMENT_KEY, TFRAMEX_MODEL="x"
        )
        try:
            kernel.run(f"URL = {url!r}\n%load_ext tframex_nb")
            kernel.run(f"open('tframex.toml', 'w').write({team!r})")
            kernel.run("%reset -f in out")
            kernel.cells.clear()  # the test's own cell, which wrote the key into the file
            for code in CELLS:
                kernel.run(code, stop_on_error=False)
            typed = kernel.start(f"%models connect {url}")
            kernel.answer(TYPED_KEY)
            kernel.wait(typed)
            kernel.run(f"%%agent -m 127.0.0.1:x --api-url {url}\nhi", stop_on_error=False)
            kernel.run("In, _ih, Out", stop_on_error=False)
            shown = [m.content for cell in kernel.cells.values() for m in cell.messages]
            replies = [cell.reply for cell in kernel.cells.values()]
        finally:
            kernel.close()
    notebook = _saved(kernel)
    places = {
        "messages": json.dumps(shown, ensure_ascii=False),
        "replies": json.dumps(replies, ensure_ascii=False, default=str),
        "notebook": notebook,
        "kernel log": log_path.read_text(),
    }
    assert f"Bearer {ENVIRONMENT_KEY}" in echo.keys  # the keys were really used
    assert f"Bearer {FILE_KEY}" in echo.keys
    assert "refused the API key" in places["messages"]
    found = [(place, key) for place, text in places.items() for key in KEYS if key in text]
    assert found == []


def test_the_command_line_shows_no_key(echo, tmp_path, monkeypatch):
    url = f"http://127.0.0.1:{echo.server_port}/v1"
    monkeypatch.setenv("TFRAMEX_API_URL", url)
    monkeypatch.setenv("TFRAMEX_API_KEY", ENVIRONMENT_KEY)
    monkeypatch.setenv("TFRAMEX_MODEL", "x")
    for arguments in (["doctor"], ["doctor", "--json"], ["models", "list"], ["demo", "-m", "x"]):
        command = [sys.executable, "-m", "tframex_nb", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ENVIRONMENT_KEY not in done.stdout + done.stderr


def _saved(kernel) -> str:
    """The notebook file as a front end would save it."""
    cells = []
    for cell in kernel.cells.values():
        code = nbformat.v4.new_code_cell()
        for message in cell.messages:
            if message.type in ("stream", "display_data", "execute_result", "error"):
                content = {k: v for k, v in message.content.items() if k != "transient"}
                code.outputs.append(nbformat.v4.new_output(message.type, **content))
        cells.append(code)
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells))
