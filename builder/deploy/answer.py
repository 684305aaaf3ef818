"""What the installer on a host says, read with care: it comes from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import HostRefusedError, Problem
from ..install_release.artifact import REMEDY
from ..install_release.errors import DamagedError, InstallError, RefusedError, RolledBackError, visible
from .session import Reply


def value(reply: Reply) -> Mapping[str, Any]:
    """The one JSON object that it says, on its last line: a shell's profile may have spoken before. Empty where there is none."""
    lines = reply.out.decode("utf-8", "replace").splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def lines(reply: Reply) -> tuple[str, ...]:
    """What it says to people."""
    return tuple(map(visible, reply.out.decode("utf-8", "replace").splitlines()))


def lacks(reply: Reply) -> bool:
    """Whether a thin artifact left out what the host does not have, or no longer."""
    return reply.status in (RefusedError.status, RolledBackError.status) and REMEDY.encode() in reply.out


def log(said: Mapping[str, Any]) -> tuple[str, ...]:
    """What was seen when it failed: the end of what a hook said, what a health check got."""
    found = _error(said).get("log")
    return tuple(map(_text, found)) if isinstance(found, list) else ()


def refused(reply: Reply, said: Mapping[str, Any]) -> HostRefusedError:
    """Its own error, with its own exit status."""
    found = _error(said).get("problems")
    problems = [Problem(*(_text(each.get(key, "")) for key in ("where", "what", "remedy"))) for each in found or () if isinstance(each, dict)]
    if not problems:
        problems = [Problem("installer", f"ended with status {reply.status}, and did not say why in JSON.", "What else it said stands above.")]
    error = HostRefusedError(_text(_error(said).get("message") or "its installer failed"), problems)
    error.status = reply.status if 0 < reply.status <= DamagedError.status else InstallError.status
    return error


def _error(said: Mapping[str, Any]) -> Mapping[str, Any]:
    found = said.get("error")
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str:
    return "\n".join(map(visible, str(found).splitlines()))
