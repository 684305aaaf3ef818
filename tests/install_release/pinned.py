"""A root with two releases whose modules say which release they are of, for tests of what a process imports after a flip."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from builder.env.scripts import entry_point
from builder.install_release import pin

LATE = """
import multiprocessing, os, subprocess, sys

def found(_=None):
    import lazy_env, lazy_src
    return lazy_env.WHICH + lazy_src.WHICH

def started(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(found, [0])[0]

def child(python):
    return subprocess.run([python, "-c", "import late; print(late.found())"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

def main():
    print("ready", flush=True)
    sys.stdin.readline()
    how = sys.argv[1] if len(sys.argv) > 1 else "itself"
    if how == "itself":
        print(found())
    elif how == "child":
        print(child(sys.executable))
    elif how == "by name":
        print(child("python"))
    elif how == "namespace":
        import space.part
        print(space.part.WHICH * 2)
    else:
        print(started(how))

if __name__ == "__main__":
    main()
"""

# What setuptools used to write for a namespace package: it asks the frame of site for its directory.
NAMESPACE = (
    "import sys, types, os; p = os.path.join(sys._getframe(1).f_locals['sitedir'], 'space'); "
    "m = sys.modules.setdefault('space', types.ModuleType('space')); m.__path__ = [p]\n"
)


class Root:
    """``releases/a`` and ``releases/b`` with environments of their own, made by ``python``; ``current`` leads to a."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root, self.python = root, Path(os.path.realpath(python))
        asked = subprocess.run([python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True)
        self.name = asked.stdout.strip()
        for which in "ab":
            self._release(which)
        self.flip("a")

    def _release(self, which: str) -> None:
        env, release = self.root / "envs" / f"key-{which}", self.root / "releases" / which
        site = self.site(which)
        (site / "space").mkdir(parents=True)
        (site / pin.NAME).write_text(pin.PTH)
        (site / "old-nspkg.pth").write_text(NAMESPACE)
        (site / "lazy_env.py").write_text(f"WHICH = {which!r}\n")
        (site / "space" / "part.py").write_text(f"WHICH = {which!r}\n")
        (env / "bin").mkdir()
        (env / "bin" / "python").symlink_to(self.python)
        (env / "bin" / "tool").write_bytes(entry_point("late", "main"))
        (env / "bin" / "through").write_text(f"#!{self.root}/current/venv/bin/python\nimport late\nlate.main()\n")
        for script in ("tool", "through"):
            (env / "bin" / script).chmod(0o755)
        (env / "pyvenv.cfg").write_text(f"home = {self.python.parent}\ninclude-system-site-packages = false\n")
        (release / "src").mkdir(parents=True)
        (release / "src" / "late.py").write_text(LATE)
        (release / "src" / "lazy_src.py").write_text(f"WHICH = {which!r}\n")
        (release / "venv").symlink_to(f"../../envs/key-{which}")

    def site(self, which: str) -> Path:
        """The site-packages of one of the two."""
        return self.root / "envs" / f"key-{which}" / "lib" / self.name / "site-packages"

    def flip(self, which: str) -> None:
        """Make ``current`` lead to another release."""
        (self.root / "current.new").symlink_to(f"releases/{which}")
        (self.root / "current.new").rename(self.root / "current")

    @property
    def environment(self) -> dict[str, str]:
        """What a careless service file would set: everything by way of ``current``."""
        return {"PATH": f"{self.root}/current/venv/bin:/usr/bin:/bin", "PYTHONPATH": f"{self.root}/current/src", "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *command: str, cwd: str = "/") -> subprocess.Popen[str]:
        """Start a process that says ``ready``, and after a line on its standard input says which release it imports."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd, env=self.environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process
