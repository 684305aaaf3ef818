"""A way to the server that can be bad: it counts requests, and lets a test do something before or after one, slow it down, or cut it off."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = Callable[[int, str, str], None]
_STEP = 64 << 10


class Cut(Exception):
    """The connection ends here, without another word."""


def nothing(number: int, method: str, path: str) -> None:
    """What happens before and after most requests."""


@dataclass
class Proxy:
    """``before`` and ``after`` are told number (from 1), method and path of a request, and may raise ``Cut``. ``rate`` is in bytes a second, for each
    connection; ``cut_after`` bytes of an answer's body the connection ends, ``cuts`` times."""

    target: str  # host:port
    before: Event = nothing
    after: Event = nothing
    rate: float = 0
    cut_after: int = 0
    cuts: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def between(endpoint: str, **how: Any) -> Iterator[Proxy]:
    """A proxy to ``endpoint`` for as long as the block lasts."""
    proxy = Proxy(endpoint.removeprefix("http://"), **how)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, Cut):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            super().finish()

    def _forward(self) -> None:
        proxy = self.proxy
        with proxy.lock:
            proxy.requests.append((self.command, self.path))
            number = len(proxy.requests)
        try:
            body = self._take(int(self.headers.get("Content-Length") or 0))
            proxy.before(number, self.command, self.path)
            server = http.client.HTTPConnection(proxy.target, timeout=60)
            try:
                server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() != "expect":
                        server.putheader(name, value)
                server.endheaders(body)
                answer = server.getresponse()
                data = answer.read()
            finally:
                server.close()
            proxy.after(number, self.command, self.path)
        except (Cut, OSError, http.client.HTTPException):
            self._hang_up()
            return
        self._answer(answer, data)

    def _take(self, length: int) -> bytes:
        pieces = []
        while length:
            piece = self.rfile.read(min(length, _STEP))
            if not piece:
                raise Cut
            self._wait(len(piece))
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _answer(self, answer: http.client.HTTPResponse, data: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        with self.proxy.lock:
            cut = self.proxy.cut_after if self.proxy.cuts and len(data) > self.proxy.cut_after else 0
            self.proxy.cuts -= bool(cut)
        if self.command != "HEAD":
            for start in range(0, cut or len(data), _STEP):
                piece = data[start : min(start + _STEP, cut or len(data))]
                self._wait(len(piece))
                self.wfile.write(piece)
        if cut:
            self._hang_up()

    def _wait(self, count: int) -> None:
        if self.proxy.rate:
            time.sleep(count / self.proxy.rate)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward
