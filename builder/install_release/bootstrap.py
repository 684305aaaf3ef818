"""What an administrator sets up once, so that an ordinary user can deploy: ``bootstrap --print`` writes the script, a person reads and runs it.

``needs`` looks; ``script`` is pure. Run as root below directories that belong to somebody else, a script could be led astray by their links: so
root makes the release root itself, and what lies in it is made by its owner.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from . import overlay, services, trust
from .artifact import Artifact
from .declared import matching
from .errors import DamagedError, Problem, RefusedError
from .host import Host
from .manifest import Manifest, release_id, to_bytes
from .overlay import Wanted
from .records import NamedTuple
from .services import Context, Privilege, program, unit

DEFAULT_USER = "deploy"
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_INCLUDED = re.compile(r"(?:\w+ )?[\w./@+=:,~*-]+;?")  # a line that includes files: its path is one word to whatever reads it


class Needs(NamedTuple):
    """What a release needs of a host beside what is below its root. ``accounts``: the users that its services run as, the first one's group is
    that of what they share with ``user``; ``directories``: those of shared/ that it links; ``variables``: what shared/env must set; ``units``: those
    of systemd's that read what is live, when they start; ``places``: directories of the system that files are copied to;
    ``unset``: host.ini does not say yet all that etc/ asks for."""

    name: str
    root: str
    user: str
    accounts: tuple[str, ...]
    directories: tuple[str, ...]
    variables: tuple[str, ...]
    privileges: tuple[Privilege, ...]
    units: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    unset: bool = False


def of_artifact(artifact: Artifact, root: str, user: str) -> Needs:
    """What the release in an artifact needs, and to leave the live one and come back to it. Raises ``RefusedError`` for a wrong user."""
    found = needs(artifact.manifest, overlay.rendered(artifact, root), root, user)
    with suppress(RefusedError, DamagedError), Host(root) as host:  # before the first release there is none
        known = {each.command for each in found.privileges}
        more = (each for each in of_live(host, user).privileges if each.way == "sudo" and each.command not in known)
        found = found._replace(privileges=(*found.privileges, *more))
    return found


def of_live(host: Host, user: str) -> Needs:
    """What the live release needs. Raises ``RefusedError`` where there is none."""
    live = host.current()
    if live is None:
        problem = Problem("current", f"nothing is live at {host.root}.", "Name the artifact: install-release bootstrap --print release.tgz")
        raise RefusedError("it is not known what is needed", [problem])
    return needs(host.manifest(live), overlay.published(host, live), host.root, user)


def needs(manifest: Manifest, wanted: Wanted, root: str, user: str) -> Needs:
    """What ``manifest``'s release needs, with its etc/ as rendered for ``root``."""
    root, user = os.path.realpath(root), user or _owner(root)
    if not _USER.fullmatch(user) or _uid(user) == 0:
        what = f"{user!r} is root, or no name of a user."
        raise RefusedError("refused to let that user deploy", [Problem("user", what, f"Name an ordinary one: --user {DEFAULT_USER}")])
    if not root.isprintable():
        raise RefusedError(
            "refused to write that into a script", [Problem("root", f"{root!r} is no path for a release root.", "Name another: --root DIR")]
        )
    release = release_id(manifest.commit_time, to_bytes(manifest))
    context = Context(root, release, "", manifest.name, user, _uid(user))
    texts = {path: rendered.data.decode("utf-8", "replace") for path, rendered in wanted.files.items()}
    privileged = services.privileged(manifest, context, wanted)
    if unfit := tuple(_unfit(privileged, root)):
        raise RefusedError("refused to write that into a script", unfit)
    return Needs(
        manifest.name,
        root,
        user,
        tuple(account for account in accounts(manifest, texts) if account != user and _USER.fullmatch(account)),
        manifest.requires.linked_dirs,
        manifest.requires.env,
        privileged,
        _units(manifest),
        overlay.places(manifest, wanted),
        bool(wanted.problems),
    )


