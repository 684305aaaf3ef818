"""cli: what build-release prints, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cli import COMMANDS, main
from tests.integration.commands import BUILD_RELEASE
from tests.releases import write_release

SLOW = ("boto3", "botocore", "pex", "virtualenv", "rich", "zlib_ng", "packaging", "installer", "build", "pip")


def error(text: str) -> dict[str, object]:
    """The one object that --json printed, of an error."""
    value = json.loads(text)
    assert list(value) == ["error"]
    assert set(value["error"]) == {"status", "message", "problems", "next"}
    return dict(value["error"])


# Help


@pytest.mark.parametrize("words", [["--help"], *([command.name, "--help"] for command in COMMANDS)], ids=" ".join)
def test_every_help_lists_the_exit_statuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--help exits 0 and says what each exit status means."""
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "exit status:\n  0  done\n  1  unexpected" in said
    assert "  2  usage" in said
    assert "  3  refused" in said


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """build-release --help names every command with what it does."""
    main(["--help"])
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name:<8} {command.help}\n" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("build-release ")


@pytest.mark.parametrize("words", [["--help"], ["lock", "--help"], ["no-such-recipe.toml"], ["--nonsense"]], ids=" ".join)
def test_start_up_imports_nothing_slow(words: list[str]) -> None:
    """Neither help nor a usage error waits for a library that only building needs."""
    program = "import sys; from builder.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded.intersection(SLOW)


# Usage


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: RECIPE"),
        (["--nonsense", "x.toml"], "unrecognized arguments: --nonsense"),
        (["x.toml", "y.toml"], "unrecognized arguments: y.toml"),
        (["lock"], "the following arguments are required: RECIPE"),
        (["env", "x.toml"], "the following arguments are required: DIR"),
        (["x.toml", "--jobs", "0"], "argument --jobs: must be a number from 1 to 256"),
        (["verify"], "the following arguments are required: ARTIFACT|STORE"),
    ],
)
def test_a_wrong_command_line_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error has status 2, says what is wrong on standard error, and where help is."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == message
    assert said.err.splitlines()[-1].endswith("--help")


def test_a_mistyped_command_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A first word that is neither a file nor a command gets the command that was meant."""
    monkeypatch.chdir(tmp_path)
    said = "inspekt is neither a recipe nor a command:\n  inspekt  does not exist. Did you mean the command inspect?\n  next: build-release --help\n"
    for words in ["inspekt"], ["inspekt", "release.tgz", "--most", "3"]:
        assert main(words) == 2
        assert capsys.readouterr().err == said


def test_a_usage_error_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json a usage error is one object on standard output, too."""
    assert main(["--json", "--nonsense"]) == 2
    assert error(capsys.readouterr().out)["status"] == 2


# Recipes


