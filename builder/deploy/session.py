"""One ssh connection to one host, and programs that run there. Everything that Fabric and paramiko may say becomes one of our errors.

No terminal is asked for: what runs there goes on when the connection is lost, and nothing there waits for an answer.
"""

from __future__ import annotations

import logging
import shlex
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import fabric
import paramiko

from .. import run
from ..errors import BuildError, DeployError, LoginError, LostError, NoPythonError, Problem, UnreachableHostError
from ..frozen import frozen
from ..install_release.errors import DegradedError
from . import host_keys

PIECE = 1 << 18  # bytes that are sent at once: paramiko copies the rest of a larger one for each packet
_CONNECT = 20  # seconds, where neither ssh's configuration nor Fabric's says
_ALIVE = 15  # seconds after which a silent connection is asked whether it is one
_DEAD = 60_000  # milliseconds without an answer to that
_MOST = 64 << 20  # bytes of what a program says
_LINE = 1 << 16  # bytes after which a line ends, whatever the host says
_PROGRAM = (Path(__file__).parent / "on_host.py").read_bytes()
_NO_PYTHON = 93
_PYTHONS = ("/usr/bin/python3", "python3", *(f"python3.{minor}" for minor in range(14, 8, -1)))
# One line, in words that every shell takes. Python reads the program byte by byte: what comes after it on standard input is for the program.
_START = (
    f"for p in {' '.join(_PYTHONS)}; do "
    'if "$p" -IS -c "import json, sys; sys.exit(sys.version_info < (3, 9))" 2>/dev/null; then '
    f'exec "$p" -IS -c "import os; exec(bytes().join(os.read(0, 1) for _ in range({len(_PROGRAM)})))" "$@"; fi; done; '
    'for p in python3 python; do v=$("$p" -V 2>&1) && echo "$v" >&2; done; '
    f"exit {_NO_PYTHON}"
)


@frozen
class Reply:
    """What a program on a host said. ``sent``: how many bytes of what it was to read have gone."""

    status: int
    out: bytes
    sent: int


class Session:
    """An open connection. ``name`` is what the operator calls the host."""

    def __init__(self, name: str, connection: fabric.Connection) -> None:
        self.name = name
        self._connection = connection

    def run(
        self, words: Iterable[str], feed: Iterable[bytes] = (), heard: Callable[[str], None] = lambda line: None, *, changes: bool = False
    ) -> Reply:
        """Run ``on_host`` with ``words``; it reads ``feed``, and each line of its standard error is ``heard``. ``changes``: when it has read all of
        that, it changes the host.

        Raises ``NoPythonError`` and, when the connection ends before the program does, ``LostError``.
        """
        out, lines = bytearray(), _Lines(heard)
        try:
            channel = self._connection.create_session()
            channel.exec_command(shlex.join(["sh", "-c", _START, "sh", *words]))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _lost(self.name, f"broke: {error}", False) from None
        listeners = [
            threading.Thread(target=_listen, args=(channel.recv, lambda piece: out.extend(piece[: _MOST - len(out)])), daemon=True),
            threading.Thread(target=_listen, args=(channel.recv_stderr, lines.take), daemon=True),
        ]
        for listener in listeners:
            listener.start()
        sent, whole = _feed(channel, feed)
        for listener in listeners:
            listener.join()
        lines.end()
        status = channel.recv_exit_status()
        if status == _NO_PYTHON:
            raise _no_python(self.name, lines.last)
        if status < 0:
            there = self._connection.transport.is_active()
            what = "ended, because the program there was killed" if there else f"was lost after {sent} bytes"
            raise _lost(self.name, what, whole and changes)
        return Reply(status, bytes(out), sent)


@contextmanager
def connected(name: str) -> Iterator[Session]:
    """A connection for as long as the block lasts, made as ssh's configuration says. Raises ``DeployError``."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it has to tell is in what it raises
    with ExitStack() as stack:
        with _in_words(name):
            config = fabric.Config()
            if config.timeouts.connect is None:
                config.timeouts.connect = _CONNECT
            connection = fabric.Connection(name, config=config)
            host_keys.guard(connection)
            for each in host_keys.route(connection):
                _pass_over_keys(each)
                _through_command(each, stack)
                stack.callback(_close, each)
            connection.open()
            _keep_alive(connection.transport)
        yield Session(name, connection)


def _pass_over_keys(connection: fabric.Connection) -> None:
    """An IdentityFile that is not there is passed over, as by ssh."""
    named = connection.connect_kwargs.get("key_filename", ())
    there = [each for each in ([named] if isinstance(named, str) else named) if Path(each).expanduser().exists()]
    connection.connect_kwargs = {**connection.connect_kwargs, "key_filename": there}


def _through_command(connection: fabric.Connection, stack: ExitStack) -> None:
    """A ProxyCommand as a socket: paramiko's own way of running one does not notice its end."""
    if isinstance(connection.gateway, str):
        its = stack.enter_context(run.connection(shlex.split(connection.gateway), UnreachableHostError))
        connection.connect_kwargs = {**connection.connect_kwargs, "sock": its}
        connection.gateway = None