def _unfit(privileges: Iterable[Privilege], root: str) -> Iterator[Problem]:
    """What a release may not bring into a script of root's: a word that goes on in another line, a command that would grant more than it says."""
    remedy = "Correct the recipe, or the file below etc/ that says so; or choose a plainer root."
    for each in privileges:
        where, program = f"services.{each.service}", "".join(each.command[:1])
        for word in (*each.command, each.path, each.section, each.key, *each.text.split("\n")):
            if not word.isprintable():
                yield Problem(where, f"{word!r} holds control characters.", remedy)
        if each.command and (not os.path.isabs(program) or os.path.normpath(program) != program or "" in each.command):
            yield Problem(where, f"{' '.join(each.command)!r} does not begin with the path of a program, or has an empty word.", remedy)
        if program.startswith(f"{root}/"):
            yield Problem(where, f"{program} is to run as root, and belongs to whoever deploys.", "Let root run only what root alone can change.")
        if each.path and os.path.normpath(each.path) != each.path:
            yield Problem(where, f"{each.path} leads out of its directory.", remedy)
        if each.way in ("file", "line"):
            for line in filter(None, each.text.split("\n")):
                if not _INCLUDED.fullmatch(line):
                    yield Problem(where, f"{line!r} would be no single path to what reads {each.path}.", remedy)


