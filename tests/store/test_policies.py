"""The least rights of docs/store.md, on a real server: each role can do what is its own, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builder.errors import DeniedError
from builder.store import catalog, channels, open_store
from builder.store.ledger import reference
from builder.store.prune import prune
from builder.store.pull import pull
from builder.store.push import push
from tests.store.releases import LARGE, MIB, Wheels, release
from tests.store.weed import BUCKET, Server

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=60)
PAGE = Path(__file__).parents[2] / "docs/store.md"
Act = Callable[[str], object]


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def under_policy(bucket: str, server: Server) -> Iterator[str]:
    """The policy as it stands in the page. It names a bucket and its top: the names of other tests are none of these roles' business."""
    policy = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    client = server.client()
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    yield bucket
    client.delete_bucket_policy(Bucket=BUCKET)


def test_each_role_can_do_what_is_its_own(under_policy: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The builder pushes (also copies, resumes) and moves staging; the promoter moves channels; the pruner removes; the reader reads."""
    url = under_policy
    wheels = (LARGE, Wheels({**LARGE.of, "w11": ("other", 500_000)}))
    built = [release(tmp_path, source=str(number), time=1763892672 + number, wheels=wheels[number]) for number in range(2)]
    small = release(tmp_path, source="small", time=1763892680, wheels=Wheels({"w": ("w", MIB)}))

    def pushed(path: Path, channel: str = "") -> object:
        return push(open_store(url), path, channel=channel, why="", who="", now=NOW, moved=nothing)

    def promoted(channel: str) -> object:
        return channels.promote(open_store(url), "shop", built[0].id, channel, why="", who="", now=NOW)

    def pulled() -> object:
        return pull(open_store(url), reference(f"shop@{built[0].id}"), tmp_path / "out", have=(), cache=tmp_path, moved=nothing)

    def pruned(newest: int) -> object:
        return prune(open_store(url), "shop", newest=newest, since=LATER, now=LATER, who="", act=True)

    def be(who: str) -> None:
        for name, value in server.environment(who).items():
            monkeypatch.setenv(name, value)

    be("ci")
    pushed(built[0].path, "staging")
    done = push(open_store(url), built[1].path, channel="staging", why="", who="", now=NOW, moved=nothing)
    assert done.copied > 55 * MIB
    assert not [each.key for each in open_store(url).listing("") if ".part-" in each.key]
    refused: dict[str, list[Callable[[], object]]] = {
        "ci": [lambda: promoted("production"), lambda: pruned(1)],
        "promoter": [lambda: pushed(small.path), lambda: pruned(1)],
        "reader": [lambda: pushed(small.path), lambda: promoted("production"), lambda: pruned(1)],
        "pruner": [lambda: pushed(small.path), lambda: promoted("production")],
    }
    for who, attempts in refused.items():
        be(who)
        pulled()
        for attempt in attempts:
            with pytest.raises(DeniedError):
                attempt()
    be("promoter")
    promoted("production")
    channels.rollback(open_store(url), "shop", "staging", why="", who="", now=NOW)
    be("pruner")
    pruned(1)
    be("reader")
    shelves, problems = catalog.verify(open_store(url), (), nothing)
    assert not problems
    assert [each.id for each in shelves[0].releases] == [built[0].id, built[1].id]
