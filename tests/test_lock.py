"""Locks of every form, read for a target, found stale, and made."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builder import lock
from builder.errors import LockError
from builder.recipe import EnvSpec
from builder.target import ask

from .distributions import Index, make_sdist, make_wheel, serve
from .locking import HERE, Bench, names, pinned, problems, sha256

A, B = "a" * 64, "b" * 64
UV = f"""
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.9"

[[packages]]
name = "asgiref"
version = "3.8.1"
wheels = [{{ url = "https://files.test/asgiref-3.8.1-py3-none-any.whl", hashes = {{ sha256 = "{A}" }} }}]

[[packages]]
name = "colorama"
version = "0.4.6"
marker = "sys_platform == 'win32'"
wheels = [{{ url = "https://files.test/colorama-0.4.6-py3-none-any.whl", hashes = {{ sha256 = "{A}" }} }}]

[[packages]]
name = "django"
version = "5.1"
sdist = {{ url = "https://files.test/django-5.1.tar.gz", hashes = {{ sha256 = "{A}" }} }}
wheels = [
    {{ url = "https://files.test/django-5.1-cp27-cp27m-win32.whl", hashes = {{ sha256 = "{A}" }} }},
    {{ url = "https://me:secret@files.test/django-5.1-py3-none-any.whl", hashes = {{ sha256 = "{B}" }} }},
]

[[packages]]
name = "shop"
directory = {{ path = ".", editable = true }}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serve(tmp_path / "index") as index:
        for name, value in index.environment.items():
            monkeypatch.setenv(name, value)
        yield index


def refused(bench: Bench) -> str:
    with pytest.raises(LockError) as caught:
        bench.read()
    return problems(caught.value)


# Reading


def test_pylock_of_uv(bench: Bench) -> None:
    """A lock of uv is read for the target: markers, the best wheel, no credentials, and not the project itself."""
    bench = bench.declares(lock="pylock.toml")
    bench.write("pylock.toml", UV)
    found = bench.read().entries
    assert names(found) == ["asgiref 3.8.1", "django 5.1"]
    assert (found[1].hashes, found[1].filename, found[1].url) == (
        (B,),
        "django-5.1-py3-none-any.whl",
        "https://files.test/django-5.1-py3-none-any.whl",
    )


def test_pylock_with_groups(bench: Bench) -> None:
    """A lock of pdm with groups gives the default ones, and those that the recipe names."""
    text = 'lock-version = "1.0"\ncreated-by = "pdm"\ndependency-groups = ["default", "Dev_Tools"]\ndefault-groups = ["default"]\n' + "".join(
        f'[[packages]]\nname = "{name}"\nversion = "1"\nmarker = "\\"{group}\\" in dependency_groups"\n'
        f'wheels = [{{ name = "{name}-1-py3-none-any.whl", url = "https://files.test/x", hashes = {{ sha256 = "{A}" }} }}]\n'
        for name, group in (("one", "default"), ("two", "Dev_Tools"))
    )
    bench.write("recipe:pylock.toml", text)
    assert names(bench.read().entries) == ["one 1"]
    bench.write("pyproject.toml", '[project]\nname = "shop"\n[dependency-groups]\ndev-tools = ["two"]\n')
    assert names(bench.declares(pyproject="pyproject.toml", groups=("dev-tools",)).read().entries) == ["one 1", "two 1"]


def test_pylock_with_commit_and_directory(bench: Bench) -> None:
    """A commit of git and a directory of the source are entries of their own kinds."""
    commit = "1234567890" * 4
    vcs = f'[[packages]]\nname = "a"\nvcs = {{ type = "git", url = "https://token@git.test/a", commit-id = "{commit}", subdirectory = "lib" }}\n'
    bench.write("recipe:pylock.toml", f'lock-version = "1.0"\ncreated-by = "pip"\n{vcs}[[packages]]\nname = "b"\ndirectory = {{ path = "libs/b" }}\n')
    one, two = bench.read().entries
    assert (one.kind, one.url, one.commit, one.subdirectory) == ("vcs", "https://git.test/a", commit, "lib")
    assert (two.kind, two.path, bench.read().base) == ("directory", "libs/b", bench.tree)


