"""Wheels that are odd, broken or hostile; each is one row, named after what is odd about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.wheels import raw_wheel, record_row

Members = Iterable[tuple[str, bytes]] | Mapping[str, bytes]
SCRIPT = b"#!python\nprint('a wheel')\n"


@dataclass(frozen=True)
class Nasty:
    name: str
    members: Members
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, directory: Path) -> Path:
        return raw_wheel(directory, self.name, self.members, **self.options)


def entry_points(name: str, text: str, *more: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{name}.py", b"def main(): print('main')\n"), (f"{name}-1.0.dist-info/entry_points.txt", text.encode()), *more]


# pip installs them, and so do we: the same files.
ACCEPTED = (
    Nasty("both", entry_points("both", "[console_scripts]\nboth-x = both:main\n", ("both-1.0.data/scripts/both-x", SCRIPT))),
    Nasty("oldstyle", entry_points("oldstyle", "[console_scripts]\nold-x = oldstyle:main\n", ("oldstyle-1.0.data/scripts/old-x-script.py", SCRIPT))),
    Nasty("shipped", {"shipped.py": b"", "shipped-1.0.dist-info/INSTALLER": b"conda\n"}),
    Nasty("requested", {"requested.py": b"", "requested-1.0.dist-info/REQUESTED": b""}),
    Nasty("twice", [("twice.py", b"a = 1\n"), ("twice.py", b"a = 2\n")]),
    Nasty("repeated", entry_points("repeated", "# a comment\n[console_scripts]\nrep = repeated:other\nrep = repeated:main\n")),
    Nasty("commented", entry_points("commented", "[console_scripts]\ncom-x = commented:main  # why\ncom-y=commented:main.call [extra]\n")),
    Nasty("gui", entry_points("gui", "[gui_scripts]\ngui-x = gui:main\n[console_scripts]\ngui-x = gui:main\n[other]\na = b\n")),
    Nasty("percent", entry_points("percent", "[console_scripts]\nper-x = percent:main\n[other.group]\n50% = whatever\nDEFAULT = x y\n")),
    Nasty("pip_like", entry_points("pip_like", "[console_scripts]\npip = m:f\npip2.7 = m:f\npip-x = m:f\n")),
    Nasty("broken", {"broken/__init__.py": b"", "broken/template.py": b"def {{ name }}():\n", "broken/nul.py": b"a = '\0'\n"}),
    Nasty("latin", {"latin.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\n", "bad_latin.py": b"name = '\xe9'\n"}),
    Nasty("deep", {"deep.py": b"x = " + b"(" * 300 + b")" * 300 + b"\n"}),
    Nasty("executable", {"executable/tool": b"#!/bin/sh\n", "executable/plain": b""}, {"executable": ["executable/tool"]}),
    Nasty(
        "data",
        {
            "data-1.0.data/data/share/data/x.txt": b"x",
            "data-1.0.data/data/share/data/x.py": b"x = 1\n",
            "data-1.0.data/purelib/data/__init__.py": b"",
            "data-1.0.data/platlib/data/more.py": b"",
            "data-1.0.data/headers/x.h": b"",
            "data-1.0.data/scripts/data-x": b"#!/bin/sh\necho x\n",
            "data-1.0.data/scripts/data-y.py": SCRIPT,
        },
        {"executable": ["data-1.0.data/scripts/data-x", "data-1.0.data/scripts/data-y.py"]},
    ),
    Nasty("unset", {"unset-1.0.data/scripts/unset-x": b"#!/bin/sh\n", "unset-1.0.data/scripts/unset-y": SCRIPT, "unset-1.0.data/data/share/x": b"x"}),
    Nasty("Head_Ers", {"Head_Ers-1.0.data/headers/x.h": b""}),
    Nasty("over", [("over.py", b"a = 1\n"), ("over-1.0.data/purelib/over.py", b"a = 2\n")]),
    Nasty("otherdata", {"otherdata.py": b"", "Other.Data-1.data/data/share/other": b""}),
    Nasty("dotted", {"./dotted/a.py": b"", "dotted//b.py": b"", "dotted/x/../c.py": b""}),
    Nasty("dirs", [("dirs/", b""), ("dirs/__init__.py", b""), ("dirs/empty/", b"")]),
    Nasty(
        "unicode",
        {"unicode/ünï.py": b"", "unicode/with space.py": b"", 'unicode/comma,quote".txt': b""},
        {"rows": {'unicode/comma,quote".txt': record_row("X", b"").replace("X", '"unicode/comma,quote"".txt"')}},
    ),
    Nasty("platlib", {"platlib.py": b""}, {"wheel": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n"}),
    Nasty("newer", {"newer.py": b""}, {"wheel": b"Wheel-Version: 1.9\nRoot-Is-Purelib: True\nTag: py3-none-any\n"}),
    Nasty("signed", {"signed.py": b"", "signed-1.0.dist-info/RECORD.jws": b"{}"}),
    Nasty("pthfile", {"pthfile.pth": b"import sys\n"}),
    Nasty("pythonw", {"pythonw-1.0.data/scripts/pyw-x": b"#!pythonw -E\r\nprint('a wheel')\r\n"}, {"executable": ["pythonw-1.0.data/scripts/pyw-x"]}),
    Nasty(
        "completion",
        {"completion-1.0.data/scripts/activate-global-x": b"#!/bin/sh\n", "completion-1.0.data/scripts/python-x-check": SCRIPT},
        {"executable": ["completion-1.0.data/scripts/activate-global-x", "completion-1.0.data/scripts/python-x-check"]},
    ),
)

# Neither installs them. What we say of them.
REFUSED = (
    (Nasty("absolute", {"/tmp/absolute": b""}), "/tmp/absolute: leads out of the environment."),
    (Nasty("escaping", {"../../../../escaping": b""}), "../../../../escaping: leads out of the environment."),
    (Nasty("dataescape", {"dataescape-1.0.data/data/../../../x": b""}), "leads out of the environment."),
    (Nasty("scheme", {"scheme-1.0.data/elsewhere/x": b""}), "scheme-1.0.data/elsewhere/x: is in no folder that a wheel's .data can have."),
    (Nasty("datafile", {"datafile.data": b""}), "datafile.data: is in no folder that a wheel's .data can have."),
    (Nasty("nocall", entry_points("nocall", "[console_scripts]\nnocall-x = nocall\n")), "nocall-x = nocall can't be made into a script."),
    (Nasty("noequals", entry_points("noequals", "[console_scripts]\nwhatever\n")), "entry_points.txt: can't be read"),
    (Nasty("outside", entry_points("outside", "[console_scripts]\n../../x = outside:main\n")), "../../x = outside:main can't be made into a script."),
    (Nasty("future", {"future.py": b""}, {"wheel": b"Wheel-Version: 2.0\nRoot-Is-Purelib: true\n"}), "Incompatible Wheel-Version 2.0"),
    (Nasty("nowheel", {"nowheel.py": b""}, {"wheel": b"Root-Is-Purelib: true\n"}), "Incompatible Wheel-Version None"),
    (Nasty("twoinfos", {"twoinfos.py": b"", "other-1.0.dist-info/METADATA": b""}), "there is other-1.0.dist-info, twoinfos-1.0.dist-info."),
    (Nasty("otherinfo", {"otherinfo.py": b""}, {"dist_info": "stranger-1.0.dist-info"}), "there is stranger-1.0.dist-info."),
    (Nasty("notcsv", {"notcsv.py": b""}, {"rows": {"notcsv.py": f"{'x' * 200000},,\n"}}), "RECORD: can't be read: field larger than field limit"),
    (Nasty("fileanddir", [("fileanddir", b""), ("fileanddir/x.py", b"")]), "is both a file and a directory."),
)

# pip installs them; we don't, and say why not.
MORE_REFUSED = (
    (Nasty("lying", {"lying.py": b"a = 1\n"}, {"rows": {"lying.py": record_row("lying.py", b"a = 2\n")}}), "lying.py: has another hash than"),
    (Nasty("longer", {"longer.py": b"a = 1\n"}, {"rows": {"longer.py": record_row("longer.py", b"a = 1\n").replace(",6", ",7")}}), "RECORD says 7."),
    (Nasty("unhashed", {"unhashed.py": b""}, {"rows": {"unhashed.py": "unhashed.py,,\n"}}), "unhashed.py: has no usable hash and size"),
    (Nasty("emptyhash", {"emptyhash.py": b""}, {"rows": {"emptyhash.py": "emptyhash.py,sha256=,0\n"}}), "emptyhash.py: has no usable hash and size"),
    (Nasty("oddhash", {"oddhash.py": b""}, {"rows": {"oddhash.py": "oddhash.py,sha0=x,0\n"}}), "oddhash.py: has no usable hash and size"),
    (Nasty("unlisted", {"unlisted.py": b""}, {"rows": {"unlisted.py": ""}}), "unlisted.py: is not listed in RECORD."),
    (Nasty("cfg", {"cfg-1.0.data/data/pyvenv.cfg": b""}), "pyvenv.cfg: belongs to the environment itself."),
    (Nasty("python", {"python-1.0.data/scripts/python3": SCRIPT}), "bin/python3: belongs to the environment itself."),
    (Nasty("python11", {"python11-1.0.data/data/bin/python3.11": b""}), "bin/python3.11: belongs to the environment itself."),
    (Nasty("activate", {"activate-1.0.data/scripts/activate": b""}), "bin/activate: belongs to the environment itself."),
    (Nasty("activate_this", {"activate_this-1.0.data/scripts/activate_this.py": b""}), "bin/activate_this.py: belongs to the environment itself."),
    (Nasty("pin", {"00_pin.pth": b"import sys\n"}), "00_pin.pth: belongs to the environment itself."),
    (Nasty("control", {"control\x07.py": b""}), "has a name that no layer can hold"),
)
