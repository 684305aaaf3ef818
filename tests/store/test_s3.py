"""What only a bucket can do wrong: credentials, networks, servers that go and come back. All against a real S3 server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from builder.errors import (
    AbsentError,
    ChecksumError,
    ClockError,
    CredentialsError,
    DeniedError,
    NoStoreError,
    StoreError,
    UnreachableError,
    UsageError,
)
from builder.store import catalog, channels, open_store, refusals
from builder.store.ledger import reference, release_key
from builder.store.prune import prune
from builder.store.pull import Pulled, pull
from builder.store.push import Pushed, plan, push
from tests.conftest import missing
from tests.store.proxy import Cut, between
from tests.store.releases import LARGE, MIB, Wheels, release
from tests.store.weed import BUCKET, Server, serving

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SMALL = Wheels({"w": ("w", 12 * MIB)})


def nothing(*_: object) -> None:
    pass


def do_push(url: str, path: Path, channel: str = "") -> Pushed:
    return push(open_store(url), path, channel=channel, why="", who="ci", now=NOW, moved=nothing)


def do_pull(url: str, out: Path, what: str = "shop") -> Pulled:
    return pull(open_store(url), reference(what), out, have=(), cache=out / "none", moved=nothing)


def be(monkeypatch: pytest.MonkeyPatch, server: Server, who: str, secret: str = "") -> None:
    for name, value in server.environment(who, secret).items():
        monkeypatch.setenv(name, value)


def test_a_wrong_secret_is_told(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its own error, at once, and with what to check."""
    path = release(tmp_path).path
    be(monkeypatch, server, "builder", "wrong")
    with pytest.raises(CredentialsError) as told:
        do_push(bucket, path)
    assert "AWS_SECRET_ACCESS_KEY" in str(told.value.problems[0])
    assert "wrong" not in str(told.value.problems[0])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(CredentialsError, match="does not take"):
        do_pull(bucket, tmp_path / "out")


def test_no_credentials_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """boto3 found none: where it looks is said."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsError, match="no credentials"):
        do_pull(bucket, tmp_path / "out")
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(CredentialsError, match="no credentials"):
        open_store(bucket)


def test_who_may_only_read_reads(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host's key pulls and lists; it pushes, promotes and prunes nothing."""
    built = release(tmp_path, wheels=SMALL)
    do_push(bucket, built.path, "staging")
    other = release(tmp_path, source="other")
    be(monkeypatch, server, "host")
    assert do_pull(bucket, tmp_path / "out", "shop@staging").sha256 == built.sha256
    for path in (other.path, release(tmp_path, source="third", wheels=SMALL).path):
        with pytest.raises(DeniedError) as told:
            do_push(bucket, path)
        assert "docs/store.md" in str(told.value.problems[0])
    assert [each.id for each in catalog.shelf(open_store(bucket), "shop").releases] == [built.id]


def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path) -> None:
    """It is not made, and not mistaken for an empty one."""
    path = release(tmp_path).path
    for url in ("s3://nowhere", "s3://nowhere/deeper"):
        with pytest.raises(NoStoreError, match="no such bucket"):
            do_push(url, path)
        with pytest.raises(NoStoreError, match="no such bucket"):
            do_pull(url, tmp_path / "out")