def test_directory_outside_the_source(bench: Bench) -> None:
    """A lock can't name a directory that is not part of the source."""
    bench.write("recipe:pylock.toml", 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "b"\ndirectory = { path = "../b" }\n')
    assert "recipe:pylock.toml: b: is ../b, outside the source." in refused(bench)


def test_hashed_requirements(bench: Bench) -> None:
    """A requirements file with hashes is a lock: continuation lines, comments, extras, markers of the target, a commit, a file by its URL.

    The project itself, with which exports of uv begin, is no part of it.
    """
    commit = "0123456789" * 4
    bench = bench.declares(lock="requirements.txt")
    bench.write(
        "requirements.txt",
        f"""# made by a tool
--index-url https://index.test/simple
-e .
Django[argon2]==5.1 ; python_version >= "3.8" \\
    --hash=sha256:{B} \\
    --hash=sha256:{A}
    # via -r requirements.in
colorama==0.4.6 ; sys_platform == "win32" --hash=sha256:{A}
thing @ git+https://me:secret@git.test/thing@{commit}#subdirectory=lib
archive @ https://files.test/archive-2.tar.gz#sha256={A}
""",
    )
    found = bench.read()
    assert names(found.entries) == ["archive", "django 5.1", "thing 012345678901"]
    assert found.entries[0].filename == "archive-2.tar.gz"
    assert found.entries[1].hashes == (A, B)
    assert (found.entries[2].url, found.entries[2].subdirectory) == ("https://git.test/thing", "lib")
    assert found.index_options == ("--index-url https://index.test/simple",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("django>=5", "django has no hash"),
        (f"django>=5 --hash=sha256:{A}", "django>=5 is not pinned with =="),
        (f"django==5.* --hash=sha256:{A}", "is not pinned with =="),
        ("django==5 --hash=md5:1234", "a hash that is no sha256: md5:1234"),
        ("-e ./lib", "-e ./lib can't stand in a lock"),
        ("./libs/a", "./libs/a is no pinned requirement"),
        ("thing @ git+https://git.test/thing@main", "thing is not pinned to a commit"),
        (f"a==1 --hash=sha256:{A}\na==2 --hash=sha256:{A}", "names a a second time"),
        ("-r https://me:secret@other.test/r.txt", "names https://***@other.test/r.txt"),
    ],
)
def test_hashed_requirements_that_are_no_lock(bench: Bench, line: str, reason: str) -> None:
    """What is not pinned and hashed is refused, line by line."""
    bench = bench.declares(lock="requirements.txt")
    bench.write("requirements.txt", f"\n{line}\n")
    said = refused(bench)
    assert reason in said
    assert "requirements.txt:" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lock-version = ", "is not valid TOML"),
        ('lock-version = "2.0"\ncreated-by = "x"\npackages = []', "pylock version 2.0 is not supported"),
        ('lock-version = "1.0"\npackages = []', "is not a valid pylock.toml: Missing required value in 'created-by'"),
        ('lock-version = "1.0"\ncreated-by = "x"\nrequires-python = ">=4"\npackages = []', f"does not cover Python {HERE.version} on linux"),
        ('lock-version = "1.0"\ncreated-by = "x"\nenvironments = ["sys_platform == \'win32\'"]\npackages = []', "does not cover Python"),
    ],
)
def test_pylock_that_can_not_be_used(bench: Bench, text: str, reason: str) -> None:
    """A lock that is broken, of another version, or for another target is refused with the reason."""
    bench.write("recipe:pylock.toml", text)
    assert reason in refused(bench)


