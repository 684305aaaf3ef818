"""What is wrong with a host, beside its releases: what an administrator has yet to set up, and what gives away more than a deployment needs.

``gather`` looks, ``findings`` decides and is pure. Nothing is changed.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress

from . import bootstrap, host, overlay, services, trust
from .errors import Problem
from .host import Host
from .records import NamedTuple
from .services import Context, privileges

_ROOT_GROUPS = ("root", "sudo", "wheel", "admin", "docker", "lxd", "incus", "libvirt", "disk", "shadow")  # whoever is in one can become root
_KEYS = (b"PRIVATE KEY-----", b"PuTTY-User-Key-File")
_LOOKED_AT = 500  # files of a home


class Facts(NamedTuple):
    """One host, looked at. ``user`` owns the root, and is in ``groups``; ``keys``: private keys in the user's home, ``unseen``: what of it could not
    be looked at; ``modes``: paths that others can write to, with the mode; ``env_mode``: that of shared/env (0: none); ``sudo``: the commands that
    the user may run by it; ``wanted``: those that the releases here need; ``missing``: what is not set up for the live one; ``roots``: files of the
    live one that have something run as root; ``policy``: what is wrong with that, and with what is live by it."""

    root: str
    user: str
    uid: int
    groups: tuple[str, ...]
    keys: tuple[str, ...]
    unseen: str
    modes: tuple[tuple[str, int], ...]
    env_mode: int
    sudo: tuple[str, ...]
    wanted: tuple[str, ...]
    missing: tuple[Problem, ...]
    roots: tuple[str, ...] = ()
    policy: tuple[Problem, ...] = ()


def gather(opened: Host) -> Facts:
    """Look at the host of an open root, for the user whom it belongs to."""
    uid = os.fstat(opened.fd).st_uid
    try:
        entry = pwd.getpwuid(uid)
        user, home, group = entry.pw_name, entry.pw_dir, entry.pw_gid
    except KeyError:
        user, home, group = str(uid), "", os.fstat(opened.fd).st_gid
    keys, unseen = private_keys(home)
    wanted, missing, roots = _services(opened, user, uid)
    env = os.path.join(opened.root, host.SHARED, "env")
    return Facts(
        root=opened.root,
        user=user,
        uid=uid,
        groups=tuple(sorted({each.gr_name for each in grp.getgrall() if user in each.gr_mem or each.gr_gid == group})),
        keys=keys,
        unseen=unseen,
        modes=tuple(_open_to_others(opened)),
        env_mode=stat.S_IMODE(os.stat(env).st_mode) if os.path.isfile(env) else 0,
        sudo=_sudo(user, uid),
        wanted=wanted,
        missing=missing,
        roots=roots,
        policy=_policy(opened),
    )


def findings(facts: Facts) -> tuple[Problem, ...]:
    """Everything that somebody should do something about, worst first. Pure."""
    return (*_roots(facts), *facts.policy, *facts.missing, *_wide(facts), *_modes(facts), *_private(facts))


def _roots(facts: Facts) -> Iterator[Problem]:
    if facts.uid == 0:
        remedy = f"chown -R an ordinary user {facts.root}, and deploy as that one."
        yield Problem("user", f"{facts.root} belongs to root: whatever is deployed here runs with every right.", remedy)
        return
    for group in facts.groups:
        if group in _ROOT_GROUPS:
            what = f"{facts.user} is in the group {group}, which is as good as being root."
            yield Problem("user", what, f"gpasswd --delete {facts.user} {group}; what a deployment needs as root, bootstrap lists.")
    for path in facts.roots:
        yield Problem(
            path, "names no user, or root: what it starts from a release runs with every right.", "Write User= (supervisord: user=) into it."
        )


def _wide(facts: Facts) -> Iterator[Problem]:
    if facts.uid == 0:
        return
    for command in facts.sudo:
        if command.split(" ")[0] == "ALL":
            what = f"{facts.user} may run everything as root: that is a root shell."
            yield Problem("sudo", what, "Take that line away: what a deployment needs, bootstrap lists.")
        elif command not in facts.wanted:
            what = f"{facts.user} may run {command} as root, which no release here needs."
            yield Problem("sudo", what, "Run bootstrap again, or take the line away where it stands, unless it is another application's.")


def _modes(facts: Facts) -> Iterator[Problem]:
    for path, mode in facts.modes:
        yield Problem("root", f"{path} can be written by {'everybody' if mode & 0o002 else 'its group'} (mode {mode:o}).", f"chmod go-w {path}")
    if facts.env_mode & 0o007:
        path = os.path.join(facts.root, host.SHARED, "env")
        yield Problem("shared/env", f"{path} holds secrets, and is open to everybody (mode {facts.env_mode:o}).", f"chmod 640 {path}")


def _private(facts: Facts) -> Iterator[Problem]:
    for path in facts.keys:
        what = f"{path} is a private key: whoever gets in here as {facts.user} gets on with it."
        yield Problem("keys", what, "Take it away. Artifacts are brought here; nothing has to be fetched from here.")
    if facts.unseen:
        yield Problem("keys", f"{facts.unseen} can't be looked at for private keys.", f"Run this as {facts.user}, or as root.")


def _open_to_others(opened: Host) -> Iterator[tuple[str, int]]:
    """The root, and what the installer relies on in it, where others than the owner may write. shared/ and below is the host's own."""
    for name in ("", host.RELEASES, host.ENVS, host.BIN, host.STATE, host.SHARED, os.path.join(host.BIN, "install-release")):
        path = os.path.join(opened.root, name) if name else opened.root
        with suppress(OSError):
            facts = os.lstat(path)
            if not stat.S_ISLNK(facts.st_mode) and facts.st_mode & 0o022:
                yield path, stat.S_IMODE(facts.st_mode)


