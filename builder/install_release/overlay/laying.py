"""Changes, done and undone: keep what is there, write beside it, rename over it; or the way back. docs/overlay.md has the order, and why.

Wherever a process is killed in it, ``restore`` or ``commit`` goes on, as often as need be: what is there decides, not what was done.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from .. import durable
from ..errors import DamagedError, InstallError, Problem
from ..host import BLOBS, STATE, Host
from . import aside, ledger, place
from .change import Change, Content, OverlayError, ShutOutError
from .ledger import Laid, Ledger, Left


def prepare(host: Host, tx: str, changes: Sequence[Change]) -> None:
    """Keep what is there, make directories, write what will be there beside it. Nothing that is live is touched."""
    kept = [change for change in changes if change.old is not None and (change.old != change.new or change.edited)]
    for change in kept:
        found = place.read(change.path)
        if found is None or found[1] != change.old:
            raise _raced(change.path)
        _keep(host, *found)
    for change in changes:
        if change.old != change.new:
            for directory in change.directories:
                with place.directory_of(directory) as (above, name):
                    durable.make_dir(above, name)
            if change.new is not None:
                _write_temporary(host, tx, change, change.new)


def switch(changes: Sequence[Change], tx: str) -> None:
    """Rename each file over what is there, which is looked at once more: it must still be what was decided about. Saved edits come first."""
    touched = {}
    for change in sorted(changes, key=lambda change: (not change.beside, change.path)):
        if change.old == change.new:
            continue
        with place.directory_of(change.path) as (directory, name):
            found = place.read_in(directory, name, change.path)
            if (found[1] if found else None) != change.old:
                raise _raced(change.path)
            if change.new is None:
                durable.remove_name(directory, name)
            else:
                durable.replace(directory, os.path.basename(aside.temporary(change.path, tx)), name)
        touched[os.path.dirname(change.path)] = change.path
    for path in touched.values():
        with place.directory_of(path) as (directory, _name):
            os.fsync(directory)


def restore(host: Host, tx: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """See ``overlay.restore``. One file that can't be put back keeps no other from it."""
    told: list[str] = []
    foreign: set[str] = set()
    failures: list[Exception] = []
    for change in sorted(changes, key=lambda change: (bool(change.beside), change.path)):  # a saved edit goes only when the edit is back
        if change.old == change.new:
            continue
        try:
            with place.directory_of(change.path) as (directory, name):
                _restore_one(host, tx, directory, name, change, keep=change.beside in foreign)
        except FileNotFoundError:  # never made, or gone with all that was in it
            if change.old is not None:
                told.append(f"{change.path} could not be put back: its directory is gone")
        except _Foreign as error:
            foreign.add(change.path)
            told.append(str(error))
        except ShutOutError as error:
            foreign.add(change.path)
            failures.append(error)
        except OverlayError as error:
            foreign.add(change.path)
            told.append(f"{change.path} could not be put back: {error.problems[0].what}")
        except (OSError, InstallError) as error:
            foreign.add(change.path)
            failures.append(error)
    for path in sorted({path for change in changes if change.old != change.new for path in change.directories}, reverse=True):
        with suppress(FileNotFoundError, OverlayError), place.directory_of(path) as (above, name):
            durable.remove_directory(above, name)
    if failures:
        raise failures[0]
    return tuple(told)


class _Foreign(Exception):
    """Somebody else has changed a file since."""


def _restore_one(host: Host, tx: str, directory: int, name: str, change: Change, keep: bool) -> None:
    durable.remove_name(directory, os.path.basename(aside.temporary(change.path, tx)))
    if keep:
        return
    try:
        found = place.read_in(directory, name, change.path)
        live = found[1] if found else None
        strange = live not in (change.old, change.new)
    except ShutOutError:
        raise
    except OverlayError:
        strange, live = True, None
    if strange:
        saved = _save_beside(host, tx, directory, change)
        raise _Foreign(f"{change.path} was changed by somebody else meanwhile, and stays" + (f"; what was there is in {saved}" if saved else ""))
    if live == change.old:
        return
    if change.old is None:
        durable.remove_name(directory, name)
        return
    _put(host, tx, directory, change.path, change.old, change.path)


def _save_beside(host: Host, tx: str, directory: int, change: Change) -> str:
    """An edit that was there, beside what somebody has put there since; where. (What is no edit is in the release that it came from.)"""
    if change.old is None or not change.edited or not durable.exists(host.fd, f"{BLOBS}/{change.old.sha256}"):
        return ""
    path = aside.saved(change.path, change.old.sha256)
    if not durable.exists(directory, os.path.basename(path)):
        _put(host, tx, directory, change.path, change.old, path)
    return path


