"""From a recipe to one exact commit to a plain tree, on real repositories."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import recipe, source
from builder.errors import SourceError
from builder.source.listing import join_url
from tests.conftest import missing

WHEN = 1700000000


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a repository's files, which is all that git's older protocol over HTTP wants."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def _plain_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git knows an author, a time, and nothing of the machine."""
    settings = tmp_path / "gitconfig"
    settings.write_text('[protocol "file"]\nallow = always\n[init]\ndefaultBranch = main\n[user]\nname = A\nemail = a@example.org\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_DATE", f"{WHEN} +0200")


def git(place: Path, *words: str | Path, **more: object) -> str:
    return subprocess.run(["git", "-C", place, *words], check=True, capture_output=True, text=True, **more).stdout.strip()  # type: ignore[call-overload,no-any-return]


def write(place: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def commit(place: Path, files: dict[str, str | bytes] | None = None) -> str:
    """Commit all that is in ``place``, a repository that is made when there is none; its name."""
    if not (place / ".git").exists():
        place.mkdir(parents=True, exist_ok=True)
        git(place, "init", "-q")
    write(place, files or {})
    git(place, "add", "-A")
    git(place, "commit", "-q", "--allow-empty", "-m", "x")
    return git(place, "rev-parse", "HEAD")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small application in a repository, with its recipe."""
    place = tmp_path / "app"
    commit(place, {"shop.toml": 'name = "shop"\n', "shop/a.py": "a = 1\n", "manage.py": "#!/usr/bin/env python\n", "docs/x.md": "x"})
    return place


def load(app: Path, **keys: object) -> recipe.Recipe:
    """The recipe of ``app``, with ``keys`` in its table ``source``, read from a copy that is no part of the working tree's changes."""
    values = "".join(f"{key} = {list(value) if isinstance(value, tuple) else repr(value)}\n" for key, value in keys.items())
    if values:
        (app.parent / "recipes").mkdir(exist_ok=True)
        repository = "" if "repository" in keys else f"repository = {str(app)!r}\n"
        path = app.parent / "recipes" / "shop.toml"
        path.write_text(f'name = "shop"\n[source]\n{repository}{values}')
        return recipe.load(path)
    return recipe.load(app / "shop.toml")


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., source.Source]:
    numbers = iter(range(100))

    def do(made: recipe.Recipe, allow_dirty: bool = False) -> source.Source:
        return source.export(made, tmp_path / f"out{next(numbers)}", cache=tmp_path / "cache", allow_dirty=allow_dirty)

    return do


def listed(tree: Path) -> dict[str, str]:
    """path → content, or → target of a link; an executable's path ends in a star."""
    found = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name + ("*" if path.stat().st_mode & 0o100 else "")] = path.read_bytes().decode("utf-8", "replace")
    return found


def refused(call: Callable[[], object]) -> tuple[str, dict[str, str], SourceError]:
    """The message, the problems by their place, and the error of a call that is refused."""
    with pytest.raises(SourceError) as caught:
        call()
    assert caught.value.status == 3
    return caught.value.message, {problem.where: f"{problem.what} {problem.remedy}" for problem in caught.value.problems}, caught.value


# What is exported


def test_the_tree_is_the_commit(app: Path, export: Callable[..., source.Source]) -> None:
    """The exported tree has the commit's files, modes, links and time, and the Source its name and time."""
    (app / "manage.py").chmod(0o755)
    (app / "docs" / "link").symlink_to("../shop/a.py")
    name = commit(app, {"empty": "", "bin.dat": bytes(range(256)), "häß lich/ñ.txt": "x"})
    made = export(load(app))
    assert (made.commit, made.time, made.dirty) == (name, WHEN, False)
    assert listed(made.tree) == {
        "bin.dat": bytes(range(256)).decode("utf-8", "replace"),
        "docs/link": "-> ../shop/a.py",
        "docs/x.md": "x",
        "empty": "",
        "häß lich/ñ.txt": "x",
        "manage.py*": "#!/usr/bin/env python\n",
        "shop.toml": 'name = "shop"\n',
        "shop/a.py": "a = 1\n",
    }
    modes = {oct(path.lstat().st_mode & 0o7777) for path in made.tree.rglob("*") if not path.is_symlink()}
    assert modes == {"0o644", "0o755"}
    assert {path.lstat().st_mtime for path in [made.tree, *made.tree.rglob("*")]} == {WHEN}


