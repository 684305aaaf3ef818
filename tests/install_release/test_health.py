"""The health check, against real little servers and commands. What never answers never ends by itself: the check has to."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from builder.install_release import health, interrupts
from builder.install_release.declared import Health

from .servers import answers, drips, hangs, says, server

ID, OTHER = "20251123101210-0123456789ab", "20251123101211-0123456789ab"
HTTP = Health(status=200, reports_id=True, passes=2, deadline=30)
OK = "HTTP/1.1 200 OK\r\n"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release's directory, with a ``bin/run`` that only starts what follows."""
    directory = tmp_path / "releases" / ID
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/run").write_text('#!/bin/sh\nexec "$@"\n')
    (directory / "bin/run").chmod(0o755)
    return directory


def watch(check: Health, release: Path, **more: Any) -> health.Verdict:
    return health.watch(check._replace(**more), str(release))


@pytest.mark.parametrize(
    "answer",
    [
        answers(f"fine, {ID}"),
        answers("fine", headers=f"X-Release-Id: {ID}\r\n"),
        says(f"{OK}\r\nfine, {ID}".encode()),
        says(f"HTTP/1.0 200 OK\r\nx-release-id: {ID}\r\n\r\nfine".encode()),
        says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", f"{OK}\r\nfine, {ID}".encode()),
        says(f"{OK}Transfer-Encoding: chunked\r\n\r\n6;x=y\r\nfine, \r\n".encode(), f"1b\r\n{ID}\r\n0\r\n\r\n".encode()),
        says(*(bytes([byte]) for byte in f"{OK}Content-Length: 33\r\n\r\nfine, {ID}".encode())),
        answers(f"fine, {ID}" + "x" * 200_000),
        drips(f"{OK}X-Release-Id: {ID}\r\n\r\nfine".encode(), b"x" * 4096, 0.0),
    ],
)
def test_a_good_answer_however_it_is_framed(release: Path, answer: Any) -> None:
    """By length, in chunks, up to the close, in single bytes, after an interim answer, or longer than is read."""
    with server(answer) as place:
        verdict = watch(HTTP, release, url=f"http://{place}/health", body="fine")
    assert verdict.good, verdict.log
    assert verdict.log[-1].endswith(f"2 times: passed: answered 200 as {ID}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answers("broken", "500 Internal Server Error"), "answered 500, expected 200"),
        (answers("", "302 Found", "Location: /login\r\n"), "answered 302 (to /login: redirects are not followed), expected 200"),
        (answers("down"), "answered 200, without 'fine' in its body: 'down'"),
        (answers("fine"), f"answered 200, but does not tell that it is {ID}"),
        (answers(f"fine, {OTHER}"), f"answered 200, but as {OTHER}, expected {ID}"),
        (answers("fine", headers=f"X-Release-Id: {OTHER}\r\n"), f"answered 200, but as {OTHER}, expected {ID}"),
        (says(), "closed the connection without an answer"),
        (says(b"HTTP/1.1 200 OK\r\nConten"), "closed the connection within its headers"),
        (says(f"{OK}Content-Length: 1000\r\n\r\nfine, {ID}".encode()), "closed the connection after 33 of 1000 bytes"),
        (says(f"{OK}Transfer-Encoding: chunked\r\n\r\n6\r\nfine, \r\n".encode()), "closed the connection within a chunk"),
        (says(f"{OK}Transfer-Encoding: chunked\r\n\r\nfine\r\n".encode()), "answers no HTTP: b'fine' is no length"),
        (says(f"{OK}Content-Length: -5\r\n\r\nfine".encode()), "answers no HTTP: b'-5' is no length"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "answers no HTTP: 'SSH-2.0-OpenSSH_9.2'"),
        (says(b"\x16\x03\x01\x00\x1b[2J\r\n\r\n"), "answers no HTTP: "),
        (hangs, "no answer in time"),
        (drips(b"", b"H", 0.05), "no answer in time"),
        (drips(f"{OK}Content-Length: 100000\r\n\r\n".encode(), b"x", 0.05), "no answer in time"),
        (drips(OK.encode(), b"X-Header: x\r\n", 0.0), "sends headers without an end"),
        (drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0), "sends headers without an end"),
    ],
)
def test_what_is_no_good_answer(release: Path, answer: Any, words: str) -> None:
    """Wrong, of the old release, cut off, dripping, flooding or silent: it does not pass, it ends, and the log says why."""
    with server(answer) as place:
        verdict = watch(HTTP, release, url=f"http://{place}/health", body="fine", deadline=1)
    assert not verdict.good
    assert words in "\n".join(verdict.log), verdict.log
    assert verdict.log[-1].endswith("gave up: not 2 good answers in a row within 1 s")
    assert all(line.isprintable() for line in verdict.log)


