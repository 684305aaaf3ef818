"""``build-release`` as a process. What it makes lives as long as the process does, so nothing is collected, and nothing taken apart at the end."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

gc.disable()  # before all else is imported: a tenth of that time

from .cli import main  # noqa: E402


def start() -> NoReturn:
    """Run the command that the command line names, and end the process with its status: all is written by then."""
    _stand()
    os._exit(main())


def _stand() -> None:
    """Whatever started this, descriptors 0 to 2 are there: else a file of the build would get such a number, and all that is said."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w"))


if __name__ == "__main__":
    start()
