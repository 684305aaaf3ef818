"""pipeline: the whole flow of a build, with real git, real pip and an index of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributions import Index, make_wheel, serve
from tests.integration.commands import BUILD_RELEASE, build_release

RECIPE = """\
name = "app"
etc = "etc"

[dependencies]
requirements = ["requirements.txt"]

[[build]]
run = "python -c \\"import tiny, pathlib; pathlib.Path('made').mkdir(); pathlib.Path('made/version').write_text(tiny.version)\\""
outputs = ["made"]
"""


class Project:
    """A repository with a recipe that needs ``tiny``; cache, temporary directory and output beside it."""

    def __init__(self, place: Path, index: Index) -> None:
        self.place, self.index = place, index
        self.directory, self.out, self.temporary, self.cache = (place / name for name in ("app", "out", "tmp", "cache"))
        self.recipe = self.directory / "app.toml"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.env = {**index.environment, "BUILD_RELEASE_CACHE": str(self.cache), "TMPDIR": str(self.temporary)}

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.directory, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=now")

    def lock(self) -> None:
        self.run("lock", self.recipe)
        self.commit()

    def run(self, *words: str | Path, status: int = 0) -> dict:
        """Run a command with --json: the object that it prints. Nothing temporary may be left of it."""
        done = build_release(*words, "--json", env=self.env, check=False)
        assert done.returncode == status, done.stderr
        assert list(self.temporary.iterdir()) == []
        return json.loads(done.stdout)

    def build(self, *words: str) -> dict:
        return self.run(self.recipe, "-o", self.out, *words)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose lock is made, and the index it was made from, with tiny 1.0 in it."""
    place = tmp_path_factory.mktemp("locked")
    with serve(place / "index") as index:
        make_wheel(index.directory, "tiny", files={"tiny.py": "version = '1.0'\n"})
        project = Project(place, index)
        project.write("app.py", "print('app')\n")
        project.write("etc/app.conf", "x\n")
        project.write("requirements.txt", "tiny\n")
        project.write("app.toml", RECIPE)
        project.git("init", "--quiet")
        project.commit()
        project.lock()
        yield project


@pytest.fixture
def project(locked: Project, tmp_path: Path) -> Project:
    """A copy of it for one test, with an empty cache."""
    shutil.copytree(locked.directory, tmp_path / "app")
    locked.index.asked.clear()
    return Project(tmp_path, locked.index)


# What others need, and a rebuild does not: each takes as long to import as some of its stages take.
NOT_FOR_A_REBUILD = {
    *("boto3", "build", "email", "http", "importlib.metadata", "installer", "pex", "pip", "pyproject_hooks"),
    *("rich", "ssl", "tarfile", "tomli_w", "virtualenv", "packaging.metadata"),
}
BUILD_AND_TELL = """
import sys
from builder.cli import main
status = main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


def names(said: dict, **wanted: object) -> list[str]:
    """The layers for which all of ``wanted`` holds."""
    return [layer["name"] for layer in said["layers"] if all(layer[key] == value for key, value in wanted.items())]


def test_a_build_makes_one_artifact_and_its_digest(project: Project) -> None:
    """The first build makes every layer, the artifact under a telling name, and a .sha256 beside it that sha256sum accepts."""
    said = project.build()
    path = Path(said["artifact"])
    assert names(said) == ["src", "etc", "assets", "env", "tiny-1.0-py3-none-any"]
    assert names(said, cached=True) == []
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said["bytes"] == path.stat().st_size
    assert said["changes"] is None
    assert set(said["seconds"]) == {"target", "source", "lock", "wheelhouse", "env", "assets", "layers", "installer", "artifact"}
    assert path.name == f"app-{said['version']}-{said['target']['abi']}-{said['target']['platform']}-{said['id'][-12:]}.tgz"
    assert sorted(project.out.iterdir()) == [project.out / ".gitignore", path, path.with_name(f"{path.name}.sha256")]
    subprocess.run(["sha256sum", "--check", "--quiet", f"{path.name}.sha256"], cwd=project.out, check=True)
    build_release("verify", path)


def test_a_commit_that_changes_nothing_makes_nothing_again(project: Project) -> None:
    """A commit of what does not go into the artifact has another id, and costs no layer: not even that of the build steps."""
    project.write("app.toml", RECIPE + "[source]\nexclude = ['docs']\n")
    project.commit()
    first = project.build()
    project.write("docs/index.txt", "text\n")
    project.commit()
    second = project.build()
    assert (second["id"] != first["id"], names(second, cached=False)) == (True, [])


def test_a_rebuild_imports_only_what_it_needs(project: Project) -> None:
    """After an edit the source's layer is made again with nothing imported that downloads, builds wheels, lays them out, or draws on a terminal."""
    project.write("app.toml", RECIPE.partition("[[build]]")[0])
    project.commit()
    project.build()
    project.write("app.py", "print('edited')\n")
    project.commit()
    command = [sys.executable, "-c", BUILD_AND_TELL, project.recipe, "-o", project.out, "--json"]
    done = subprocess.run(command, env={**os.environ, **project.env}, capture_output=True, text=True, check=True)
    assert names(json.loads(done.stdout), cached=False) == ["src"]
    assert NOT_FOR_A_REBUILD & set(done.stderr.split()) == set()


