"""What placeholders become, and what is none; the values of a host; what a release is refused for before anything is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from builder.install_release import overlay
from builder.install_release.artifact import open_artifact
from builder.install_release.overlay import values
from builder.install_release.overlay.render import MOST, render
from builder.install_release.overlay.values import Values
from tests.releases import Content, write_release

KNOWN = Values({"root": "/srv/shop", "name": "shop", "port": "8000", "at": "@", "empty": "", "tricky": "@root@ \\1"}, {"key": "s3cret"})


def text(data: bytes, mode: str = "644") -> bytes:
    rendered, problems = render("f", data, mode, KNOWN)
    assert not problems
    return rendered.data


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"@root@/current", b"/srv/shop/current"),
        (b"@root@@name@", b"/srv/shopshop"),
        (b"x@name@y", b"xshopy"),
        (b"[@empty@]", b"[]"),
        (b"@tricky@", b"@root@ \\1"),
        (b"@port@\n@port@\r\n", b"8000\n8000\r\n"),
        (b"@@root@@", b"@/srv/shop@"),
        (b"@at@name@at@", b"@name@"),
        (b"\xff@name@\xfe", b"\xffshop\xfe"),
        (b"s@old@root@g", b"s@old/srv/shopg"),
    ],
)
def test_a_key_of_the_set_is_replaced(before: bytes, after: bytes) -> None:
    """Wherever it stands, once, whatever the value looks like and whatever the bytes around it are."""
    assert text(before) == after


@pytest.mark.parametrize(
    "data",
    [
        b"@@",
        b"@",
        b"mail a@b.c, d@e.f",
        b"Require user a@b.example b@c.example",
        b"location @app { } error_page 500 = @other;",
        b"@NAME@ @Name@ @1st@ @a-b@ @a b@ @_x@",
        b"sed s@old@new@g",
        b"x@word@ @word@y",
        "ä@word@".encode(),
        b"\0@nothing@ in a binary @root@",
        b"",
    ],
)
def test_what_is_no_placeholder_stays(data: bytes) -> None:
    """Addresses, named locations, sed's separators, other spellings, binaries: byte for byte."""
    assert text(data) == data


def test_a_key_that_is_missing() -> None:
    """Each key that is not set is named once with the file, the line and the file to set it in."""
    _, problems = render("nginx/shop.conf", b"ok @root@\n(@server_name@) @server_name@\n\t@mistyped@_x", "644", KNOWN)
    assert [problem.where for problem in problems] == ["etc", "etc"]
    assert "etc/nginx/shop.conf, line 2: @server_name@ is not set in /srv/shop/shared/host.ini" in problems[0].what
    assert "line 3: @mistyped@" in problems[1].what
    assert "Create that file, mode 640, with server_name = … below [values]" in problems[0].remedy
    _, [problem] = render("x", b"@gone@", "644", Values(there=True))
    assert problem.remedy.startswith("Add gone = …")


def test_a_secret_takes_the_others_right_to_read() -> None:
    """A file with a secret is 640 (750 when it is executable), and people see its placeholder."""
    rendered, _ = render("f", b"password=@key@ port=@port@", "644", KNOWN)
    assert (rendered.data, rendered.mode, rendered.masked) == (b"password=s3cret port=8000", "640", b"password=@key@ port=8000")
    assert render("f", b"@key@", "755", KNOWN)[0].mode == "750"
    assert render("f", b"@port@", "755", KNOWN)[0].mode == "755"


