"""What people see of a proposal: marks, words, unified diffs; and what they don't: secrets."""

from __future__ import annotations

from pathlib import Path

from builder.install_release import overlay
from builder.install_release.artifact import open_artifact
from builder.install_release.overlay import Rendered, Verdict, Wanted
from builder.install_release.overlay.differences import Text, unified

from ..roots import artifact, install
from .system import System, write


def shown(system: System, release: str, wanted: Wanted | None = None, answers: tuple[tuple[str, str], ...] = ()) -> dict[str, Verdict]:
    wanted = wanted or overlay.published(system.host, release)
    proposal = system.propose(release, answers)
    found = overlay.show(str(system.root), system.manifests[release], proposal, wanted)
    return {each.path.removeprefix(f"{system.etc}/"): each for each in found}


def test_each_kind_has_its_mark_words_and_diff(system: System) -> None:
    """What changes is shown from what is here to what will be; what was edited here, from what was laid down to what is here."""
    files = {"M": "a\nb\nc\n", "gone": "gone\n", "kept": "laid\n", "conflict": "one\n", "same": "same\n"}
    system.flip(system.release("1", files))
    write(system.etc / "kept", "edited\n")
    write(system.etc / "conflict", "edited\n")
    found = shown(system, system.release("2", {"M": "a\nB\nc\n", "new": "new\n", "kept": "laid\n", "conflict": "two\n", "same": "same\n"}))
    assert {name: verdict.line[0] for name, verdict in found.items()} == {"M": "M", "new": "+", "gone": "-", "kept": "=", "conflict": "!"}
    here = system.etc
    assert found["M"].diff == (f"--- {here}/M (here)", f"+++ {here}/M (2)", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c")
    assert found["new"].diff == ("--- /dev/null", f"+++ {here}/new (2)", "@@ -0,0 +1 @@", "+new")
    assert found["gone"].diff == (f"--- {here}/gone (here)", "+++ /dev/null", "@@ -1 +0,0 @@", "-gone")
    assert found["kept"].diff[-2:] == ("-laid", "+edited")
    assert found["conflict"].diff[-2:] == ("-edited", "+two")
    assert "edited here on 20" in found["conflict"].line
    assert "decide with --etc keep-local|take-new|beside" in found["conflict"].line


def test_what_was_there_before_is_shown_when_it_comes_back(system: System) -> None:
    """A file that the release has no more: the diff leads to what the host had before."""
    write(system.etc / "own", "mine\n")
    system.flip(system.release("1", {"own": "one\n"}), [("**", "take-new")])
    found = shown(system, system.release("2", {}))
    assert found["own"].diff[-2:] == ("-one", "+mine")
    assert "what was there before comes back" in found["own"].line


def test_linked_files_are_shown_too(tmp_path: Path) -> None:
    """They need no ledger, since they flip with the release: the diff is that between the live release and the new one."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0", etc={"nginx/a": "one\n", "nginx/old": "old\n", "same": "same\n"}))
    with open_artifact(artifact(tmp_path, "2.0", etc={"nginx/a": "two\n", "nginx/new": (0o755, b"new\n"), "same": "same\n"})) as opened:
        wanted = overlay.rendered(opened, str(root))
        proposal = overlay.survey(str(root), opened.manifest, opened.id, wanted)
        found = overlay.show(str(root), opened.manifest, proposal, wanted)
    assert {verdict.line: verdict.diff[-2:] for verdict in found} == {
        "M nginx/a (linked)": ("-one", "+two"),
        "+ nginx/new (linked)": ("@@ -0,0 +1 @@", "+new"),
        "- nginx/old (linked)": ("@@ -1 +0,0 @@", "-old"),
    }
    assert all(verdict.path == f"{root}/current/etc/{verdict.etc}" for verdict in found)


SECRET = "[values]\nport = 1\n[secrets]\npassword = correct horse\n"


def private(system: System) -> str:
    (system.root / "shared/host.ini").write_text(SECRET)
    (system.root / "shared/host.ini").chmod(0o640)
    return "correct horse"


def test_no_secret_is_shown(system: System) -> None:
    """A value of [secrets] is its placeholder, in the new text, in the old one, and in a file that an operator left readable."""
    secret = private(system)
    system.flip(system.release("1", {"db": (f"password={secret}\nport=1\n", 0o640), "plain": f"# {secret}\n"}))
    second = system.release("2", {"db": (f"password={secret}\nport=2\n", 0o640), "plain": f"# {secret}!\n"})
    masked = {
        "sys/db": Rendered(f"password={secret}\nport=2\n".encode(), "640", b"password=@password@\nport=2\n"),
        "sys/plain": Rendered(f"# {secret}!\n".encode(), "644", b"# @password@!\n"),
    }
    found = shown(system, second, Wanted(masked))
    assert found["db"].diff[2:] == ("@@ -1,2 +1,2 @@", " password=@password@", "-(a line that is not shown)", "+port=2")
    assert found["plain"].diff[-2:] == ("-# @password@", "+# @password@!")
    assert secret not in repr(found)


def test_a_secret_of_before_is_not_shown_either(system: System) -> None:
    """The value has been changed since: the old one, which nobody knows to be one, is in a file that not everybody may read."""
    private(system)
    system.flip(system.release("1", {"db": ("password=old horse\n", 0o640)}))
    second = system.release("2", {"db": ("password=correct horse\n", 0o640)})
    masked = Wanted({"sys/db": Rendered(b"password=correct horse\n", "640", b"password=@password@\n")})
    assert shown(system, second, masked)["db"].diff[-2:] == ("-(a line that is not shown)", "+password=@password@")
    published = shown(system, second)["db"].diff
    assert published[2:] == ("(not shown, because not everybody may read it: 1 → 1 lines)",)
    gone = shown(system, system.release("3", {}))["db"].diff
    assert "horse" not in repr((published, gone))


def test_an_edit_of_a_private_file_is_not_shown(system: System) -> None:
    """What an operator wrote into a file with secrets may be another one."""
    system.flip(system.release("1", {"db": ("password=x\n", 0o640)}))
    write(system.etc / "db", ("password=hand made\n", 0o640))
    for release in (system.release("2", {"db": ("password=x\n", 0o640)}), system.release("3", {"db": ("password=y\n", 0o640)})):
        assert "hand made" not in repr(shown(system, release))


def test_what_can_not_be_shown() -> None:
    """Binary files, far too long ones, and what a terminal would obey: told, not shown."""
    assert unified(Text("a", b"\0"), Text("b", b"\0\0"), {})[2:] == ("(binary: 1 → 2 bytes)",)
    assert unified(Text("a", b"x\n" * 5001), Text("b", b""), {})[2:] == ("(too long to compare: 5001 → 0 lines)",)
    assert unified(Text("a", b""), Text("b", b"x\n" * 1000), {})[-1] == "(and 601 more lines)"
    assert unified(Text("a", b"x"), Text("b", b"\x1b[2Jx\xff\r\n"), {})[3:] == ("-x  (without a line feed at its end)", "+?[2Jx\\xff?")
    assert unified(Text("a", b"x"), Text("b", b"x"), {}) == ()


def test_without_a_root(tmp_path: Path, system: System) -> None:
    """Before a first installation there is no root, and the plan is shown all the same."""
    release = system.release("1", {"shop": "one\n"})
    wanted = overlay.published(system.host, release)
    proposal = overlay.survey(str(tmp_path / "nowhere"), system.manifests[release], release, wanted)
    [verdict] = overlay.show(str(tmp_path / "nowhere"), system.manifests[release], proposal, wanted)
    assert verdict.line == f"+ {system.etc}/shop"
    assert not (tmp_path / "nowhere").exists()