def test_a_second_build_makes_nothing_again(project: Project) -> None:
    """Every layer comes from the cache, nothing is asked of the index, and the file has the same bytes."""
    first = project.build()
    project.index.asked.clear()
    second = project.build()
    assert (second["sha256"], names(second, cached=False)) == (first["sha256"], [])
    assert second["changes"] == {"since": first["version"], "since_id": first["id"], "packages": [], "layers": [], "new_bytes": 0}
    assert project.index.asked == []


def test_a_damaged_layer_of_the_cache_is_made_again(project: Project) -> None:
    """That is said, the file has the same bytes, and the build after it has nothing left to heal."""
    first = project.build()
    damaged = max((project.cache / "layers").iterdir(), key=lambda path: path.read_bytes().count(b"tiny-1.0"))
    data = bytearray(damaged.read_bytes())
    data[9] ^= 1
    damaged.write_bytes(data)
    done = build_release(project.recipe, "-o", project.out, "--json", env=project.env)
    said = json.loads(done.stdout)
    assert "tiny 1.0: damaged in the cache, made again" in done.stderr
    assert (said["sha256"], names(said, cached=False)) == (first["sha256"], ["tiny-1.0-py3-none-any"])
    assert "healed" in said["seconds"]
    assert "healed" not in project.build()["seconds"]


def test_an_edited_source_costs_its_layer(project: Project) -> None:
    """After an edit of a file only src and what the build steps made of it are new."""
    project.build()
    project.write("app.py", "print('edited')\n")
    project.commit()
    said = project.build()
    assert names(said, cached=False) == ["src", "assets"]
    assert said["changes"]["layers"] == ["src"]  # what the steps made is the same again


def test_an_upgrade_is_asked_for(project: Project) -> None:
    """lock keeps what it has; with --upgrade-package NAME, in any spelling, or with --upgrade it takes what is new. Every file written is named."""
    lock = project.directory / "pylock.app.toml"
    for version, words in {"1.1": ["--upgrade-package", "Tiny"], "1.2": ["--upgrade"]}.items():
        make_wheel(project.index.directory, "tiny", version)
        assert project.run("lock", project.recipe) == {"lock": str(lock), "build_lock": None}
        assert f'version = "{version}"' not in lock.read_text()
        project.run("lock", project.recipe, *words)
        assert f'version = "{version}"' in lock.read_text()


def test_a_newer_dependency_is_told(project: Project) -> None:
    """After an upgrade the summary names package, old and new version, and the bytes that are new."""
    project.build()
    make_wheel(project.index.directory, "tiny", "2.0", files={"tiny.py": "version = '2.0'\n"})
    project.write("requirements.txt", "tiny>=2\n")
    project.lock()
    said = project.build()
    assert said["changes"]["packages"] == [{"name": "tiny", "before": "1.0", "after": "2.0"}]
    new = [layer for layer in said["layers"] if layer["name"] in ("src", "assets", "env", "tiny-2.0-py3-none-any")]
    assert said["changes"]["new_bytes"] == sum(layer["bytes"] for layer in new if layer["name"] in said["changes"]["layers"])


def test_an_application_without_dependencies(project: Project) -> None:
    """A recipe that declares nothing needs no lock and makes an environment with nothing in it."""
    project.write("app.toml", 'name = "app"\n')
    project.git("rm", "--quiet", "pylock.app.toml")
    project.commit()
    assert names(project.build()) == ["src", "env"]


