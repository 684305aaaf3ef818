"""Every distribution of a lock as a wheel: downloaded with hashes, or built offline."""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.errors import BuildError, EnvError, WheelhouseError
from builder.recipe import EnvSpec
from builder.target import ask
from builder.wheelhouse import Wheel, Wheelhouse
from builder.wheelhouse.wheel_cache import WheelCache

from .distributions import Index, make_sdist, make_wheel, serve
from .locking import COMMIT_TIME, HERE, Bench, pinned, problems, sha256


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serve(tmp_path / "index") as index:
        for name, value in index.environment.items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).declares(lock="lock.txt")


def refused(bench: Bench, kind: type[BuildError] = WheelhouseError) -> str:
    """What the refusal says; nothing half-done is left in the cache."""
    with pytest.raises(kind) as caught:
        bench.fetch()
    assert not bench.scratch()
    return problems(caught.value)


def only(house: Wheelhouse) -> Wheel:
    (wheel,) = house.wheels
    return wheel


# Downloaded


def test_downloaded_once(bench: Bench, index: Index) -> None:
    """What the lock names is downloaded, checked and kept; the second time neither the index nor pip is asked."""
    files = [make_wheel(index.directory, "two", "2.0", requires=["one>=1"]), make_wheel(index.directory, "one", "1.0")]
    bench.write("lock.txt", pinned(*files))
    house = bench.fetch()
    assert [(wheel.name, wheel.version) for wheel in house.wheels] == [("one", "1.0"), ("two", "2.0")]
    assert [wheel.sha256 for wheel in house.wheels] == [sha256(files[1]), sha256(files[0])]
    assert not any(wheel.built for wheel in house.wheels)
    asked = len(index.asked)
    begin = time.monotonic()
    assert bench.fetch() == house
    assert len(index.asked) == asked
    assert time.monotonic() - begin < 0.15  # pip alone needs longer to start


def test_only_what_is_missing(bench: Bench, index: Index) -> None:
    """After a change of the lock only the new file is downloaded."""
    one, two = make_wheel(index.directory, "one"), make_wheel(index.directory, "two")
    bench.write("lock.txt", pinned(one))
    bench.fetch()
    index.asked.clear()
    bench.write("lock.txt", pinned(one, two))
    bench.fetch()
    assert [path for path in index.asked if path.startswith("/files/")] == ["/files/two-1.0-py3-none-any.whl"]


def test_best_of_several(bench: Bench, index: Index) -> None:
    """Of several locked files the one that pip would install for the target is taken, also when another one is in the cache already."""
    pure = make_wheel(index.directory, "one", "1.0")
    exact = make_wheel(index.directory, "one", "1.0", tag=f"{HERE.abi}-{HERE.abi}-{HERE.platform}")
    bench.write("lock.txt", pinned(pure))
    assert only(bench.fetch()).filename == pure.name
    bench.write("lock.txt", pinned(pure).replace("\n", f" --hash=sha256:{sha256(exact)}\n"))
    assert only(bench.fetch()).filename == exact.name


def test_for_an_older_python(bench: Bench, index: Index, interpreters: Mapping[str, Path]) -> None:
    """For Python 3.9, on which the pinned pip does not run, wheels are downloaded and source is built all the same."""
    if "3.9" not in interpreters:
        pytest.skip("there is no Python 3.9 here")
    files = [make_wheel(index.directory, "one", tag="cp39-cp39-" + HERE.platform), make_sdist(index.directory, "two")]
    bench = Bench(bench.root, bench.declares(sdists=("two",)).dependencies, interpreter=ask(interpreters["3.9"]))
    bench.write("lock.txt", pinned(*files))
    assert [wheel.filename for wheel in bench.fetch().wheels] == [f"one-1.0-cp39-cp39-{HERE.platform}.whl", "two-1.0-py3-none-any.whl"]


def test_hash_mismatch(bench: Bench, index: Index) -> None:
    """A file that is not the locked one is refused, with its hash, and stays out of the cache."""
    wheel = make_wheel(index.directory, "one")
    bench.write("lock.txt", pinned(wheel))
    make_wheel(index.directory, "one", files={"one.py": "evil = True\n"})
    said = refused(bench)
    assert "one==1.0: is not the file that the lock names: its sha256 is " + sha256(wheel) in said
    assert not list(bench.root.glob("cache/distributions/files/*"))


