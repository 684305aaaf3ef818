"""The installer as one deterministic file: a zip of ``install_release/`` that runs (PEP 441), the same bytes everywhere.

Byte code of the target's Python travels beside the sources: without it each start compiles them all, 0.1 s. Another Python's
``zipimport`` passes over what it can't read, and takes the source.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

from .cache import load, save
from .env.bytecode import compile_sources
from .env.keys import key
from .install_release.manifest import canonical
from .target import Interpreter

# -I: neither the environment nor the working directory; -S: no site-packages. The installer needs none of them.
_SHEBANG = b"#!/usr/bin/python3 -IS\n"
_MAIN = b"""\
import gc
import os
import sys

gc.disable()  # a start makes many objects and no garbage


def refuse(why):
    sys.stderr.write("install-release: %s Nothing was changed.\\n" % why)
    sys.exit(3)


# In words that the oldest Python understands, and a stripped one (Debian's python3-minimal) too.
if sys.version_info < (3, 9):
    refuse("needs Python 3.9 or newer, this is %d.%d." % sys.version_info[:2])


def held(place):
    # Another name for this file: what is imported late comes from it, though an installation has put a newer one in its place by then.
    try:
        files = [os.open(place, os.O_RDONLY)]
        while files[-1] < 3:  # those are for others
            files.append(os.dup(files[-1]))
        for low in files[:-1]:
            os.close(low)
        name = "/proc/self/fd/%d" % files[-1]
        return name if os.path.exists(name) else place
    except OSError:
        return place


sys.path[0] = held(sys.path[0])
try:
    from install_release.cli import main
except ImportError as error:
    refuse("this Python lacks %s of the standard library. Install all of python3." % (getattr(error, "name", None) or error))

os._exit(main())  # all is said and written by now: taking everything apart is left to the system
"""
_PACKAGE = Path(__file__).parent / "install_release"


def installer(compiled: Mapping[str, bytes] | None = None) -> bytes:
    """The bytes of ``install-release``. Members are stored, so that they do not depend on a compressor; their times are the zip format's first.

    ``compiled``: byte code by the name of its source's file.
    """
    import zipfile  # a build that has it in its cache needs none

    members = {"__main__.py": _MAIN}
    members |= {f"install_release/{name}": data for name, data in _sources().items()}
    members |= {f"install_release/{name}c": data for name, data in (compiled or {}).items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, whatever builds it
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, zipfile.ZIP_STORED)
    return _SHEBANG + buffer.getvalue()


def for_target(interpreter: Interpreter, cache: Path) -> bytes:
    """The installer with byte code for ``interpreter``, made once and kept in ``cache``."""
    sources = _sources()
    made_of = [[name, hashlib.sha256(data).hexdigest()] for name, data in {**sources, "": Path(__file__).read_bytes()}.items()]
    entry = cache / "installers" / key("installer", hashlib.sha256(canonical(made_of)).hexdigest(), interpreter.identity)
    if (program := load(cache, entry)) is None:
        compiled = compile_sources(interpreter, sources, "unchecked-hash", "install_release/")
        program = installer({_source_of(path): data for path, data in compiled.items()})
        save(entry, program)
    return program


def _sources() -> dict[str, bytes]:
    return {path.relative_to(_PACKAGE).as_posix(): path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}


def _source_of(compiled: str) -> str:
    """``overlay/__pycache__/place.cpython-311.pyc`` as ``overlay/place.py``: where zipimport looks for it, with a ``c`` at its end."""
    path = Path(compiled)
    return (path.parent.parent / f"{path.name.partition('.')[0]}.py").as_posix()
