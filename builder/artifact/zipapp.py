"""The installer as one deterministic file: a zip of ``install_release/`` that runs (PEP 441), the same bytes everywhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

# -I: neither the environment nor the working directory; -S: no site-packages. The installer needs none of them.
_SHEBANG = b"#!/usr/bin/python3 -IS\n"
_MAIN = b"""\
import sys


def refuse(why):
    sys.stderr.write("install-release: %s Nothing was changed.\\n" % why)
    sys.exit(3)


# In words that the oldest Python understands, and a stripped one (Debian's python3-minimal) too.
if sys.version_info < (3, 9):
    refuse("needs Python 3.9 or newer, this is %d.%d." % sys.version_info[:2])
try:
    from install_release.cli import main
except ImportError as error:
    refuse("this Python lacks %s of the standard library. Install all of python3." % (getattr(error, "name", None) or error))

sys.exit(main())
"""
_PACKAGE = Path(__file__).parent.parent / "install_release"


def installer() -> bytes:
    """The bytes of ``install-release``. Members are stored, so that they do not depend on a compressor; their times are the zip format's first."""
    members = {"__main__.py": _MAIN}
    members |= {f"install_release/{path.name}": path.read_bytes() for path in sorted(_PACKAGE.glob("*.py"))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, whatever builds it
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, zipfile.ZIP_STORED)
    return _SHEBANG + buffer.getvalue()
