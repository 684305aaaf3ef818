"""``python hostile_driver.py REPOSITORY JAIL EXECUTABLE``: read cases, one JSON object a line; run the installer on each; say what came of it.

For any Python that the installer runs on (3.9 and newer), with its standard library alone. The installer is imported once and each case is a fork:
what is measured is the installer, not the start of Python. CPU seconds and peak memory are those of ``wait4``: of the process and its own children.

    JAIL/root        the release root, with a release that is live; JAIL/template is the same, to put it back
    JAIL/outside     what nobody may touch, and all else that is here
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import sys

UNSTABLE = (".install/history.jsonl", ".install/lock", ".install/journal.json", "revisions.log")  # of a root: what every command may write
STATEFUL = (".install/staging", "releases", "envs", ".install/envs")


def snapshot(top, skip=()):
    """Every path below ``top`` and what it is: type, mode, links, length, inode, owner; times too, except of directories in a root."""
    found = {}
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        for child in os.scandir(directory):
            path = child.path[len(top) + 1 :]
            if path in skip:
                continue
            facts = child.stat(follow_symlinks=False)
            what = [facts.st_mode, facts.st_uid, facts.st_gid, facts.st_ino]
            if stat.S_ISDIR(facts.st_mode):
                waiting.append(child.path)
                what += [] if skip else [facts.st_mtime_ns]
            else:
                what += [facts.st_nlink, facts.st_size, facts.st_mtime_ns]
            found[path] = what + ([os.readlink(child.path)] if child.is_symlink() else [])
    return found


class Jail:
    def __init__(self, directory, executable):
        self.directory, self.executable = directory, executable
        self.root, self.template = os.path.join(directory, "root"), os.path.join(directory, "template")
        self.output = os.path.join(directory, "output")

    def prepare(self):
        """The root's state is kept, to be compared with and put back."""
        if not os.path.exists(self.template):
            shutil.copytree(self.root, self.template, symlinks=True)
        self.restore()
        open(self.output, "w").close()
        self.around = self.look_around()

    def restore(self):
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root, symlinks=True)
        self.inside = snapshot(self.root, UNSTABLE)
        self.live = os.readlink(os.path.join(self.root, "current"))

    def look_around(self):
        found = snapshot(self.directory)
        return {path: what for path, what in found.items() if not path.startswith(("root/", "template/")) and path not in ("root", "output")}

    def wrong(self, status):
        """What a case did that it may not do, in words."""
        found = []
        around = self.look_around()
        found += ["outside: " + path for path in sorted(set(around) | set(self.around)) if around.get(path) != self.around.get(path)]
        if found:
            self.around = around
        left = os.listdir(os.path.join(self.root, ".install/staging"))
        found += ["left in the stage: " + name for name in left]
        inside = snapshot(self.root, UNSTABLE)
        if inside != self.inside:
            if status != 0:
                changed = [path for path in sorted(set(inside) | set(self.inside)) if inside.get(path) != self.inside.get(path)]
                found += ["changed though it failed: " + path for path in changed[:5]]
            self.restore_needed = True
        return found

    restore_needed = False


def arguments(jail, case):
    common = ["--root", jail.root, "--allow-root"]
    way = case["way"]
    path = "-" if way == "stdin" else case["path"]
    if way in ("file", "stdin"):
        return ["install", path, "--python", jail.executable, "--wait", "0", *common]
    if way == "plan":
        return ["install", path, "--plan", "--python", jail.executable, *common]
    if way == "config-diff":
        return ["config-diff", path, *common]
    return ["bootstrap", "--print", path, *common]


def child(cli, jail, case):
    """Never returns."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # this machine shall outlive what we find
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(120)
        output = os.open(jail.output, os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        given = os.open(case["path"] if case["way"] == "stdin" else os.devnull, os.O_RDONLY)
        os.dup2(given, 0)
        os.chdir(jail.directory)
        status = cli.main(arguments(jail, case))
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def main():
    repository, directory, executable = sys.argv[1:]
    sys.path.insert(0, repository)
    sys.dont_write_bytecode = True
    import importlib
    import pkgutil

    import builder.install_release as package
    from builder.install_release import cli

    for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    jail = Jail(directory, executable)
    open(jail.output, "w").close()
    prepared = False
    for line in sys.stdin:
        case = json.loads(line)
        if not prepared and case["way"] != "first":
            jail.prepare()
            prepared = True
        pid = os.fork()
        if pid == 0:
            child(cli, jail, {**case, "way": "file"} if case["way"] == "first" else case)
        _, status, usage = os.wait4(pid, 0)
        with open(jail.output, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(1 << 20)
        status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        said = {"name": case["name"], "way": case["way"], "status": status, "seconds": usage.ru_utime + usage.ru_stime}
        said.update(memory=usage.ru_maxrss, text=text, wrong=jail.wrong(status) if prepared else [])
        if jail.restore_needed:
            jail.restore()
            jail.restore_needed = False
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
