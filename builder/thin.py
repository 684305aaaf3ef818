"""The command that makes an artifact thin. What it needs is imported when it is run: every start of ``build-release`` imports this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command import Answer, Command

if TYPE_CHECKING:
    from .report import Progress


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a release .tgz")
    parser.add_argument("--have", required=True, metavar="FILE", help="what install-release have --json says on that host; - is standard input")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="where it goes (default: beside the artifact, its name ending in .thin.tgz)")


def _thin(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from .artifact import thin
    from .report import size

    path = arguments.artifact
    out = arguments.out or path.with_name(f"{path.name.removesuffix('.tgz')}.thin.tgz")
    have = thin.read_have(sys.stdin.buffer if arguments.have == "-" else Path(arguments.have))
    with progress.stage(f"thin {path.name}"):
        made = thin.write(path, have, out)
    value = {"thin": str(out), "sha256": made.sha256, "bytes": made.bytes, "whole_bytes": made.whole_bytes, "left_out": list(made.left_out)}
    count = len(made.left_out)
    said = f"{count} layer{'' if count == 1 else 's'} left out" if count else "nothing could be left out: this is the whole artifact"
    lines = [f"→ {out}   {size(made.bytes)} of {size(made.whole_bytes)}: {said}", f"  sha256 {made.sha256}"]
    return Answer(value, [*lines, "  next: send it to that host, and run install-release there as with the whole one"])


COMMAND = Command("thin", "leave out of an artifact the layers that a host has, so that they need not be sent again", _arguments, _thin)