@pytest.mark.parametrize("words", [[], ["lock"], ["fetch"]])
def test_a_broken_recipe_shows_every_problem(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken recipe is status 3, all its problems below each other, whatever the command was."""
    path = tmp_path / "shop.toml"
    path.write_text('name = "shop"\ndepends = []\n[env]\nkind = "vnev"\n')
    assert main([*words, str(path)]) == 3
    assert capsys.readouterr().err.splitlines() == [
        f"{path}, 2 problems:",
        '  depends   unknown key. Did you mean "dependencies"?',
        '  env.kind  "vnev" is not one of venv, pex, wheelhouse. Did you mean "venv"?',
        "  next: every key is described in recipes/example.toml",
    ]


def test_a_broken_recipe_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the problems are a list of objects on standard output; people read the same on standard error."""
    path = tmp_path / "shop.toml"
    path.write_text("nam = 1")
    assert main([str(path), "--json"]) == 3
    said = capsys.readouterr()
    assert error(said.out) == {
        "status": 3,
        "message": f"{path}, 2 problems",
        "problems": [
            {"where": "nam", "what": "unknown key.", "remedy": 'Did you mean "name"?'},
            {"where": "name", "what": "is missing.", "remedy": ""},
        ],
        "next": "every key is described in recipes/example.toml",
    }
    assert said.err.startswith(f"{path}, 2 problems:\n")


def test_a_missing_recipe_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe that does not exist is refused in one line."""
    assert main([str(tmp_path / "none.toml")]) == 3
    assert capsys.readouterr().err == f"there is no recipe {tmp_path / 'none.toml'}\n"


# Artifacts


def test_inspect_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """inspect prints a listing, or with --json one object with the whole manifest."""
    built = write_release(tmp_path, {"src": {"a": "1"}})
    assert main(["inspect", str(built.path)]) == 0
    assert capsys.readouterr().out.startswith("shop 1.0   commit aaaaaaaaaaaa")
    assert main(["inspect", str(built.path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["id"], value["sha256"], value["manifest"]["name"]) == (built.id, built.sha256, "shop")
    assert value["largest"] == [{"path": "src/a", "bytes": 1, "layer": "src"}]


def test_inspect_shows_as_many_files_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--most limits the largest files."""
    built = write_release(tmp_path, {"src": {"a": "1", "b": "22"}})
    assert main(["inspect", str(built.path), "--json", "--most", "1"]) == 0
    assert [item["path"] for item in json.loads(capsys.readouterr().out)["largest"]] == ["src/b"]


def test_verify_names_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """verify says of each artifact that it holds, and gives one object with --json."""
    paths = [str(write_release(tmp_path, {"src": {"a": text}}).path) for text in ("1", "2")]
    assert main(["verify", *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{path}: shop 1.0 holds" for path in paths]
    assert main(["verify", "--json", *paths]) == 0
    assert [item["artifact"] for item in json.loads(capsys.readouterr().out)["artifacts"]] == paths


def test_verify_names_what_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edited artifact is status 3, with the reason; of several, every one that does not hold is named."""
    good = write_release(tmp_path, {"src": {"a": "1"}}).path
    data = bytearray(good.read_bytes())
    data[-200] ^= 1
    edited, cut = tmp_path / "edited.tgz", tmp_path / "cut.tgz"
    edited.write_bytes(data)
    cut.write_bytes(data[:-1])
    assert main(["verify", str(good), str(edited)]) == 3
    assert "edited.tgz" in capsys.readouterr().err
    assert main(["verify", "--json", str(good), str(edited), str(cut)]) == 3
    value = error(capsys.readouterr().out)
    assert value["message"] == "2 of 3 artifacts do not hold"
    assert isinstance(value["problems"], list)
    assert [problem["where"].partition(":")[0] for problem in value["problems"]] == ["edited.tgz", "cut.tgz"]


def test_what_is_no_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """inspect and verify refuse a file that is none, and one that is not there."""
    (tmp_path / "x.tgz").write_text("x")
    for command in ("inspect", "verify"):
        for name in ("x.tgz", "none.tgz"):
            assert main([command, str(tmp_path / name)]) == 3
            assert name in capsys.readouterr().err


# Streams


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    """Output into a closed pipe ends quietly."""
    built = write_release(tmp_path, {"src": {"a": "1"}})
    script = f"set -o pipefail; '{BUILD_RELEASE}' inspect '{built.path}' | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_these_letters_is_no_failure(tmp_path: Path) -> None:
    """Where standard output can't show a letter, it is escaped."""
    built = write_release(tmp_path, {"src": {"ü": "1"}})
    done = subprocess.run([BUILD_RELEASE, "inspect", built.path], env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert b"src/\\xfc" in done.stdout


def test_what_can_not_be_said_is_refused_in_words(tmp_path: Path) -> None:
    """A full disk behind standard output is no fault of the program; with --json neither. A closed one is as good as /dev/null."""
    built = write_release(tmp_path, {"src": {"a": "1"}})
    for more in ("", "--json"):
        script = f"'{sys.executable}' -m builder inspect '{built.path}' {more} >/dev/full"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
        assert "No space left" in done.stderr
    for closed in ("<&- >&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["bash", "-c", f"'{sys.executable}' -m builder inspect '{built.path}' {closed}"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