def test_nothing_of_the_machine_changes_the_bytes(app: Path, export: Callable[..., source.Source], monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes, line ends, filters, replaced objects, a umask and a surrounding git leave the bytes as the commit has them."""
    files = {".gitattributes": "*.sub export-subst\n*.no export-ignore\n*.txt text eol=crlf\n*.up filter=up\n*.utf working-tree-encoding=UTF-16\n"}
    commit(app, files | {"a.sub": "$Format:%H$\n", "b.no": "b\n", "c.txt": "1\n2\n", "d.up": "d\n", "e.utf": "e\n".encode("utf-16")})
    before = listed(export(load(app)).tree)
    for name, value in {"core.autocrlf": "true", "filter.up.smudge": "tr a-z A-Z", "core.abbrev": "4", "log.showSignature": "true"}.items():
        git(app, "config", "--global", name, value)
    blob = git(app, "rev-parse", "HEAD:d.up")
    git(app, "replace", blob, git(app, "rev-parse", "HEAD:b.no"))
    elsewhere = commit(app.parent / "other", {"x": "x"})
    monkeypatch.setenv("GIT_DIR", str(app.parent / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", elsewhere)
    old = os.umask(0o077)
    try:
        made = export(load(app, ref="main"))
    finally:
        os.umask(old)
    assert listed(made.tree) == before
    assert before["a.sub"] == "$Format:%H$\n"
    assert before["b.no"] == "b\n"
    assert before["c.txt"] == "1\n2\n"
    assert before["d.up"] == "d\n"
    assert oct((made.tree / "shop").stat().st_mode) == "0o40755"


def test_subdirectory_include_and_exclude(app: Path, export: Callable[..., source.Source]) -> None:
    """A subdirectory becomes the top; include and exclude choose below it."""
    commit(app, {"web/a.py": "", "web/b.txt": "", "web/deep/c.py": "", "web/deep/d.py": "", "c.py": ""})
    assert list(listed(export(load(app, subdirectory="web", include=("*.py",), exclude=("/deep/d.*",))).tree)) == ["a.py", "deep/c.py"]
    assert list(listed(export(load(app, exclude=("/web/", "shop*", "*.md"))).tree)) == ["c.py", "manage.py"]


def test_a_large_commit_is_exported_fast(tmp_path: Path, export: Callable[..., source.Source]) -> None:
    """Thousands of files take one process and a few seconds, on any disk."""
    place = tmp_path / "app"
    commit(place, {"shop.toml": 'name = "shop"\n', "large": b"0123456789abcdef" * 200000} | {f"d{n % 40}/f{n}.py": f"n = {n}\n" for n in range(2000)})
    began = time.perf_counter()
    made = export(load(place))
    assert time.perf_counter() - began < 30
    assert sum(path.is_file() for path in made.tree.rglob("*")) == 2002
    assert (made.tree / "d7" / "f1007.py").read_text() == "n = 1007\n"
    assert (made.tree / "large").stat().st_size == 3200000


# Which commit


@pytest.mark.parametrize("ref", ["HEAD", "main", "refs/heads/main", "v1", "annotated", "FULL", "SHORT", "HEAD~0", "main^0"])
def test_every_way_to_name_a_commit(app: Path, ref: str, tmp_path: Path) -> None:
    """A branch, a tag of either kind, a whole or shortened name, and relatives of them all mean the commit."""
    git(app, "tag", "v1")
    git(app, "tag", "-a", "-m", "x", "annotated")
    name = git(app, "rev-parse", "HEAD")
    made = load(app, ref={"FULL": name, "SHORT": name[:9]}.get(ref, ref))
    assert source.resolve(made, cache=tmp_path).commit == name


def test_an_older_commit_is_exported_whatever_the_working_tree_holds(app: Path, export: Callable[..., source.Source]) -> None:
    """With a ref other than HEAD the working tree plays no part, and its changes no role."""
    first = git(app, "rev-parse", "HEAD")
    commit(app, {"shop/a.py": "a = 2\n"})
    write(app, {"shop/a.py": "a = 3\n"})
    made = export(load(app, ref=first))
    assert (made.commit, made.dirty, (made.tree / "shop" / "a.py").read_text()) == (first, False, "a = 1\n")


def test_a_missing_ref_names_what_is_near(app: Path, tmp_path: Path) -> None:
    """A ref that isn't there is refused with the ones that look alike, and those of a remote."""
    git(app, "branch", "feature")
    message, problems, _ = refused(lambda: source.resolve(load(app, ref="featrue"), cache=tmp_path))
    assert message == "there is no such ref"
    assert problems == {"source.ref": "featrue is no branch, tag or commit of the repository. Did you mean feature?"}
    git(app, "update-ref", "refs/remotes/origin/topic", "HEAD")
    assert "Did you mean origin/topic?" in refused(lambda: source.resolve(load(app, ref="topic"), cache=tmp_path))[1]["source.ref"]


def test_refs_that_mean_no_single_commit(app: Path, tmp_path: Path) -> None:
    """A name of both a branch and a tag, of a file's contents, or of what this clone did before, is refused."""
    git(app, "tag", "both")
    git(app, "branch", "both")
    message, problems, _ = refused(lambda: source.resolve(load(app, ref="both"), cache=tmp_path))
    assert message == "the ref is ambiguous"
    assert "Write refs/heads/both or refs/tags/both." in problems["source.ref"]
    git(app, "tag", "blob", git(app, "rev-parse", "HEAD:manage.py"))
    assert "blob is a blob, not a commit." in refused(lambda: source.resolve(load(app, ref="blob"), cache=tmp_path))[1]["source.ref"]
    assert "every machine" in refused(lambda: source.resolve(load(app, ref="main@{1}"), cache=tmp_path))[0]


def test_places_that_are_no_source(app: Path, tmp_path: Path) -> None:
    """No directory, no repository, an empty one, a part of one and git's own directory are each refused in their own words."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    cases = {
        "nowhere": ("there is no such source", "no directory"),
        "plain": ("the source is no git repository", "git init"),
        "empty": ("the repository is empty", "Commit something first."),
        "app/docs": ("the source is a part of a repository", 'source.subdirectory = "docs"'),
        "app/.git": ("this is the inside of a repository", "Name the working tree."),
    }
    for place, (expected, words) in cases.items():
        message, problems, _ = refused(lambda place=place: source.resolve(load(app, repository=f"../{place}"), cache=tmp_path))  # type: ignore[misc]
        assert message == expected
        assert words in str(problems)


def test_commits_without_files(app: Path, export: Callable[..., source.Source]) -> None:
    """A commit of which nothing is selected, a pattern that selects nothing, and a missing subdirectory are refused."""
    assert "holds no file" in refused(lambda: export(load(app, exclude=("*",))))[1]["source"]
    assert "/nope/ matches no file." in refused(lambda: export(load(app, include=("/nope/", "*.py"))))[1]["source.include"]
    assert "Did you mean shop?" in refused(lambda: export(load(app, subdirectory="shpo")))[1]["source.subdirectory"]
    assert refused(lambda: export(load(app, subdirectory="manage.py")))[0] == "the subdirectory is a file"
    git(app, "rm", "-rq", ".")
    commit(app)
    assert "holds no file" in refused(lambda: export(load(app, ref="HEAD")))[1]["source"]


def test_bare_detached_and_linked_repositories(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """A bare repository, a detached HEAD and a second working tree are sources like any other."""
    expected = listed(export(load(app)).tree)
    git(tmp_path, "clone", "-q", "--bare", app, "bare.git")
    assert listed(export(load(app, repository="../bare.git")).tree) == expected
    git(app, "worktree", "add", "-q", "--detach", tmp_path / "second")
    write(tmp_path / "second", {"new.py": ""})
    made = export(load(tmp_path / "second"), allow_dirty=True)
    assert made.dirty
    assert listed(made.tree) == expected | {"new.py": ""}


def test_a_repository_of_sha256(tmp_path: Path, export: Callable[..., source.Source]) -> None:
    """A repository whose objects are named by SHA-256 is exported, and checked, as others are."""
    git(tmp_path, "init", "-q", "--object-format=sha256", "app")
    name = commit(tmp_path / "app", {"shop.toml": 'name = "shop"\n'})
    assert len(name) == 64
    assert export(load(tmp_path / "app")).commit == name
    assert export(load(tmp_path / "app", repository=f"file://{tmp_path}/app", ref=name)).commit == name


def test_a_damaged_object_is_noticed(app: Path, export: Callable[..., source.Source]) -> None:
    """A blob that is gone is an error that says what to do."""
    blob = git(app, "rev-parse", "HEAD:shop/a.py")
    (app / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    message, problems, _ = refused(lambda: export(load(app, ref="main")))
    assert message == "the repository is damaged"
    assert "git fsck" in problems[blob]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_repository_of_another_user(app: Path, tmp_path: Path) -> None:
    """A repository that git does not trust is refused with the command that lets it."""
    for path in (app, app / ".git"):
        os.chown(path, 12345, 12345)
    message, problems, error = refused(lambda: source.resolve(load(app), cache=tmp_path))
    assert message == "git refuses the repository"
    assert "belongs to another user" in problems["source.repository"]
    assert error.next_step == f"git config --global --add safe.directory {app}"
    subprocess.run(error.next_step.split(), check=True)
    assert source.resolve(load(app), cache=tmp_path).commit


# What must not be packed


def test_names_and_links_that_can_not_be_packed_are_refused_together(app: Path, export: Callable[..., source.Source]) -> None:
    """File names that are no text, and links out of the tree, directly or through another link, are all listed."""
    (app / os.fsdecode(b"bad\xff.txt")).write_text("")
    write(app, {"line\nfeed": "", "deep/er/x": ""})
    _, problems, _ = refused(lambda: export(load(app), allow_dirty=True))
    assert list(problems) == ["bad\\xff.txt", r"'line\nfeed'"]
    for path in (app / os.fsdecode(b"bad\xff.txt"), app / "line\nfeed"):
        path.unlink()
    links = {"absolute": "/etc/passwd", "out": "../other", "docs/out": "../../x", "fine": "deep/er/x", "dangling": "nowhere", "loop": "loop"}
    links |= {"deep/er/up": "../../docs", "deep/er/through": "up/../../x"}
    for name, target in links.items():
        (app / name).symlink_to(target)
    commit(app)
    message, problems, _ = refused(lambda: export(load(app)))
    assert message == "the source holds what must not be packed"
    assert sorted(problems) == ["absolute", "deep/er/through", "docs/out", "out"]


def test_git_directories_in_a_commit(app: Path, export: Callable[..., source.Source]) -> None:
    """A tree that was made to hold a directory named .git, in any case, is refused."""
    blob = git(app, "rev-parse", "HEAD:manage.py")
    inner = git(app, "mktree", input=f"100644 blob {blob}\tconfig\n")
    outer = git(app, "mktree", input=f"040000 tree {inner}\t.GIT\n100644 blob {blob}\ta\n")
    made = git(app, "commit-tree", "-m", "x", outer)
    assert list(refused(lambda: export(load(app, ref=made)))[1]) == [".GIT/config"]


def test_a_file_below_a_link_is_never_written_through_it(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """A tree that was made to hold a link and a directory of one name is refused, and nothing is written elsewhere."""
    blob = git(app, "rev-parse", "HEAD:manage.py")
    target = git(app, "hash-object", "-w", "--stdin", input=str(tmp_path / "outside"))
    (tmp_path / "outside").mkdir()
    inner = git(app, "mktree", input=f"100644 blob {blob}\tfile\n")
    outer = git(app, "mktree", input=f"120000 blob {target}\ta\n040000 tree {inner}\ta\n")
    made = git(app, "commit-tree", "-m", "x", outer)
    refused(lambda: export(load(app, ref=made)))
    assert list((tmp_path / "outside").iterdir()) == []


def test_credentials_in_the_commit_are_refused_unless_allowed(app: Path, export: Callable[..., source.Source]) -> None:
    """Tracked secrets are refused by name and content, and the recipe can allow them by path."""
    commit(app, {".env": "A=1", "tests/x.pem": "-----BEGIN PRIVATE KEY-----\n" + hashlib.sha256(b"").hexdigest() + "\n"})
    _, problems, _ = refused(lambda: export(load(app)))
    assert list(problems) == [".env", "tests/x.pem, line 1"]
    assert export(load(app, allow_secrets=("/.env", "tests/"))).commit


# The working tree


def test_a_dirty_tree_is_refused_with_all_that_differs(app: Path, export: Callable[..., source.Source]) -> None:
    """Changed, added, removed and untracked files are each named; ignored ones are not."""
    commit(app, {".gitignore": "*.log\n", "gone": ""})
    (app / "gone").unlink()
    (app / "manage.py").chmod(0o755)
    write(app, {"shop/a.py": "a = 2\n", "new/b.py": "", "x.log": "", "staged": ""})
    git(app, "add", "staged")
    message, problems, error = refused(lambda: export(load(app)))
    assert message == "the working tree is not what is committed"
    assert list(problems) == ["gone", "manage.py", "new/b.py", "shop/a.py", "staged"]
    assert "--allow-dirty" in error.next_step


def test_a_dirty_tree_is_exported_when_asked_for_and_marked(app: Path, export: Callable[..., source.Source]) -> None:
    """With allow_dirty the working tree's content is exported, the version says so, and the commit stays HEAD."""
    git(app, "tag", "v1.4.2")
    (app / "docs" / "x.md").unlink()
    (app / "manage.py").chmod(0o755)
    (app / "link").symlink_to("shop")
    write(app, {"shop/a.py": "a = 2\n", "docs/x.md/now.a.directory": "x"})
    made = export(load(app), allow_dirty=True)
    assert (made.commit, made.version, made.dirty) == (git(app, "rev-parse", "HEAD"), "1.4.2+dirty", True)
    assert listed(made.tree) == {
        "docs/x.md/now.a.directory": "x",
        "link": "-> shop",
        "manage.py*": "#!/usr/bin/env python\n",
        "shop.toml": 'name = "shop"\n',
        "shop/a.py": "a = 2\n",
    }
    commit(app)
    made = export(load(app), allow_dirty=True)
    assert (made.version, made.dirty) == (f"1.4.3.dev1+g{made.commit[:12]}", False)


def test_only_what_makes_the_artifact_can_be_dirty(app: Path, tmp_path: Path) -> None:
    """Outside the subdirectory, among excluded files, nothing counts but the recipe and the files that it names."""
    text = 'name = "shop"\n[source]\nsubdirectory = "web"\nexclude = ["*.md"]\n[dependencies]\npackages = ["x"]\nlock = "recipe:lock.txt"\n'
    commit(app, {"r/shop.toml": text, "r/lock.txt": "", "web/a.py": "", "web/a.md": ""})
    made = recipe.load(app / "r" / "shop.toml")
    write(app, {"shop/a.py": "changed", "web/a.md": "changed", "r/other": "", "web/new.md": ""})
    assert source.resolve(made, cache=tmp_path).changed == ()
    write(app, {"r/lock.txt": "changed", "r/shop.toml": text + "\n", "web/new.py": ""})
    assert source.resolve(made, cache=tmp_path).changed == ("r/lock.txt", "r/shop.toml", "web/new.py")


def test_a_recipe_that_git_ignores_is_a_change(app: Path, tmp_path: Path) -> None:
    """A recipe in an ignored directory is in no commit, so the tree is not what the commit says."""
    commit(app, {".gitignore": "/r/\n"})
    write(app, {"r/shop.toml": 'name = "shop"\n', "r/other": ""})
    assert source.resolve(recipe.load(app / "r" / "shop.toml"), cache=tmp_path).changed == ("r/",)


# Versions


def test_versions_of_commits(app: Path, tmp_path: Path) -> None:
    """Without tags commits are counted; a tag is a version, and the commits after it are versions above it."""
    first = git(app, "rev-parse", "HEAD")
    assert source.resolve(load(app), cache=tmp_path).version == f"0.0.dev1+g{first[:12]}"
    git(app, "tag", "v1.0")
    git(app, "tag", "-a", "-m", "x", "v1.1")
    git(app, "tag", "nightly")
    assert source.resolve(load(app), cache=tmp_path).version == "1.1"
    second = commit(app, {"b": ""})
    git(app, "tag", "v0.9")
    assert source.resolve(load(app), cache=tmp_path).version == "0.9"
    third = commit(app, {"c": ""})
    assert source.resolve(load(app), cache=tmp_path).version == f"1.2.dev2+g{third[:12]}"
    assert source.resolve(load(app, ref=second), cache=tmp_path).version == "0.9"
    write(app, {"shop.toml": 'name = "shop"\nversion = "7.0"\n'})
    assert source.resolve(load(app), cache=tmp_path).version == "7.0"


def test_a_shallow_clone_has_no_derived_version(app: Path, tmp_path: Path) -> None:
    """In a shallow clone a version is told only by a tag on the very commit; anything else would be a guess."""
    commit(app, {"b": ""})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{app}", "shallow")
    message, problems, error = refused(lambda: source.resolve(load(tmp_path / "shallow"), cache=tmp_path))
    assert (message, list(problems), error.next_step) == ("the version is unknown", ["version"], "git fetch --unshallow --tags")
    git(tmp_path / "shallow", "tag", "v3.1")
    assert source.resolve(load(tmp_path / "shallow"), cache=tmp_path).version == "3.1"
    assert "shallow clone" in refused(lambda: source.resolve(load(tmp_path / "shallow", ref="old"), cache=tmp_path))[1]["source.ref"]


# Submodules


@pytest.fixture
def super_app(app: Path, tmp_path: Path) -> Path:
    """The application with a submodule that has one itself, by relative URLs."""
    commit(tmp_path / "inner", {"inner.py": "i = 1\n"})
    commit(tmp_path / "lib", {"lib.py": "l = 1\n"})
    git(tmp_path / "lib", "submodule", "--quiet", "add", "../inner", "deep/inner")
    commit(tmp_path / "lib")
    git(app, "submodule", "--quiet", "add", "../lib", "vendor/lib")
    commit(app)
    return app


def test_submodules_are_refused_by_default(super_app: Path, export: Callable[..., source.Source]) -> None:
    """A commit with a submodule is refused by its path, unless the recipe leaves it out."""
    assert "vendor/lib" in refused(lambda: export(load(super_app)))[1]
    assert "vendor" not in str(listed(export(load(super_app, exclude=("/vendor/", ".gitmodules"))).tree))
    assert list(listed(export(load(super_app, include=("/shop/",))).tree)) == ["shop/a.py"]


def test_submodules_are_included_at_their_recorded_commits(super_app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """Submodules of submodules are exported as recorded, from the clone that has them, or fetched when it has not."""
    commit(tmp_path / "lib", {"lib.py": "l = 2\n"})
    commit(tmp_path / "inner", {"inner.py": "i = 2\n"})
    expected = {"vendor/lib/lib.py": "l = 1\n", "vendor/lib/deep/inner/inner.py": "i = 1\n"}
    for place in (f"{super_app}", f"file://{super_app}"):
        found = listed(export(load(super_app, repository=place, submodules="include")).tree)
        assert found.items() >= expected.items()
    git(tmp_path, "clone", "-q", f"file://{super_app}", "clone")
    assert listed(export(load(tmp_path / "clone", submodules="include")).tree) == found
    assert "vendor/lib/deep" not in str(listed(export(load(super_app, submodules="include", exclude=("deep/", "*.toml"))).tree))


def test_changed_submodules_are_dirt(super_app: Path, export: Callable[..., source.Source]) -> None:
    """A submodule that was edited makes the tree dirty, and with allow_dirty its content is what its working tree has."""
    git(super_app, "submodule", "--quiet", "update", "--init", "--recursive")
    write(super_app, {"vendor/lib/lib.py": "l = 3\n", "vendor/lib/deep/inner/new.py": ""})
    made = load(super_app, submodules="include", ref="HEAD")
    assert "vendor/lib" in refused(lambda: export(made))[1]
    found = listed(export(made, allow_dirty=True).tree)
    assert found["vendor/lib/lib.py"] == "l = 3\n"
    assert "vendor/lib/deep/inner/new.py" in found


def test_untracked_repositories_are_not_packed(app: Path, export: Callable[..., source.Source]) -> None:
    """A repository inside the working tree that is no submodule is refused by name."""
    commit(app / "nested", {"x": ""})
    assert "nested" in refused(lambda: export(load(app), allow_dirty=True))[1]


def test_a_submodule_that_is_gone_is_not_exported(super_app: Path, export: Callable[..., source.Source]) -> None:
    """With allow_dirty a submodule that was removed from the working tree stays out."""
    git(super_app, "rm", "-q", "vendor/lib")
    made = export(load(super_app, submodules="include", ref="HEAD"), allow_dirty=True)
    assert made.dirty
    assert "vendor" not in str(list(listed(made.tree)))


def test_a_remote_repository_can_not_name_files_of_this_machine(super_app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """A submodule with a path of this machine is refused in a repository that comes from elsewhere; else it would carry private files out."""
    git(super_app, "config", "-f", ".gitmodules", "submodule.vendor/lib.url", str(tmp_path / "lib"))
    commit(super_app)
    assert "vendor/lib/lib.py" in listed(export(load(super_app, repository=f"file://{super_app}", submodules="include")).tree)
    git(tmp_path, "clone", "-q", "--bare", super_app, "served.git")
    git(tmp_path / "served.git", "update-server-info")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/served.git"
        try:
            assert "shop/a.py" in listed(export(load(super_app, repository=url, exclude=("/vendor/",))).tree)
            problems = refused(lambda: export(load(super_app, repository=url, submodules="include")))[1]
        finally:
            server.shutdown()
    assert "a path of this machine" in problems["vendor/lib"]


def test_urls_of_submodules() -> None:
    """URLs of submodules are joined as git joins them."""
    assert join_url("https://host/a/b.git", "../c.git") == "https://host/a/c.git"
    assert join_url("https://host/a/b", "../../c/d") == "https://host/c/d"
    assert join_url("git@host:a/b.git", "../c.git") == "git@host:a/c.git"
    assert join_url("git@host:b.git", "../c.git") == "git@host:c.git"
    assert join_url("/srv/a", "./sub") == "/srv/a/sub"
    assert refused(lambda: join_url("host:b", "../../c"))[0] == "the URL of a submodule makes no sense"
    assert join_url("/srv/a/", "https://host/x") == "https://host/x"


# LFS

CONTENT = b"\x00\x01 a large picture" * 99
OID = hashlib.sha256(CONTENT).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(CONTENT)}\n"


def store(place: Path, content: bytes) -> Path:
    path = place / ".git" / "lfs" / "objects" / OID[:2] / OID[2:4] / OID
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_lfs_pointers_are_never_packed_silently(app: Path, export: Callable[..., source.Source]) -> None:
    """A pointer is refused by default, replaced from the local storage when included, and refused when it can't be had or is damaged."""
    commit(app, {"img/a.psd": POINTER, "img/b.psd": POINTER.replace("\n", "\r\n")})
    assert list(refused(lambda: export(load(app)))[1]) == ["img/a.psd", "img/b.psd"]
    assert "not on this machine" in refused(lambda: export(load(app, lfs="include")))[1]["img/a.psd"]
    store(app, CONTENT)
    made = export(load(app, lfs="include"))
    assert (made.tree / "img" / "a.psd").read_bytes() == (made.tree / "img" / "b.psd").read_bytes() == CONTENT
    store(app, CONTENT[:-1] + b"!")
    assert "damaged" in refused(lambda: export(load(app, lfs="include")))[1]["img/a.psd"]
    assert export(load(app, exclude=("/img/",))).commit


def test_lfs_objects_are_fetched(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """What the local storage lacks is fetched by git-lfs itself, for a clone and for a mirror."""
    if shutil.which("git-lfs") is None:
        missing("git-lfs is not installed")
    git(app, "lfs", "install")
    git(app, "lfs", "track", "*.psd")
    commit(app, {"a.psd": CONTENT})
    git(tmp_path, "clone", "-q", f"file://{app}", "clone", env=dict(os.environ, GIT_LFS_SKIP_SMUDGE="1"))
    assert (tmp_path / "clone" / "a.psd").read_bytes() == POINTER.encode()
    assert (export(load(tmp_path / "clone", lfs="include")).tree / "a.psd").read_bytes() == CONTENT
    assert (export(load(app, repository=f"file://{app}", lfs="include")).tree / "a.psd").read_bytes() == CONTENT


# Repositories that are named by URL


def test_a_url_is_mirrored_and_refreshed(app: Path, export: Callable[..., source.Source]) -> None:
    """Branches, tags and HEAD are those of the other side now, also after they moved or changed their kind."""
    url = f"file://{app}"
    first = export(load(app, repository=url)).commit
    second = commit(app, {"new.py": ""})
    git(app, "tag", "v2.0")
    assert export(load(app, repository=url)).commit == second
    assert export(load(app, repository=url, ref="v2.0")).version == "2.0"
    assert export(load(app, repository=url, ref=first[:10])).commit == first
    git(app, "checkout", "-q", "-b", "other", first)
    git(app, "branch", "-D", "main")
    git(app, "branch", "main/below")
    git(app, "tag", "-f", "v2.0", first)
    assert export(load(app, repository=url)).commit == first
    assert export(load(app, repository=url, ref="v2.0")).commit == first
    assert export(load(app, repository=url, ref="main/below")).commit == first
    git(app, "checkout", "-q", "--detach")
    third = commit(app, {"third": ""})
    git(app, "update-ref", "refs/pull/1/head", second)
    assert export(load(app, repository=url)).commit == third
    assert export(load(app, repository=url, ref="refs/pull/1/head")).commit == second
    assert refused(lambda: export(load(app, repository=url, ref="main")))[0] == "there is no such ref"


def test_a_commit_that_is_mirrored_needs_no_network(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """A whole commit name is served from the mirror; a branch is not, when the other side can't be asked."""
    url = f"file://{app}"
    name = export(load(app, repository=url)).commit
    app.rename(tmp_path / "away")
    assert export(load(app, repository=url, ref=name)).commit == name
    message, _, error = refused(lambda: export(load(app, repository=url, ref="main")))
    assert message.startswith(f"fetching {url} failed")
    assert "git ls-remote" in error.next_step
    assert export(load(app, repository=url, ref=name)).commit == name


def test_an_empty_or_missing_url(app: Path, tmp_path: Path) -> None:
    """An empty repository, one that isn't there, and a URL with a credential are refused; the cache keeps nothing of them."""
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    cache = tmp_path / "cache"
    assert refused(lambda: source.resolve(load(app, repository=f"file://{tmp_path}/empty.git"), cache=cache))[0] == "the repository is empty"
    assert "failed" in refused(lambda: source.resolve(load(app, repository=f"file://{tmp_path}/nope.git"), cache=cache))[0]
    message, problems, _ = refused(lambda: source.resolve(load(app, repository="https://token123@host.invalid/x"), cache=cache))
    assert message == "a credential stands in a URL"
    assert "token123" not in str(problems)
    assert [path.name for path in (cache / "git").iterdir() if path.suffix == ".new"] == []


def test_a_mirror_is_repaired_after_a_kill(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """Locks of a killed fetch, a half-made clone and a destroyed mirror are no obstacle to the next build."""
    url = f"file://{app}"
    export(load(app, repository=url))
    [mirror] = (tmp_path / "cache" / "git").glob("*.git")
    for name in ("packed-refs.lock", "HEAD.lock", "refs/heads/main.lock", "config.lock"):
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).touch()
    write(mirror.with_suffix(".killed.new"), {"objects/x": "half"})
    second = commit(app, {"b": ""})
    assert export(load(app, repository=url)).commit == second
    shutil.rmtree(mirror / "objects")
    assert export(load(app, repository=url)).commit == second
    (mirror / "HEAD").unlink()
    assert export(load(app, repository=url, ref=second)).commit == second
    assert list((tmp_path / "cache" / "git").glob("*.new")) == []


def test_a_build_may_be_killed_at_any_time(app: Path, export: Callable[..., source.Source], tmp_path: Path) -> None:
    """Builds that are killed while they clone or fetch leave nothing that the next one stumbles over."""
    commit(app, {f"d{n}/f.bin": os.urandom(20000) for n in range(200)})
    made = load(app, repository=f"file://{app}", ref="main")
    script = "import sys; from pathlib import Path; from builder import recipe, source; print(flush=True)\n"
    script += "source.resolve(recipe.load(Path(sys.argv[1])), cache=Path(sys.argv[2]))"
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        with subprocess.Popen([sys.executable, "-c", script, made.path, tmp_path / "cache"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        newest = commit(app, {"more": os.urandom(50000)})
    assert export(made).commit == newest


def test_two_builds_share_a_mirror(app: Path, export: Callable[..., source.Source]) -> None:
    """Builds at the same time, while the other side changes, each get a whole commit."""
    made = load(app, repository=f"file://{app}", ref="main")
    found: list[source.Source] = []
    threads = [threading.Thread(target=lambda: found.append(export(made))) for _ in range(4)]
    for number, thread in enumerate(threads):
        thread.start()
        commit(app, {f"f{number}": ""})
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all((each.tree / "manage.py").is_file() for each in found)
