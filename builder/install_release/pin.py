"""``00_pin.pth``: one line in an environment that pins a process to the release it was started from.

A process that was started as ``current/venv/bin/python`` would import the *next* release's modules after a flip, because
``sys.path`` goes through the link. The line resolves, once, at start, what later imports and child processes go by:
``sys.prefix``, ``sys.exec_prefix``, ``sys.executable``, every entry of ``sys.path`` (``PYTHONPATH``'s included), and the
variables by which children and gunicorn find their way back through ``current``. ``site`` reads it before every other ``.pth`` file
of the directory, and those that follow see the physical directory too. It can't pin a process started with ``-S``.
"""

from __future__ import annotations

NAME = "00_pin.pth"

# The line looks whether anything goes through a link that a flip moves; the rest is compiled only then (compiling costs more than running it).
_NEEDED = "os.path.realpath(sys.prefix) != sys.prefix or '/current' in str((sys.path, os.environ.get('PWD')))"

# Runs inside of site.addpackage(). ``link`` is usually <root>/current, and is resolved once, so that a flip between two look-ups
# can't mix two releases. Variables that children inherit are resolved where they lead to this root.
_SOURCE = """
try:
    real, up = os.path.realpath, os.path.dirname
    old, link = sys.prefix, up(sys.prefix)
    release = real(link)
    new = real(release + old[len(link):])
    base, root = sys.base_prefix + "/lib/python", up(up(new)) + "/"
    def fix(p):
        if p.startswith(old + "/"):
            return new + p[len(old):]
        if p.startswith(link + "/"):
            p = release + p[len(link):]
        return real(p) if p[:1] == "/" and not p.startswith(base) else p
    sys.prefix = sys.exec_prefix = new
    sys.path[:] = map(fix, sys.path)
    known.update(sys.path)
    exe = sys.executable or ""
    sys.executable = fix(up(exe)) + exe[exe.rfind("/"):]
    if getattr(sys, "_base_executable", 0) == exe:
        sys._base_executable = sys.executable
    for name in "PYTHONPATH", "PATH", "PWD", "VIRTUAL_ENV":
        value = os.environ.get(name, "")
        if "/current" in value:
            os.environ[name] = ":".join([fix(p) if fix(p).startswith(root) else p for p in value.split(":")])
    package = site["addpackage"]
    site["addpackage"] = lambda sitedir, *rest: package(real(sitedir), *rest)
except Exception:
    pass
"""

PTH = f"import os, sys; ({_NEEDED}) and exec({_SOURCE!r}, {{'os': os, 'sys': sys, 'site': globals(), 'known': known_paths}})\n"
