"""The commands of ``build-release`` that speak with a store. Whatever is slow to import is imported by the one that needs it."""

from __future__ import annotations

import argparse
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..command import Answer, Command
from ..errors import ChecksumError

if TYPE_CHECKING:
    from ..report import Progress

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "w": "weeks"}


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a release .tgz")
    _store_argument(parser)
    parser.add_argument("--channel", default="", metavar="CHANNEL", help="point this channel to it, once it is there")
    _why_argument(parser)
    _plan_argument(parser)


def _push(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import open_store, words
    from .ledger import checked_channel
    from .push import plan, push

    channel = checked_channel(arguments.channel) if arguments.channel else ""
    store = open_store(arguments.store)
    if arguments.plan:
        with progress.stage(f"read {arguments.artifact.name}"):
            planned = plan(store, arguments.artifact, channel=channel, who=_me(), now=_now())
        return Answer(words.push_plan_value(store.url, planned), words.push_plan(store.url, planned))
    with progress.transfer(f"push {arguments.artifact.name}") as moved:
        done = push(store, arguments.artifact, channel=channel, why=arguments.why, who=_me(), now=_now(), moved=moved)
    return Answer(words.pushed_value(store.url, done), words.pushed(store.url, done))


def _pull_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    parser.add_argument("release", metavar="NAME[@ID|@CHANNEL]", help="which release; without @ the newest")
    parser.add_argument("-o", "--out", type=Path, default=Path("artifacts"), metavar="DIR", help="where the artifact goes (default: artifacts)")
    parser.add_argument(
        "--have", type=Path, action="append", default=[], metavar="FILE", help="an artifact whose bytes need not be read again; may be repeated"
    )


def _pull(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from ..cache import cache_root
    from . import open_store, words
    from .ledger import reference
    from .pull import pull

    wanted = reference(arguments.release)
    store = open_store(arguments.store)
    with progress.transfer(f"pull {wanted}") as moved:
        done = pull(store, wanted, arguments.out, have=arguments.have, cache=cache_root(os.environ), moved=moved)
    return Answer(words.pulled_value(store.url, done), words.pulled(done))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only what is called so")


def _list(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import catalog, open_store, words
    from .ledger import checked_name

    only = [checked_name(arguments.name)] if arguments.name else []
    store = open_store(arguments.store)
    with progress.stage(f"list {store.url}"):
        every = [catalog.shelf(store, name) for name in only or catalog.names(store)]
    shelves = [shelf for shelf in every if shelf.releases or shelf.parts or shelf.channels]
    return Answer(words.shelves_value(store.url, shelves), words.shelves(store.url, shelves, _now()))


def _promote_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    _name_argument(parser)
    parser.add_argument("source", metavar="ID|CHANNEL", help="the release: an id, its last 12 digits, or a channel that points to it")
    parser.add_argument("channel", metavar="CHANNEL", help="the channel to point to it")
    _why_argument(parser)
    _plan_argument(parser)


def _promote(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import channels, open_store, words
    from .ledger import checked_name, reference

    name = checked_name(arguments.name)
    source = reference(f"{name}@{arguments.source}").at
    store = open_store(arguments.store)
    if arguments.plan:
        step = channels.promotion(store, name, source, arguments.channel)
        return Answer(words.step_value(store.url, name, step), words.step(name, step))
    channel, changed = channels.promote(store, name, source, arguments.channel, why=arguments.why, who=_me(), now=_now())
    return Answer(words.moved_value(store.url, name, channel, changed), words.moved(name, channel, changed))


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    _name_argument(parser)
    _channel_argument(parser)
    _why_argument(parser)
    _plan_argument(parser)


def _rollback(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import channels, open_store, words
    from .ledger import checked_name

    name = checked_name(arguments.name)
    store = open_store(arguments.store)
    if arguments.plan:
        step = channels.retreat(store, name, arguments.channel)
        return Answer(words.step_value(store.url, name, step), words.step(name, step))
    channel = channels.rollback(store, name, arguments.channel, why=arguments.why, who=_me(), now=_now())
    return Answer(words.moved_value(store.url, name, channel, True), words.moved(name, channel, True))


def _history_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    _name_argument(parser)
    _channel_argument(parser)


def _history(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import channels, open_store, words
    from .ledger import checked_name

    name = checked_name(arguments.name)
    store = open_store(arguments.store)
    channel = channels.history(store, name, arguments.channel)
    return Answer(words.history_value(store.url, name, channel), words.history(name, channel))


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    _name_argument(parser)
    parser.add_argument("--keep", type=_count, required=True, metavar="N", help="the newest N stay")
    parser.add_argument(
        "--older-than",
        type=_duration,
        default=timedelta(days=30),
        metavar="AGE",
        help="what was pushed since, or what a channel pointed to since, stays: 30d, 12h (default: 30d)",
    )
    parser.add_argument("--yes", action="store_true", help="do it; without it is only shown what would go")


def _prune(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import open_store, words
    from .ledger import checked_name
    from .prune import prune

    name, now = checked_name(arguments.name), _now()
    store = open_store(arguments.store)
    with progress.stage(f"prune {name}"):
        done = prune(store, name, newest=arguments.keep, since=now - arguments.older_than, now=now, who=_me(), act=arguments.yes)
    return Answer(words.pruned_value(store.url, done), words.pruned(done))


def _url_arguments(parser: argparse.ArgumentParser) -> None:
    _store_argument(parser)
    parser.add_argument("release", metavar="NAME[@ID|@CHANNEL]", help="which release; without @ the newest")
    parser.add_argument(
        "--expires", type=_duration, default=timedelta(hours=1), metavar="AGE", help="how long it serves: 1h, 30m, at most 7d (default: 1h)"
    )


def _url(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import catalog, open_store, words
    from .ledger import reference, release_key

    wanted = reference(arguments.release)
    store = open_store(arguments.store)
    identity = catalog.resolve(store, wanted)
    stated = catalog.demanded(store, wanted.name, identity)
    seconds = min(int(arguments.expires.total_seconds()), 7 * 24 * 3600)
    address = store.address(release_key(wanted.name, identity, "release.tgz"), seconds)
    return Answer(words.address_value(address, wanted.name, identity, stated, seconds), words.address(address, identity, stated, seconds))


def verify_store(url: str, progress: Progress) -> Answer:
    """``build-release verify STORE``. Raises ``ChecksumError`` with all that is wrong."""
    from . import catalog, open_store, words

    store = open_store(url)
    with progress.transfer(f"verify {store.url}") as moved:
        shelves, problems = catalog.verify(store, (), moved)
    if problems:
        raise ChecksumError(f"{store.url} does not hold what was pushed to it", problems)
    return Answer(words.verified_value(store.url, shelves), words.verified(store.url, shelves))


def _store_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="s3://BUCKET/PREFIX or a directory")


def _name_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what is released, like shop")


def _channel_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="like staging")


def _why_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", default="", metavar="TEXT", help="for the channel's history")


def _plan_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", action="store_true", help="show what would be done, and do nothing")


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError("must be a number from 0 on")
    return int(text)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([wdhm])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no age like 30d, 12h or 90m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _me() -> str:
    from ..install_release.who import me

    return me()


def _now() -> datetime:
    return datetime.now(UTC)


COMMANDS = (
    Command("push", "publish an artifact in a store, sending only what is not there", _push_arguments, _push, resumes=True),
    Command("pull", "bring a release from a store, reading only what is not here", _pull_arguments, _pull, resumes=True),
    Command("list", "show the releases and channels of a store", _list_arguments, _list),
    Command("promote", "point a channel to a release: the same bytes that were tested", _promote_arguments, _promote),
    Command("history", "show where a channel pointed, since when, by whom and why", _history_arguments, _history),
    Command("rollback", "point a channel to what it pointed to before", _rollback_arguments, _rollback),
    Command("prune", "remove old releases from a store that no channel needs", _prune_arguments, _prune),
    Command("url", "print an address by which one release can be read for a while", _url_arguments, _url),
)
