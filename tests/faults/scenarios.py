"""What is done to a host when something goes wrong: each scenario is a host at rest, one command, and what may be live afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.install_release.roots import id_of

from . import shim
from .world import Image, World


class Ready(NamedTuple):
    """A scenario on one host. ``before`` and ``after``: ids that may be live ("" for none); without a fault, the status is ``status``.

    ``served``: what is live has files of the system and a service. ``following``: an artifact that can be installed whatever came of it.
    """

    name: str
    saved: Mapping[str, Image]
    words: list[str]
    before: str
    after: str
    status: int
    served: bool
    following: str
    edit: str = ""
    previous: str = ""  # what that link says when nothing came of it
    either: bool = False  # it is a recovery, and whichever it finds is right
    bad: str = ""  # what is marked bad when it is done
    passing: str = ""  # what may be live until recovery has taken it back

    @property
    def answers(self) -> tuple[str, ...]:
        """What the next installation has to be told of the edit."""
        return ("--etc", "take-new") if self.edit else ()


def first(world: World) -> Ready:
    """The first installation of all: the root is not there."""
    one = world.make("1.0")
    return _ready(world, "first", world.install(one), "", _id(world, one))


def upgrade(world: World) -> Ready:
    """Own environment, files of the system, a service, hooks and a check; what is older is pruned."""
    zero, one, two = (world.make(version, wheel=version, keep_releases=1) for version in ("0.9", "1.0", "2.0"))
    _run(world, world.install(zero), world.install(one))
    return _ready(world, "upgrade", world.install(two), _id(world, one), _id(world, two))


def edited(world: World) -> Ready:
    """A file of the system was edited by hand; the release's own takes its place, and the edit is saved beside it."""
    one, two = world.make("1.0"), world.make("2.0")
    _run(world, world.install(one))
    world.config.write_text("edited by hand\n")
    return _ready(world, "edited", world.install(two, "--etc", "take-new"), _id(world, one), _id(world, two), edit="edited by hand\n")


def shared(world: World) -> Ready:
    """Two releases with one environment, and nothing beside the links."""
    one, two = world.make("1.0", served=False), world.make("2.0", served=False)
    _run(world, world.install(one))
    return _ready(world, "shared", world.install(two), _id(world, one), _id(world, two), served=False)


def copied(world: World) -> Ready:
    """Another environment, of which one layer is copied from the one that is there; by two processes."""
    one = world.make("1.0", served=False, more=1000)
    two = world.make("2.0", served=False, wheel="2", more=450_000)
    _run(world, world.install(one))
    return _ready(world, "two processes", world.install(two), _id(world, one), _id(world, two), served=False)


def unhealthy(world: World) -> Ready:
    """The new release does not answer: all of it is taken back."""
    one, two = world.make("1.0"), world.make("2.0", "breaks")
    _run(world, world.install(one))
    return _ready(world, "failing check", world.install(two), _id(world, one), _id(world, one), status=4, passing=_id(world, two))


def stuck(world: World) -> Ready:
    """The new release's service does not start, after a hook that did its work."""
    one, two = world.make("1.0"), world.make("2.0", "stuck")
    _run(world, world.install(one), world.install(two, "--no-activate"))
    return _ready(
        world, "failing service", world.command("activate", _id(world, two)), _id(world, one), _id(world, one), status=4, passing=_id(world, two)
    )


def activate(world: World) -> Ready:
    """Between two that are installed."""
    one, two = world.make("1.0"), world.make("2.0")
    _run(world, world.install(one), world.install(two, "--no-activate"))
    return _ready(world, "activate", world.command("activate", _id(world, two)), _id(world, one), _id(world, two))


def rollback(world: World) -> Ready:
    """Back to what was live before; what is left is bad."""
    zero, one, two = world.make("0.9"), world.make("1.0"), world.make("2.0")
    _run(world, world.install(zero), world.install(one), world.install(two))
    return _ready(world, "rollback", world.command("rollback"), _id(world, two), _id(world, one))._replace(bad=_id(world, two))