def test_wheel_for_another_platform(bench: Bench) -> None:
    """A lock whose only wheel is for another platform does not cover the target."""
    wheel = f'{{ name = "a-1-cp311-cp311-win_amd64.whl", url = "https://files.test/a", hashes = {{ sha256 = "{A}" }} }}'
    bench.write("recipe:pylock.toml", f'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "a"\nversion = "1"\nwheels = [{wheel}]\n')
    assert "No wheel found matching the provided tags for package 'a'" in refused(bench)


def test_no_sha256(bench: Bench) -> None:
    """A file with other hashes only is refused."""
    wheel = '{ name = "a-1-py3-none-any.whl", url = "https://files.test/a", hashes = { sha512 = "12" } }'
    bench.write("recipe:pylock.toml", f'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "a"\nversion = "1"\nwheels = [{wheel}]\n')
    assert "a: has only sha512 hashes." in refused(bench)


def test_missing_lock(bench: Bench) -> None:
    """A lock that is not there is an error with the command that makes it."""
    said = refused(bench)
    assert "recipe:pylock.toml: is missing." in said
    assert lock.refresh(bench.recipe) in said


def test_missing_input(bench: Bench) -> None:
    """All inputs that the recipe names and that are not there are reported at once."""
    bench.write("recipe:pylock.toml", UV)
    said = refused(bench.declares(requirements=("requirements.txt",), constraints=("limits.txt",), pyproject="pyproject.toml"))
    for name in ("requirements.txt", "limits.txt", "pyproject.toml"):
        assert f"{name}: can't be read: No such file or directory." in said


def test_no_dependencies(bench: Bench) -> None:
    """An application without dependencies has an empty lock."""
    assert bench.declares(lock="").read().entries == ()


# A foreign lock is held against what is declared


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("django>=5.2", "django>=5.2: is declared, the lock holds django 5.1."),
        ("flask", "flask: is declared, and the lock does not hold it."),
        ("flask ; sys_platform == 'win32'", ""),
        ("Django>=5,<6\nasgiref", ""),
        ("django @ git+https://git.test/django", "django 5.1: is locked from https://files.test"),
    ],
)
def test_foreign_lock(bench: Bench, declared: str, reason: str) -> None:
    """A lock that another tool made must hold all that is declared for the target, in a version that will do."""
    bench = bench.declares(lock="pylock.toml", requirements=("requirements.txt",))
    bench.write("pylock.toml", UV)
    bench.write("requirements.txt", declared)
    if reason:
        assert reason in refused(bench)
    else:
        assert bench.read().entries


def test_foreign_lock_and_constraints(bench: Bench) -> None:
    """A lock that another tool made must keep to the constraints too."""
    bench = bench.declares(lock="pylock.toml", packages=("django",), constraints=("limits.txt",))
    bench.write("pylock.toml", UV)
    bench.write("limits.txt", "asgiref<3.8\nnot-there<1\n")
    assert "asgiref<3.8: is a declared constraint, the lock holds asgiref 3.8.1." in refused(bench)


# Making


def test_made_lock(bench: Bench, index: Index) -> None:
    """A lock is made by pip from every kind of input, and remembers them; read again it is in order."""
    make_wheel(index.directory, "one", "1.0", requires=["two"])
    make_wheel(index.directory, "two", "2.0")
    make_wheel(index.directory, "three", "3.0")
    make_wheel(index.directory, "three", "4.0")
    make_wheel(index.directory, "four", "4.0")
    make_wheel(index.directory, "five", "5.0")
    bench = bench.declares(requirements=("requirements.txt",), packages=("three",), constraints=("limits.txt",))
    bench = bench.declares(pyproject="pyproject.toml", extras=("all",), groups=("dev",))
    bench.write("requirements.txt", "# comment\none  # another\n-r more/base.txt\n")
    bench.write("more/base.txt", "two>=1\n")
    bench.write("limits.txt", "three<4\n")
    project = '[project]\nname = "shop"\noptional-dependencies = { some = ["four"], all = ["shop[some]"] }\n[dependency-groups]\ndev = ["five"]\n'
    bench.write("pyproject.toml", project)
    path = bench.make()
    assert path == bench.root / "pylock.toml"
    found = bench.read()
    assert names(found.entries) == ["five 5.0", "four 4.0", "one 1.0", "three 3.0", "two 2.0"]
    assert found.entries[0].hashes == (sha256(index.directory / "five-5.0-py3-none-any.whl"),)
    remembered = tomllib.loads(path.read_text())["tool"]["build-release"]["inputs"]
    assert remembered == {
        "requirements.txt": ["one"],
        "more/base.txt": ["two>=1"],
        "limits.txt": ["three<4"],
        "dependencies.packages": ["three"],
        "pyproject.toml": ["four", "five"],
    }
    assert not bench.scratch()