def test_a_plan_does_nothing(project: Project) -> None:
    """--plan says what would be packed, downloaded and run; no artifact, no download."""
    said = project.build("--plan")
    assert (said["name"], said["download"], said["env"], said["out"]) == ("app", ["tiny"], "venv", str(project.out))
    assert said["steps"][0]["outputs"] == ["made"]
    assert said["commit"] == project.git("rev-parse", "HEAD")
    assert not project.out.exists()
    assert project.index.asked == []


def test_a_plan_for_people(project: Project) -> None:
    """--plan prints what would be done, one line each, and that nothing was done."""
    lines = build_release(project.recipe, "--plan", "-o", project.out, env=project.env).stdout.splitlines()
    assert f"  source       commit {project.git('rev-parse', 'HEAD')[:12]}" in [line.partition(" (")[0] for line in lines]
    assert "  lock         recipe:pylock.app.toml" in lines
    assert "  cached       0 of 1 locked file" in lines
    assert "  download     tiny 1.0" in lines
    assert any(line.startswith("  run          python -c ") and line.endswith(" → made") for line in lines)
    assert lines[-1] == "nothing was done"


def test_what_was_fetched_is_enough_for_a_build(project: Project) -> None:
    """After fetch a build asks nothing of any index."""
    fetched = project.run("fetch", project.recipe)
    assert [(wheel["name"], wheel["version"], wheel["built"]) for wheel in fetched["wheels"]] == [("tiny", "1.0", False)]
    project.index.asked.clear()
    assert project.build("--plan")["download"] == []
    project.build()
    assert project.index.asked == []


def test_an_environment_for_development(project: Project) -> None:
    """env makes a virtual environment with what the lock names, and says how to run the source with it."""
    venv = project.place / "venv"
    assert project.run("env", project.recipe, venv) == {"directory": str(venv), "changed": True, "wheels": 1}
    said = build_release("env", project.recipe, venv, env=project.env).stdout
    command = next(line.partition("next: ")[2] for line in said.splitlines() if "next: " in line)
    program = "import tiny, app; print(tiny.version)"
    done = subprocess.run(["sh", "-c", f'{command} && python -c "{program}"'], cwd=project.directory, capture_output=True, text=True, check=True)
    assert done.stdout == "app\n1.0\n"


def test_the_summary_for_people(project: Project) -> None:
    """Progress goes to standard error, a line for each stage that has something to say; what was made goes to standard output."""
    said = build_release(project.recipe, "-o", project.out, env=project.env)
    done = [line for line in said.stderr.splitlines() if not line.endswith("…")]  # on a busy machine stages that take long say so first
    assert [line.split()[0] for line in done] == ["app", "lock", "wheelhouse", "layers"]
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["→", "sha256", "next:", "tar"]


# Refusals


def test_a_place_that_cannot_be_written_is_refused_first(project: Project) -> None:
    """Where the artifact can't be put, the build does not begin."""
    (project.place / "file").write_text("")
    said = project.run(project.recipe, "-o", project.place / "file" / "out", status=3)
    assert said["error"]["message"] == "the artifact can't be written"
    assert said["error"]["problems"][0]["where"] == str(project.place / "file")


def test_a_cache_that_cannot_be_written_is_refused_first(project: Project) -> None:
    """Where the cache can't be, the build does not begin, and says which variable names another."""
    (project.place / "cache").write_text("")
    said = project.run(project.recipe, "-o", project.out, status=3)
    assert said["error"]["message"] == "the cache can't be written"
    assert "BUILD_RELEASE_CACHE" in said["error"]["problems"][0]["remedy"]


def test_a_user_without_a_home_is_told(project: Project) -> None:
    """Where no variable and no entry of the system names a home, the refusal says what to set; with that set the build runs."""
    as_nobody_known = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*as_nobody_known, "true"], capture_output=True).returncode:
        pytest.skip("this system allows no user namespaces")
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    words = [*as_nobody_known, BUILD_RELEASE, project.recipe, "--plan", "-o", project.out]
    said = subprocess.run(words, env=env, capture_output=True, text=True)
    assert (said.returncode, "Traceback" in said.stderr) == (2, False)
    assert "BUILD_RELEASE_CACHE" in said.stderr
    subprocess.run(words, env=env | project.env, check=True, capture_output=True)


def test_an_etc_that_is_not_there_is_refused(project: Project) -> None:
    """A recipe that names a directory the commit does not have is refused with its key."""
    project.git("rm", "--quiet", "-r", "etc")
    project.git("commit", "--quiet", "--message=now")
    said = project.run(project.recipe, "-o", project.out, status=3)
    assert [problem["where"] for problem in said["error"]["problems"]] == ["etc"]
    assert not project.out.exists()


