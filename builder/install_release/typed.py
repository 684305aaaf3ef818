"""Names for annotations, which nothing looks at when this runs: to import ``typing`` would take a twentieth of each start."""

from __future__ import annotations

TYPE_CHECKING = False  # a type checker takes this name for true, whatever is said here

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import NoReturn as NoReturn
else:
    Any = NoReturn = object