@pytest.mark.parametrize("name", ["recipe:pylock.toml", "recipe:lock.txt"])
def test_stale_lock(bench: Bench, index: Index, name: str) -> None:
    """A lock of either form is stale when its inputs changed; the error says what changed, and what to run."""
    make_wheel(index.directory, "one", "1.0")
    bench = bench.declares(requirements=("requirements.txt",), lock=name)
    bench.write("requirements.txt", "one>=0.5\n")
    bench.make()
    assert names(bench.read().entries) == ["one 1.0"]
    bench.write("requirements.txt", "# a comment is no change\none>=0.5\n")
    bench.read()
    bench.write("requirements.txt", "one>=0.6\ntwo\n")
    said = refused(bench)
    assert f"{name} is stale" in said
    assert "requirements.txt: one>=0.5 → one>=0.6" in said
    assert "requirements.txt: (nothing) → two" in said
    assert lock.refresh(bench.recipe) in said


def test_stale_for_another_python(bench: Bench, index: Index, interpreters: Mapping[str, Path]) -> None:
    """A lock that was made for one Python is stale for another."""
    make_wheel(index.directory, "one", "1.0")
    bench = bench.declares(packages=("one",))
    bench.make()
    other = ask(next(path for version, path in interpreters.items() if version != HERE.python))
    said = refused(Bench(bench.root, bench.dependencies, interpreter=other))
    assert f"target: {lock.describe_target(HERE)} → {lock.describe_target(other)}" in said


def test_refresh_keeps_what_fits(bench: Bench, index: Index) -> None:
    """Made again, a lock keeps the versions it has, but for those that no longer fit."""
    for name in ("one", "two"):
        make_wheel(index.directory, name, "1.0")
    bench = bench.declares(packages=("one", "two"))
    bench.make()
    for name in ("one", "two"):
        make_wheel(index.directory, name, "2.0")
    bench.make()
    assert names(bench.read().entries) == ["one 1.0", "two 1.0"]
    bench = bench.declares(packages=("one", "two>1"))
    bench.make()
    assert names(bench.read().entries) == ["one 1.0", "two 2.0"]


def test_upgrade_takes_what_is_new(bench: Bench, index: Index) -> None:
    """Asked to, a lock made again takes the newest versions: of the distributions that are named, or of all; a name that is not locked is refused."""
    for name in ("one", "two"):
        make_wheel(index.directory, name, "1.0")
    bench = bench.declares(packages=("one", "two"))
    bench.make()
    for name in ("one", "two"):
        make_wheel(index.directory, name, "2.0")
    bench.make(frozenset({"two"}))
    assert names(bench.read().entries) == ["one 1.0", "two 2.0"]
    with pytest.raises(LockError) as caught:
        bench.make(frozenset({"onne"}))
    assert problems(caught.value) == "there is nothing to upgrade\nonne: is not in recipe:pylock.toml. Did you mean one?\n"
    bench.make(None)
    assert names(bench.read().entries) == ["one 2.0", "two 2.0"]


