"""The one place that starts processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.errors import BuildError, StepError
from builder.run import MAX_LOG_BYTES, build_environment, connection, redact, run, without_credentials


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_outputs_are_kept_apart() -> None:
    """Standard output is data, byte for byte, and standard error stands beside it."""
    done = run(python("import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.write('said')"), what="speaking")
    assert (done.stdout, done.stderr, done.returncode) == (bytes(range(256)), b"said", 0)


def test_input_is_given() -> None:
    """A process reads what it is given, and nothing else."""
    assert run(["cat"], what="reading", input=b"x" * 200_000).stdout == b"x" * 200_000
    assert run(["cat"], what="reading").stdout == b""


def test_log_keeps_its_end() -> None:
    """Of output for people only the end is kept, with both streams in order."""
    done = run(["sh", "-c", "yes 0123456789 | head -c 3000000; echo problem >&2; echo last"], what="flooding", log=True)
    assert len(done.stdout) <= MAX_LOG_BYTES
    assert done.text.endswith("problem\nlast\n")


def test_output_into_a_file(tmp_path: Path) -> None:
    """Output can go straight into an open file."""
    with (tmp_path / "out").open("wb") as file:
        assert run(["echo", "hello"], what="writing", stdout=file).stdout == b""
    assert (tmp_path / "out").read_text() == "hello\n"


def test_failure_says_what_and_why() -> None:
    """A failed process is the caller's error, with its exit status and its last lines."""
    with pytest.raises(StepError) as caught:
        run(["sh", "-c", "for i in $(seq 40); do echo line $i; done; exit 7"], what="collecting files", error=StepError)
    assert caught.value.message == "collecting files failed: exit status 7"
    assert "line 40" in str(caught.value.problems[0])
    assert "line 25\n" not in str(caught.value.problems[0])


def test_failure_by_signal() -> None:
    """A process that was killed is told apart by the signal's name."""
    with pytest.raises(StepError, match="stepping failed: signal SIGKILL"):
        run(["sh", "-c", "kill -9 $$"], what="stepping", error=StepError)


def test_missing_program() -> None:
    """A program that is not there is named, with a remedy."""
    with pytest.raises(StepError, match="stepping failed: no-such-program can't be started") as caught:
        run(["no-such-program"], what="stepping", error=StepError)
    assert "Install it" in str(caught.value.problems[0])


def test_time_out_ends_the_whole_group(tmp_path: Path) -> None:
    """After a time-out neither the process nor its children run on."""
    mark = tmp_path / "mark"
    with pytest.raises(StepError, match=r"not done after 0\.3 seconds"):
        run(["sh", "-c", f"(sleep 1; touch {mark}) & sleep 60"], what="waiting", error=StepError, timeout=0.3)
    time.sleep(1.2)
    assert not mark.exists()


def test_children_do_not_outlive_it(tmp_path: Path) -> None:
    """A child that a process leaves in the background is ended, and does not hold up the build."""
    begin = time.monotonic()
    assert run(["sh", "-c", f"(sleep 30; touch {tmp_path / 'mark'}) & echo done"], what="leaving").stdout == b"done\n"
    assert time.monotonic() - begin < 10


def test_interrupt_ends_the_process(tmp_path: Path) -> None:
    """Ctrl-C in the builder ends what it started."""
    code = f"from builder.run import run; run(['sh', '-c', 'echo $$ > {tmp_path}/pid; sleep 60'], what='waiting')"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as builder:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        builder.send_signal(2)
        builder.wait(20)
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_no_network_offline() -> None:
    """Offline there is no interface but a loopback that is down: not even this machine can be reached."""
    code = "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError as error:\n    print(error.strerror)"
    assert run(python(code), what="calling", offline=True).text == "Network is unreachable\n"
    listing = run(["cat", "/proc/net/dev"], what="looking", offline=True).text
    assert [line.split(":")[0].strip() for line in listing.splitlines()[2:]] in ([], ["lo"])


def test_offline_keeps_the_user() -> None:
    """Offline a process is the same user as before, so that what it makes belongs to who builds."""
    assert run(["id", "-u"], what="asking", offline=True).text.strip() == str(os.geteuid())