def test_deleted_file(bench: Bench, index: Index) -> None:
    """A file that the index no longer has is named, with what the index has instead."""
    wheel = make_wheel(index.directory, "one", "1.0")
    bench.write("lock.txt", pinned(wheel))
    wheel.rename(wheel.with_name("one-1.1-py3-none-any.whl"))
    said = refused(bench)
    assert "one==1.0: is not on the index, which has 1.1." in said
    assert "deleted" in said


def test_yanked(bench: Bench, index: Index) -> None:
    """A yanked release is refused with its authors' reason."""
    wheel = make_wheel(index.directory, "one")
    index.yanked.add(wheel.name)
    bench.write("lock.txt", pinned(wheel))
    assert "one 1.0: was yanked by its authors: broken." in refused(bench)


def test_no_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that can't be reached is named, with the reason."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    bench.write("lock.txt", f"one==1.0 --hash=sha256:{'a' * 64}\n")
    assert "127.0.0.1: can't be reached (Connection refused)." in refused(bench)


@pytest.fixture
def private_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that answers only to user ``me`` with the password ``secret``."""
    wanted = "Basic " + base64.b64encode(b"me:secret").decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == wanted
            body = index.answer(self.path) if allowed else b""
            self.send_response(401 if not allowed else 404 if body is None else 200)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(tmp_path / "private", server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", index.environment["PIP_INDEX_URL"])
        yield index
        server.shutdown()
        thread.join()


def test_private_index(bench: Bench, private_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private index is asked with the user's netrc; without it the refusal says where credentials belong."""
    bench.write("lock.txt", pinned(make_wheel(private_index.directory, "one")))
    assert "127.0.0.1: refuses without (other) credentials. Give them to pip: a netrc file" in refused(bench)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert [wheel.name for wheel in bench.fetch().wheels] == ["one"]


def test_wheel_for_another_platform(bench: Bench, index: Index) -> None:
    """A lock that names only a wheel for another platform is refused before anything is built of it."""
    wheel = make_wheel(index.directory, "one", tag="cp27-cp27m-win32")
    bench.write("lock.txt", pinned(wheel))
    said = refused(bench)
    assert "one==1.0: is not on the index" in said
    assert "not for this Python" in said


def test_cached_wheel_for_another_platform(bench: Bench, index: Index, interpreters: Mapping[str, Path]) -> None:
    """A wheel that is in the cache for another Python does not serve this one."""
    wheel = make_wheel(index.directory, "one", tag=f"{HERE.abi}-{HERE.abi}-{HERE.platform}")
    bench.write("lock.txt", pinned(wheel))
    bench.fetch()
    other = ask(next(path for version, path in interpreters.items() if version != HERE.python))
    said = refused(Bench(bench.root, bench.dependencies, interpreter=other))
    assert f"{wheel.name}: is not for Python {other.python} on {other.platform}." in said


def test_damaged_wheel(bench: Bench, index: Index) -> None:
    """A locked file that is no whole wheel, or another one than its name says, is refused."""
    path = index.directory / "one-1.0-py3-none-any.whl"
    path.write_bytes(b"PK\x03\x04 nothing")
    bench.write("lock.txt", pinned(path))
    assert "one-1.0-py3-none-any.whl" in refused(bench)
    make_wheel(index.directory, "other").replace(path)
    bench.write("lock.txt", pinned(path))
    assert "one" in refused(bench)


# The cache


def test_damaged_cache_heals(bench: Bench, index: Index) -> None:
    """A damaged or truncated file of the cache is noticed and downloaded again."""
    wheel = make_wheel(index.directory, "one")
    bench.write("lock.txt", pinned(wheel))
    cached = only(bench.fetch()).path
    cached.write_bytes(b"garbage")
    assert sha256(only(bench.fetch()).path) == sha256(wheel)
    (cached.parent / "facts.json").write_bytes(b"{")
    assert sha256(only(bench.fetch()).path) == sha256(wheel)


def test_restored_cache_is_read_once(bench: Bench, index: Index) -> None:
    """A cache that was copied or restored is hashed again, once: then it is known to be whole."""
    wheel = make_wheel(index.directory, "one")
    bench.write("lock.txt", pinned(wheel))
    cached = only(bench.fetch()).path
    content = cached.read_bytes()
    cached.unlink()
    cached.write_bytes(content)
    before = (cached.parent / "facts.json").read_bytes()
    assert only(bench.fetch()).path == cached
    renewed = (cached.parent / "facts.json").stat()
    assert (cached.parent / "facts.json").read_bytes() != before
    bench.fetch()
    assert (cached.parent / "facts.json").stat().st_ino == renewed.st_ino