def test_refresh_lets_go_of_what_vanished(bench: Bench, index: Index) -> None:
    """A locked version that was deleted or yanked is replaced when the lock is made again."""
    make_wheel(index.directory, "one", "1.0")
    make_wheel(index.directory, "two", "1.0")
    bench = bench.declares(packages=("one", "two"))
    bench.make()
    make_wheel(index.directory, "one", "2.0")
    make_wheel(index.directory, "two", "2.0")
    index.yanked.add("one-1.0-py3-none-any.whl")
    (index.directory / "two-1.0-py3-none-any.whl").unlink()
    bench.make()
    assert names(bench.read().entries) == ["one 2.0", "two 2.0"]


def test_credentials_are_not_stored(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the password of an index nor the path of a directory of wheels gets into a lock."""
    make_wheel(tmp_path / "wheels", "one", "1.0")
    with serve(tmp_path / "index") as index:
        make_wheel(index.directory, "two", "1.0")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{index.port}/simple/")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
        bench = bench.declares(packages=("one", "two"))
        text = bench.make().read_text()
        assert f'url = "http://127.0.0.1:{index.port}/files/two' in text
        assert "secret" not in text
        assert str(tmp_path) not in text
        assert [wheel.name for wheel in bench.fetch().wheels] == ["one", "two"]


def test_conflict(bench: Bench, index: Index) -> None:
    """Requirements that contradict each other are refused with who wants what, and no lock is written."""
    make_wheel(index.directory, "one", "1.0", requires=["two<2"])
    make_wheel(index.directory, "two", "1.0")
    make_wheel(index.directory, "two", "2.0")
    bench = bench.declares(packages=("one", "two>=2"))
    with pytest.raises(LockError) as caught:
        bench.make()
    said = problems(caught.value)
    assert "The user requested two>=2." in said
    assert "one 1.0 depends on two<2." in said
    assert not (bench.root / "pylock.toml").exists()


def test_unknown_distribution(bench: Bench, index: Index) -> None:
    """A requirement that the index does not have is named."""
    make_wheel(index.directory, "one", "1.0")
    with pytest.raises(LockError) as caught:
        bench.declares(packages=("nowhere", "one")).make()
    assert "nowhere: is not on the index." in problems(caught.value)


def test_yanked_and_wanted(bench: Bench, index: Index) -> None:
    """A requirement that only a yanked release meets is refused with the authors' reason."""
    make_wheel(index.directory, "one", "1.0")
    index.yanked.add("one-1.0-py3-none-any.whl")
    with pytest.raises(LockError) as caught:
        bench.declares(packages=("one==1.0",)).make()
    assert "one 1.0: was yanked by its authors: broken." in problems(caught.value)


def test_source_has_to_be_named(bench: Bench, index: Index) -> None:
    """What comes as source is refused where the recipe does not name it, and locked with what builds it where it does."""
    make_sdist(index.directory, "one", "1.0", build_requires=["helper>=1"])
    make_wheel(index.directory, "helper", "1.0")
    bench = bench.declares(packages=("one",))
    with pytest.raises(LockError) as caught:
        bench.make()
    assert "one 1.0: comes as source, not as a wheel. Name it in dependencies.sdists" in problems(caught.value)
    bench = bench.declares(sdists=("one",))
    bench.make()
    found = bench.read()
    assert names(found.entries) == ["one 1.0"]
    assert found.build is not None
    assert names(found.build.entries) == ["helper 1.0"]
    (bench.root / "pylock.build.toml").unlink()
    assert "recipe:pylock.build.toml: is missing." in refused(bench)


def test_build_lock_of_the_project(bench: Bench, index: Index) -> None:
    """A project that becomes a wheel has its build requirements locked; when they change, the build lock is stale."""
    make_wheel(index.directory, "one", "1.0")
    make_wheel(index.directory, "helper", "1.0")
    backend = "def build_wheel(*_):\n    pass\n\ndef get_requires_for_build_wheel(*_):\n    return ['helper']\n"
    bench = Bench(bench.root, bench.declares(packages=("one",)).dependencies, EnvSpec(project=True))
    bench.write("backend.py", backend)
    bench.write("pyproject.toml", '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    bench.make()
    build = bench.read().build
    assert build is not None
    assert names(build.entries) == ["helper 1.0"]
    bench.write("pyproject.toml", '[build-system]\nrequires = ["helper>1"]\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    assert "the project: (nothing) → helper>1" in refused(bench)


def test_directory_of_the_source(bench: Bench, index: Index) -> None:
    """A directory of the source is locked by its path in it; one outside is refused."""
    make_wheel(index.directory, "one", "1.0")
    backend = make_sdist(bench.root, "lib", "1.0")
    subprocess.run(["tar", "xzf", backend, "-C", bench.tree], check=True)
    (bench.tree / "lib-1.0").rename(bench.tree / "lib")
    bench = bench.declares(requirements=("requirements.txt",))
    bench.write("requirements.txt", "./lib\none\n")
    bench.make()
    assert [(entry.name, entry.kind, entry.path) for entry in bench.read().entries] == [("lib", "directory", "lib"), ("one", "file", "")]


def test_wheel_in_the_source(bench: Bench, index: Index) -> None:
    """A wheel that is part of the source is locked by its path in it, and taken from there."""
    make_wheel(bench.tree / "vendor", "one", "1.0")
    bench = bench.declares(requirements=("requirements.txt",))
    bench.write("requirements.txt", "./vendor/one-1.0-py3-none-any.whl\n")
    bench.make()
    (entry,) = bench.read().entries
    assert (entry.path, entry.from_source) == ("vendor/one-1.0-py3-none-any.whl", False)
    assert [wheel.version for wheel in bench.fetch().wheels] == ["1.0"]


def test_outside_the_source(bench: Bench, index: Index) -> None:
    """What lies outside the source can't be locked: nobody else has it."""
    wheel = make_wheel(bench.root / "elsewhere", "one", "1.0")
    with pytest.raises(LockError) as caught:
        bench.declares(packages=(f"one @ file://{wheel}",)).make()
    assert f"one: is {wheel}. Put it into the repository." in problems(caught.value)


def test_old_target(bench: Bench, interpreters: Mapping[str, Path]) -> None:
    """For Python 3.9 pip can't lock: the refusal says what to do instead."""
    if "3.9" not in interpreters:
        pytest.skip("there is no Python 3.9 here")
    bench = Bench(bench.root, bench.declares(packages=("one",)).dependencies, interpreter=ask(interpreters["3.9"]))
    with pytest.raises(LockError) as caught:
        bench.make()
    assert "is older than pip can lock for: 3.10." in problems(caught.value)
    assert "requirements file with hashes" in problems(caught.value)


def test_lock_in_the_working_copy(bench: Bench, index: Index) -> None:
    """A lock that is part of the source is written into the working copy, not into the exported tree."""
    make_wheel(index.directory, "one", "1.0")
    subprocess.run(["git", "init", "--quiet", bench.root], check=True)
    bench = bench.declares(packages=("one",), lock="locks/pylock.toml")
    assert bench.make() == bench.root / "locks" / "pylock.toml"
    assert not (bench.tree / "locks").exists()


def test_changed_digest(bench: Bench) -> None:
    """The digest of a lock follows what is locked, not how it is written."""
    bench = bench.declares(lock="lock.txt")
    wheel = make_wheel(bench.root / "wheels", "one", "1.0")
    bench.write("lock.txt", pinned(wheel))
    first = bench.read().digest
    bench.write("lock.txt", "# comment\n" + pinned(wheel).replace(" --hash", " \\\n  --hash"))
    assert bench.read().digest == first
    bench.write("lock.txt", pinned(wheel).replace("==1.0", "==1.1"))
    assert bench.read().digest != first
