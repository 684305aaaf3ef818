"""Health: the release that was just made live answers, as itself, so many times in a row, before one absolute deadline.

HTTP is read by a small reader of our own: the standard library's has a deadline for each read only, so that a server which sends a byte a
second would hold it for ever. Nothing outlives the deadline here: a connection is given up at one moment, a command is killed with all it started.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from . import __version__, child, interrupts, launcher
from .declared import Health
from .manifest import RELEASE_ID
from .records import NamedTuple
from .who import printable

MOST_BYTES = 64 << 10  # of an answer, its headers included; what follows is not read
PAUSE = 0.25  # seconds between two attempts
_MOST_LINES, _MOST_WORDS = 40, 300  # of a log, and characters of one line
_ROOT = "@root@"


class Verdict(NamedTuple):
    """What came of it: whether it passed, and what the check saw, in lines with the seconds since it began."""

    good: bool
    log: tuple[str, ...]


class _FailedError(Exception):
    """One attempt that did not pass, in words."""


def described(check: Health) -> str:
    """What is asked, for people."""
    over = f" over {check.socket}" if check.url and check.socket else ""
    what = (check.url + over) or check.socket or check.tcp or shlex.join(check.command)
    return f"{what} ({check.passes} times in a row, within {check.deadline} s)"


def watch(
    check: Health,
    directory: str,
    say: Callable[[str], None] = lambda line: None,
    masked: Callable[[str], str] = printable,
    hopeless: Callable[[], str] = str,
) -> Verdict:
    """Ask until ``check.passes`` answers in a row are good, or ``check.deadline`` seconds are over. ``directory`` is the release's, physical.
    What is told of the answers is ``masked``. ``hopeless`` is asked after each that was not good: why no other will be, "" where one may.

    One attempt may take so long that all that are needed still fit in. Can be interrupted at any time.
    """
    release = _Release(directory)
    start = time.monotonic()
    end, longest = start + check.deadline, check.deadline / (check.passes + 1)
    log, passes = _Log(), 0
    while True:
        began = time.monotonic()
        try:
            what, passes = f"passed: {_attempt(check, release, min(end, began + longest))}", passes + 1
        except _FailedError as failed:
            what, passes = str(failed), 0
        what = masked(what)[:_MOST_WORDS]
        if log.add(began - start, what):
            say(f"health: {what}")
        if passes == check.passes:
            return Verdict(True, log.lines())
        if not passes and (why := hopeless()):
            log.add(time.monotonic() - start, f"gave up: {why}")
            return Verdict(False, log.lines())
        if time.monotonic() + PAUSE >= end:
            log.add(time.monotonic() - start, f"gave up: not {check.passes} good answers in a row within {check.deadline} s")
            return Verdict(False, log.lines())
        time.sleep(PAUSE)


class _Release:
    """What a check has to know of the release that shall answer."""

    def __init__(self, directory: str) -> None:
        above, self.id = os.path.split(directory)
        self.root = os.path.dirname(above)
        self.launcher = os.path.join(directory, launcher.NAME)


class _Log:
    """What was seen, the same one after the other in one line; of very much, the first and the last."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float, int, str]] = []
        self.left_out = 0

    def add(self, moment: float, what: str) -> bool:
        """Whether it is something new."""
        if self.seen and self.seen[-1][3] == what:
            first, _, count, _ = self.seen[-1]
            self.seen[-1] = (first, moment, count + 1, what)
            return False
        self.seen.append((moment, moment, 1, what))
        if len(self.seen) > _MOST_LINES:
            self.left_out += self.seen.pop(_MOST_LINES // 2)[2]
        return True

    def lines(self) -> tuple[str, ...]:
        lines = [
            f"{first:.1f} s  {what}" if count == 1 else f"{first:.1f} to {last:.1f} s  {count} times: {what}"
            for first, last, count, what in self.seen
        ]
        if self.left_out:
            lines.insert(_MOST_LINES // 2, f"… {self.left_out} more")
        return tuple(lines)


def _attempt(check: Health, release: _Release, end: float) -> str:
    """Ask once, until ``end``; what the good answer was. Raises ``_FailedError``."""
    try:
        if check.command:
            return _command(check, release, end)
        if check.url:
            return _judge(check, release.id, _get(check, release, end))
        with closing(_connect(check, release, end)):
            return "connected"
    except (TimeoutError, socket.timeout):  # two classes before Python 3.10
        raise _FailedError("no answer in time") from None
    except OSError as error:
        raise _FailedError((error.strerror or str(error)).lower()) from None
    except ValueError as error:  # an address that is none
        raise _FailedError(str(error)) from None


def _command(check: Health, release: _Release, end: float) -> str:
    done = child.run([release.launcher, *check.command], deadline=_left(end), environment=child.personal(), keep=MOST_BYTES)
    if not done.good:
        raise _FailedError(f"the command {done.reason}")
    if check.body and check.body not in done.output:
        raise _FailedError(f"the command did not say {check.body!r}")
    if check.reports_id and release.id not in done.output:
        raise _FailedError(f"the command ended with status 0, but {_other_id(release.id, done.output)}")
    return "the command ended with status 0"


class Answer(NamedTuple):
    """An HTTP answer: header names in lower case, the body as far as it was read."""

    status: int
    headers: Mapping[str, str]
    body: str


def _judge(check: Health, release: str, answer: Answer) -> str:
    if answer.status != check.status:
        to = f" (to {answer.headers['location']}: redirects are not followed)" if "location" in answer.headers else ""
        raise _FailedError(f"answered {answer.status}{to}, expected {check.status}")
    if check.body not in answer.body:
        raise _FailedError(f"answered {answer.status}, without {check.body!r} in its body: {answer.body[:80]!r}")
    told = answer.headers.get("x-release-id", "")
    if check.reports_id and release not in told and release not in answer.body:
        raise _FailedError(f"answered {answer.status}, but {_other_id(release, f'{told} {answer.body}')}")
    return f"answered {answer.status}" + (f" as {release}" if check.reports_id else "")


def _other_id(release: str, said: str) -> str:
    other = RELEASE_ID.search(said)
    if other:
        return f"as {other[0]}, expected {release}"
    return f"does not tell that it is {release} (in the header X-Release-Id, or in what it says)"


def _get(check: Health, release: _Release, end: float) -> Answer:
    from urllib.parse import urlsplit  # only now: each start would pay for it

    url = urlsplit(check.url)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    with closing(_connect(check, release, end)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {url.netloc.rpartition('@')[2]}\r\nUser-Agent: install-release/{__version__}\r\n"
        connection.settimeout(_left(end))
        connection.sendall(f"{head}Accept: */*\r\nConnection: close\r\n\r\n".encode())
        return read_answer(lambda: _receive(connection, end))


def _connect(check: Health, release: _Release, end: float) -> socket.socket:
    if check.socket:
        path = release.root + check.socket[len(_ROOT) :] if check.socket.startswith(_ROOT) else check.socket
        return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, end)
    problem = OSError("has no address")
    for family, address in _addresses(*_place(check), end):
        try:
            return _connected(socket.socket(family, socket.SOCK_STREAM), address, end)
        except OSError as error:
            problem = error
    raise problem


def _connected(connection: socket.socket, address: object, end: float) -> socket.socket:
    try:
        connection.settimeout(_left(end))
        connection.connect(address)  # type: ignore[arg-type]  # of whatever family it is
    except BaseException:
        connection.close()
        raise
    return connection


def _place(check: Health) -> tuple[str, int]:
    if check.url:
        from urllib.parse import urlsplit

        url = urlsplit(check.url)
        return url.hostname or "", url.port or 80
    name, _, port = check.tcp.rpartition(":")
    return name.strip("[]"), int(port)


def _addresses(name: str, port: int, end: float) -> list[tuple[int, object]]:
    """Where ``name`` is. A name server that does not answer can't be interrupted: it is asked in a thread that may be left behind."""
    found: list[tuple[int, object]] = []
    problem: list[Exception] = []

    def ask(flags: int = 0) -> None:
        try:
            found.extend((family, address) for family, _, _, _, address in socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM, 0, flags))
        except (OSError, UnicodeError) as error:
            problem.append(error)

    ask(socket.AI_NUMERICHOST)
    if not found:
        problem.clear()
        thread = threading.Thread(target=ask, daemon=True)
        with interrupts.held():  # a signal is for the main thread: it shall not be taken by this one
            thread.start()
        thread.join(_left(end))
    if problem:
        raise problem[0]
    if not found:
        raise TimeoutError
    return found


def _left(end: float) -> float:
    """Seconds up to ``end``. Raises ``TimeoutError`` when there are none."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(connection: socket.socket, end: float) -> bytes:
    connection.settimeout(_left(end))
    return connection.recv(16 << 10)


def read_answer(receive: Callable[[], bytes]) -> Answer:
    """Read one HTTP/1.x answer from what ``receive`` gives, piece by piece (b"" at the end), up to ``MOST_BYTES`` in all.

    Raises ``_FailedError`` for what is no such answer, or ends before its end.
    """
    reader = _Reader(receive)
    status = 0
    while status < 200 and status != 101:  # 100 and 103 only announce it
        status, headers = _head(reader)
    body = b""
    try:
        if status in (101, 204, 304):
            pass
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            while size := _number(reader.until(b"\r\n", "a chunk").partition(b";")[0], 16):
                body += reader.exactly(size)
                reader.until(b"\r\n", "a chunk")
        elif "content-length" in headers:
            body = reader.exactly(_number(headers["content-length"].encode(), 10))
        else:
            body = reader.rest()
    except _EnoughError as enough:
        body += enough.data
    return Answer(status, headers, body.decode("utf-8", "replace"))


def _head(reader: _Reader) -> tuple[int, dict[str, str]]:
    try:
        first, *lines = reader.until(b"\r\n\r\n", "its headers").decode("latin-1").split("\r\n")
    except _EnoughError:
        raise _FailedError(f"sends headers without an end (more than {MOST_BYTES} bytes)") from None
    version, _, rest = first.partition(" ")
    if not (version in ("HTTP/1.1", "HTTP/1.0") and rest[:3].isascii() and rest[:3].isdigit() and rest[3:4] in ("", " ")):
        raise _FailedError(f"answers no HTTP: {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return int(rest[:3]), headers


def _number(text: bytes, base: int) -> int:
    if re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text.strip()):
        with suppress(ValueError):
            return int(text, base)
    raise _FailedError(f"answers no HTTP: {text[:80]!r} is no length")


class _EnoughError(Exception):
    """``MOST_BYTES`` were read; ``data`` is what came of the part that was wanted."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


class _Reader:
    """Bytes as they come, up to ``MOST_BYTES`` of them."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self.receive = receive
        self.data = bytearray()
        self.room = MOST_BYTES

    def more(self) -> bool:
        """Wait for more. False at the end."""
        if self.room <= 0:
            raise _EnoughError(bytes(self.data))
        piece = self.receive()[: self.room]
        self.room -= len(piece)
        self.data += piece
        return bool(piece)

    def until(self, mark: bytes, what: str) -> bytes:
        """All before ``mark``, which is taken too."""
        searched = 0
        while (found := self.data.find(mark, searched)) < 0:
            searched = max(0, len(self.data) - len(mark))
            if not self.more():
                raise _FailedError(f"closed the connection within {what}" if self.room < MOST_BYTES else "closed the connection without an answer")
        taken = bytes(self.data[:found])
        del self.data[: found + len(mark)]
        return taken

    def exactly(self, size: int) -> bytes:
        while len(self.data) < size:
            if not self.more():
                raise _FailedError(f"closed the connection after {len(self.data)} of {size} bytes")
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def rest(self) -> bytes:
        while self.more():
            pass
        return bytes(self.data)
