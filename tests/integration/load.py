"""Requests without end, by wrk, from a process of the host: what its users see while releases change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from .host import Host, children

_SCRIPT = """
wrk.method = "{method}"
wrk.body = "{body}"
{headers}
delay = function() return {pause} end
done = function(summary)
    local e = summary.errors
    io.write(string.format('{{"requests": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\\n',
        summary.requests, e.connect, e.read, e.write, e.status, e.timeout))
end
"""
_AGE = 600  # seconds that wrk would go on by itself
_PATIENCE = 60  # seconds that an answer may take
_PAUSE = 20  # milliseconds that a user thinks before the next request: what deploys needs processors too


@dataclass
class Load:
    """What became of it, once the block has ended: how many ``requests`` were answered, and those that were not, by what they failed of."""

    requests: int = 0
    failed: Mapping[str, int] | None = None


@contextmanager
def load(host: Host, url: str, *, connections: int, post: str = "", headers: Mapping[str, str] | None = None) -> Iterator[Load]:
    """Ask for ``url`` all the time, on ``connections`` at once; with ``post`` (a form's text) by POST. A status from 400 on is a failure.

    ``url`` names its port: wrk asks /etc/services else.
    """
    given = {**({"Content-Type": "application/x-www-form-urlencoded"} if post else {}), **(headers or {})}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in given.items())
    script = f"/tmp/load-{'post' if post else 'get'}.lua"
    host.run("sh", "-c", 'cat > "$0"', script, input=_SCRIPT.format(method="POST" if post else "GET", body=post, headers=lines, pause=_PAUSE))
    words = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={_AGE}", f"--timeout={_PATIENCE}", f"--script={script}", url]
    process = subprocess.Popen(host.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = Load()
    try:
        yield found
        for child in children(process.pid):  # nsenter itself passes no signal on
            os.kill(child, signal.SIGINT)
        said = process.communicate(timeout=_PATIENCE)[0]
    finally:
        for child in children(process.pid) if process.poll() is None else ():
            os.kill(child, signal.SIGKILL)
        process.wait()
    assert said.endswith("}\n"), said
    counts = json.loads(said.splitlines()[-1])
    found.requests, found.failed = counts.pop("requests"), {kind: count for kind, count in counts.items() if count}
