"""Questions to a git repository, asked with git itself, in a way that the machine's configuration can't colour the answers.

Only plumbing is asked for what goes into an artifact: object names and the bytes of objects, so that no attribute (``export-subst``, ``eol``),
filter or ``core.autocrlf`` has a say. The user's configuration stays in force for the rest: credentials, ``safe.directory``, and what
their own git would call a changed file. No hook runs, nobody is asked for a password, and nothing is written to a repository (but what
``git lfs fetch`` brings).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from ..errors import BuildError, Problem, SourceError
from ..frozen import frozen
from ..run import Completed, failure, run

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "lfs.locksverify=false",
)
# What a surrounding git (a hook, an alias) tells its children of its own repository, and what would change the meaning of a question.
_NOT_OURS = re.compile(
    r"GIT_(?:DIR|WORK_TREE|INDEX_FILE|PREFIX|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|GRAFT_FILE|SHALLOW_FILE|NAMESPACE"
    r"|IMPLICIT_WORK_TREE|REPLACE_REF_BASE|ATTR_SOURCE|DEFAULT_HASH|EXTERNAL_DIFF|TRACE.*|\w+_PATHSPECS)|LANG|LANGUAGE|LC_.*"
)
_READING = "reading the commit's files"
_FEW, _MOST_PROCESSES = 200, 8  # a process is started for no fewer objects (if there are more); no more read all of a commit, for all its size
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@frozen
class Repository:
    """A repository on this machine. ``top`` is its working tree (None: bare), ``common`` what its working trees share."""

    directory: Path
    common: Path
    top: Path | None
    shallow: bool
    algorithm: str  # sha1, sha256


@frozen
class Object:
    """A file, link or submodule of a tree: ``mode`` as git spells it, ``path`` as the raw bytes that git keeps."""

    mode: str
    id: str
    path: bytes


def git(
    *arguments: str | Path,
    what: str,
    cwd: Path,
    input: bytes = b"",
    stdout: IO[bytes] | None = None,
    check: bool = True,
    error: type[BuildError] = SourceError,
) -> Completed:
    """Run git in ``cwd``, and wait for it; see ``run``."""
    kept = {key: value for key, value in os.environ.items() if not _NOT_OURS.fullmatch(key)}
    ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
    for limit, value in (("GIT_HTTP_LOW_SPEED_LIMIT", "1"), ("GIT_HTTP_LOW_SPEED_TIME", "120")):
        kept.setdefault(limit, value)  # bytes a second, seconds: a connection that is dead ends the build
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return run(["git", *settings, *arguments], what=what, error=error, cwd=cwd, env=kept | ours, input=input, stdout=stdout, check=check)


def find(place: Path, where: str) -> Repository:
    """The repository that holds the directory ``place``; ``where`` is what asks for it, for people. Raises ``SourceError``."""
    if not place.is_dir():
        raise SourceError("there is no such source", [Problem(where, f"{place} is no directory.")])
    questions = ["--is-bare-repository", "--is-inside-work-tree", "--absolute-git-dir", "--git-common-dir"]
    questions += ["--is-shallow-repository", "--show-object-format", "--show-toplevel"]
    said = git("rev-parse", *questions, what="looking for the repository", cwd=place, check=False)
    answers = said.text.split("\n", 6)
    if len(answers) < 7:  # the last question is one too many where there is no working tree, and git says so after all others
        raise _not_found(said, place, where)
    bare, inside, directory, common, shallow, algorithm, top = answers
    if bare == inside == "false":
        raise SourceError("this is the inside of a repository", [Problem(where, f"{place} is git's own directory.", "Name the working tree.")])
    # The common directory is told relative to the working directory.
    working = Path(top.rstrip("\n")) if inside == "true" else None
    return Repository(Path(directory), (place / common).resolve(), working, shallow == "true", algorithm)


def inside_of(directory: Path) -> Repository:
    """The repository whose own directory is ``directory``, without a working tree: a mirror, a submodule as its superproject keeps it."""
    questions = ["--is-shallow-repository", "--show-object-format"]
    said = git("--git-dir", directory, "rev-parse", *questions, what="opening a repository", cwd=directory)
    shallow, algorithm = said.text.split()
    return Repository(directory, directory, None, shallow == "true", algorithm)


def _not_found(said: Completed, place: Path, where: str) -> SourceError:
    if "dubious ownership" in said.log:
        owned = Problem(where, f"the repository at {place} belongs to another user, and git does not trust it.")
        # Git names the directory that it wants to hear of; it need not be the one that was asked for.
        named = re.search(r"safe\.directory (\S.*)", said.log)
        return SourceError(
            "git refuses the repository", [owned], next_step=f"git config --global --add safe.directory {named[1] if named else place}"
        )
    if "not a git repository" in said.log:
        remedy = "Run 'git init' and commit, or name one in source.repository."
        return SourceError("the source is no git repository", [Problem(where, f"neither {place} nor a directory above it is one.", remedy)])
    return failure_of(said, "looking for the repository")


def failure_of(said: Completed, what: str, next_step: str = "") -> SourceError:
    """The error of a git that ended badly."""
    error = failure(said, what, SourceError, next_step)
    assert isinstance(error, SourceError)
    return error


def ask(repository: Repository, *arguments: str, what: str, input: bytes = b"", stdout: IO[bytes] | None = None, check: bool = True) -> Completed:
    """Run git on ``repository``, whatever directory it lies in and whoever owns that: ``find`` has seen to it."""
    return git("--git-dir", repository.directory, *arguments, what=what, cwd=repository.directory, input=input, stdout=stdout, check=check)


def has(repository: Repository, commit: str) -> bool:
    """Whether the commit with this full name is there, with all that a clone of it brings."""
    return not ask(repository, "cat-file", "-e", f"{commit}^{{commit}}", what="looking for a commit", check=False).returncode


def commit_of(repository: Repository, ref: str, where: str) -> str:
    """The full name of the one commit that ``ref`` means. Raises ``SourceError`` when there is none, or more than one."""
    if "@{" in ref:
        raise SourceError("this ref means another commit on every machine", [Problem(where, f"{ref} depends on what this clone did before.")])
    said = ask(repository, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}", what=f"looking for {ref}", check=False)
    ambiguous = "is ambiguous" in said.stderr.decode("utf-8", "replace")
    if said.returncode == 0 and (not ambiguous or _HASH.fullmatch(ref)):
        return said.text.strip()
    if ambiguous:
        meant = ask(repository, "for-each-ref", "--format=%(refname)", what="listing the refs").text.split()
        refs = [name for name in meant if name.split("/", 2)[-1] == ref]
        remedy = f"Write {' or '.join(refs)}." if refs else "Write more of its digits."
        raise SourceError("the ref is ambiguous", [Problem(where, f"{ref} means more than one thing.", remedy)])
    raise _no_ref(repository, ref, where)


def _no_ref(repository: Repository, ref: str, where: str) -> SourceError:
    names = ask(repository, "for-each-ref", "--format=%(refname:short)", what="listing the refs").text.split()
    if not names and ref == "HEAD":
        return SourceError("the repository is empty", [Problem(where, "there is no commit yet.", "Commit something first.")])
    other = ask(repository, "cat-file", "-t", ref, what=f"looking for {ref}", check=False)
    if other.returncode == 0:
        return SourceError("the ref is no commit", [Problem(where, f"{ref} is a {other.text.strip()}, not a commit.")])
    import difflib  # for a mistake alone

    near = difflib.get_close_matches(ref, names, 3, 0.5) + [name for name in names if name.endswith(f"/{ref}")]
    remedy = f"Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    shallow = " This is a shallow clone: older commits and other branches are not in it." if repository.shallow else ""
    return SourceError("there is no such ref", [Problem(where, f"{ref} is no branch, tag or commit of the repository.{shallow}", remedy)])


def time_of(repository: Repository, commit: str) -> int:
    """When ``commit`` was committed, in seconds since 1970, UTC."""
    header = ask(repository, "cat-file", "commit", commit, what="reading the commit").stdout.partition(b"\n\n")[0]
    match = re.search(rb"^committer .*> (-?\d+) [+-]\d+$", header, re.MULTILINE)
    if not match or not 0 <= int(match[1]) < 253402300800:
        raise SourceError("the commit has no usable time", [Problem(commit, "its committer's time is missing, or not from 1970 to 9999.")])
    return int(match[1])


def tags_of(repository: Repository, commit: str) -> list[tuple[str, str]]:
    """(name, commit) of every tag on ``commit`` and its ancestors."""
    form = "--format=%(refname:strip=2)%00%(objectname)%00%(*objectname)"
    said = ask(repository, "for-each-ref", f"--merged={commit}", form, "refs/tags/", what="listing the tags")
    return [(name, peeled or plain) for name, plain, peeled in (line.split("\0") for line in said.text.splitlines())]


def distance(repository: Repository, commit: str, behind: str | None = None) -> int:
    """How many commits ``commit`` has in its history that ``behind`` has not."""
    excluded = [f"^{behind}"] if behind else []
    return int(ask(repository, "rev-list", "--count", commit, *excluded, "--", what="counting commits").text)


def list_tree(repository: Repository, commit: str, subdirectory: str, where: str) -> Iterator[Object]:
    """Every file, link and submodule of ``commit`` below ``subdirectory``, with paths relative to it."""
    said = ask(repository, "ls-tree", "-r", "-z", f"{commit}:{subdirectory}", what="listing the commit", check=False)
    if said.returncode:
        raise _no_subdirectory(repository, commit, subdirectory, where) if subdirectory else failure_of(said, "listing the commit")
    for line in said.stdout.split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, _, name = head.decode("ascii").split(" ")
        yield Object(mode, name, path)


def _no_subdirectory(repository: Repository, commit: str, subdirectory: str, where: str) -> SourceError:
    said = ask(repository, "ls-tree", "-r", "-d", "-z", "--name-only", "--full-tree", commit, what="listing the commit")
    names = said.text.split("\0")[:-1]
    import difflib  # for a mistake alone

    near = difflib.get_close_matches(subdirectory, names, 1, 0.5)
    if ask(repository, "cat-file", "-t", f"{commit}:{subdirectory}", what="looking for the subdirectory", check=False).text.strip() == "blob":
        return SourceError("the subdirectory is a file", [Problem(where, f"{subdirectory} is no directory in {commit[:12]}.")])
    in_submodule = "It is, or lies in, a submodule: name that one's repository as the source." if subdirectory in names else ""
    remedy = in_submodule or (f"Did you mean {near[0]}?" if near else "")
    return SourceError("there is no such subdirectory", [Problem(where, f"{subdirectory} is not in {commit[:12]}.", remedy)])


def submodules_of(repository: Repository, commit: str) -> dict[str, tuple[str, str]]:
    """Path → (name, URL) of the submodules that ``.gitmodules`` of ``commit`` describes."""
    wanted = ["--get-regexp", r"^submodule\..*\.(path|url)$"]
    said = ask(repository, "config", "-z", "--blob", f"{commit}:.gitmodules", *wanted, what="reading .gitmodules", check=False)
    values: dict[str, dict[str, str]] = {}
    for item in said.text.split("\0")[:-1]:
        key, _, value = item.partition("\n")
        name, _, field = key.removeprefix("submodule.").rpartition(".")
        values.setdefault(name, {})[field] = value
    return {value["path"]: (name, value["url"]) for name, value in values.items() if {"path", "url"} <= set(value)}


def changes(repository: Repository, pathspecs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(two letters of ``git status``, path from the top) of all that differs from HEAD below ``pathspecs``: ``??`` untracked, ``!!`` ignored."""
    assert repository.top is not None
    options = ["-z", "--porcelain=v1", "--no-renames", "--untracked-files=all", "--ignored=matching", "--ignore-submodules=none"]
    command = ["--work-tree", str(repository.top), "status", *options, "--", *pathspecs]
    said = git("--git-dir", repository.directory, *command, what="looking for changes in the working tree", cwd=repository.top)
    return ((line[:2].decode("ascii"), line[3:]) for line in said.stdout.split(b"\0")[:-1])


