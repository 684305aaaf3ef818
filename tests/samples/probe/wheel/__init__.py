"""Looks at where the running process imports from, late and in processes of its own."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

_at_start = {}


def start():
    """Remember what is true now. What is imported later must still belong to it."""
    _at_start.update(release=os.environ.get("RELEASE_ID"), prefix=sys.prefix, executable=sys.executable, directory=os.getcwd())


def look():
    """Import two modules, for the first time, and say which version each is; ``src`` is None where the source is not on the path."""
    from probe_lib import late

    try:
        import probe_late

        source = probe_late.version
    except ModuleNotFoundError:
        source = None
    return {"env": late.version, "src": source, "prefix": sys.prefix}


def looks():
    """From here, from a fork, from a fresh interpreter, and from a spawned worker."""
    command = [sys.executable, "-c", "import json, probe_lib; print(json.dumps(probe_lib.look()))"]
    found = {"fork": _forked(), "child": json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found["worker"] = pool.apply(look)
    found["self"] = look()  # last, so that the fork began with nothing imported
    return {"start": _at_start, "looks": found}


def _forked():
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, json.dumps(look()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return json.loads(pipe.read())


def main():
    """``probe OUT GO``: make OUT.started, wait for the file GO, then look, and write what was seen to OUT."""
    out, go = sys.argv[1:3]
    start()
    open(f"{out}.started", "w").close()
    deadline = time.monotonic() + 60
    while not os.path.exists(go) and time.monotonic() < deadline:
        time.sleep(0.02)
    with open(f"{out}.new", "w") as file:
        json.dump(looks(), file)
    os.rename(f"{out}.new", out)


if __name__ == "__main__":
    main()
