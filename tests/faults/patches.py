"""Mutants of the protocol, as patches of the installer: what is left out, or swapped, and which part of the campaign is to notice it."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """``old`` in ``file`` becomes ``new``. ``part`` is to notice it: the cheapest that can; ``where``: in which scenarios, or traps."""

    name: str
    file: str
    old: str
    new: str
    part: str
    where: tuple[str, ...] = ()
    also: tuple[tuple[str, str, str], ...] = ()  # more of such, where one step is secured twice


POWER: tuple[Mutant, ...] = (
    Mutant(
        "a file is not synced before it is renamed", "durable.py", "            os.fsync(file)\n            identity", "            identity", "power"
    ),
    Mutant(
        "the directory of a replaced file is not synced",
        "durable.py",
        """\
            os.unlink(new, dir_fd=directory)
        raise
    os.fsync(directory)


def create_synced""",
        """\
            os.unlink(new, dir_fd=directory)
        raise


def create_synced""",
        "power",
    ),
    Mutant(
        "a file beside one of the system is not synced",
        "durable.py",
        """\
            os.fchown(file, -1, group)
        os.fchmod(file, mode)
        os.fsync(file)
""",
        """\
            os.fchown(file, -1, group)
        os.fchmod(file, mode)
""",
        "power",
    ),
    Mutant(
        "lines of the history are not synced",
        "durable.py",
        """\
            os.fchmod(file, mode)
            os.fsync(file)
        except""",
        "            os.fchmod(file, mode)\n        except",
        "power",
    ),
    Mutant(
        "a torn line of the history stays",
        "durable.py",
        """\
        if whole != size:
            os.ftruncate(file, whole)
""",
        "",
        "power",
    ),
    Mutant("the stage of a release is not synced", "stage.py", "                durable.sync_tree(stage)\n", "", "power"),
    Mutant("the stage of an environment is not synced", "environment.py", "                durable.sync_tree(stage)\n", "", "power"),
    Mutant(
        "the directory of releases is not synced",
        "durable.py",
        """\
    os.fsync(target)
    os.fsync(source)
""",
        "    os.fsync(source)\n",
        "power",
    ),
    Mutant(
        "the root is not synced after the flip",
        "durable.py",
        """\
        raise
    os.fsync(directory)
    if read_link""",
        "        raise\n    if read_link",
        "power",
        also=(("durable.py", "        os.close(file)\n    os.fsync(directory)\n\n\ndef sync_tree", "        os.close(file)\n\n\ndef sync_tree"),),
    ),
    Mutant(
        "a removal is not synced",
        "durable.py",
        """\
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
""",
        "        os.unlink(name, dir_fd=directory)\n",
        "power",
    ),
    Mutant(
        "the directories of the system are not synced",
        "overlay/laying.py",
        """\
            os.fsync(directory)


def restore""",
        """\
            pass


def restore""",
        "power",
    ),
    Mutant(
        "a new directory is not synced",
        "durable.py",
        """\
        os.fsync(made)
    finally:
        os.close(made)
    os.fsync(directory)
""",
        """\
        pass
    finally:
        os.close(made)
""",
        "power",
    ),
    Mutant(
        "what stands in the journal is not synced, nor is anything replaced",
        "durable.py",
        """\
            os.fsync(file)
            identity = os.fstat(file)
        finally:
            os.close(file)
        _rename(new, directory, name, directory, lambda: _is_same(directory, name, identity))
""",
        """\
            identity = os.fstat(file)
        finally:
            os.close(file)
        _rename(new, directory, name, directory, lambda: _is_same(directory, name, identity))
        return
""",
        "power",
    ),
)

KILL: tuple[Mutant, ...] = (
    Mutant(
        "a file is written in its place",
        "durable.py",
        """\
    new = temporary(name)
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    file = """,
        """\
    new = name
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    file = """,
        "kill",
        ("activate",),
    ),
    Mutant(
        "current is removed and made again",
        "durable.py",
        "        _rename(new, directory, name, directory, lambda: read_link(directory, name) == target)\n",
        """\
        remove_name(directory, name)
        _rename(new, directory, name, directory, lambda: read_link(directory, name) == target)
""",
        "kill",
        ("shared",),
    ),
    Mutant(
        "the journal is not recovered",
        "recover.py",
        "    elif transaction is not None:\n        left",
        "    elif transaction is not None and transaction.state == 'none':\n        left",
        "kill",
        ("activate",),
    ),
    Mutant(
        "what was committed is not finished",
        "recover.py",
        "        flip.forward(host, transaction)\n",
        "        journal.write(host, None)\n",
        "kill",
        ("activate",),
    ),
    Mutant("recovery leaves what runs alone", "recover.py", " and not boot  # what", " and boot  # what", "kill", ("activate",)),
    Mutant(
        "stages of killed installers stay",
        "recover.py",
        "            durable.remove_tree(directory, each.name)\n",
        "            pass\n",
        "kill",
        ("shared",),
    ),
    Mutant(
        "the journal does not say that it is switching",
        "flip.py",
        """\
            transaction = transaction.step("switching")
            journal.write(host, transaction)
