"""Keep a Python process on loopback; children load this through PYTHONPATH, conftest runs it."""

import socket
import sys

blocked: list[str] = []  # what was tried, so that a test fails even where the error was swallowed

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.", "ip6-localhost")
_NOWHERE = (".invalid", ".test", ".example")  # RFC 2606: they resolve nowhere


def _refuse(what: str) -> None:
    blocked.append(what)
    message = f"the network is off in tests, and this wanted {what}"
    raise RuntimeError(message)


def _host_of(address: object) -> str:
    host = address[0] if isinstance(address, tuple) and address else ""
    return host.decode(errors="replace") if isinstance(host, bytes) else str(host)


def _is_numeric(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _guard(event: str, args: tuple) -> None:
    if not event.startswith("socket."):
        return
    if event in {"socket.connect", "socket.sendto"}:
        host = _host_of(args[1])  # a Unix socket's address is a path, not a tuple
        if host and not host.startswith(_LOCAL):
            _refuse(f"a connection to {host}")
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = _host_of((args[0] or "",))
        if host.rstrip(".").endswith(_NOWHERE):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        # A number needs no name server; connecting to it is judged above.
        if host and not host.startswith(_LOCAL) and not _is_numeric(host):
            _refuse(f"the address of {host}")


# An audit hook sees every door, C code included, and cannot be patched away by the code under test.
sys.addaudithook(_guard)
