"""Says what it was started with, and stays."""

import signal
import sys

with open(sys.argv[1], "w") as file:
    file.write(sys.argv[2])
signal.pause()
