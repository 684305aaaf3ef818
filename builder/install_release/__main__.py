"""``python -m builder.install_release``: the same as the zipapp."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