def accounts(manifest: Manifest, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The users that the system's own managers run this release's services as, by what their configuration says; root is none of them. Pure."""
    return tuple(dict.fromkeys(user for _, user in runs_as(manifest, texts) if user not in ("", "root")))


def runs_as(manifest: Manifest, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """For each unit and program of the system's managers that starts something: where it stands, and the user that it names ("" for none)."""
    for service in manifest.services:
        if service.user or service.kind not in ("systemd", "supervisord", "gunicorn"):
            continue
        mine = {path: texts[path] for pattern in service.config for path in sorted(matching(texts, pattern))}
        for each in unit.units(mine).values():
            if each.values("Service", "ExecStart") and not any(each.values("Service", "DynamicUser")):
                yield f"etc/{each.path}", "".join(each.values("Service", "User")[-1:])
        for one in program.parse({path: text for path, text in mine.items() if not path.endswith(unit.SUFFIXES)})[0].programs:
            yield f"etc/{one.path}", one.options.get("user", "")


def _units(manifest: Manifest) -> tuple[str, ...]:
    """The system's units that must wait at boot until ``current`` leads to where it should; sockets and timers start nothing before that."""
    own = [service.unit for service in manifest.services if service.unit.endswith(".service") and not service.user]
    readers = {"nginx": "nginx.service", "apache": "apache2.service", "cron": "cron.service", "supervisord": "supervisor.service"}
    more = [readers[service.kind] for service in manifest.services if service.kind in readers]
    return tuple(dict.fromkeys([*own, *more]))


def script(needs: Needs) -> str:
    """The script for POSIX sh: it may be run again at any time. Its comments say what each part grants. Pure."""
    return "\n".join(
        [
            *_head(needs),
            *_users(needs),
            *_root(needs),
            *_places(needs),
            *_system(needs),
            *_sudo(needs),
            *_boot(needs),
            *_runs(needs),
            *_policy(needs),
            *_foot(needs),
            "",
        ]
    )


def sudoers_file(name: str) -> str:
    """Where the sudo lines of an application stand. sudo reads no file with a dot in its name."""
    return f"/etc/sudoers.d/install-release-{name.replace('.', '_')}"


def sudoers_line(user: str, command: Iterable[str]) -> str:
    """One line: exactly this command, exactly these arguments, as root, without a password."""
    program, *arguments = (re.sub(r"([,:=\\*?\[\]!^# \t])", r"\\\1", word) for word in command)
    words = " ".join([program, *(arguments or ['""'])])  # without the quotes, any arguments would do
    return f"{user} ALL=(root) NOPASSWD: {words}"


def _head(needs: Needs) -> Iterator[str]:
    yield "#!/bin/sh"
    yield from _comment(
        f"What {needs.name} needs once on a host, so that {needs.user} can install, change and take back releases without any other right."
    )
    yield "# Written by install-release bootstrap --print. Read it, then run it as root. It can be run again at any time; do so when"
    yield "# install-release doctor says that something is missing."
    yield "set -eu"
    yield "umask 022"
    yield '[ "$(id -u)" = 0 ] || { echo "this is to be run as root" >&2; exit 1; }'
    yield f'as_user() {{ runuser -u {needs.user} -- "$@"; }}'
    if needs.units or any(each.way == "file" for each in needs.privileges):
        yield "put() {"
        yield '    mkdir -p "${1%/*}"; cat > "$1.new"'
        yield '    if [ -e "$1" ] && [ ! -e "$1.old" ] && ! cmp -s "$1" "$1.new"; then'
        yield '        cp -p "$1" "$1.old"; echo "$1 was there already: what it said is in $1.old" >&2'
        yield "    fi"
        yield '    mv -f "$1.new" "$1"'
        yield "}"
    if any(each.way == "link" for each in needs.privileges):
        yield "link() {"
        yield '    if [ -e "$1" ] && [ ! -L "$1" ]; then echo "$1 is in the way: look at it, and move it away" >&2; exit 1; fi'
        yield '    mkdir -p "${1%/*}"; ln -sfn "$2" "$1"'
        yield "}"
    if any(each.way == "line" for each in needs.privileges):
        yield "# word FILE SECTION KEY WORD: put WORD first into the value of KEY."
        yield "word() {"
        yield '    if grep -qF -- "$4" "$1"; then return; fi'
        yield '    cp -p "$1" "$1.new"'
        yield "    section=$2 key=$3 word=$4 awk '"
        yield '        BEGIN { section = ENVIRON["section"]; key = ENVIRON["key"]; word = ENVIRON["word"] }'
        yield '        /^\\[/ { if (inside && !done) { print key " = " word; done = 1 } inside = index($0, "[" section "]") == 1 }'
        yield '        inside && !done && $0 ~ "^" key "[ \\t]*=" { $0 = key " = " word " " substr($0, index($0, "=") + 1); done = 1 }'
        yield "        { print }"
        yield '        END { if (!done) { if (!inside) print "[" section "]"; print key " = " word } }'
        yield '    \' "$1" > "$1.new"'
        yield '    mv -f "$1.new" "$1"'
        yield "}"


def _users(needs: Needs) -> Iterator[str]:
    yield ""
    yield f"# {needs.user} deploys. No password: an ssh key of whoever deploys goes into its authorized_keys; it needs no private key of its own."
    yield f"id {needs.user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {needs.user}"
    for account in needs.accounts:
        yield f"# {account} is who a service runs as. It can't log in, owns no file of a release, and can change none."
        options = "--system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin"
        yield f"id {account} >/dev/null 2>&1 || useradd {options} {account}"
    if needs.accounts:
        sharing = " and ".join([needs.user, *needs.accounts[1:]])
        what = (
            f"What is in shared/ is for all of them: {sharing} can from now on do whatever the group of {needs.accounts[0]} can, here and elsewhere."
        )
        yield from _comment(what)
        yield f"group=$(id -gn {needs.accounts[0]})"
        for member in (needs.user, *needs.accounts[1:]):
            yield f'usermod --append --groups "$group" {member}'
    else:
        yield f"group=$(id -gn {needs.user})"


def _root(needs: Needs) -> Iterator[str]:
    root, user = shlex.quote(needs.root), needs.user
    yield ""
    yield f"# The release root belongs to {user}. Only root may write to what is above it."
    yield f"mkdir -p {shlex.quote(os.path.dirname(needs.root))}"
    yield f'[ -d {root} ] || install -d -o {user} -g "$(id -gn {user})" -m 755 {root}'
    shared = os.path.join(needs.root, "shared")
    paths = " ".join(shlex.quote(os.path.join(shared, each)) for each in needs.directories)
    yield f"as_user mkdir -p {' '.join(filter(None, (shlex.quote(shared), paths)))}"
    if paths and needs.accounts:
        yield f'as_user chgrp "$group" {paths}'
        yield f"as_user chmod 2770 {paths}"
    if needs.variables or needs.accounts:
        yield "# The secrets of this host, for the services to read and nobody else: NAME=value lines; and what fills the placeholders of etc/."
        for name in ("env", "host.ini"):
            file = shlex.quote(os.path.join(shared, name))
            yield f"as_user sh -c 'umask 027; : >> \"$1\"' sh {file}"
            yield f'as_user chgrp "$group" {file}'
            yield f"as_user chmod 640 {file}"


def _places(needs: Needs) -> Iterator[str]:
    if not needs.places:
        return
    yield ""
    yield from _comment(
        f"Files are copied there: {needs.user} can put whatever it likes into these directories, and whatever reads them obeys it. One that is there "
        "already stays whose it is: to give away a directory of the system's is for you to decide."
    )
    yield "place() {"
    yield '    as_user mkdir -p "$1" 2>/dev/null || true'
    yield f'    [ -d "$1" ] || install -d -o {needs.user} -g "$(id -gn {needs.user})" -m 755 "$1"'
    yield f'    as_user test -w "$1" || echo "$1 belongs to $(stat -c %U "$1"): {needs.user} can copy nothing there (chown {needs.user} $1)" >&2'
    yield "}"
    for place in needs.places:
        yield f"place {shlex.quote(place)}"


def _system(needs: Needs) -> Iterator[str]:
    for each in needs.privileges:
        if each.way not in ("file", "link", "line"):
            continue
        yield ""
        yield from _comment(f"{each.service}: {each.grants}")
        path = shlex.quote(each.path)
        if each.way == "link":
            yield f"link {path} {shlex.quote(each.text)}"
        elif each.way == "line":
            yield f"word {path} {shlex.quote(each.section)} {shlex.quote(each.key)} {shlex.quote(each.text)}"
        else:
            end = "END"
            while end in each.text.splitlines():
                end += "_"
            yield f"put {path} <<'{end}'"
            yield each.text.rstrip("\n")
            yield end


def _sudo(needs: Needs) -> Iterator[str]:
    granted = [each for each in needs.privileges if each.way == "sudo"]
    file = sudoers_file(needs.name)
    yield ""
    if not granted:
        yield "# No command has to be run as root: what an earlier release needed is taken back."
        yield f"rm -f {file}"
        return
    yield f"# The commands that {needs.user} may run as root, each with exactly these arguments and no other."
    yield 'command -v visudo >/dev/null || { echo "sudo is missing: install it, then run this again" >&2; exit 1; }'
    yield f"rm -f {file}.new"
    yield f"cat > {file}.new <<'END'"
    for each in granted:
        yield from _comment(f"{each.service}: {each.grants}")
        yield sudoers_line(needs.user, each.command)
    yield "END"
    yield f"chmod 440 {file}.new"
    yield f"visudo --check --quiet --file={file}.new"
    yield f"mv -f {file}.new {file}"


def _boot(needs: Needs) -> Iterator[str]:
    """After a power cut in the middle of a flip, links and files are put right before anything reads them."""
    if not needs.units:
        return
    unit = f"install-release-{needs.name}.service"
    root = needs.root.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    yield ""
    yield "# At boot, before the services: what a power cut left of an installation is finished or taken back, as the user who deploys."
    yield "if [ -d /run/systemd/system ]; then"
    yield f"put /etc/systemd/system/{unit} <<'END'"
    yield "[Unit]"
    yield f"Description=Finish or take back what a power cut left of an installation of {needs.name}"
    yield f"ConditionPathExists={root}/.install/journal.json"
    yield "After=local-fs.target"
    yield f"Before={' '.join(needs.units)}"
    yield ""
    yield "[Service]"
    yield "Type=oneshot"
    yield f"User={needs.user}"
    yield f'ExecStart="{root}/bin/install-release" recover --boot --root "{root}"'
    yield ""
    yield "[Install]"
    yield "WantedBy=multi-user.target"
    yield "END"
    yield "systemctl daemon-reload"
    yield f"systemctl enable --quiet {unit}"
    yield "fi"


def _runs(needs: Needs) -> Iterator[str]:
    for each in needs.privileges:
        if each.way == "run":
            yield ""
            yield from _comment(f"{each.service}: {each.grants}")
            yield shlex.join(each.command)


def _policy(needs: Needs) -> Iterator[str]:
    yield ""
    yield from _comment(
        f"Who may sign what is installed here, and what a release may do, a policy says: {trust.SYSTEM}/{needs.name}.ini, which only root can "
        "change, and no release. None is written by this script: that is for you to decide. The least that asks for a signature:"
    )
    yield "#   [signatures]"
    yield "#   required = 1"
    yield f"#   allowed_signers = {trust.SYSTEM}/allowed_signers"
    yield "# and in that file, a line for each key:"
    yield f'#   ci@example.org namespaces="install-release:{needs.name}" ssh-ed25519 AAAA...'


def _foot(needs: Needs) -> Iterator[str]:
    yield ""
    shared = os.path.join(needs.root, "shared")
    todo = [f"{', '.join(needs.variables)} into {shared}/env"] if needs.variables else []
    todo += [f"what etc/ asks for (--plan names it) into {shared}/host.ini"] if needs.unset else []
    first = f" {', '.join(todo)}, then" if todo else ""
    yield f"echo {shlex.quote(f'next, as {needs.user}, logged in anew:{first} install-release release.tgz --root {needs.root}')}"


def _comment(text: str, width: int = 148) -> Iterator[str]:
    """``text`` as lines of comment."""
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width and line != "#":
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _owner(root: str) -> str:
    """Who deploys when nobody says so: whoever owns the root, else this user, unless that is root."""
    for uid in ([os.stat(root).st_uid] if os.path.isdir(root) else []) + [os.geteuid()]:
        if uid:
            try:
                return pwd.getpwuid(uid).pw_name
            except KeyError:
                continue
    return DEFAULT_USER


def _uid(user: str) -> int:
    """-1 for one who is not there yet."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1
