"""A publisher that is killed at a request, before the server hears of it or before it hears the answer; what a reader sees then."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from builder.artifact import Built
from builder.store import catalog, open_store
from builder.store.push import push
from tests.store.proxy import Cut, between
from tests.store.weed import Server

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_publishers = multiprocessing.get_context("forkserver")
_publishers.set_forkserver_preload(["boto3", "builder.cli", "builder.report", "builder.store.s3", "builder.store.push", "builder.store.words"])


def nothing(*_: object) -> None:
    pass


def requests(server: Server, url: str, built: Built) -> int:
    """How many a whole push with a channel makes."""
    with between(server.endpoint) as proxy:
        process = _publisher(server, proxy.endpoint, url, built.path)
        process.start()
        process.join()
        if process.exitcode:
            raise AssertionError(f"push ended with {process.exitcode}")
        return len(proxy.requests)


def killed(server: Server, url: str, built: Built, at: int, heard: bool) -> Iterator[str]:
    """Kill a publisher at its request number ``at``; ``heard``: once the server has carried it out. What is wrong then, in words."""

    def kill(number: int, method: str, path: str) -> None:
        if number >= at:
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGKILL)
            raise Cut

    with between(server.endpoint, **{"after" if heard else "before": kill}) as proxy:
        process = _publisher(server, proxy.endpoint, url, built.path)
        process.start()
        process.join()
        line = proxy.requests[at - 1 : at]
    point = f"killed {'after' if heard else 'before'} request {at} {line}"
    if process.exitcode != -signal.SIGKILL:
        yield f"{point}: ended with {process.exitcode}"
    store = open_store(url)
    yield from (f"{point}: a reader sees: {problem}" for problem in catalog.verify(store, (), nothing)[1])
    push(store, built.path, channel="staging", why="", who="ci", now=NOW, moved=nothing)
    shelves, problems = catalog.verify(store, (), nothing)
    yield from (f"{point}: after the next push: {problem}" for problem in problems)
    if [each.record.sha256 for each in shelves[0].releases] != [built.sha256]:
        yield f"{point}: after the next push the release is not the only one"
    if [(channel.name, channel.id, len(channel.moves)) for channel in shelves[0].channels] != [("staging", built.id, 1)]:
        yield f"{point}: after the next push the channel is {shelves[0].channels}"


def _publisher(server: Server, endpoint: str, url: str, path: Path) -> multiprocessing.context.ForkServerProcess:
    environment = {**server.environment(), "AWS_ENDPOINT_URL": endpoint, "BUILD_RELEASE_S3_PATIENCE": "5"}
    return _publishers.Process(target=_publish, args=(environment, url, str(path)), daemon=True)


def _publish(environment: dict[str, str], url: str, path: str) -> None:
    """In a process of its own."""
    from builder.cli import main

    os.environ.update(environment)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    os._exit(main(["push", path, url, "--channel", "staging"]))
