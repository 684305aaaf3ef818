"""Little servers that answer as they are told: well, badly, slowly, or not at all. Each lives until its block ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def server(behave: Behaviour, path: Path | None = None) -> Iterator[str]:
    """A server on a free port of 127.0.0.1 (its ``host:port``), or on the unix socket ``path`` (that)."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen(16)
    over = threading.Event()
    threads = [threading.Thread(target=_accept, args=(listener, behave, over))]
    threads[0].start()
    try:
        yield str(path) if path else f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        threads[0].join()


def _accept(listener: socket.socket, behave: Behaviour, over: threading.Event) -> None:
    while not over.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, behave, over), daemon=True).start()


def _serve(connection: socket.socket, behave: Behaviour, over: threading.Event) -> None:
    with closing(connection), suppress(OSError):
        connection.recv(4096)
        behave(connection, over)


def says(*pieces: bytes) -> Behaviour:
    """Answers with these pieces, and closes."""

    def behave(connection: socket.socket, _over: threading.Event) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return behave


def answers(body: str, status: str = "200 OK", headers: str = "") -> Behaviour:
    """Answers whole and well."""
    return says(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode())


def drips(first: bytes, forever: bytes, pause: float) -> Behaviour:
    """Begins with ``first``, then sends ``forever`` again and again, until the block ends."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(first)
        while not over.wait(pause):
            connection.sendall(forever)

    return behave


def hangs(_connection: socket.socket, over: threading.Event) -> None:
    """Takes the request and says nothing."""
    over.wait()
