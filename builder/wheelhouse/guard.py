"""A pip that may use the network, and back ends that may not.

pip prepares the metadata of source archives while it resolves and downloads, which runs their back ends. It does so with its own interpreter: here
one of a virtual environment in which every process that is not pip starts itself again without network, and without this user's environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..run import EARLIEST, build_environment, no_network
from ..target import Interpreter

# Runs at the start of every process of that environment, before anything of a back end is imported.
_GUARD = """\
import os

_NO_NETWORK = {no_network!r}
_ENVIRONMENT = {environment!r}
_KEPT = ("PYTHONPATH", "PYTHONNOUSERSITE", "PIP_BUILD_TRACKER", "PEP517_", "_PYPROJECT_HOOKS_")

with open("/proc/self/cmdline", "rb") as _file:
    _words = [os.fsdecode(_word) for _word in _file.read().split(b"\\0")[:-1]]
_script = next((_word for _word in _words[1:] if not _word.startswith("-")), "")
if not _script.endswith(("/__pip-runner__.py", ".whl/pip")) and "BUILD_RELEASE_GUARDED" not in os.environ:
    _kept = {{_name: _value for _name, _value in os.environ.items() if _name.startswith(_KEPT)}}
    _command = [*_NO_NETWORK, *_words]
    os.execvpe(_command[0], _command, {{**_ENVIRONMENT, **_kept, "BUILD_RELEASE_GUARDED": "1"}})
"""


def make(interpreter: Interpreter, place: Path, settings: Mapping[str, str] | None = None) -> Path:
    """Make such an environment in the empty directory ``place``; returns its interpreter. ``settings`` are variables for back ends."""
    library = place / interpreter.paths["purelib"]
    library.mkdir(parents=True)
    (place / "bin").mkdir()
    python = place / "bin" / "python"
    python.symlink_to(interpreter.executable)
    (place / "pyvenv.cfg").write_text(f"home = {interpreter.executable.parent}\ninclude-system-site-packages = false\n")
    environment = build_environment(place, EARLIEST, settings)
    (library / "build_release_guard.py").write_text(_GUARD.format(no_network=list(no_network()), environment=environment))
    (library / "build_release_guard.pth").write_text("import build_release_guard\n")
    return python
