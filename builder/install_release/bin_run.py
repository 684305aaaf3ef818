"""The program ``current/bin/run CMD…``: how services, cron lines and hooks start. ``launcher`` copies it into every release.

It resolves its own path once, so that everything that follows is of one release; takes a shared lock on the release (its lease), so that it is
not pruned while the command runs; loads ``shared/env``; and becomes the command, in ``src/``. It imports only what costs nothing, and nothing of
``__future__``, which could not stand below the line that ``launcher`` puts first.
"""

import _signal as signal  # type: ignore[import-not-found]  # the module proper makes its enumerations first, which takes longer than all the rest
import errno
import fcntl
import os
import sys
import time

USAGE = """usage: current/bin/run CMD [ARGUMENT...]

Start a command of this release: of its environment, else of PATH, in src/, with the variables of shared/env.
Exit statuses are those of env(1): 125 bin/run itself failed, 126 the command can't be run, 127 it is not there; else the command's own."""

LEASE = ".lease"
FAILED, NOT_RUNNABLE, NOT_FOUND = 125, 126, 127
OWN = ("RELEASE_ID", "RELEASE_DIR", "RELEASE_VERSION", "PWD", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")  # shared/env can't change these
_WHITE, _NEWLINE = " \t\n\r", "\n\r"


class EnvironmentFileError(Exception):
    """A line of an environment file that systemd would drop or misread. ``line`` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


class StartError(Exception):
    """The command can't be started. ``status`` is the exit status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_environment(data: bytes) -> dict[str, str]:
    """Read systemd's EnvironmentFile syntax (systemd.exec(5)): comments, quotes, backslashes, values over several lines; nothing is expanded.

    A file that is read here means the same to systemd. What systemd would only warn of raises ``EnvironmentFileError``: a line that assigns
    nothing, a name that is none (``export X=1``), a control character, a quote that doesn't end, other bytes than UTF-8.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EnvironmentFileError(data.count(b"\n", 0, error.start) + 1, "is not UTF-8") from None
    found: dict[str, str] = {}
    position, line = 0, 1
    while position < len(text):
        start = position
        if text[position] in _WHITE:
            position += 1
        elif text[position] in "#;":
            position = _end_of_line(text, position)
            if text[position - 1] == "\\":
                raise EnvironmentFileError(line, "a comment that ends in a backslash hides the next line from systemd before 254")
        else:
            name, value, position = _assignment(text, position, line)
            found[name] = value
        line += text.count("\n", start, position)
    return found


def _end_of_line(text: str, position: int) -> int:
    while position < len(text) and text[position] not in _NEWLINE:
        position += 1
    return position


def _assignment(text: str, start: int, line: int) -> tuple[str, str, int]:
    """The name and the value of the assignment at ``start``, and where it ends."""
    end = _end_of_line(text, start)
    equals = text.find("=", start, end)
    if equals < 0:
        raise EnvironmentFileError(line, f"{_shown(text[start:end])} assigns nothing: NAME=value is what belongs here")
    name = text[start:equals].rstrip(_WHITE)
    if not name.isascii() or not name.replace("_", "a").isalnum() or name[0].isdigit():
        hint = ": leave out 'export'" if name.startswith("export ") else ""
        raise EnvironmentFileError(line, f"{_shown(name)} is no name of a variable{hint}")
    value, end = _value(text, equals + 1, line)
    wrong = next((character for character in value if (ord(character) < 32 and character not in "\t\n") or ord(character) == 127), None)
    if wrong is not None:
        raise EnvironmentFileError(line, f"the value of {name} holds the control character {ord(wrong):#04x}")
    return name, value, end


def _shown(text: str) -> str:
    """Names and lone words may be shown; what might be a secret may not."""
    return repr(text.split()[0][:20] if text.split() else text)


def _value(text: str, position: int, line: int) -> tuple[str, int]:
    """The states of systemd's own reader: before a value, in a plain one, in single or double quotes."""
    value: list[str] = []
    plain = False  # in a plain value quotes are ordinary characters; after a quoted part they are quotes again
    kept = 0  # how much of the value stays when white space at its end is taken away
    while position < len(text):
        character = text[position]
        if character in _NEWLINE:
            break
        if character == "\\":
            plain, position = True, position + 1
            if position < len(text) and text[position] not in _NEWLINE:
                value.append(text[position])
            kept = len(value)  # an escaped white space stays, and so does what precedes an escaped line feed
        elif plain:
            value.append(character)
            kept = kept if character in _WHITE else len(value)
        elif character in "'\"":
            position = _quoted(text, position, value, line)
            kept = len(value)
        elif character not in _WHITE:
            value.append(character)
            plain, kept = True, len(value)
        position += 1
    return "".join(value[:kept]), position


def _quoted(text: str, start: int, value: list[str], line: int) -> int:
    """Take the quoted part that begins at ``start`` into ``value``; the position of the quote that ends it."""
    quote, position = text[start], start + 1
    while position < len(text):
        character = text[position]
        if character == quote:
            return position
        if character == "\\" and quote == '"':
            position += 1
            following = text[position : position + 1]
            if following not in ('"', "\\", "`", "$", "\n"):
                value.append("\\")
            if following != "\n":
                value.append(following)
        else:
            value.append(character)
        position += 1
    raise EnvironmentFileError(line, f"a {'double' if quote == chr(34) else 'single'} quote is opened and never closed")


class Release:
    """Where things are: ``directory`` is the release's, physical; ``root`` the root's; ``env`` that of its environment."""

    def __init__(self, script: str) -> None:
        self.directory = os.path.dirname(os.path.dirname(os.path.realpath(script)))
        self.root = os.path.dirname(os.path.dirname(self.directory))
        self.id = os.path.basename(self.directory)
        self.src = os.path.join(self.directory, "src")
        self.env = os.path.realpath(os.path.join(self.directory, "venv"))
        self.bin = os.path.join(self.env, "bin")

    def physical(self, path: str) -> str:
        """``path``, if it leads through ``current``, as it is in this release: a later flip can't move it."""
        link = os.path.join(self.root, "current")
        inside = path == link or path.startswith(link + "/")
        return os.path.realpath(self.directory + path[len(link) :]) if inside else path


def hold_lease(release: Release) -> bool:
    """Lock the release, shared, by a descriptor that the command inherits. False when it has just been removed: look again."""
    try:
        lease = os.open(os.path.join(release.directory, LEASE), os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StartError(FAILED, f"the lease of {release.id} can't be opened: {error.strerror}") from None
    try:
        fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        found = os.stat(os.path.join(release.directory, LEASE))
    except (BlockingIOError, FileNotFoundError):
        os.close(lease)
        return False
    fcntl.fcntl(lease, fcntl.F_DUPFD, 10)  # inheritable, and out of the way of descriptors that are passed by number
    same = os.path.samestat(found, os.fstat(lease))
    os.close(lease)
    return same


def leased(script: str, patience: float = 5.0) -> Release:
    """The release that ``script`` belongs to, locked. When it is being removed, ``current`` leads to another one already."""
    end = time.monotonic() + patience
    while True:
        release = Release(script)
        if hold_lease(release):
            return release
        if time.monotonic() >= end:
            raise StartError(FAILED, f"no lease of {release.id}: it is being removed, or its {LEASE} is missing (see install-release verify)")
        time.sleep(0.05)


def environment(release: Release, version: str, inherited: dict[str, str], shared: dict[str, str]) -> dict[str, str]:
    """The command's environment. ``shared/env`` wins over what was inherited (as with systemd), this release's facts over both."""
    made = {**inherited, **{name: value for name, value in shared.items() if name not in OWN}}
    made.pop("PYTHONHOME", None)  # would take the standard library from elsewhere
    paths = [release.physical(path) for path in made.get("PYTHONPATH", "").split(":") if path]
    search = [release.physical(path) for path in made.get("PATH", os.defpath).split(":")]
    made.update(
        RELEASE_ID=release.id,
        RELEASE_DIR=release.directory,
        RELEASE_VERSION=version,
        PWD=release.src,
        PYTHONPATH=":".join([release.src, *(path for path in paths if path != release.src)]),
        PYTHONDONTWRITEBYTECODE="1",
        VIRTUAL_ENV=release.env,
        PATH=":".join([release.bin, *(path for path in search if path != release.bin)]),
    )
    return made


def load_shared(release: Release) -> dict[str, str]:
    """The variables of ``shared/env``; none when there is no such file."""
    path = os.path.join(release.root, "shared", "env")
    try:
        with open(path, "rb") as file:
            return parse_environment(file.read())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StartError(FAILED, f"{path} can't be read: {error.strerror}; run this as a user of its group") from None
    except EnvironmentFileError as error:
        raise StartError(FAILED, f"{path}, {error}") from None


def find_command(release: Release, command: str, search: str) -> str:
    """The path of ``command``: the environment's own first, then by ``search`` (a PATH). One with a slash is relative to ``src/``."""
    if "/" in command:
        return release.physical(os.path.join(release.src, command))
    refused = ""
    for directory in [release.bin, *search.split(":")]:
        path = os.path.join(directory or ".", command)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            refused = refused or path
    if refused:
        raise StartError(NOT_RUNNABLE, f"{refused} is not executable")
    hint = f"; {command} is in src/: say 'python {command}'" if os.path.isfile(os.path.join(release.src, command)) else ""
    raise StartError(NOT_FOUND, f"{command} is neither in {release.bin} nor on PATH{hint}")


def become(path: str, arguments: list[str], variables: dict[str, str]) -> None:
    """Replace this process. Raises ``StartError`` when that can't be."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and its children would too
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, arguments, variables)
    except FileNotFoundError:
        what = "is not there" if not os.path.lexists(path) else "is there, but the interpreter that it names is not"
        raise StartError(NOT_FOUND, f"{path} {what}") from None
    except OSError as error:
        hint = " (has it a first line that names an interpreter?)" if error.errno == errno.ENOEXEC else ""
        raise StartError(NOT_RUNNABLE, f"{path}: {error.strerror}{hint}") from None


def main(script: str, version: str, arguments: list[str]) -> int:
    """Become ``arguments``; the exit status if that fails."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else FAILED
    try:
        release = leased(script)
        variables = environment(release, version, dict(os.environ), load_shared(release))
        os.chdir(release.src)
        path = find_command(release, arguments[0], variables["PATH"])
        own = path.startswith(release.bin + "/") or "/" in arguments[0]
        become(path, [path if own else arguments[0], *arguments[1:]], variables)
    except StartError as error:
        print(f"bin/run: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"bin/run: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    return FAILED