def test_credentials_beside_the_recipe_are_refused(project: Project) -> None:
    """Configuration that stands beside the recipe and not in the source is looked at for credentials too, before anything is built."""
    project.write("app.toml", RECIPE.replace('"etc"', '"recipe:deploy/etc"') + "[source]\nrepository = '../app'\n")
    beside = project.place / "recipes"
    shutil.copytree(project.directory, beside)
    (beside / "deploy" / "etc").mkdir(parents=True)
    (beside / "deploy" / "etc" / ".htpasswd").write_text("carol:x\n")
    project.commit()
    shutil.rmtree(beside / ".git")
    said = project.run(beside / "app.toml", "-o", project.out, status=3)
    assert said["error"]["message"] == 'the system configuration, "recipe:deploy/etc", holds what must not be packed'
    assert [problem["where"] for problem in said["error"]["problems"]] == [".htpasswd"]
    (beside / "app.toml").write_text((beside / "app.toml").read_text() + 'allow_secrets = [".htpasswd"]\n')
    assert "etc" in names(project.run(beside / "app.toml", "-o", project.out))


def test_a_failing_step_leaves_nothing(project: Project) -> None:
    """A build step that fails is refused with its last words; no artifact is written."""
    project.write("app.toml", RECIPE + '[[build]]\nrun = ["sh", "-c", "echo no luck; exit 4"]\n')
    project.commit()
    said = project.run(project.recipe, "-o", project.out, status=3)
    assert "no luck" in said["error"]["problems"][0]["what"]
    assert not project.out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(project: Project, number: signal.Signals) -> None:
    """A build that is stopped in a build step ends the step, removes what it made, and dies of the signal, in a moment."""
    mark = project.place / "pid"
    project.write("app.toml", RECIPE + f'[[build]]\nrun = ["sh", "-c", "echo $$ > $MARK; exec sleep 60"]\nenv = {{ MARK = "{mark}" }}\n')
    project.commit()
    words, env = [BUILD_RELEASE, project.recipe, "-o", project.out, "--json"], {**os.environ, **project.env}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (mark.exists() and mark.read_text().endswith("\n")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == -number
    assert time.monotonic() - began < 10
    assert json.loads(out)["error"]["message"] == f"stopped by {number.name}, nothing was left behind"
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert list(project.temporary.iterdir()) == []
    assert not project.out.exists()


def test_a_build_after_a_prune_makes_the_same(project: Project) -> None:
    """With all that was cached gone, the next build fetches and makes everything again, to the last bit."""
    first = project.build()
    assert project.run("cache", "prune", "--all")["kept_bytes"] == 0
    again = project.build()
    assert names(again, cached=True) == []
    assert again["sha256"] == first["sha256"]


def test_a_cache_over_its_bound_is_trimmed_after_a_build(project: Project) -> None:
    """BUILD_RELEASE_CACHE_MAX holds once the artifact is written, which is the same; one that can't be read is told before any work."""
    first = project.build()
    assert first["trimmed_bytes"] == 0
    project.env["BUILD_RELEASE_CACHE_MAX"] = "2k"
    again = project.build()
    assert again["trimmed_bytes"] > 0
    assert project.run("cache", "info")["bytes"] <= 2000
    assert project.build()["sha256"] == again["sha256"] == first["sha256"]
    project.env["BUILD_RELEASE_CACHE_MAX"] = "much"
    assert project.run(project.recipe, status=2)["error"]["problems"][0]["where"] == "BUILD_RELEASE_CACHE_MAX"


def test_a_build_while_everything_is_pruned(project: Project) -> None:
    """Again and again, by two other processes, while it runs: the build finds what it uses, and makes the same."""
    first = project.build()
    prune = "while :; do build-release cache prune --all >/dev/null || exit; done"
    env = {**os.environ, **project.env, "PATH": f"{Path(BUILD_RELEASE).parent}:{os.environ['PATH']}"}
    pruning = [subprocess.Popen(["sh", "-c", prune], env=env, start_new_session=True) for _ in range(2)]
    try:
        assert [project.build()["sha256"] for _ in range(2)] == [first["sha256"]] * 2
        assert [process.poll() for process in pruning] == [None, None]
    finally:
        for process in pruning:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
