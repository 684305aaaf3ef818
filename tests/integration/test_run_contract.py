"""``current/bin/run`` does on a host what its documentation promises; ``build-release env`` makes a developer the same environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .commands import build_release
from .deploy import INSTALLER, ROOT, RUN, bootstrap, install
from .host import Host, children, wait_until
from .probe import Probe, set_up_probe

SAY = "import json, os, sys; print(json.dumps({'env': dict(os.environ), 'cwd': os.getcwd(), 'path': sys.path, 'prefix': sys.prefix}))"
SETTINGS = r"""# what this host knows
PROBE_SETTING="two words"
; another comment
SINGLE='$HOME `touch /srv/app/touched` $(touch /srv/app/touched)'
CONTINUED=one \
two
ESCAPED=\$5
EMPTY=
RELEASE_ID=mine
PATH_LIKE=/a:/b
"""
KINDS = ("venv", "pex", "wheelhouse")
IN_ENVIRONMENT = """
import hashlib, importlib.metadata, json, sys
found = {}
for distribution in importlib.metadata.distributions(path=[path for path in sys.path if path.endswith("site-packages")]):
    for file in distribution.files:
        path = distribution.locate_file(file)
        # RECORD has the scripts' hashes, and they name the interpreter; byte code has tests of its own; who installed it is no part of it
        made_by = file.name in ("RECORD", "REQUESTED", "INSTALLER") or ".pex-info" in str(file)
        if "site-packages" in str(path.resolve()) and path.suffix != ".pyc" and not made_by:
            found[f"{distribution.name}-{distribution.version}/{file}"] = hashlib.sha256(path.read_bytes()).hexdigest()
print(json.dumps(found))
"""


@pytest.fixture(params=KINDS)
def installed(request: pytest.FixtureRequest, probe: Probe, host: Host) -> Host:
    """A host with the first version of the probe."""
    set_up_probe(host)
    host.run("sh", "-c", 'umask 027; cat > "$0"', f"{ROOT}/shared/env", input=SETTINGS)
    bootstrap(host, probe.artifact("1", request.param).path)
    return host


def test_what_a_command_finds(installed: Host, probe: Probe) -> None:
    """It starts in the physical src/, with PYTHONPATH, PWD, the release's id and place, and shared/env as systemd would read it."""
    host = installed
    release = host.run("readlink", "-f", f"{ROOT}/current").stdout.strip()
    found = json.loads(host.run(RUN, "python", "-c", SAY, cwd="/", env={"PYTHONPATH": "/elsewhere", "HOME": "/home/deploy"}).stdout)
    env = found["env"]
    assert found["cwd"] == env["PWD"] == f"{release}/src"
    assert env["PYTHONPATH"].split(":")[0] == f"{release}/src"
    assert f"{release}/src" in found["path"]
    assert (env["RELEASE_DIR"], env["RELEASE_ID"]) == (release, release.rsplit("/", 1)[1])  # shared/env can't claim another
    assert env["PYTHONDONTWRITEBYTECODE"]
    assert env["HOME"] == "/home/deploy"
    assert found["prefix"] == host.run("readlink", "-f", f"{release}/venv").stdout.strip()
    assert {key: env[key] for key in ("PROBE_SETTING", "SINGLE", "CONTINUED", "ESCAPED", "EMPTY", "PATH_LIKE")} == {
        "PROBE_SETTING": "two words",
        "SINGLE": "$HOME `touch /srv/app/touched` $(touch /srv/app/touched)",
        "CONTINUED": "one two",
        "ESCAPED": "$5",
        "EMPTY": "",
        "PATH_LIKE": "/a:/b",
    }
    assert "touched" not in host.run("ls", ROOT).stdout  # parsed, never sourced