def private_keys(home: str) -> tuple[tuple[str, ...], str]:
    """The private keys in a home and its ``.ssh``, by what their first bytes say; and what could not be looked at."""
    found: list[str] = []
    unseen = ""
    looked = 0
    for directory in (home, os.path.join(home, ".ssh")) if home not in ("", "/") else ():
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError:
            unseen = unseen or directory
            continue
        for entry in entries:
            looked += 1
            if looked > _LOOKED_AT or not entry.is_file(follow_symlinks=False):
                continue
            try:
                with open(entry.path, "rb", opener=_opener) as file:
                    start = file.read(200)
            except OSError:
                unseen = unseen or entry.path
                continue
            if any(mark in start for mark in _KEYS):
                found.append(entry.path)
    return tuple(found), unseen


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _services(opened: Host, user: str, uid: int) -> tuple[tuple[str, ...], tuple[Problem, ...], tuple[str, ...]]:
    """The sudo commands that a release needs which is here; of the live one, what is not set up for it, and what of it runs as root."""
    wanted: list[str] = []
    missing: tuple[Problem, ...] = ()
    roots: tuple[str, ...] = ()
    live = opened.current()
    for release in opened.releases():
        manifest = opened.manifest(release)
        context = Context(opened.root, release, "", manifest.name, user, uid)
        etc = overlay.published(opened, release)
        wanted += [privileges.spelled(each.command) for each in services.privileged(manifest, context, etc) if each.way == "sudo"]
        if release == live:
            missing = services.problems(manifest, context, etc)
            texts = {path: file.data.decode("utf-8", "replace") for path, file in etc.files.items()}
            roots = tuple(where for where, account in bootstrap.runs_as(manifest, texts) if account in ("", "root", "0"))
    return tuple(dict.fromkeys(wanted)), missing, roots


def _policy(opened: Host) -> tuple[Problem, ...]:
    """What is wrong with the host's policy for what is live, and whether that is revoked."""
    live = opened.current()
    if live is None:
        return ()
    found = trust.standing(opened, opened.manifest(live).name)
    if live not in found.revoked:
        return found.problems
    return (*found.problems, Problem("policy", f"{live} is live, and revoked ({found.path}).", "Install another one, or roll back."))


def _sudo(user: str, uid: int) -> tuple[str, ...]:
    """The commands that ``user`` may run by sudo; none where that can't be asked."""
    me = os.geteuid()
    if uid == 0 or me not in (0, uid):
        return ()
    return privileges.granted(user if me == 0 else "")