def setting(repository: Repository, name: str) -> str:
    """The value of a git setting, "" when it isn't set."""
    return ask(repository, "config", "--get", name, what="reading git's settings", check=False).text.rstrip("\n")


def read_blobs(repository: Repository, ids: Iterable[str], scratch: Path) -> Iterator[tuple[int, Iterator[bytes]]]:
    """(size, pieces) of each blob in ``ids``, in turn, by a process for some hundreds; what it says lies in an unnamed file below ``scratch``.

    The bytes are hashed on the way: an object that isn't what its name says is a ``SourceError``, after its last piece.
    """
    names = list(ids)
    count = min(max(1, len(names) // _FEW), _MOST_PROCESSES)
    size = max(1, -(-len(names) // count))
    parts = [names[start : start + size] for start in range(0, len(names), size)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # 60 µs for an object that is not packed: who reads what is there need not wait
        waiting = deque(pool.submit(_ask_for_blobs, repository, part, scratch) for part in parts)
        for part in parts:
            with waiting.popleft().result() as output:
                yield from _blobs(output, part, repository.algorithm)


def _ask_for_blobs(repository: Repository, names: Sequence[str], scratch: Path) -> IO[bytes]:
    """What git says of the objects ``names``, in an open file."""
    asked = "".join(f"{name}\n" for name in names).encode("ascii")
    with ExitStack() as failed:
        output = failed.enter_context(tempfile.TemporaryFile(dir=scratch))
        said = ask(repository, "cat-file", "--batch", "--buffer", what=_READING, input=asked, stdout=output, check=False)
        room = os.statvfs(output.fileno())
        if said.returncode and room.f_bavail * room.f_frsize < 1 << 20:  # git itself does not say why it could not write
            full = Problem(str(scratch), "No space left on device.", "Make room, or name another directory in TMPDIR.")
            raise SourceError("the source can't be exported", [full])
        if said.returncode:
            raise failure_of(said, _READING)
        failed.pop_all()
    output.seek(0)
    return output


def _blobs(output: IO[bytes], names: Iterable[str], algorithm: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    for name in names:
        words = output.readline().decode("ascii", "replace").split()
        if words[1:2] != ["blob"]:
            problem = Problem(name, "can't be read: this object is missing or is no file.", "Run 'git fsck', or clone the repository again.")
            raise SourceError("the repository is damaged", [problem])
        size = int(words[2])
        yield size, _pieces(output, size, name, algorithm)
        output.read(1)  # the line feed after each object


def _pieces(output: IO[bytes], size: int, name: str, algorithm: str) -> Iterator[bytes]:
    digest = hashlib.new(algorithm, b"blob %d\0" % size, usedforsecurity=False)
    left = size
    while left:
        piece = output.read(min(left, 1 << 20))
        if not piece:
            break
        left -= len(piece)
        digest.update(piece)
        yield piece
    if left or digest.hexdigest() != name:
        raise SourceError("the repository is damaged", [Problem(name, "does not hold the bytes that its name says.", "Run 'git fsck'.")])