def _close(connection: fabric.Connection) -> None:
    with suppress(Exception):  # whatever came of it is known by now
        connection.client.close()


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """What may go wrong before a connection stands. Of exceptions that are each other's, the closer one comes first."""
    try:
        yield
    except BuildError:
        raise
    except paramiko.BadHostKeyException as error:
        raise host_keys.changed(error) from None
    except paramiko.ConfigParseError as error:
        raise DeployError("ssh's configuration can't be read", [Problem("ssh_config", f"{error}.", "ssh -G HOST says where.")]) from None
    except paramiko.PasswordRequiredException as error:
        raise _no_login(name, str(error), "ssh-add the key: nothing asks for its passphrase here.") from None
    except paramiko.AuthenticationException as error:
        remedy = "Is the key in the agent (ssh-add -l) or named by IdentityFile, and in authorized_keys there? Is it the right user?"
        raise _no_login(name, str(error), remedy) from None
    except paramiko.SSHException as error:
        if "authentication methods" in str(error):  # paramiko has no class for having no key at all
            raise _no_login(name, str(error), "Name a key in ssh's configuration (IdentityFile), or ssh-add it.") from None
        raise _unreachable(name, error) from None
    except (OSError, ValueError, EOFError) as error:
        raise _unreachable(name, error) from None


def _no_login(name: str, what: str, remedy: str) -> LoginError:
    return LoginError("the host does not let us in", [Problem(name, f"{what.rstrip('.')}.", remedy)])


def _unreachable(name: str, error: Exception) -> UnreachableHostError:
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ended the connection"
    return UnreachableHostError(
        "the host can't be reached", [Problem(name, f"{what.rstrip('.')}.", f"Try ssh {name}: the same configuration is read.")]
    )


def _no_python(name: str, found: str) -> NoPythonError:
    what = f"has {found}: too old, or not all of it." if found else "has no Python."
    return NoPythonError("the host has no Python that runs the installer", [Problem(name, what, "Install python3, 3.9 or newer, all of it.")])


def _lost(name: str, what: str, whole: bool) -> LostError:
    """``whole``: all has been sent, so that what was started there goes on."""
    if not whole:
        remedy = "What is cut off is refused there: nothing was changed."
        return LostError("the connection was lost", [Problem(name, f"the connection {what}.", remedy)])
    what = f"the connection {what}, when all had been sent: the installer goes on by itself, and ends with this release live, or with what was live."
    problem = Problem(name, what, "install-release status there says which.")
    error = LostError("the connection was lost while the installer was at work", [problem])
    error.status = DegradedError.status
    return error


def _keep_alive(transport: paramiko.Transport) -> None:
    """A host that has gone without a word is noticed: by the kernel, where the connection is one of its own."""
    transport.set_keepalive(_ALIVE)
    if isinstance(transport.sock, socket.socket) and transport.sock.family in (socket.AF_INET, socket.AF_INET6):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD)


def _feed(channel: paramiko.Channel, feed: Iterable[bytes]) -> tuple[int, bool]:
    """Send the program and what it is to read: how much of that has gone, and whether all has. A program that ends early needs no more."""
    sent, whole = 0, _put(channel.sendall, _PROGRAM)
    if whole:
        for piece in feed:
            if not (whole := _put(channel.sendall, piece)):
                break
            sent += len(piece)
    return sent, whole and _put(channel.shutdown_write)


def _put(send: Callable[..., object], *data: bytes) -> bool:
    """Whether it went: the other side may have ended, or the connection."""
    try:
        send(*data)
    except (OSError, EOFError, paramiko.SSHException):
        return False
    return True


def _listen(receive: Callable[[int], bytes], take: Callable[[bytes], object]) -> None:
    while piece := receive(PIECE):
        take(piece)


class _Lines:
    """What comes in pieces, by lines. ``last``: the last of them."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self.last = ""
        self._heard, self._rest = heard, b""

    def take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self.last = line.decode("utf-8", "replace")
            self._heard(self.last)

    def end(self) -> None:
        if self._rest:
            self.take(b"\n")