def test_rendering_has_a_bound() -> None:
    """A file that would fill the memory when it is rendered is refused."""
    rendered, [problem] = render("f", b"@big@" * 100, "644", Values({"big": "x" * (MOST // 50)}))
    assert rendered.data == b""
    assert f"longer than {MOST} bytes" in problem.what


def test_the_values_of_a_host() -> None:
    """Sections, comments, spaces; a value is all that follows, quotes and signs included."""
    plain, secrets, wrong = values.parse(
        b'\xef\xbb\xbf# c\r\n[values]\r\n; c\nname2 = a = b ; c # d\n e=\n[ secrets ]\nkey = "q" %(x)s\n[values]\nf=\xc3\xa4\n'
    )
    assert (plain, secrets, wrong) == ({"name2": "a = b ; c # d", "e": "", "f": "ä"}, {"key": '"q" %(x)s'}, [])


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ("key = hush\n", "line 1: stands before any section."),
        ("[other]\nkey = hush\n", "line 1: is no section"),
        ("[values\n", "line 1: is no section"),
        ("[values]\n\nhush\n", "line 3: is not key = value."),
        ("[values]\nKey = hush\n", "line 2: is not key = value."),
        ("[values]\n= hush\n", "line 2: is not key = value."),
        ("[values]\nroot = /hush\n", "line 2: root is what the installer knows itself."),
        ("[values]\na = 1\n[secrets]\na = hush\n", "line 4: a is there twice."),
        ("[values]\na = hush\x00\n", "line 2: the value of a holds control characters."),
        ("[values]\na = hu\x1b[31msh\n", "line 2: the value of a holds control characters."),
    ],
)
def test_what_is_wrong_with_a_host_ini(data: str, wrong: str) -> None:
    """Each mistake is told by its line, and no value is in the words."""
    found = values.parse(data.encode())[2]
    assert any(each.startswith(wrong) for each in found), found
    assert not any("hush" in each for each in found)
    assert values.parse(b"[values]\na = \xff\n")[2] == ["line 2: is not UTF-8."]


@pytest.mark.parametrize(("mode", "text", "what"), [(0o646, "[values]\n", "written by others"), (0o644, "[secrets]\na = 1\n", "read by everybody")])
def test_a_host_ini_that_others_may_touch(tmp_path: Path, mode: int, text: str, what: str) -> None:
    """Who can write it decides what a system runs; who can read it knows its secrets."""
    path = tmp_path / "shared/host.ini"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(mode)
    [problem] = values.read(str(tmp_path), "shop")[1]
    assert what in problem.what
    assert problem.remedy == f"chmod 640 {path}"
    path.chmod(0o640)
    assert values.read(str(tmp_path), "shop")[1] == ()


def test_a_host_ini_that_is_no_file(tmp_path: Path) -> None:
    """A pipe in its place does not make anything wait, and is refused."""
    (tmp_path / "shared").mkdir()
    os.mkfifo(tmp_path / "shared/host.ini")
    [problem] = values.read(str(tmp_path), "shop")[1]
    assert "no regular file" in problem.what


def test_the_etc_of_an_artifact(tmp_path: Path) -> None:
    """All of it is rendered in memory with the host's values, links are named, and every key that is missing is told at once."""
    files: dict[str, Content] = {"a": "@root@ @port@ @b@ @c@", "dir/tool": (0o755, b"@name@"), "link": Path("a"), "binary": b"\0@name@"}
    built = write_release(tmp_path, {"etc": files, "src": {"x": "@root@"}})
    (tmp_path / "root/shared").mkdir(parents=True)
    (tmp_path / "root/shared/host.ini").write_text("[values]\nport = 8000\n")
    with open_artifact(built.path) as artifact:
        wanted = overlay.rendered(artifact, str(tmp_path / "root"))
    assert [problem.what.partition(": ")[2].split()[0] for problem in wanted.problems] == ["@b@", "@c@"]
    assert wanted.links == {"link"}
    found = {path: (file.data, file.mode) for path, file in wanted.files.items()}
    expected = f"{tmp_path}/root 8000 @b@ @c@".encode()
    assert found == {"a": (expected, "644"), "dir/tool": (b"shop", "755"), "binary": (b"\0@name@", "644")}


def test_an_etc_that_is_too_large(tmp_path: Path) -> None:
    """It is held in memory: what is no configuration is refused."""
    built = write_release(tmp_path, {"etc": {f"{n}": os.urandom(3 << 20) for n in range(6)}})
    with open_artifact(built.path) as artifact:
        [problem] = overlay.rendered(artifact, str(tmp_path)).problems
    assert "etc/ holds more than" in problem.what


def test_no_etc_at_all(tmp_path: Path) -> None:
    """A release without the layer wants nothing, and looks at no host.ini."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/host.ini").write_text("nonsense")
    with open_artifact(write_release(tmp_path, {"src": {"x": "x"}}).path) as artifact:
        assert overlay.rendered(artifact, str(tmp_path)) == overlay.Wanted()
    assert stat.S_ISREG((tmp_path / "shared/host.ini").stat().st_mode)