def _put(host: Host, tx: str, directory: int, main: str, content: Content, path: str) -> None:
    """Put kept bytes at ``path``, durably."""
    temporary = os.path.basename(aside.temporary(main, tx))
    data = _bytes(host, f"{BLOBS}/{content.sha256}", content)
    durable.create_synced(directory, temporary, data, int(content.mode, 8), content.group)
    durable.replace(directory, temporary, os.path.basename(path))
    os.fsync(directory)


def _write_temporary(host: Host, tx: str, change: Change, new: Content) -> None:
    data = _bytes(host, change.source, new)
    group = new.group if new.group >= 0 else change.old.group if change.old is not None else -1
    with place.directory_of(change.path) as (directory, _name):
        durable.create_synced(directory, os.path.basename(aside.temporary(change.path, tx)), data, int(new.mode, 8), group)
        os.fsync(directory)


def _keep(host: Host, data: bytes, content: Content) -> None:
    """Keep bytes under their digest. What is there already is looked at: it may be all that is left of an edit."""
    with host.directory(STATE) as state:
        durable.make_dir(state, os.path.basename(BLOBS), 0o750)
    if host.read(BLOBS, content.sha256, most=place.MOST) != data:
        with host.directory(BLOBS) as blobs:
            durable.write_file(blobs, content.sha256, data, 0o600)


def _bytes(host: Host, source: str, content: Content) -> bytes:
    data = host.read(source, most=place.MOST)
    if data is None or hashlib.sha256(data).hexdigest() != content.sha256:
        what = "is missing." if data is None else "is not what its digest says."
        raise DamagedError("a file for the overlay is damaged", [Problem(host.path(source), what, "See install-release verify.")])
    return data


def _raced(path: str) -> OverlayError:
    problem = Problem("etc", f"{path} was changed while this was under way.", "Run this again, once nobody is at work on it.")
    return OverlayError("a file of the system was changed by somebody else", [problem])


def commit(host: Host, tx: str, changes: Sequence[Change], release: str, before: str) -> None:
    """See ``overlay.commit``."""
    found = ledger.read(host)
    if not changes and not found.files and not found.left:
        return
    if found.tx != tx:
        found = _next(host, found, tx, changes, release, before)
        ours = [path for path in sorted(found.directories, reverse=True) if not _gone(path, found)]  # the innermost first
        ledger.write(host, found._replace(directories=tuple(sorted(ours))))
    clear(host)


def _next(host: Host, past: Ledger, tx: str, changes: Sequence[Change], release: str, before: str) -> Ledger:
    files = {c.path: Laid(c.etc, c.laid, release, c.before, c.beside) for c in changes if c.laid is not None}
    left = {name: files for name, files in past.left.items() if name != before and host.has_release(name)}
    if before and before != release:
        left[before] = {change.path: Left(change.old, change.before, change.beside) for change in changes if not change.alone}
    made = {directory for change in changes if change.old != change.new for directory in change.directories}
    return Ledger(tx, release, files, left, tuple(sorted(made | set(past.directories))))


def _gone(directory: str, now: Ledger) -> bool:
    """Whether a directory that we made is ours no more: nothing of ours is in it. It is removed, unless somebody has put something else there."""
    if any(path.startswith(f"{directory}/") for path in now.files):
        return False
    with suppress(OverlayError, FileNotFoundError, PermissionError), place.directory_of(directory) as (above, name):
        durable.remove_directory(above, name)
    return True


def leftovers(host: Host, tx: str) -> tuple[str, ...]:
    """See ``overlay.leftovers``."""
    known = ledger.read(host)
    found = []
    for above, path in sorted({os.path.dirname(path): path for path in known.files}.items()):
        with suppress(OverlayError, OSError), place.directory_of(path) as (directory, _name):
            names = sorted(os.listdir(directory))
            found += [os.path.join(above, name) for name in names if aside.is_temporary(name, tx) and _own(directory, name)]
    if not tx:
        needed = set(known.blobs())
        found += [host.path(BLOBS, name) for name in host.names(BLOBS) if name not in needed]
    return tuple(found)


def clear(host: Host) -> tuple[str, ...]:
    """See ``overlay.clear``."""
    found = leftovers(host, "")
    for path in found:
        if os.path.dirname(path) == host.path(BLOBS):
            with host.directory(BLOBS) as blobs:
                durable.remove_name(blobs, os.path.basename(path))
        else:
            with suppress(FileNotFoundError), place.directory_of(path) as (directory, name):
                durable.remove_name(directory, name)
    return found


def _own(directory: int, name: str) -> bool:
    facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
