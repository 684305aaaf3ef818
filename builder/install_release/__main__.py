"""``python -m builder.install_release``: the same as the zipapp."""

from __future__ import annotations

import os

from .cli import main

os._exit(main())  # all is said and written by now; a late signal gives it no other status