""",
        "",
        "kill",
        ("activate",),
    ),
    Mutant(
        "nothing is journaled before it is committed",
        "flip.py",
        "            journal.write(host, transaction)\n            with interrupts",
        "            with interrupts",
        "kill",
        ("activate",),
        (
            (
                "flip.py",
                """\
            transaction = transaction.step("switching")
            journal.write(host, transaction)
""",
                "",
            ),
        ),
    ),
    Mutant(
        "switching is journaled after the switch",
        "flip.py",
        """\
            transaction = transaction.step("switching")
            journal.write(host, transaction)
            overlay.switch(host, transaction.tx, transaction.changes)
            _point(host, transaction)
            began = True
            with interrupts.let_through():
                serving.follow(host, left, to, transaction.changes, say)
""",
        """\
            overlay.switch(host, transaction.tx, transaction.changes)
            _point(host, transaction)
            began = True
            with interrupts.let_through():
                serving.follow(host, left, to, transaction.changes, say)
                transaction = transaction.step("switching")
                journal.write(host, transaction)
""",
        "kill",
        ("activate",),
    ),
    Mutant(
        "committed is not journaled",
        "flip.py",
        "            journal.write(host, committed)\n        except",
        "            pass\n        except",
        "kill",
        ("activate",),
    ),
    Mutant(
        "the history says it before it is committed",
        "flip.py",
        "            journal.write(host, committed)\n        except",
        """\
            history.append_missing(host, committed.tx, committed.events)
            journal.write(host, committed)
        except""",
        "kill",
        ("activate",),
    ),
    Mutant(
        "idle is journaled before the history says it",
        "flip.py",
        """\
    history.append_missing(host, transaction.tx, transaction.events)
    journal.write(host, None)


def back""",
        """\
    journal.write(host, None)
    history.append_missing(host, transaction.tx, transaction.events)


def back""",
        "kill",
        ("activate",),
    ),
    Mutant(
        "the ledger is written before it is committed",
        "flip.py",
        "            journal.write(host, committed)\n        except",
        """\
            overlay.commit(host, committed.tx, committed.changes, committed.to, committed.before)
            journal.write(host, committed)
        except""",
        "kill",
        ("activate",),
    ),
    Mutant(
        "the ledger is written when the journal is idle",
        "flip.py",
        """\
    overlay.commit(host, transaction.tx, transaction.changes, transaction.to, transaction.before)
    history.append_missing(host, transaction.tx, transaction.events)
    journal.write(host, None)


def back""",
        """\
    history.append_missing(host, transaction.tx, transaction.events)
    journal.write(host, None)
    overlay.commit(host, transaction.tx, transaction.changes, transaction.to, transaction.before)