def test_what_is_executed(installed: Host) -> None:
    """It becomes the command: of the environment first, by its physical path, else of PATH, with the command's own exit status."""
    host = installed
    environment = host.run("readlink", "-f", f"{ROOT}/current/venv").stdout.strip()
    command = host.run(RUN, "python", "-c", "print(open('/proc/self/cmdline').read().split('\\0')[0])").stdout.strip()
    assert command == f"{environment}/bin/python"
    assert host.run(RUN, "sh", "-c", "exit 42", check=False).returncode == 42
    assert host.run(RUN, "no-such-command", check=False).returncode == 127
    assert host.run(RUN, "/etc/passwd", check=False).returncode == 126
    nothing = host.run(RUN, check=False)
    assert nothing.returncode != 0
    assert "usage" in nothing.stderr


def test_one_process_from_start_to_end(installed: Host, tmp_path: Path) -> None:
    """No process stays between a service manager and the command: signals and exit status are the command's own."""
    with installed.service(RUN, "sleep", "600", log=tmp_path / "log") as service:
        wait_until(lambda: [Path(f"/proc/{child}/comm").read_text() for child in children(service.pid)] == ["sleep\n"])
    assert service.returncode != 0


def test_a_running_release_is_not_pruned(installed: Host, probe: Probe, tmp_path: Path) -> None:
    """What runs holds a lease on its release: pruning keeps it, and removes it once it has ended."""
    host = installed
    kind = json.loads(host.run("cat", f"{ROOT}/current/release.json").stdout)["env"]["kind"]
    first, second = (probe.artifact(version, kind).id for version in ("1", "2"))
    with host.service(RUN, "sleep", "600", log=tmp_path / "log") as service:
        wait_until(lambda: [Path(f"/proc/{child}/comm").read_text() for child in children(service.pid)] == ["sleep\n"])
        install(host, probe.artifact("2", kind).path)
        host.run(INSTALLER, "mark-bad", first)
        host.run(INSTALLER, "prune")
        assert first in host.run("ls", f"{ROOT}/releases").stdout.split()
        assert first in host.run(INSTALLER, "status").stdout
    host.run(INSTALLER, "prune")
    assert second in host.run("ls", f"{ROOT}/releases").stdout.split()


def test_linked_paths_outlive_a_release(installed: Host, probe: Probe) -> None:
    """Linked directories and files of src/ are those of shared/: what one release wrote, the next one reads."""
    host = installed
    kind = json.loads(host.run("cat", f"{ROOT}/current/release.json").stdout)["env"]["kind"]
    host.run(RUN, "sh", "-c", "echo kept > var/data/file; cat local.ini")
    install(host, probe.artifact("2", kind).path)
    assert host.run(RUN, "cat", "var/data/file").stdout == "kept\n"
    assert host.run("cat", f"{ROOT}/shared/var/data/file").stdout == "kept\n"


def test_nothing_is_written_while_it_runs(installed: Host) -> None:
    """A release that nobody may write to serves: importing all of it leaves every file as it was, and verify agrees."""
    host = installed
    host.run(RUN, "python", "-c", "import probe_lib.late, probe_late, gunicorn.app.wsgiapp, pkgutil, json.tool")
    host.run(RUN, "python", "-m", "compileall", "--help")
    host.run(INSTALLER, "verify")


@pytest.mark.parametrize("kind", KINDS)
def test_development_has_the_same_environment(probe: Probe, host: Host, tmp_path: Path, kind: str) -> None:
    """``build-release env`` gives a developer the distributions that production has, file for file."""
    set_up_probe(host)
    bootstrap(host, probe.artifact("1", kind).path)
    production = json.loads(host.run(RUN, "python", "-c", IN_ENVIRONMENT).stdout)
    build_release("env", probe.recipe("1", kind), tmp_path / "env", env=probe.index.environment)
    asked = subprocess.run([tmp_path / "env/bin/python", "-c", IN_ENVIRONMENT], capture_output=True, text=True, check=True)
    development = {name: digest for name, digest in json.loads(asked.stdout).items() if not name.startswith("pip-")}
    assert len(production) > 50
    differing = {name for name in development.keys() | production.keys() if development.get(name) != production.get(name)}
    assert differing == set()
