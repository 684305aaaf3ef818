"""Each kind of bad input ends in one error that says what, where and what to do, with its own exit status, and leaves nothing behind.

One tiny project for each below tests/samples/bad; a test makes of it what its first line says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.distributions import Index, make_sdist, make_wheel

from .commands import build, build_release

SAMPLES = Path(__file__).parent.parent / "samples" / "bad"
REFUSED = 3


class Project:
    """A copy of a sample as a git repository of its own, with caches and temporary directory of its own."""

    def __init__(self, sample: str, place: Path, env: Mapping[str, str]) -> None:
        self.directory, self.out = place / sample, place / "out"
        self.temporary, self.cache = place / "tmp", place / "cache"
        shutil.copytree(SAMPLES / sample, self.directory)
        for directory in (self.out, self.temporary):
            directory.mkdir()
        self.env = {**env, "TMPDIR": str(self.temporary), "BUILD_RELEASE_CACHE": str(self.cache)}
        self.recipe = self.directory / "recipe.toml"
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *argv: str) -> None:
        subprocess.run(["git", *argv], cwd=self.directory, check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=now")

    def lock(self) -> None:
        """Lock it, and commit the lock: what a person does."""
        build_release("lock", self.recipe, env=self.env)
        self.commit()

    def refused(self, *argv: str | Path, prefix: tuple[str, ...] = (), status: int = REFUSED) -> tuple[str, list[str]]:
        """Run a command (a build, by default) that must be refused: its text, and where its problems are. Nothing may be left of it."""
        before = self._snapshot()
        command = argv or (self.recipe, "-o", self.out)
        done = build_release(*command, "--json", env=self.env, check=False, prefix=prefix)
        assert done.returncode == status, done.stdout + done.stderr
        print(done.stderr)  # pytest shows it when the test fails
        error = json.loads(done.stdout)["error"]
        assert error["status"] == status
        assert error["problems"], "it names no reason"
        assert "Traceback" not in done.stderr
        for said in (error["message"], *(problem["what"] for problem in error["problems"])):
            assert said.splitlines()[0].split()[0] in done.stderr  # people are told the same
        assert self._snapshot() == before
        text = " ".join([error["message"], *(f"{p['where']}: {p['what']} {p['remedy']}" for p in error["problems"]), error["next"]])
        return re.sub(r"\s+", " ", text), [problem["where"] for problem in error["problems"]]

    def _snapshot(self) -> dict[str, str]:
        """All files around it, but for the cache's: what is there is keyed by its hash, whole, and useful the next time. Half of one is not."""
        half = [path for path in self.cache.rglob("*") if re.search(r"tmp|partial|\.new", path.name)]
        assert half == []
        files = {}
        for top in (self.directory, self.out, self.temporary):
            for path in sorted(top.rglob("*")):
                if path.name != "index":  # git refreshes its own
                    files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        return files


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, index: Index) -> Project:
    """The sample that the test's marker names, and the index it sees: with `tiny` 1.0 in it."""
    make_wheel(index.directory, "tiny")
    return Project(request.param, tmp_path / "project", index.environment)


def sample(name: str) -> pytest.MarkDecorator:
    """Which sample a test is about."""
    return pytest.mark.parametrize("project", [name], indirect=True)


@sample("broken-recipe")
def test_broken_recipe(project: Project) -> None:
    """Every mistake of a recipe is named at once, with its place, the reason, and what was probably meant."""
    text, where = project.refused()
    assert sorted(where) == ["env.byte_cod", "env.kind", "etc", "python.version"]
    for said in ("byte_code", "venv", '"3.11"', "stays below"):
        assert said in text


@sample("missing-ref")
def test_missing_ref(project: Project) -> None:
    """A ref that the repository does not have is named."""
    text, where = project.refused()
    assert where == ["source.ref"]
    assert "v9" in text