def test_two_builds_at_once(bench: Bench, index: Index) -> None:
    """Builds that fill the same cache at the same time all get whole wheels."""
    files = [make_wheel(index.directory, name) for name in ("one", "three", "two")]
    bench.write("lock.txt", pinned(*files))
    found: list[object] = []

    def build() -> None:
        try:
            found.append([wheel.sha256 for wheel in bench.fetch().wheels])
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[sha256(file) for file in files]] * 3
    assert not bench.scratch()


def test_killed_build(bench: Bench, index: Index) -> None:
    """A build that is killed while it fills the cache does not harm the next one."""
    wheel = make_wheel(index.directory, "one", files={"one.py": "x = 1\n" * 100_000})
    bench.write("lock.txt", pinned(wheel))
    code = f"from pathlib import Path; from tests.locking import Bench; Bench(Path({str(bench.root)!r})).declares(lock='lock.txt').fetch()"
    for delay in (0.6, 0.9):
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True) as build:
            time.sleep(delay)
            os.killpg(build.pid, signal.SIGKILL)
    assert only(bench.fetch()).sha256 == sha256(wheel)


def test_scratch_of_a_running_build(bench: Bench) -> None:
    """What a build works in is its own for as long as it runs, however old the clock says it is; what a killed one left is swept at once."""
    cache = WheelCache(bench.root / "cache")
    with cache.scratch() as mine:
        os.utime(mine, (0, 0))
        left = mine.parent / "left-by-a-killed-build"
        left.mkdir()
        with cache.scratch():
            assert (mine.is_dir(), left.exists()) == (True, False)
    assert not bench.scratch()


def test_damaged_entry_beside_a_new_one(bench: Bench, index: Index) -> None:
    """An entry of the cache that lost a part of itself is replaced, and nobody who only looks removes what another build is putting there."""
    wheel = make_wheel(index.directory, "one")
    bench.write("lock.txt", pinned(wheel))
    cached = only(bench.fetch()).path
    (cached.parent / "facts.json").unlink()
    assert (WheelCache(bench.root / "cache").get(sha256(wheel)), cached.exists()) == (None, True)
    assert sha256(only(bench.fetch()).path) == sha256(wheel)


# Built


def test_built_from_source(bench: Bench, index: Index) -> None:
    """An sdist that the recipe names is built; the wheel has its own hash and that of its source, and is built once."""
    source = make_sdist(index.directory, "one")
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    wheel = only(bench.fetch())
    assert (wheel.built, wheel.origin.kind, wheel.origin.id, wheel.reproducible) == (True, "sdist", sha256(source), True)
    assert sha256(wheel.path) == wheel.sha256
    begin = time.monotonic()
    assert only(bench.fetch()) == wheel
    assert time.monotonic() - begin < 0.15