def test_no_password_on_a_command_line() -> None:
    """A URL with a password on a command line is refused, without repeating it."""
    with pytest.raises(StepError, match="credential") as caught:
        run(["echo", "https://me:secret@example.org/"], what="echoing", error=StepError)
    assert "secret" not in str(caught.value.problems[0])
    assert "https://***@example.org/" in str(caught.value.problems[0])


def test_passwords_in_output_are_not_repeated() -> None:
    """What a failed process says is shown without the credentials in it."""
    with pytest.raises(StepError) as caught:
        run(python("print('at https:' + '//me:' + 'SECRET'.lower() + '@example.org'); raise SystemExit(1)"), what="echoing", error=StepError)
    assert "at https://***@example.org" in str(caught.value.problems[0])
    assert "secret" not in str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("url", "shown", "stored"),
    [
        ("https://me:secret@h/x", "https://***@h/x", "https://h/x"),
        ("https://token@h/x", "https://***@h/x", "https://h/x"),
        ("ssh://git@h/x", "ssh://git@h/x", "ssh://git@h/x"),
        ("git+ssh://git@h/x", "git+ssh://git@h/x", "git+ssh://git@h/x"),
        ("ssh://git:secret@h/x", "ssh://***@h/x", "ssh://h/x"),
        ("git@h:x", "git@h:x", "git@h:x"),
        ("https://h/a@b", "https://h/a@b", "https://h/a@b"),
    ],
)
def test_credentials_of_urls(url: str, shown: str, stored: str) -> None:
    """User and password leave a URL; the bare user of ssh is no secret, and part of the address."""
    assert (redact(url), without_credentials(url)) == (shown, stored)


def test_build_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of others is built without this user's secrets and Python settings, at a fixed time, and with a home of its own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    env = build_environment(tmp_path, 1_700_000_000, {"EXTRA": "1"})
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH"} & set(env)
    assert env["SOURCE_DATE_EPOCH"] == "1700000000"
    assert Path(env["HOME"]).is_relative_to(tmp_path)
    assert "-g0" in env["CFLAGS"]
    assert env["EXTRA"] == "1"


def test_files_are_made_with_a_plain_umask(tmp_path: Path) -> None:
    """What a process makes does not depend on the user's umask."""
    before = os.umask(0o077)
    try:
        run(["touch", tmp_path / "file"], what="touching")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_no_process_slips_through_while_all_are_ended() -> None:
    """A process that is just being started when the others are ended ends too: no thread goes on waiting for it."""
    program = (
        "import sys, threading, time\n"
        "from builder.run import end_running, run\n"
        "threads = [threading.Thread(target=run, args=(['sleep', '60'],), kwargs={'what': 'sleeping', 'check': False}) for _ in range(24)]\n"
        "threading.excepthook = lambda _: None\n"
        "for thread in threads: thread.start()\n"
        "time.sleep(float(sys.argv[1])); end_running()\n"
        "for thread in threads: thread.join()\n"
    )
    for pause in ("0", "0.001", "0.003", "0.01", "0.03"):
        subprocess.run([sys.executable, "-c", program, pause], check=True, timeout=30)


def test_a_connection_is_a_process_that_speaks() -> None:
    """It reads to the end of what was sent, says what it has to, and is gone when the block is left."""
    with connection(["sh", "-c", "cat; echo $$"], BuildError) as its:
        its.sendall(b"hello ")
        its.shutdown(socket.SHUT_WR)
        said = b""
        while piece := its.recv(100):
            said += piece
    word, number = said.split()
    assert word == b"hello"
    assert not Path(f"/proc/{int(number)}").exists()


def test_a_connection_that_goes_on_is_ended() -> None:
    """With all that it started, soon after the block."""
    with connection(["sh", "-c", "echo $$; exec sleep 1000"], BuildError) as its:
        number = int(its.recv(100))
    assert not Path(f"/proc/{number}").exists()


def test_a_connection_that_can_not_be_started_is_an_error() -> None:
    """Which program, and why."""
    with pytest.raises(BuildError) as caught, connection(["/nonexistent/x"], BuildError):
        pass
    assert str(caught.value.problems[0]).startswith("/nonexistent/x: No such file")