def test_an_endpoint_that_is_down_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After the patience that was set, with the address that was tried."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError) as told:
        do_pull(f"{bucket}?patience=1", tmp_path / "out")
    assert "127.0.0.1:9" in str(told.value.problems[0])


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestTimeTooSkewed", 403, ClockError),
        ("AccessDenied", 403, DeniedError),
        ("403", 403, DeniedError),
        ("ExpiredToken", 400, CredentialsError),
        ("BadDigest", 400, ChecksumError),
        ("NoSuchBucket", 404, NoStoreError),
        ("404", 404, AbsentError),
        ("PermanentRedirect", 301, NoStoreError),
        ("SomethingNew", 400, StoreError),
    ],
)
def test_what_s3_says_becomes_a_kind_of_error(code: str, status: int, kind: type[StoreError]) -> None:
    """Each with words of its own; what is not known yet is told as the server says it."""
    error = ClientError({"Error": {"Code": code, "Message": "what it says"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")
    told = refusals.told(error, "s3://releases/shop", "https://endpoint", 0)
    assert type(told) is kind
    assert told.problems[0].where == "s3://releases/shop"
    assert kind is not StoreError or "what it says" in told.problems[0].what


def test_a_refusal_without_a_body_under_a_wrong_clock_is_the_clocks() -> None:
    """HEAD has no words: the date of the answer has."""
    facts = {"HTTPStatusCode": 403, "HTTPHeaders": {"date": "Tue, 24 Nov 2020 12:00:00 GMT"}}
    told = refusals.told(ClientError({"Error": {"Code": "403"}, "ResponseMetadata": facts}, "HeadObject"), "s3://releases", "", 0)
    assert type(told) is ClockError
    assert "minutes ahead of the store's" in told.problems[0].what


def test_a_refusal_says_what_the_server_says() -> None:
    """Which right is missing, where the server knows it: a key of KMS, a bucket whose readers pay."""
    said = "User: arn:aws:iam::000000000000:user/ci is not authorized to perform: kms:GenerateDataKey"
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": said}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject")
    assert "kms:GenerateDataKey" in refusals.told(error, "s3://releases", "", 0).problems[0].what


def test_the_login_of_an_endpoint_is_not_repeated(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password in AWS_ENDPOINT_URL stays out of what is printed and kept in logs."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://ann:hunter2@127.0.0.1:9")
    with pytest.raises(StoreError) as told:
        do_pull(f"{bucket}?patience=0", tmp_path / "out")
    assert "127.0.0.1:9" in str(told.value.problems[0])
    assert "hunter2" not in f"{told.value.message} {[*map(str, told.value.problems)]} {told.value.next_step}"


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which CLOCK_OFFSET sets the clock of a process off."""
    compiler = shutil.which("cc")
    if not compiler:
        missing("cc not found")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([str(compiler), "-shared", "-fPIC", "-o", made, Path(__file__).with_name("clock.c"), "-ldl"], check=True)
    return {"LD_PRELOAD": str(made)}


@pytest.mark.parametrize(("offset", "said"), [(1200, "20 minutes ahead of"), (-7200, "120 minutes behind"), (600, "")])
def test_a_clock_that_is_off_is_told(bucket: str, clock: dict[str, str], tmp_path: Path, offset: int, said: str) -> None:
    """The server refuses what is older or newer than 15 minutes: by how much the clock is off is said, and how to set it. Ten are no matter."""
    built = release(tmp_path)
    for words in (["push", built.path, bucket], ["pull", bucket, "shop", "-o", tmp_path / "out"], ["list", bucket]):
        command = [sys.executable, "-m", "builder", *map(str, words), "--json"]
        done = subprocess.run(command, env={**os.environ, **clock, "CLOCK_OFFSET": str(offset)}, capture_output=True, text=True)
        answer: Any = json.loads(done.stdout)
        if not said:
            assert done.returncode == 0, done.stderr
            continue
        assert done.returncode == 3
        assert "clock here" in answer["error"]["message"]
        (problem,) = answer["error"]["problems"]
        assert said in problem["what"]
        assert "timedatectl" in problem["remedy"]


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "ConditionalRequestConflict", "OperationAborted"])
def test_what_may_pass_is_tried_again(code: str) -> None:
    """409 is no lost race: the same request is made again."""
    error = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject")
    assert refusals.may_pass(error)
    lost = ClientError({"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"HTTPStatusCode": 412}}, "PutObject")
    assert not refusals.may_pass(lost)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "s3://",
            "s3:///x",
            "s3://[x",
            "s3://b c",
            "s3://key:secret@bucket",
            "s3://key:a/secret@bucket",
            "s3://b/x/../y",
            "s3://b/x//y",
            "s3://b/\n",
        ),
        "s3://b?adressing=path",
        "s3://b?addressing=odd",
        "s3://b?verify=maybe",
        "s3://b?patience=x",
    ],
)
def test_an_address_that_makes_no_sense_is_told(url: str) -> None:
    """Before anything is asked; a secret in it is not repeated."""
    with pytest.raises(UsageError) as told:
        open_store(url)
    assert "secret" not in "".join(map(str, told.value.problems))


@pytest.mark.parametrize("style", ["path", "auto"])
def test_addressing_styles(bucket: str, style: str) -> None:
    """For servers without a name for each bucket."""
    store = open_store(f"{bucket}?addressing={style}")
    assert store.create("a", b"1")
    assert store.get("a", 1) == b"1"


def test_a_prefix_may_be_called_anything(bucket: str, server: Server, tmp_path: Path) -> None:
    """Blanks, percent signs, what urls and queries use, letters of other scripts: written, copied from, listed, read, removed."""
    url = f"{bucket}/a b/%41+c&d=é#;:~'/ж"
    one = release(tmp_path, wheels=LARGE)
    two = release(tmp_path, source="two", time=1763992672, wheels=Wheels({**LARGE.of, "w11": ("other", 500_000)}))
    do_push(url, one.path, "staging")
    assert do_push(url, two.path).copied > 55 * MIB
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    assert len(server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/shop/releases/{two.id}/")["Contents"]) == 4
    assert do_pull(url, tmp_path / "out").sha256 == two.sha256
    assert not catalog.verify(open_store(url), (), nothing)[1]
    later = datetime.now(UTC) + timedelta(days=60)
    channels.promote(open_store(url), "shop", two.id, "staging", why="", who="ann", now=NOW)
    assert [each.id for each in prune(open_store(url), "shop", newest=1, since=later, now=later, who="ann", act=True).going] == [one.id]
    assert [each.id for each in catalog.shelf(open_store(url), "shop").releases] == [two.id]


def test_a_move_that_was_made_is_not_made_again(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its reply is lost, and before it is asked again somebody moves the channel on: theirs stays, and ours is in the history once."""
    one, two = release(tmp_path, source="one"), release(tmp_path, source="two", time=1763992672)
    for built in (one, two):
        do_push(bucket, built.path)
    theirs = open_store(bucket)
    moved: list[str] = []

    def after(number: int, method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/channels/staging") and not moved:
            moved.append(channels.promote(theirs, "shop", two.id, "staging", why="", who="bob", now=NOW)[0].id)
            raise Cut

    with between(server.endpoint, after=after) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        done = do_push(bucket, one.path, "staging")
    assert done.moved
    assert done.moved.id == one.id
    assert [move.id for move in channels.history(theirs, "shop", "staging").moves] == [one.id, two.id]


def test_a_prune_takes_what_was_only_there_to_be_copied(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scratch object whose removal failed, an upload that nobody finished: shown first, and gone a day later; what is released stays."""
    first = release(tmp_path, source="one", wheels=LARGE)
    second = release(tmp_path, source="two", time=1763992672, wheels=Wheels({**LARGE.of, "w11": ("other", 500_000)}))
    do_push(bucket, first.path)

    def lost(number: int, method: str, path: str) -> None:
        if method == "DELETE" and ".part-" in path:
            raise Cut

    with between(server.endpoint, before=lost) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        do_push(f"{bucket}?patience=0", second.path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    key = f"{bucket.removeprefix(f's3://{BUCKET}/')}/{release_key('shop', '20200101000000-000000000000', 'release.tgz')}"
    server.client().create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm="SHA256")
    store = open_store(bucket)

    def scraps() -> list[str]:
        return [each.key for each in store.listing("") if ".part-" in each.key]

    def pruned(days: int, act: bool) -> int:
        return prune(store, "shop", newest=9, since=NOW, now=datetime.now(UTC) + timedelta(days=days), who="ann", act=act).scraps

    left = len(scraps())
    assert left
    assert (pruned(0, True), pruned(2, False), len(scraps())) == (0, left + 1, left)
    assert (pruned(2, True), pruned(2, False), scraps()) == (left + 1, 0, [])
    assert not catalog.verify(store, (), nothing)[1]


@pytest.mark.parametrize("locked", [False, True])
def test_a_bucket_that_keeps_versions(server: Server, bucket: str, tmp_path: Path, locked: bool) -> None:
    """With versioning, and with object lock that lets nothing go for a day: pushed, moved, rolled back, pruned, pushed again as elsewhere."""
    name = f"versions-{locked}".lower()
    client = server.client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    if locked:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    else:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    url = f"s3://{name}/x"
    built = [release(tmp_path, source=str(number), time=1763892672 + number, wheels=SMALL) for number in range(2)]
    for each in built:
        do_push(url, each.path, "staging")
    store = open_store(url)
    assert channels.rollback(store, "shop", "staging", why="", who="ann", now=NOW).id == built[0].id
    channels.promote(store, "shop", built[1].id, "staging", why="", who="ann", now=NOW)
    assert do_pull(url, tmp_path / "out").sha256 == built[1].sha256
    later = datetime.now(UTC) + timedelta(days=60)
    prune(store, "shop", newest=1, since=later, now=later, who="ann", act=True)
    assert [each.id for each in catalog.shelf(store, "shop").releases] == [built[1].id]
    assert do_push(url, built[0].path).new
    assert not catalog.verify(store, (), nothing)[1]


def test_a_replied_lost_is_no_lost_race(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every reply in turn is lost, and the request made again: the push succeeds, once, and the channel has one move."""
    built = release(tmp_path, wheels=SMALL)
    with between(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        do_push(f"{bucket}/0", built.path, "staging")
        count = len(proxy.requests)
    for lost in range(1, count + 1):

        def after(number: int, method: str, path: str, lost: int = lost) -> None:
            if number == lost:
                raise Cut

        with between(server.endpoint, after=after) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            do_push(f"{bucket}/{lost}", built.path, "staging")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        store = open_store(f"{bucket}/{lost}")
        shelves, problems = catalog.verify(store, (), nothing)
        assert not problems
        assert [len(channel.moves) for channel in shelves[0].channels] == [1]


def test_an_interrupted_push_goes_on(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What has been sent is not sent again; nothing of the release was to be seen before it was whole."""
    built = release(tmp_path, wheels=LARGE)

    def broken(number: int, method: str, path: str) -> None:
        if method == "PUT" and "partNumber=6" in path:
            raise Cut

    with between(server.endpoint, before=broken) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(UnreachableError, match="does not answer"):
            do_push(f"{bucket}?patience=1", built.path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert not list(open_store(bucket).listing(""))
    done = do_push(bucket, built.path)
    assert done.kept >= 16 * MIB
    assert done.kept + done.sent == built.bytes
    assert do_pull(bucket, tmp_path / "out").sha256 == built.sha256


def test_an_upload_that_holds_other_bytes_is_begun_anew(bucket: str, server: Server, tmp_path: Path) -> None:
    """Parts of an earlier try that are as long, and are not ours, are found by their hash at the latest when the object is put together."""
    built = release(tmp_path, wheels=SMALL)
    client = server.client()
    key = f"{bucket.removeprefix(f's3://{BUCKET}/')}/{release_key('shop', built.id, 'release.tgz')}"
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    half = built.bytes // 2
    for number, size in ((1, half), (2, built.bytes - half)):
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=bytes(size), ChecksumAlgorithm="SHA256")
    done = do_push(bucket, built.path)
    assert done.new
    assert do_pull(bucket, tmp_path / "out").sha256 == built.sha256
    assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads")


def test_a_broken_download_goes_on_where_it_broke(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Answers that end in the middle cost what was lost, not what had arrived."""
    built = release(tmp_path, wheels=LARGE)
    do_push(bucket, built.path)
    with between(server.endpoint, cut_after=3 * MIB, cuts=5) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        got = do_pull(bucket, tmp_path / "out")
        assert proxy.cuts == 0
    assert got.sha256 == built.sha256
    assert got.read <= built.bytes


def test_a_slow_link_is_only_slow(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing gives up as long as bytes move."""
    built = release(tmp_path, wheels=Wheels({"w": ("w", MIB)}))
    with between(server.endpoint, rate=2 * MIB) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        do_push(f"{bucket}?patience=1", built.path)
        assert do_pull(f"{bucket}?patience=1", tmp_path / "out").sha256 == built.sha256


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a push, and of a pull: both wait for it, and go on."""
    built = release(tmp_path, wheels=LARGE)
    with serving(tmp_path / "weed") as own:
        be(monkeypatch, own, "builder")
        waiting: list[threading.Thread] = []

        def crash(number: int, method: str, path: str) -> None:
            if len(waiting) == len(crashes) or not crashes[len(waiting)](method, path):
                return
            own.kill()
            thread = threading.Thread(target=lambda: (time.sleep(0.5), own.start()))
            waiting.append(thread)
            thread.start()

        crashes = [lambda method, path: "partNumber=4" in path, lambda method, path: method == "GET" and path.endswith("release.tgz")]
        with between(own.endpoint, before=crash) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            assert do_push("s3://releases/x", built.path, "staging").new
            assert do_pull("s3://releases/x", tmp_path / "out", "shop@staging").sha256 == built.sha256
            assert len(waiting) == 2
        for thread in waiting:
            thread.join()


def test_a_reader_never_fails_while_others_push(bucket: str, tmp_path: Path) -> None:
    """Lists and pulls of a channel during pushes: always one whole release, never an error."""
    builds = [release(tmp_path, source=str(number), time=1763892672 + number, wheels=SMALL) for number in range(4)]
    do_push(bucket, builds[0].path, "staging")
    known = {built.id: built.sha256 for built in builds}
    seen: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        store = open_store(bucket)
        while not ended.is_set():
            for each in catalog.shelf(store, "shop").releases:
                assert known[each.id] == each.record.sha256
            got = pull(store, reference("shop@staging"), tmp_path / "out", have=(), cache=tmp_path, moved=nothing)
            assert got.sha256 == known[got.id]
            seen.append(got.id)

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            watch()
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=guarded)
    reader.start()
    for built in builds[1:]:
        do_push(bucket, built.path, "staging")
    ended.set()
    reader.join()
    assert not failures
    assert seen


def test_a_source_only_release_moves_only_its_source(bucket: str, tmp_path: Path) -> None:
    """Of 66 MiB: one part of 5 MiB is sent and at most 3 % beside it, the rest copied in the store; back come at most 3 %."""
    first = release(tmp_path, source="one", wheels=LARGE)
    second = release(tmp_path, source="two", time=1763992672, wheels=LARGE)
    assert do_push(bucket, first.path).sent == first.bytes
    done = do_push(bucket, second.path)
    assert done.sent <= 0.03 * second.bytes + 5 * MIB
    assert done.sent + done.copied == second.bytes
    do_pull(bucket, tmp_path / "out", f"shop@{first.id}")
    got = do_pull(bucket, tmp_path / "out", f"shop@{second.id}")
    assert got.sha256 == second.sha256
    assert got.read <= 0.03 * second.bytes


def test_one_changed_wheel_moves_its_bytes(bucket: str, server: Server, tmp_path: Path) -> None:
    """Sent are that wheel and what a change of the source costs; no scratch object stays."""
    first = release(tmp_path, source="one", wheels=LARGE)
    changed = Wheels({**LARGE.of, "w11": ("other", 500_000)})
    second = release(tmp_path, source="two", time=1763992672, wheels=changed)
    do_push(bucket, first.path)
    planned = plan(open_store(bucket), second.path, channel="", who="ci", now=NOW)
    done = do_push(bucket, second.path)
    assert (planned.new, planned.sent, planned.copied) == (True, done.sent, done.copied)
    assert done.sent <= 0.03 * second.bytes + 5 * MIB + 500_000
    assert done.sent + done.copied == second.bytes
    assert not [each.key for each in open_store(bucket).listing("") if ".part-" in each.key]
    do_pull(bucket, tmp_path / "out", f"shop@{first.id}")
    got = do_pull(bucket, tmp_path / "out", f"shop@{second.id}")
    assert got.sha256 == second.sha256
    assert got.read <= 0.03 * second.bytes + 500_000