def test_passes_count_in_a_row(release: Path) -> None:
    """A bad answer in between begins the count anew; the log tells it in three lines."""
    turn = iter([200, 200, 500, 200, 200, 200])

    def behave(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(f"HTTP/1.1 {next(turn)} x\r\nContent-Length: 0\r\n\r\n".encode())

    with server(behave) as place:
        verdict = watch(HTTP, release, url=f"http://{place}/", reports_id=False, passes=3)
    assert verdict.good
    assert [line.partition("s  ")[2] for line in verdict.log] == [
        "2 times: passed: answered 200",
        "answered 500, expected 200",
        "3 times: passed: answered 200",
    ]


def test_a_service_that_still_starts_is_waited_for(release: Path, tmp_path: Path) -> None:
    """First there is no socket, then nobody listens, then it answers."""
    path = tmp_path / "s"
    verdicts: list[health.Verdict] = []
    watching = threading.Thread(target=lambda: verdicts.append(watch(HTTP, release, url="http://shop.example.org/", socket=str(path))))
    watching.start()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
    path.unlink()
    with server(answers(ID), path):
        watching.join()
    assert verdicts[0].good, verdicts
    assert watch(HTTP, release, url="http://shop.example.org/", socket=str(path), deadline=1).log[0].endswith("connection refused")
    path.unlink()
    assert watch(HTTP, release, url="http://shop.example.org/", socket=str(path), deadline=1).log[0].endswith("no such file or directory")


def test_http_over_a_unix_socket_says_the_host_of_the_url(release: Path, tmp_path: Path) -> None:
    """The socket may be named relative to the root; the url's host is what the request says."""
    heard: list[bytes] = []

    def behave(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(f"{OK}X-Release-Id: {ID}\r\nContent-Length: 0\r\n\r\n".encode())

    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(4)

    def serve() -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            heard.append(connection.recv(4096))
            behave(connection, threading.Event())
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    verdict = watch(HTTP, release, url="http://shop.example.org/health?full=1", socket="@root@/s")
    thread.join()
    listener.close()
    assert verdict.good, verdict.log
    assert heard[0].startswith(b"GET /health?full=1 HTTP/1.1\r\nHost: shop.example.org\r\n")


def test_a_port_or_a_socket_that_takes_a_connection_is_enough(release: Path, tmp_path: Path) -> None:
    """Where no url is given, nothing is asked."""
    plain = Health(passes=2, deadline=30)
    with server(hangs) as place:
        assert watch(plain, release, tcp=place).log[-1].endswith("2 times: passed: connected")
        assert watch(plain, release, tcp=place.replace("127.0.0.1", "localhost")).good
    assert watch(plain, release, tcp=place, deadline=1).log[0].endswith("connection refused")
    with server(hangs, tmp_path / "s") as path:
        assert watch(plain, release, socket=path).good


def test_a_name_that_nobody_knows(release: Path) -> None:
    """It fails, and says so."""
    verdict = watch(Health(passes=1, deadline=2), release, tcp="no-such-host.invalid:80")
    assert not verdict.good


def test_a_command_passes_by_its_status_and_what_it_says(release: Path) -> None:
    """Run through the release's ``bin/run``; body and id are looked for in what it says."""
    plain = Health(passes=2, deadline=30)
    assert watch(plain, release, command=("true",)).good
    assert watch(plain, release, command=("echo", f"fine, {ID}"), body="fine", reports_id=True).good
    for command, words in [
        (("sh", "-c", "echo not yet; exit 3"), "the command ended with status 3: not yet"),
        (("sh", "-c", "kill -9 $$"), "the command was ended by signal 9"),
        (("echo", f"fine, {OTHER}"), f"the command ended with status 0, but as {OTHER}, expected {ID}"),
        (("echo", "down"), "the command did not say 'fine'"),
        (("no-such-command",), "the command ended with status 127"),
    ]:
        verdict = watch(plain, release, command=command, body="fine" if command[0] == "echo" else "", reports_id=True, deadline=1)
        assert not verdict.good
        assert words in verdict.log[0], verdict.log


FORKS = "import os, sys, time\nif os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(1000)\n"


@pytest.mark.parametrize(
    "program",
    [
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)",
        FORKS + "time.sleep(1000)",
        "while True: print('x' * 10000)",
        "while True: pass",
    ],
)
def test_a_command_that_does_not_end_is_killed(release: Path, program: str) -> None:
    """One that hangs and takes no hint, one that forks, one that floods, one that spins."""
    verdict = watch(Health(passes=1, deadline=2), release, command=(sys.executable, "-c", program))
    assert not verdict.good
    assert "did not end in time and was killed" in verdict.log[0]


def test_a_child_that_a_command_leaves_behind_does_not_outlive_it(release: Path, tmp_path: Path) -> None:
    """The command passes at once, although its child holds its output open; the child is gone."""
    told = tmp_path / "pid"
    program = (
        FORKS.replace("print(os.getpid(), flush=True)", f"open({str(told)!r}, 'w').write(str(os.getpid()))")
        + f"""
while not os.path.exists({str(told)!r}) or not open({str(told)!r}).read(): time.sleep(0.01)
"""
    )
    assert watch(Health(passes=1, deadline=60), release, command=(sys.executable, "-c", program)).good
    while _runs(int(told.read_text())):  # it is killed, and has yet to be seen dead
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_hopeless_is_not_waited_for(release: Path) -> None:
    """A service that has failed for good ends the check after the first answer that is not good, long before its deadline; a good one counts."""
    why = "shop.service has failed"
    with server(answers("down", "503 Service Unavailable")) as place:
        verdict = health.watch(HTTP._replace(url=f"http://{place}/", deadline=600), str(release), hopeless=lambda: why)
    assert not verdict.good
    assert verdict.log[-1].endswith(f"gave up: {why}")
    assert len(verdict.log) == 2
    with server(answers(ID)) as place:
        assert health.watch(HTTP._replace(url=f"http://{place}/"), str(release), hopeless=lambda: why).good


def test_a_log_has_an_end() -> None:
    """A server that says something new each time fills no log: the first and the last are kept."""
    log = health._Log()
    for number in range(1000):
        log.add(number / 10, f"answered {number}")
    lines = log.lines()
    assert len(lines) == 41
    assert (lines[0], lines[20], lines[-1]) == ("0.0 s  answered 0", "… 960 more", "99.9 s  answered 999")


def test_a_signal_ends_it(release: Path) -> None:
    """While it waits for an answer or sleeps in between, SIGTERM interrupts it."""
    saved = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    try:
        interrupts.listen()
        with server(hangs) as place:
            timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM))
            timer.start()
            with pytest.raises(interrupts.Interrupted):
                watch(HTTP, release, url=f"http://{place}/", deadline=1000)
            timer.join()
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


def test_what_is_asked_in_words() -> None:
    """For the plan."""
    check = Health(url="http://shop/health", socket="/run/shop.sock", passes=3, deadline=60)
    assert health.described(check) == "http://shop/health over /run/shop.sock (3 times in a row, within 60 s)"
    assert health.described(Health(command=("a", "b c"), passes=1, deadline=5)) == "a 'b c' (1 times in a row, within 5 s)"


@pytest.mark.parametrize("url", ["http://[1.2]:80/", "http://a..b/"])
def test_an_address_that_is_none_is_no_answer(release: Path, url: str) -> None:
    """The check fails in words, as for any other host that can't be reached."""
    assert not watch(HTTP, release, url=url, deadline=1).good


def test_a_status_of_other_digits_is_no_http() -> None:
    """A superscript two is a digit to Python, and no number."""
    pieces = iter([b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n"])
    with pytest.raises(health._FailedError, match="no HTTP"):
        health.read_answer(lambda: next(pieces, b""))
