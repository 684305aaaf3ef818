"""The program that deploy runs on a host: standard library only, Python 3.9 and newer. It is sent with every call and stays nowhere.

    look ROOT DEFAULT                   what this host is, as one JSON object
    run INSTALLER BYTES FILE WHO WORD…  become the installer: INSTALLER, or the first BYTES of standard input. What comes after them is the artifact:
                                        for the installer to read, or (FILE is 1) a file without a name, whose path is put in the place of "-"

``ROOT`` and ``INSTALLER`` may be empty. A nameless file vanishes with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

_STEP = 1 << 20


def look(given: str, default: str) -> None:
    root = os.path.abspath(given or os.environ.get("INSTALL_RELEASE_ROOT") or default)
    found = os.path.join(root, "bin", "install-release")
    installer = found if os.path.isfile(found) else on_path()
    place = root
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    facts = {
        "uid": os.geteuid(),
        "root": root,
        "place": place,
        "writable": os.access(place, os.W_OK | os.X_OK),
        "installer": installer,
        "have": None,
    }
    if installer and os.path.isdir(root):
        words = [sys.executable, "-IS", installer, "have", "--root", root, "--json"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with contextlib.suppress(ValueError):  # an installer that knows no such command
            facts["have"] = json.loads(done.stdout)
    print(json.dumps(facts))


def on_path() -> str:
    """An ``install-release`` that runs by itself: not the script beside some Python that has it as a package."""
    found = shutil.which("install-release")
    return found if found and zipfile.is_zipfile(found) else ""


def become(installer: str, count: int, file: bool, who: str, words: list[str]) -> None:
    try:
        if count:
            installer = nameless(count, *([os.memfd_create("install-release", 0)] if hasattr(os, "memfd_create") else []))
        if file:
            artifact = nameless(-1)
            words = [artifact if word == "-" else word for word in words]
    except OSError as error:
        problem = {"where": tempfile.gettempdir(), "what": f"{error.strerror or error}.", "remedy": "Make room there, or set TMPDIR."}
        told = {"status": 3, "message": "the release can't be received", "problems": [problem], "log": []}
        print(json.dumps({"error": told}) if "--json" in words else f"{told['message']}: {problem['where']}: {problem['what']} {problem['remedy']}")
        sys.exit(3)
    os.environ["INSTALL_RELEASE_WHO"] = who
    os.execv(sys.executable, [sys.executable, "-IS", installer, *words])


def nameless(count: int, file: int = -1) -> str:
    """A path by which children can open a file that holds the next ``count`` bytes of standard input (-1: all)."""
    if file < 0:
        with tempfile.TemporaryFile(buffering=0) as made:
            file = os.dup(made.fileno())
    while count:
        piece = os.read(0, _STEP if count < 0 else min(count, _STEP))
        if not piece:
            if count > 0:
                raise OSError(errno.EPIPE, "The connection ended early")
            break
        count -= len(piece) if count > 0 else 0
        while piece:
            piece = piece[os.write(file, piece) :]
    os.set_inheritable(file, True)
    return f"/proc/self/fd/{file}"


if __name__ == "__main__":
    if sys.argv[1] == "look":
        look(*sys.argv[2:])
    else:
        become(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1", sys.argv[5], sys.argv[6:])