@sample("dirty-tree")
def test_dirty_tree(project: Project) -> None:
    """Uncommitted changes are refused by name; asked for, they are packed, and the version says so."""
    (project.directory / "app.py").write_text("edited")
    text, where = project.refused()
    assert where == ["app.py"]
    assert "--allow-dirty" in text
    built = build(project.recipe, project.out, "--allow-dirty", env=project.env)
    assert "dirty" in str(built.said["version"])


@sample("stale-lock")
def test_stale_lock(project: Project) -> None:
    """A lock that was made from other requirements is refused: what changed, and the command that makes it again."""
    project.lock()
    (project.directory / "requirements.txt").write_text("tiny>=1\nmore>=2\n")
    project.commit()
    text, where = project.refused()
    assert where == ["requirements.txt"]
    assert "stale" in text
    assert "more>=2" in text
    assert f"build-release lock {project.recipe}" in text


@sample("stale-lock")
def test_missing_lock(project: Project) -> None:
    """Without a lock nothing is built, and the command that makes one is named."""
    text, _ = project.refused()
    assert "there is no lock" in text
    assert f"build-release lock {project.recipe}" in text


@sample("hash-mismatch")
def test_hash_mismatch(project: Project, index: Index) -> None:
    """A file whose bytes are not those that were locked is refused by name."""
    project.lock()
    make_wheel(index.directory, "tiny", files={"tiny.py": "import evil\n"})
    text, where = project.refused()
    assert any("tiny" in place for place in where)
    assert "hash" in text.lower() or "sha256" in text


@sample("missing-file")
def test_missing_file(project: Project, index: Index) -> None:
    """A locked file that the index no longer has is refused by name."""
    project.lock()
    (index.directory / "tiny-1.0-py3-none-any.whl").unlink()
    text, _ = project.refused()
    assert "tiny" in text


@sample("yanked-file")
def test_yanked_file(project: Project, index: Index) -> None:
    """A locked release that was yanked since is refused, with the index's reason."""
    project.lock()
    index.yanked.add("tiny-1.0-py3-none-any.whl")
    text, where = project.refused()
    assert any("tiny" in place for place in where)
    assert "yanked" in text
    assert "broken" in text  # the index's own word


@sample("yanked-file")
def test_yanked_before_it_was_locked(project: Project, index: Index) -> None:
    """A requirement that only a yanked release would meet can't be locked."""
    index.yanked.add("tiny-1.0-py3-none-any.whl")
    text, _ = project.refused("lock", project.recipe)
    assert "tiny" in text


@sample("sdist-fails")
def test_sdist_that_fails_to_build(project: Project, index: Index) -> None:
    """An sdist whose build fails is named, with the last words of its build."""
    (index.directory / "tiny-1.0-py3-none-any.whl").unlink()
    make_sdist(index.directory, "tiny", before="raise SystemExit('no compiler for this one')")
    (project.directory / "pylock.sdist-fails.toml").write_text(_foreign_lock(index, "tiny-1.0.tar.gz"))
    (project.directory / "pylock.sdist-fails-build.toml").write_text('lock-version = "1.0"\ncreated-by = "others"\npackages = []\n')
    project.commit()
    text, _ = project.refused()
    assert "tiny" in text
    assert "no compiler for this one" in text


@sample("sdist-not-named")
def test_sdist_that_nobody_named(project: Project, index: Index) -> None:
    """An sdist that the recipe does not let be built is refused, and the key that would let it is named."""
    (index.directory / "tiny-1.0-py3-none-any.whl").unlink()
    make_sdist(index.directory, "tiny")
    (project.directory / "pylock.sdist-not-named.toml").write_text(_foreign_lock(index, "tiny-1.0.tar.gz"))
    project.commit()
    text, where = project.refused()
    assert any("tiny" in place for place in where)
    assert "dependencies.sdists" in text


