"""A real Jupyter kernel, every message of its iopub socket kept with its time and size."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ANSI = re.compile(r"\x1b\[[0-9;]*m")
DELIMITER = b"<IDS|MSG>"


@dataclass
class Message:
    """One iopub message: its type, content, arrival (monotonic seconds) and wire size (bytes)."""

    type: str
    content: dict
    time: float
    size: int


@dataclass
class Cell:
    """One execution: what was sent, what came back, when."""

    msg_id: str
    sent: float
    messages: list[Message] = field(default_factory=list)
    reply: dict = field(default_factory=dict)
    idle: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)
    seen: threading.Condition = field(default_factory=threading.Condition)

    @property
    def status(self) -> str:
        return self.reply.get("status", "")

    @property
    def error(self) -> list[str]:
        """The lines of the error as the user sees them, without colours."""
        lines = [m.content["traceback"] for m in self.messages if m.type == "error"]
        return [ANSI.sub("", line) for block in lines for line in block]

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def displays(self) -> list[dict]:
        """The data of each display in its final state, in the order of their first showing."""
        out: list[dict] = []
        by_id: dict[str, int] = {}
        for message in self.messages:
            if message.type not in ("display_data", "execute_result", "update_display_data"):
                continue
            key = message.content.get("transient", {}).get("display_id")
            if message.type == "update_display_data":
                if key in by_id:  # else it changes what another cell shows, as in a front end
                    out[by_id[key]] = message.content["data"]
                continue
            if key:
                by_id[key] = len(out)
            out.append(message.content["data"])
        return out

    @property
    def markdown(self) -> str:
        return "\n".join(d.get("text/markdown", "") for d in self.displays)

    def visible(self) -> list[Message]:
        kinds = {"stream", "display_data", "update_display_data", "execute_result", "error"}
        return [m for m in self.messages if m.type in kinds]

    def wait_for(self, text: str, timeout: float = 30.0) -> float:
        """Wait until ``text`` is on the screen; return when it arrived.

        The echo of the cell's own source does not count.
        """
        end = time.monotonic() + timeout
        with self.seen:
            while True:
                for message in self.messages:
                    if message.type not in {"status", "execute_input"} and text in json.dumps(
                        message.content, ensure_ascii=False
                    ):
                        return message.time
                if self.done.is_set() or not self.seen.wait(end - time.monotonic()):
                    raise AssertionError(f"{text!r} never came: {self.visible()}")

    def _stream(self, name: str) -> str:
        parts = [m.content for m in self.messages if m.type == "stream"]
        return ANSI.sub("", "".join(p["text"] for p in parts if p["name"] == name))


class Kernel:
    """An ipykernel process; ``python`` is the interpreter that it runs in."""

    def __init__(
        self, python: str = sys.executable, env: dict | None = None, cwd: str = ".", log=None
    ):
        self.manager = KernelManager()
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = KernelSpec(argv=argv, display_name="test", language="python")
        self.manager._kernel_spec = spec
        streams = {"stdout": log, "stderr": log} if log is not None else {}
        self.manager.start_kernel(env={**os.environ, **(env or {})}, cwd=cwd, **streams)
        self.client = self.manager.client()
        self._wait_bound()
        self._connect_manager()
        self.cells: dict[str, Cell] = {}
        self.strays: list[Message] = []  # that belong to no cell
        self._context = zmq.Context()
        self._iopub = self._context.socket(zmq.SUB)
        self._iopub.setsockopt(zmq.RCVHWM, 0)
        self._iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self._iopub.connect(f"tcp://127.0.0.1:{self.client.iopub_port}")
        self.client.start_channels(iopub=False, hb=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._wait_ready()

    @property
    def pid(self) -> int:
        return self.manager.provisioner.process.pid

    def run(self, code: str, *, timeout: float = 60.0, **options) -> Cell:
        """Execute a cell and wait for its end."""
        return self.wait(self.start(code, **options), timeout)

    def start(
        self, code: str, *, cell_id: str | None = None, allow_stdin=True, stop_on_error=False
    ) -> Cell:
        """Send a cell and return at once."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": stop_on_error,
        }
        message = self.client.session.msg("execute_request", content)
        message["metadata"]["cellId"] = cell_id
        cell = Cell(message["header"]["msg_id"], time.monotonic())
        self.cells[cell.msg_id] = cell
        self.client.shell_channel.send(message)
        return cell

    def wait(self, cell: Cell, timeout: float = 60.0) -> Cell:
        end = time.monotonic() + timeout
        while not cell.reply:
            message = self.client.get_shell_msg(timeout=max(0.1, end - time.monotonic()))
            owner = self.cells.get(message["parent_header"].get("msg_id"))
            if owner is not None:
                owner.reply = message["content"]
        if not cell.done.wait(max(0.1, end - time.monotonic())):
            raise AssertionError("the kernel did not become idle")
        return cell

    def answer(self, text: str) -> None:
        """Answer the next question that the running cell asks (getpass, input)."""
        self.client.get_stdin_msg(timeout=30)
        self.client.input(text)

    def interrupt(self) -> float:
        """Send SIGINT to the kernel's process; return when."""
        now = time.monotonic()
        os.kill(self.pid, signal.SIGINT)
        return now

    def complete(self, code: str, position: int | None = None) -> list[str]:
        position = len(code) if position is None else position
        message_id = self.client.complete(code, position)
        while True:
            message = self.client.get_shell_msg(timeout=30)
            if message["parent_header"].get("msg_id") == message_id:
                return message["content"]["matches"]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self._stop.set()
        self._thread.join()
        self._iopub.close(0)
        self._context.term()
        self.manager.cleanup_resources()
        self.client.context.destroy(linger=0)

    def _wait_bound(self) -> None:
        """Wait until the kernel listens on every port.

        A channel that is refused connects again later, with a socket that a test would own.
        """
        client = self.client
        ports = (client.shell_port, client.iopub_port, client.stdin_port, client.control_port)
        end = time.monotonic() + 60
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)

    def _connect_manager(self) -> None:
        """Let the manager connect its own control socket now, and not some time later.

        It tried while the kernel was starting, was refused, and would try again during a test.
        """
        self.manager._close_control_socket()
        self.manager._connect_control_socket()
        control, session = self.manager._control_socket, self.manager.session
        session.send(control, "kernel_info_request")
        assert control.poll(60_000), "the kernel answers nothing on its control channel"
        session.recv(control)

    def _wait_ready(self) -> None:
        for _ in range(120):
            self.client.kernel_info()
            try:
                self.client.get_shell_msg(timeout=0.5)
            except Exception:
                continue
            break
        else:
            raise RuntimeError("the kernel did not start")
        while self.client.shell_channel.msg_ready():
            self.client.get_shell_msg(timeout=1)
        self._wait_subscribed()

    def _wait_subscribed(self) -> None:
        """Run cells until one is seen to end: what was published before we joined is lost."""
        for _ in range(30):
            try:
                assert self.run("None", timeout=1).status == "ok"
            except (AssertionError, queue.Empty):
                continue
            return
        raise RuntimeError("the kernel publishes nothing")

    def _listen(self) -> None:
        poller = zmq.Poller()
        poller.register(self._iopub, zmq.POLLIN)
        while not self._stop.is_set():
            if poller.poll(100):
                self._take(self._iopub.recv_multipart(), time.monotonic())

    def _take(self, frames: list[bytes], now: float) -> None:
        start = frames.index(DELIMITER)
        header, parent, _, content = (json.loads(frame) for frame in frames[start + 2 : start + 6])
        message = Message(header["msg_type"], content, now, sum(len(frame) for frame in frames))
        cell = self.cells.get(parent.get("msg_id"))
        if cell is None:
            self.strays.append(message)
            return
        with cell.seen:
            cell.messages.append(message)
            if content.get("execution_state") == "idle":
                cell.idle = now
                cell.done.set()
            cell.seen.notify_all()
