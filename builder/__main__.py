"""``build-release`` as a process. What it makes lives as long as the process does, so nothing is collected, and nothing taken apart at the end."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

gc.disable()  # before all else is imported: a tenth of that time

from .cli import main  # noqa: E402


def start() -> NoReturn:
    """Run the command that the command line names, and end the process with its status."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    start()