@sample("other-platform")
def test_wheel_for_another_platform(project: Project, index: Index) -> None:
    """A lock that has nothing for the target's platform is refused: which distribution, and which platform."""
    make_wheel(index.directory, "tiny", tag="cp311-cp311-win_amd64")
    (project.directory / "pylock.other-platform.toml").write_text(_foreign_lock(index, "tiny-1.0-cp311-cp311-win_amd64.whl"))
    project.commit()
    text, _ = project.refused()
    assert "tiny" in text
    assert "linux_x86_64" in text


@sample("conflict")
def test_conflicting_requirements(project: Project, index: Index) -> None:
    """Requirements that can't be met together can't be locked: both sides are named."""
    make_wheel(index.directory, "other", requires=["tiny>=2"])
    text, _ = project.refused("lock", project.recipe)
    assert "tiny" in text
    assert "other" in text


@sample("conflict-in-lock")
def test_conflict_in_a_lock(project: Project, index: Index) -> None:
    """A lock whose distributions contradict each other (pip check would say so) is refused: who needs what, and what is there."""
    other = make_wheel(index.directory, "other", requires=["tiny>=2"])
    pins = [f"{path.name.split('-')[0]}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in (other, _tiny(index))]
    (project.directory / "locked.txt").write_text("\n".join(pins) + "\n")
    project.commit()
    text, where = project.refused()
    assert any("other" in place for place in where)
    assert "tiny>=2" in text


@sample("wrong-python")
def test_wrong_python_at_build(project: Project) -> None:
    """An interpreter that is not the Python that the recipe asks for is refused."""
    text, where = project.refused()
    assert any("python" in place for place in where)
    assert "3.9" in text


@sample("plain")
def test_full_disk_at_build(project: Project) -> None:
    """A disk that is full when the artifact is written: one error, no half of an artifact."""
    text, _ = project.refused(prefix=_in_mounts(_small_disk(project.out, "16k")))
    assert "No space left" in text


@sample("plain")
def test_full_temporary_directory_at_build(project: Project) -> None:
    """A temporary directory without room for the source is named, with what to set, whatever git says of it."""
    (project.directory / "large").write_bytes(bytes(range(256)) * 16_000)
    project.commit()
    text, _ = project.refused(prefix=_in_mounts(_small_disk(project.temporary, "1m")))
    assert "No space left" in text
    assert "TMPDIR" in text


@sample("plain")
def test_unwritable_place_at_build(project: Project) -> None:
    """A directory that can't be written to is refused by name before anything is done."""
    mount = f'mount --bind "{project.out}" "{project.out}" && mount -o remount,bind,ro "{project.out}" && exec "$@"'
    text, where = project.refused(prefix=_in_mounts(mount))
    assert where == [str(project.out)]
    assert "-o" in text


def _small_disk(place: Path, size: str) -> str:
    """A script that runs a command with a file system of ``size`` at ``place``; status 99 when the command left something there."""
    return f'mount -t tmpfs -o size={size} tmpfs "{place}" && "$@"; status=$?; test -z "$(ls -A "{place}")" || exit 99; exit $status'


def _in_mounts(script: str) -> tuple[str, ...]:
    """A command line's beginning that first makes mounts which only the command sees. A virtual root where the tests are run by somebody else."""
    if not shutil.which("unshare"):
        missing("unshare is not installed")
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", *user, "--mount", "sh", "-c", script, "sh")


def _tiny(index: Index) -> Path:
    return index.directory / "tiny-1.0-py3-none-any.whl"


def _foreign_lock(index: Index, name: str) -> str:
    """A lock that names one file of `tiny`, as another tool would have written it."""
    digest = hashlib.sha256((index.directory / name).read_bytes()).hexdigest()
    table = "[packages.sdist]" if name.endswith(".gz") else "[[packages.wheels]]"
    return (
        'lock-version = "1.0"\ncreated-by = "others"\n\n[[packages]]\nname = "tiny"\nversion = "1.0"\n\n'
        f'{table}\nname = "{name}"\nurl = "http://127.0.0.1:{index.port}/files/{name}"\nhashes = {{ sha256 = "{digest}" }}\n'
    )