def test_same_bytes_anywhere(tmp_path: Path, index: Index) -> None:
    """A wheel built in another place, with a cold cache, has the same bytes: members stored in order, without times, modes 644 or 755."""
    source = make_sdist(index.directory, "one")
    hashes = set()
    for place in ("a", "another-place"):
        bench = Bench(tmp_path / place).declares(lock="lock.txt", sdists=("one",))
        bench.write("lock.txt", pinned(source))
        wheel = only(bench.fetch())
        hashes.add(wheel.sha256)
    assert len(hashes) == 1
    with zipfile.ZipFile(wheel.path) as archive:
        found = {(info.date_time, info.external_attr >> 16, info.compress_type) for info in archive.infolist()}
    assert found == {((1980, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED)}


def test_source_that_is_not_named(bench: Bench, index: Index) -> None:
    """Source that the recipe does not name is refused without being run, and the refusal says how to allow it."""
    source = make_sdist(index.directory, "one", before=f"open({str(bench.root / 'ran')!r}, 'w')")
    bench.write("lock.txt", pinned(source))
    assert "If it is only there as source, name it in dependencies.sdists." in refused(bench)
    bench.write("lock.txt", f"one @ http://127.0.0.1:{index.port}/files/{source.name} --hash=sha256:{sha256(source)}\n")
    assert "one: comes as source, not as a wheel. Name it in dependencies.sdists" in refused(bench)
    assert not (bench.root / "ran").exists()


def test_source_that_does_not_build(bench: Bench, index: Index) -> None:
    """A back end that fails is quoted, with the name of what it was to build."""
    source = make_sdist(index.directory, "one", before="raise SystemExit('no such header: one.h')")
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    said = refused(bench)
    assert "one" in said
    assert "no such header: one.h" in said


def test_no_network_while_building(bench: Bench, index: Index) -> None:
    """What is built from source can't reach even this machine's index."""
    call = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{index.port}/simple/')"
    source = make_sdist(index.directory, "one", before=call)
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    assert "Network is unreachable" in refused(bench)


def test_no_secrets_while_building(bench: Bench, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built from source does not see this user's variables or home."""
    monkeypatch.setenv("DEPLOY_TOKEN", "secret")
    check = f"import os; assert 'DEPLOY_TOKEN' not in os.environ and os.environ['HOME'] != {os.environ['HOME']!r} and os.environ['SOURCE_DATE_EPOCH']"
    source = make_sdist(index.directory, "one", before=check)
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    assert only(bench.fetch()).built


def test_build_requirements(bench: Bench, index: Index) -> None:
    """Build requirements come from the build lock, by hash; one that was changed, or is not in it, stops the build."""
    source = make_sdist(index.directory, "one", build_requires=["helper"], before="import helper; assert helper.version == '1.0'")
    helper = make_wheel(index.directory, "helper", "1.0")
    make_wheel(index.directory, "helper", "2.0")
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    bench.write("lock-build.txt", f"helper==1.0 --hash=sha256:{'a' * 64}\n")
    assert "helper==1.0: is not the file that the lock names" in refused(bench)
    bench.write("lock-build.txt", pinned(helper))
    assert only(bench.fetch()).built


def test_source_that_does_not_reproduce(bench: Bench, index: Index) -> None:
    """A distribution that does not build the same twice is named, with the files that differ."""
    source = make_sdist(index.directory, "one", before="pathlib.Path('wheel', 'one.py').write_text(str(pathlib.Path.cwd()))")
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    for _ in range(2):
        assert (only(bench.fetch()).differing, only(bench.fetch()).reproducible) == (("one.py",), False)


def test_built_from_git(bench: Bench, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of git is checked out and built, where the recipe names it, also when a hook of another repository runs the build; one that is gone
    is refused."""
    repository = bench.root / "repository"
    archive = make_sdist(bench.root, "one")
    subprocess.run(["tar", "xzf", archive, "-C", bench.root], check=True)
    (bench.root / "one-1.0").rename(repository)
    git = ["git", "-C", str(repository)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    bench.write("lock.txt", f"one @ git+file://{repository}@{commit}\n")
    assert f"one {commit[:12]}: comes from git. Name it in dependencies.sdists" in refused(bench)
    bench = bench.declares(sdists=("one",))
    bench.write("lock-build.txt", "")
    subprocess.run(["git", "init", "-q", "--bare", bench.root / "other.git"], check=True)
    before = (bench.root / "other.git" / "config").read_bytes()
    monkeypatch.setenv("GIT_DIR", str(bench.root / "other.git"))
    wheel = only(bench.fetch())
    assert (bench.root / "other.git" / "config").read_bytes() == before
    assert (wheel.origin.kind, wheel.origin.id, wheel.version) == ("vcs", commit, "1.0")
    bench.write("lock.txt", f"one @ git+file://{repository}@{'1' * 40}\n")
    assert f"does not have the commit {'1' * 40}" in refused(bench)


def test_built_from_a_directory(bench: Bench, index: Index) -> None:
    """A directory of the source is built without leaving traces in it, and again when it changed."""
    subprocess.run(["tar", "xzf", make_sdist(bench.root, "one"), "-C", bench.tree], check=True)
    bench = bench.declares(lock="recipe:pylock.toml")
    bench.write("recipe:pylock.toml", 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "one"\ndirectory = { path = "one-1.0" }\n')
    before = sorted(bench.tree.rglob("*"))
    wheel = only(bench.fetch())
    assert wheel.origin.kind == "directory"
    assert sorted(bench.tree.rglob("*")) == before
    (bench.tree / "one-1.0" / "wheel" / "one.py").write_text("changed = True\n")
    assert only(bench.fetch()).sha256 != wheel.sha256
    shutil.rmtree(bench.tree / "one-1.0")
    assert "one-1.0: is not in the source. one is locked to it." in refused(bench)


def test_project_as_a_wheel(bench: Bench, index: Index) -> None:
    """The project itself becomes a wheel, built by its own back end, offline, told its version, at the commit's time."""
    helper = make_wheel(index.directory, "helper")
    check = f"import os, helper; assert os.environ['SOURCE_DATE_EPOCH'] == '{COMMIT_TIME}' and os.environ['SETUPTOOLS_SCM_PRETEND_VERSION'] == '1.5'"
    archive = make_sdist(bench.root, "shop", build_requires=["helper"], before=check)
    subprocess.run(["tar", "xzf", archive, "--strip-components=1", "-C", bench.tree], check=True)
    bench = Bench(bench.root, bench.dependencies, EnvSpec(project=True))
    bench.write("lock.txt", pinned(make_wheel(index.directory, "one")))
    bench.write("lock-build.txt", pinned(helper))
    wheels = bench.fetch().wheels
    assert [(wheel.name, wheel.origin.kind) for wheel in wheels] == [("one", "wheel"), ("shop", "project")]
    assert bench.fetch().wheels == wheels


def test_project_that_does_not_build(bench: Bench) -> None:
    """A project whose own build fails is refused with what its back end said."""
    archive = make_sdist(bench.root, "shop", before="raise RuntimeError('no manifest')")
    subprocess.run(["tar", "xzf", archive, "--strip-components=1", "-C", bench.tree], check=True)
    bench = Bench(bench.root, bench.declares(lock="").dependencies, EnvSpec(project=True))
    bench.write("recipe:pylock.shop-build.toml", 'lock-version = "1.0"\ncreated-by = "x"\npackages = []\n')
    said = refused(bench)
    assert "building shop as a wheel failed" in said
    assert "no manifest" in said


@pytest.mark.parametrize("name", ["../evil", "/evil", "one-1.0/../../evil"])
def test_hostile_sdist(bench: Bench, index: Index, name: str) -> None:
    """A source archive with a path that leads out of it is refused."""
    source = make_sdist(index.directory, "one")
    with tarfile.open(source) as old:
        members = [(member, old.extractfile(member)) for member in old]
        with tarfile.open(bench.root / "new.tar.gz", "w:gz") as new:
            for member, file in members:
                new.addfile(member, file)
            new.addfile(tarfile.TarInfo(name), io.BytesIO())
    (bench.root / "new.tar.gz").replace(source)
    bench = bench.declares(sdists=("one",))
    bench.write("lock.txt", pinned(source))
    refused(bench)
    assert not list(bench.root.rglob("evil"))


# Do they go together?


def test_conflicts(bench: Bench, index: Index) -> None:
    """Distributions that contradict each other, or this Python, are all reported at once."""
    one = make_wheel(index.directory, "one", requires=["two>=2", "three", "four; sys_platform == 'win32'"])
    two = make_wheel(index.directory, "two", requires=["one; extra == 'more'"])
    bench.write("lock.txt", pinned(one, two))
    said = refused(bench, EnvError)
    assert "one 1.0: needs two>=2, the lock holds two 1.0." in said
    assert "one 1.0: needs three, which the lock does not hold." in said
    assert "four" not in said


def test_conflicts_of_extras(bench: Bench, index: Index) -> None:
    """Extras that were asked for, by the project or by a distribution, are followed."""
    one = make_wheel(index.directory, "one", requires=["two[deep]; extra == 'more'"])
    two = make_wheel(index.directory, "two", requires=["three; extra == 'deep'"])
    bench.write("lock.txt", pinned(one, two))
    assert len(bench.fetch().wheels) == 2
    assert "two 1.0[deep]: needs three, which the lock does not hold." in refused(bench.declares(packages=("one[more]",)), EnvError)


def test_wrong_python(bench: Bench, index: Index) -> None:
    """A wheel that is not for this version of Python is refused, even if its tags say nothing."""
    wheel = make_wheel(index.directory, "one", requires_python=">=4")
    bench.write("lock.txt", f"one @ http://127.0.0.1:{index.port}/files/{wheel.name} --hash=sha256:{sha256(wheel)}\n")
    assert f"one: needs Python >=4, the target is {HERE.version}." in refused(bench)
