"""What a power cut may leave: an inode-level view of a file system whose cache loses whatever was not synced, in the worst order.

A change waits until something makes it durable: ``fsync`` of a file its bytes, length and mode, ``fsync`` of a directory its entries, ``syncfs``
everything. When the power goes, any part of what waits may be there and any may not, and bytes may be there by half, or as zeros. Assumed is what
every journalling file system promises: one system call on names (a rename too, between two directories) is done whole or not at all, and of two
changes of one name the later one is never undone by the earlier. Owners and times are left out: nothing depends on them here.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LOST, DONE, HALF, ZEROS = range(4)
"""What became of a waiting change: not there, there, its first half, or its length alone."""


class Node(NamedTuple):
    """What is at a path. ``content``: bytes of a file, target of a link, b"" for a directory."""

    kind: str
    mode: int
    content: bytes


Tree = Mapping[str, Node]
"""By path relative to the top, the top itself left out."""


class Change(NamedTuple):
    """One waiting change. ``kind``: names (of directories: ``names`` maps (directory, name) to an inode, or None), write, size, mode."""

    kind: str
    inode: int = 0
    names: tuple[tuple[int, str, int | None], ...] = ()
    offset: int = 0
    data: bytes = b""
    number: int = 0  # a size, a mode

    def durable_by(self, inode: int) -> bool:
        """Whether ``fsync`` of that file or directory makes it durable. That of a directory says nothing about where a name went from it."""
        return self.names[-1][0] == inode if self.kind == "names" else self.inode == inode


class View:
    """The inodes and directories of a disk."""

    def __init__(self, nodes: dict[int, Node], names: dict[int, dict[str, int]]) -> None:
        self.nodes, self.names = nodes, names

    def copy(self) -> View:
        return View(dict(self.nodes), {inode: dict(names) for inode, names in self.names.items()})

    def apply(self, change: Change, outcome: int = DONE) -> None:
        if change.kind == "names":
            for directory, name, inode in change.names:
                if inode is None:
                    self.names[directory].pop(name, None)
                else:
                    self.names[directory][name] = inode
            return
        node = self.nodes[change.inode]
        if change.kind == "mode":
            self.nodes[change.inode] = node._replace(mode=change.number)
        elif change.kind == "size":
            self.nodes[change.inode] = node._replace(content=node.content[: change.number].ljust(change.number, b"\0"))
        else:
            data = {HALF: change.data[: len(change.data) // 2], ZEROS: bytes(len(change.data))}.get(outcome, change.data)
            before = node.content.ljust(change.offset, b"\0")
            content = before[: change.offset] + data + before[change.offset + len(data) :]
            self.nodes[change.inode] = node._replace(content=content)

    def tree(self, top: int = 0) -> dict[str, Node]:
        """Everything that can be reached, by path."""
        found: dict[str, Node] = {}
        waiting = [(top, "")]
        while waiting:
            directory, above = waiting.pop()
            for name, inode in self.names[directory].items():
                path = above + name
                found[path] = self.nodes[inode]
                if found[path].kind == "dir":
                    waiting.append((inode, path + "/"))
        return found


class Disk:
    """``live`` is what programs see; ``durable`` what is there for good; ``waiting`` the changes between the two, oldest first."""

    def __init__(self, tree: Tree) -> None:
        """All of ``tree`` is durable."""
        self.live = View({0: Node("dir", 0o755, b"")}, {0: {}})
        self.waiting: list[Change] = []
        inodes = {"": 0}
        for path in sorted(tree):
            above, _, name = path.rpartition("/")
            inodes[path] = self._born(tree[path])
            self.live.names[inodes[above]][name] = inodes[path]
        self.durable = self.live.copy()

    def find(self, path: str) -> int | None:
        """The inode at a path relative to the top, through no link."""
        here = 0
        for part in path.split("/") if path else ():
            below = self.live.names.get(here, {}).get(part)
            if below is None:
                return None
            here = below
        return here

    def make(self, path: str, node: Node) -> None:
        """A new file, directory or link. Its inode is there with its name: only what is written later waits on its own."""
        directory, name = self._place(path)
        inode = self._born(node)
        self.durable.nodes[inode] = node
        if node.kind == "dir":
            self.durable.names[inode] = {}
        self._change(Change("names", names=((directory, name, inode),)))

    def remove(self, path: str) -> None:
        directory, name = self._place(path)
        self._change(Change("names", names=((directory, name, None),)))

    def rename(self, path: str, to: str) -> None:
        directory, name = self._place(path)
        self._change(Change("names", names=((directory, name, None), (*self._place(to), self.live.names[directory][name]))))

    def write(self, inode: int, offset: int, data: bytes) -> None:
        self._change(Change("write", inode, offset=offset, data=data))

    def resize(self, inode: int, size: int) -> None:
        self._change(Change("size", inode, number=size))

    def chmod(self, inode: int, mode: int) -> None:
        self._change(Change("mode", inode, number=mode))

    def sync(self, inode: int | None) -> None:
        """Make what waits for that inode durable; None: everything."""
        left: list[Change] = []
        for change in self.waiting:
            if inode is None or change.durable_by(inode):
                self.durable.apply(change)
                if change.kind == "names":  # what an earlier change would make of the same names is history
                    settled = {(directory, name) for directory, name, _ in change.names}
                    left = [each._replace(names=tuple(n for n in each.names if (n[0], n[1]) not in settled)) for each in left]
                    left = [each for each in left if each.kind != "names" or each.names]
            else:
                left.append(change)
        self.waiting = left

    def after(self, outcomes: Sequence[int]) -> dict[str, Node]:
        """What is there when the power goes now, and each waiting change came out like that."""
        view = View(dict(self.durable.nodes), dict(self.durable.names))
        for change, outcome in zip(self.waiting, outcomes, strict=True):
            if outcome != LOST:
                for directory, _, _ in change.names:
                    view.names[directory] = dict(view.names[directory])
                view.apply(change, outcome)
        return view.tree()

    def _born(self, node: Node) -> int:
        inode = len(self.live.nodes)
        self.live.nodes[inode] = node
        if node.kind == "dir":
            self.live.names[inode] = {}
        return inode

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        directory = self.find(above)
        if directory is None:
            raise LookupError(f"{above} is not there")
        return directory, name

    def _change(self, change: Change) -> None:
        self.live.apply(change)
        self.waiting.append(change)


class Chosen(NamedTuple):
    """Which outcomes of a cut are tried: every one where there are at most ``every``; else of those that are one for each waiting change at most
    ``most`` of a kind, the newest always among them, and ``at_random`` by chance."""

    every: int
    most: int
    at_random: int


def outcomes(waiting: Sequence[Change], chosen: Chosen, chance: random.Random) -> Iterator[tuple[int, ...]]:
    """What may become of the waiting changes: none of them, all, each prefix, all but one, only one, one torn or zeroed, and some at random."""
    count = len(waiting)
    each = [(LOST, DONE, HALF, ZEROS) if change.kind == "write" else (LOST, DONE) for change in waiting]
    if math.prod(map(len, each)) <= chosen.every:
        yield from itertools.product(*each)
        return
    yield (LOST,) * count
    yield (DONE,) * count
    some = [*sorted(chance.sample(range(count - 1), chosen.most - 1)), count - 1] if count > chosen.most else list(range(count))
    for index in some:
        yield (DONE,) * index + (LOST,) * (count - index)
        yield (DONE,) * index + (LOST,) + (DONE,) * (count - index - 1)
        yield (LOST,) * index + (DONE,) + (LOST,) * (count - index - 1)
        if waiting[index].kind == "write":
            for torn in (HALF, ZEROS):
                yield (DONE,) * index + (torn,) + (DONE,) * (count - index - 1)
                yield (DONE,) * index + (torn,) + (LOST,) * (count - index - 1)
    for _ in range(chosen.at_random):
        yield tuple(chance.choice((LOST, DONE, DONE, HALF, ZEROS) if change.kind == "write" else (LOST, DONE)) for change in waiting)


def scan(top: Path) -> dict[str, Node]:
    """What is below ``top`` on a real disk; sockets are left out."""
    found: dict[str, Node] = {}
    waiting = [(os.fspath(top), "")]
    while waiting:
        directory, above = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                path, facts = above + entry.name, entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    found[path] = Node("dir", stat.S_IMODE(facts.st_mode), b"")
                    waiting.append((entry.path, path + "/"))
                elif stat.S_ISLNK(facts.st_mode):
                    found[path] = Node("link", 0o777, os.fsencode(os.readlink(entry.path)))
                elif stat.S_ISREG(facts.st_mode):
                    with open(entry.path, "rb") as file:
                        found[path] = Node("file", stat.S_IMODE(facts.st_mode), file.read())
    return found


def lay(tree: Tree, top: Path) -> None:
    """Make ``top``, which is an empty directory, hold exactly ``tree``."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path, node in sorted(tree.items()):  # a directory before what is in it
            if node.kind == "dir":
                os.mkdir(path, 0o700, dir_fd=here)
                os.chmod(path, node.mode, dir_fd=here)
            elif node.kind == "link":
                os.symlink(node.content, path, dir_fd=here)
            else:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=here)
                os.write(file, node.content)
                os.fchmod(file, node.mode)
                os.close(file)
    finally:
        os.close(here)