def back""",
        "kill",
        ("activate",),
    ),
    Mutant(
        "the files of the system are not put back",
        "flip.py",
        "for words in overlay.restore(host, transaction.tx, transaction.changes)]",
        "for words in ()]",
        "kill",
        ("activate",),
    ),
    Mutant("current is not put back", "flip.py", "    restore_current(host, transaction.before, transaction.to)\n", "", "kill", ("shared",)),
    Mutant("previous is not put back", "flip.py", "        _set(host, PREVIOUS, transaction.previous)\n", "        pass\n", "kill", ("upgrade",)),
    Mutant(
        "previous is not set",
        "flip.py",
        """\
        _set(host, PREVIOUS, _target(transaction.before))
    _set(host, CURRENT, _target(transaction.to))""",
        "        pass\n    _set(host, CURRENT, _target(transaction.to))",
        "kill",
        ("shared",),
    ),
    Mutant(
        "the table of an environment is written first",
        "environment.py",
        '        entries = {"venv": made.venv',
        """\
        with root.directory(host.ENV_TABLES) as tables:
            durable.write_file(tables, f"{name}.json", b"", 0o644)
        entries = {"venv": made.venv""",
        "kill",
        ("first",),
    ),
    Mutant(
        "a release is published before its environment",
        "release.py",
        """\
        environment.make(artifact, host, staging.interpreter)
        clock.lap("environment")
        order.say(f"release {artifact.id}: unpacking it")
        record = stage.publish(host, artifact, staging)
""",
        """\
        record = stage.publish(host, artifact, staging)
        environment.make(artifact, host, staging.interpreter)
""",
        "kill",
        ("aside",),
    ),
    Mutant(
        "a release is made in its place",
        "stage.py",
        "                record = _fill(stage, artifact, staging, host)\n",
        """\
                with host.directory(RELEASES) as releases:
                    durable.publish(stages, staging.tx, releases, artifact.id)
                record = _fill(stage, artifact, staging, host)
""",
        "kill",
        ("shared",),
        (
            (
                "stage.py",
                """\
            with host.directory(RELEASES) as releases:
                durable.publish(stages, staging.tx, releases, artifact.id)
        except""",
                "        except",
            ),
        ),
    ),
    Mutant(
        "pruning removes a release where it is",
        "prune.py",
        '            durable.publish(source, name, staging, f"gc-{name}")\n',
        "            durable.remove_tree(source, name)\n",
        "kill",
        ("prune",),
    ),
    Mutant(
        "pruning forgets the previous one", "prune.py", '(facts.previous, "previous"), (target or "", "rollback target"), ', "", "kill", ("upgrade",)
    ),
    Mutant(
        "a rollback goes to the oldest", "history.py", "    for release in reversed(before):\n", "    for release in before:\n", "kill", ("rollback",)
    ),
    Mutant(
        "what is left is not marked bad",
        "flip.py",
        "    if not (switch.marks_bad and transaction.before):\n",
        "    if True:\n",
        "kill",
        ("rollback",),
    ),
    Mutant(
        "nobody asks whether it is well",
        "flip.py",
        "                seen = serving.insist(host, to, say)\n",
        "                seen = ()\n",
        "kill",
        ("unhealthy",),
    ),
    Mutant(
        "the way back leaves what runs alone", "flip.py", "    lost = tuple(revive()) if here else ()\n", "    lost = ()\n", "kill", ("unhealthy",)
    ),
)

FLOOR: tuple[Mutant, ...] = (
    Mutant("the floor is not lifted", "flip.py", "                floor.lift(host, switch.floor)\n", "                pass\n", "kill", ("activate",)),
    Mutant(
        "the floor goes down",
        "floor.py",
        "    wanted = there.raised(floor)\n",
        "    wanted = floor\n",
        "kill",
        ("rollback",),
        (("trust.py", "    kept = here.raised(mine._replace(revocations=trust.revocations))\n", "    kept = mine\n"),),
    ),
    Mutant(
        "the floor is lifted when it is committed",
        "flip.py",
        "                floor.lift(host, switch.floor)\n",
        "                pass\n",
        "kill",
        ("activate",),
        (
            (
                "flip.py",
                "        interrupts.settle()\n",
                """\
        interrupts.settle()
        if switch.floor:
            from . import floor

            floor.lift(host, switch.floor)
""",
            ),
        ),
    ),
)

OTHERS: tuple[Mutant, ...] = (
    Mutant("the lock is not taken", "host.py", "            _acquire(file, self.root, deadline)\n", "", "traps", ("busy",)),
    Mutant(
        "a lease does not count",
        "host.py",
        """\
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
""",
        "            yield\n",
        "traps",
        ("leased",),
        (("processes.py", "        if holds:\n", "        if False:\n"),),
    ),
    Mutant("a pin does not count", "prune.py", "        if past(release).pinned:\n", "        if False:\n", "traps", ("pinned",)),
    Mutant(
        "the digest of a segment is not compared",
        "artifact.py",
        "        self._compare(buffer[:done], segment, offset, where)\n",
        "",
        "traps",
        (
            "layer",
            "flipped",
        ),
    ),
    Mutant(
        "no digest is compared at all",
        "artifact.py",
        "        if len(data) != span.bytes or hashlib.sha256(data).hexdigest() != span.sha256:\n",
        "        if len(data) != span.bytes:\n",
        "traps",
        (
            "layer",
            "flipped",
        ),
    ),
    Mutant(
        "history is appended to through a link",
        "durable.py",
        "_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC",
        "traps",
        ("revisions.log is a link",),
    ),
    Mutant(
        "the lock is opened through a link",
        "host.py",
        "os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640",
        "os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640",
        "traps",
        ("lock is a link",),
    ),
    Mutant(
        "directories are opened through links",
        "durable.py",
        "DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        "traps",
        (
            "staging is a link",
            "releases is a link",
        ),
    ),
    Mutant(
        "a file that is there is written over",
        "unpack.py",
        "_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC",
        "traps",
        ("claimed twice",),
    ),
    Mutant(
        "the system's directories may be everybody's",
        "overlay/place.py",
        "    if mode & 0o022 and not mode & stat.S_ISVTX:\n",
        "    if False:\n",
        "traps",
        ("directory of the system is everybody's",),
    ),
    Mutant("a release is not proven before it is live again", "release.py", "        verify.insist(host, release)\n", "", "traps", ("damaged",)),
    Mutant(
        "the seal of the journal is not looked at", "journal.py", "        if data != _sealed(body):\n", "        if False:\n", "traps", ("journal",)
    ),
    Mutant(
        "a sync that failed is tried again",
        "durable.py",
        "            os.fsync(file)\n            identity",
        """\
            try:
                os.fsync(file)
            except OSError:
                os.fsync(file)
            identity""",
        "errno",
        ("shared",),
    ),
    Mutant(
        "what could not be recorded is a success",
        "flip.py",
        """\
            raise DegradedError("it is live, and something is unfinished", [Problem("history", what, remedy)]) from None
""",
        '            say(f"{what} {remedy}")\n',
        "errno",
        ("shared",),
    ),
    Mutant(
        "a stage that failed is no failure",
        "flip.py",
        """\
            _go_back(host, transaction, _Failure(error, began, left, to), say)
        interrupts.settle()""",
        "            return before\n        interrupts.settle()",
        "errno",
        ("shared",),
    ),
)

ALL = (*POWER, *KILL, *FLOOR, *OTHERS)