def prune(world: World) -> Ready:
    """Releases and environments that nobody needs."""
    versions = [world.make(version, served=False, wheel=version) for version in ("0.7", "0.8", "0.9", "1.0")]
    last = world.make("2.0", served=False, wheel="2.0", keep_releases=1)
    _run(world, *(world.install(version) for version in versions), world.install(last, "--no-activate"))
    _run(world, world.command("activate", _id(world, last)))
    return _ready(world, "prune", world.command("prune"), _id(world, last), _id(world, last), served=False)


def mark(world: World) -> Ready:
    """A line in the history."""
    one, two = world.make("1.0", served=False), world.make("2.0", served=False)
    _run(world, world.install(one), world.install(two))
    return _ready(world, "mark-bad", world.command("mark-bad", _id(world, one)), _id(world, two), _id(world, two), served=False)._replace(
        bad=_id(world, one)
    )


def aside(world: World) -> Ready:
    """Installed, and not made live."""
    one, two = world.make("1.0"), world.make("2.0", wheel="2")
    _run(world, world.install(one))
    return _ready(world, "no-activate", world.install(two, "--no-activate"), _id(world, one), _id(world, one))


def interrupted(world: World) -> Ready:
    """Recovery, of an activation that was killed when the new release was live and being asked."""
    ready = activate(world)
    _killed(world, ready)
    return ready._replace(name="recover", saved=world.save(), words=world.command("recover"), after=ready.before, passing=ready.after)


def resumed(world: World) -> Ready:
    """An upgrade, of a host on which an activation was killed when the new release was live and being asked."""
    ready = activate(world)
    three = world.make("2.5", wheel="2")
    _killed(world, ready)
    return ready._replace(name="install after a kill", saved=world.save(), words=world.install(three), after=_id(world, three), passing=ready.after)


def finished(world: World) -> Ready:
    """Recovery, of an activation that was killed when it was committed and nothing of that was in the history."""
    ready = activate(world)
    _killed(world, ready, committed=True)
    return ready._replace(
        name="recover forward", saved=world.save(), words=world.command("recover"), before=ready.after, previous=f"releases/{ready.before}"
    )


ALL: tuple[Callable[[World], Ready], ...] = (
    first,
    upgrade,
    edited,
    shared,
    copied,
    unhealthy,
    stuck,
    activate,
    rollback,
    prune,
    mark,
    aside,
    interrupted,
    resumed,
    finished,
)


def _id(world: World, key: str) -> str:
    return id_of(world.paths[key])


def _run(world: World, *commands: list[str]) -> None:
    for words in commands:
        done = world.run(words)
        assert done.status == 0, f"{words}: {done}"


def _ready(
    world: World, name: str, words: list[str], before: str, after: str, *, status: int = 0, served: bool = True, passing: str = "", edit: str = ""
) -> Ready:
    following = world.make("3.0", served=served)
    saved = world.save()
    previous = saved["root"].get("previous", (0, b""))[1].decode()
    return Ready(name, saved, words, before, after, status, served, following, edit, previous=previous, passing=passing)


def _killed(world: World, ready: Ready, committed: bool = False) -> None:
    """Run it up to where ``current`` is set; or up to where that is committed."""
    control = shim.Control.of_this_process()
    control.arm()
    assert world.run(ready.words).status == 0
    control.disarm()
    calls = control.calls()
    flipped = next(number for number, call in enumerate(calls, 1) if call.kind == "renameat" and call.what == "current")
    journaled = [number for number, call in enumerate(calls, 1) if number > flipped and call.kind == "renameat" and call.what == "journal.json"]
    world.restore(ready.saved)
    control.arm(shim.KILL, (journaled[0] if committed else flipped) + 1)
    assert world.run(ready.words).status == -9
    control.disarm()
