"""policy: read strictly, and what it has against a release; nothing of an artifact widens it, and what can't be read allows nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder import signing
from builder.install_release import history, policy, release, trust
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Copied, Health, Hook, Overlay, Service
from builder.install_release.errors import RefusedError
from builder.install_release.floor import Floor
from builder.install_release.history import History, Past
from builder.install_release.host import Host
from builder.install_release.policy import Asked, Policy
from builder.install_release.release import activate, propose_flip, rollback
from builder.install_release.trust import Trust
from tests import keys
from tests.releases import FACTS

from .policies import Authority, authority
from .roots import REPOSITORY, id_of, install, live, order, past, run

__all__ = ["authority"]
PATH = "/etc/install-release/shop.ini"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


def parsed(text: str) -> Policy:
    return policy.parse(text.encode(), PATH)


def refused(text: str) -> list[str]:
    with pytest.raises(RefusedError) as caught:
        parsed(text)
    return [str(problem) for problem in caught.value.problems]


# Reading


def test_every_key_is_read() -> None:
    """The example of the reference, as it stands there, with what each key means."""
    reference = Path(__file__).parents[2].joinpath("docs/policy.md").read_text()
    example = reference.partition("```ini\n")[2].partition("```")[0]
    assert parsed(example) == Policy(
        PATH,
        required=2,
        allowed_signers="/etc/install-release/allowed_signers",
        principals=("ci@example", "release@example"),
        revocations="/etc/install-release/revocations",
        floor=True,
        allow_downgrade=False,
        revoked=frozenset({"20261123101112-5f0c9a7be2d1", "a" * 64}),
        roots=("/etc/nginx/sites-available", "/srv/shop/system"),
        run=(("python", "manage.py", "migrate", "**"), ("/usr/bin/curl", "*")),
        services=("systemd:shop.service", "nginx:*"),
    )


def test_what_is_not_said_is_not_narrowed_and_an_empty_list_allows_nothing() -> None:
    """A policy that asks for nothing says so: an empty file may be one that was cut off."""
    assert parsed("[signatures]\nrequired = 0\n") == Policy(PATH)
    assert parsed("[commands]\nrun =\nservices =\n[overlay]\nroots =\n") == Policy(PATH, run=(), services=(), roots=())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[signature]\n", f"{PATH}:1: [signature] is unknown. Did you mean [signatures]?"),
        ("[releases]\nfloor = yes\nflor = no\n", f"{PATH}:3: flor is unknown. Did you mean floor?"),
        ("[releases]\n\n# x\nfloor = maybe\n", f"{PATH}:4: floor must be yes or no, not 'maybe'."),
        ("[releases]\nFloor = yes\n", f"{PATH}:2: Floor is unknown. Did you mean floor?"),
        ("[DEFAULT]\nfloor = yes\n[releases]\n", f"{PATH}:1: [DEFAULT] is unknown."),
        ("floor = yes\n", f"{PATH}:1: stands before any [section]."),
        ("[releases]\nfloor\n", f"{PATH}:2: is no 'key = value'"),
        ("[releases]\nfloor = yes\nfloor = no\n", f"{PATH}:3: says floor a second time."),
        ("[releases]\n[overlay]\n[releases]\n", f"{PATH}:3: begins [releases] a second time."),
        ("[signatures]\n", f"{PATH}: [signatures] does not say how many are required."),
        ("[signatures]\nrequired = 1\n", f"{PATH}: required needs allowed_signers."),
        ("[signatures]\nrequired = -1\nallowed_signers = /a\n", f"{PATH}:2: required must be a number from 0 to 16, not '-1'."),
        ("[signatures]\nrequired = 17\nallowed_signers = /a\n", "required must be a number from 0 to 16"),
        ("[signatures]\nrequired = 1.0\nallowed_signers = /a\n", "required must be a number from 0 to 16"),
        ("[signatures]\nrequired = 1\nallowed_signers = a\n", f"{PATH}:3: allowed_signers must be an absolute path"),
        ("[signatures]\nrequired = 1\nallowed_signers = /a/../b\n", "allowed_signers must be an absolute path"),
        ("[signatures]\nrequired = 1\nallowed_signers = /a\nprincipals = *\n", f"{PATH}:4: principals holds '*', which is no name of a principal."),
        ("[releases]\nallow_downgrade = yes\n", "allow_downgrade means nothing without floor = yes."),
        ("[releases]\nrevoked = 2026\n", f"{PATH}:2: revoked holds '2026', which is no id of a release"),
        (f"[releases]\nrevoked = {'a' * 64}\n", f"{PATH}:2: revoked holds '{'a' * 64}', and not whose digest that is: write the release's id"),
        (f"[releases]\nrevoked =\n  20261123101112-5f0c9a7be2d1\n  sha256:{'A' * 64}\n", "That of the whole file changes with each signature"),
        ("[releases]\nrevoked = SHA256:abc\n", f"{PATH}:2: revoked holds 'SHA256:abc', which looks like a key"),
        ("[releases]\nrevoked = ssh-ed25519 AAAAC3\n", f"{PATH}:2: revoked holds 'ssh-ed25519', which looks like a key"),
        ("[overlay]\nroots = /srv\n  etc\n", f"{PATH}:2: roots must be an absolute path"),
        ("[commands]\nrun = echo 'a\n", f'{PATH}:2: run holds "echo \'a", in which a quote is not closed.'),
        ("[commands]\nservices = nginx\n", f"{PATH}:2: services holds 'nginx', which is no kind:name."),
        ("", f"{PATH}: says nothing: was it cut off?"),
        ("# to be written\n", f"{PATH}: says nothing: was it cut off?"),
        ("[releases] floor = yes\n", f"{PATH}:1: stands before any [section]."),
        ("[signatures]\nrequired = 0\n[releases] floor = yes\n", f"{PATH}:3: [releases] floor is unknown."),
        ("[commands]\nrun =\n    echo a\n  services = nginx:*\n", f"{PATH}:2: run goes on with 'services = nginx:*', because that is indented"),
        ("[commands]\nrun =\n    echo a\n  [releases]\n  floor = yes\n", f"{PATH}:2: run goes on with '[releases]'"),
    ],
)
def test_what_is_not_understood_is_told_with_its_line(text: str, said: str) -> None:
    """Unknown sections and keys, slips, contradictions: each with its place and a remedy."""
    assert any(problem.startswith(said) or said in problem for problem in refused(text)), refused(text)


def test_what_editors_do_to_a_file_does_not_matter() -> None:
    """A mark before it, line ends of Windows', comments and empty lines, also within a list."""
    text = "[releases]  # of shop\nfloor = yes\n\nrevoked =\n    20261123101112-5f0c9a7be2d1\n\n    # the leak\n    20261123101113-5f0c9a7be2d1\n"
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode()):
        found = policy.parse(data, PATH)
        assert found == Policy(PATH, floor=True, revoked=frozenset({"20261123101112-5f0c9a7be2d1", "20261123101113-5f0c9a7be2d1"}))


def test_all_slips_are_told_at_once() -> None:
    """Not one after the other."""
    assert len(refused("[releases]\nfloor = 1\nx = 2\n[overlay]\nroots = y\n[z]\n")) == 4


_WORDS = (
    "[signatures]",
    "[releases]",
    "[overlay]",
    "[commands]",
    "floor",
    "=",
    "yes",
    "\n",
    "\n  ",
    " ",
    "run",
    "roots",
    "/a",
    "#",
    ";",
    "%(x)s",
    "\0",
    "'",
    "\r",
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_WORDS), max_size=30).map(lambda words: "".join(words).encode())))
def test_whatever_stands_there_is_a_policy_or_a_refusal(data: bytes) -> None:
    """No input makes the reader fail in another way."""
    try:
        assert isinstance(policy.parse(data, PATH), Policy)
    except RefusedError as error:
        assert error.problems  # noqa: PT017


# What it has against a release


def reasons(rules: Policy, floor: Floor = Floor(), known_good: bool = False, downgrade: bool = False, **facts: object) -> list[str]:  # noqa: B008
    asked = Asked(FACTS._replace(**facts), "20251123101112-5f0c9a7be2d1", "a" * 64, known_good, downgrade)
    return [f"{each.where}: {each.what}" for each in policy.refusals(rules, asked, floor)]


def test_a_revoked_release_is_refused_by_id_or_by_digest_even_if_it_was_good() -> None:
    """And another one is not."""
    for revoked in ("20251123101112-5f0c9a7be2d1", "a" * 64):
        assert reasons(Policy(PATH, revoked=frozenset({revoked})), known_good=True) == [f"policy: 20251123101112-5f0c9a7be2d1 is revoked ({PATH})."]
    assert reasons(Policy(PATH, revoked=frozenset({"b" * 64}))) == []


def test_nothing_older_than_the_floor_but_what_was_good() -> None:
    """Unless the policy allows it and somebody says so."""
    below = Floor(FACTS.commit_time + 1, "20991231000000-000000000000")
    assert reasons(Policy(PATH, floor=True), Floor(FACTS.commit_time, "x")) == []
    assert reasons(Policy(PATH), below) == []
    assert reasons(Policy(PATH, floor=True), below, known_good=True) == []
    assert reasons(Policy(PATH, floor=True), below)[0].startswith("floor: its commit is of 2025-11-23 10:11:12 UTC, and 20991231000000-000000000000")
    assert reasons(Policy(PATH, floor=True), below, downgrade=True)
    assert reasons(Policy(PATH, floor=True, allow_downgrade=True), below)
    assert reasons(Policy(PATH, floor=True, allow_downgrade=True), below, downgrade=True) == []


def test_files_go_below_allowed_roots_only() -> None:
    """By whole parts of the path."""
    rules, overlay = Policy(PATH, roots=("/srv/shop/system",)), Overlay((Copied("a", "/srv/shop/system/a"), Copied("b", "/srv/shop/systemd/b")))
    assert reasons(rules, overlay=overlay) == [f"policy: etc/b goes to /srv/shop/systemd/b, which lies below no root that {PATH} allows."]
    assert reasons(Policy(PATH, roots=("/",)), overlay=overlay) == []
    assert len(reasons(Policy(PATH, roots=()), overlay=overlay)) == 2


def test_commands_are_those_that_fit_a_pattern() -> None:
    """Of hooks, the health check and services; word by word, so that nothing can be added."""
    rules = Policy(PATH, run=(("python", "manage.py", "migrate", "**"), ("curl", "*")))
    hooks = (Hook("pre_flip", ("python", "manage.py", "migrate", "--noinput")), Hook("post_flip", ("python", "manage.py", "shell")))
    found = reasons(rules, hooks=hooks, health=Health(command=("curl", "a", "b")), services=(Service("x", "command", restart=("curl", "x")),))
    assert found == [
        f"policy: hooks (post_flip) would run python manage.py shell, which is no command that {PATH} allows.",
        f"policy: health would run curl a b, which is no command that {PATH} allows.",
    ]
    assert len(reasons(Policy(PATH, run=()), hooks=hooks)) == 2


def test_services_are_those_that_fit_a_pattern() -> None:
    """By kind and unit, program or name."""
    services = (Service("web", "systemd", unit="shop.service"), Service("jobs", "supervisord", program="jobs"), Service("cron", "cron"))
    assert reasons(Policy(PATH, services=("systemd:shop.*", "cron:cron")), services=services) == [
        f"policy: services.jobs is supervisord:jobs, which is none that {PATH} allows."
    ]


# On a host


def test_signatures_of_so_many_keys_are_demanded(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Two different keys, not one key twice; who has signed is in install.json and in the history."""
    authority.allow("ci", "release")
    authority.policy("", required=2)
    path = authority.artifact(tmp_path, "1.0", "ci")
    with pytest.raises(RefusedError) as caught:
        install(root, path)
    assert "asks for signatures by 2 different keys that may sign; there is 1: ci@example (ED25519 SHA256:" in str(caught.value.problems[0])
    assert not root.exists()
    data = path.read_bytes()
    signing.add(path, [authority.key("release")])
    identity = install(root, path).id
    record = json.loads((root / f"releases/{identity}/install.json").read_text())
    assert [each["principal"] for each in record["signed"]] == ["ci@example", "release@example"]
    event = next(each for each in map(json.loads, (root / ".install/history.jsonl").read_text().splitlines()) if each["event"] == "installed")
    assert [each.split()[0] for each in event["signed"]] == ["ci@example", "release@example"]
    assert len(data) < path.stat().st_size


def test_one_key_twice_is_one(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Also when the artifact holds its signature twice, and when it is given once more beside it."""
    authority.allow("ci", "release")
    authority.policy("", required=2)
    path = authority.artifact(tmp_path, "1.0")
    detached = signing.add(path, [authority.key("ci")], detached=True).files
    signing.add(path, [authority.key("ci")])
    done = run(path, "--root", root, "--signature", detached[0], env=dict(os.environ))
    assert done.returncode == 3
    assert "there is 1" in done.stderr


def test_a_detached_signature_counts_as_one_within(tmp_path: Path, root: Path, authority: Authority) -> None:
    """--signature FILE; a file that is none is refused, and so is one that is not there."""
    authority.allow("ci")
    authority.policy("", required=1)
    path = authority.artifact(tmp_path, "1.0")
    words = (path, "--root", root, "--signature")
    assert "can't be read" in run(*words, tmp_path / "nowhere").stderr
    assert "one armoured block" in run(*words, Path(__file__).with_name("roots.py")).stderr
    assert not root.exists()
    detached = signing.add(path, [authority.key("ci")], detached=True).files[0]
    shown = run(*words, detached, "--plan").stdout
    assert "  signature    ci@example (ED25519 SHA256:" in shown
    assert f"; {authority.directory}/shop.ini: 1 required" in shown
    done = run(*words, detached)
    assert (done.returncode, "note: signature" in done.stderr) == (0, False)


def test_what_is_signed_must_be_signed_by_somebody_who_may(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Where none is required an unsigned artifact goes in, one signed by a stranger does not, and a stranger beside a friend is told."""
    authority.allow("ci")
    authority.policy("", required=0)
    with pytest.raises(RefusedError) as caught:
        install(root, authority.artifact(tmp_path, "1.0", "stranger"))
    assert "not among the allowed signers" in str(caught.value.problems[0])
    said: list[str] = []
    install(root, authority.artifact(tmp_path / "b", "1.1"))
    with open_artifact(authority.artifact(tmp_path / "c", "1.2", "ci", "stranger")) as opened:
        release.install(opened, order(root)._replace(note=said.append))
    assert len([line for line in said if "signature 2: is by SHA256:" in line]) == 1


def test_a_policy_that_can_not_be_used_refuses_everything(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Installing, activating and rolling back; status still tells, and says so; mended, all of it goes on."""
    first, second = (install(root, authority.artifact(tmp_path, version)).id for version in ("1.0", "1.1"))
    path = authority.policy("[releases]\nnonsense = 1\n")
    for attempt in (
        lambda: install(root, authority.artifact(tmp_path, "1.2")),
        lambda: activate(order(root), first),
        lambda: rollback(order(root)),
    ):
        with pytest.raises(RefusedError) as caught:
            attempt()
        assert f"{path}:2: nonsense is unknown." in str(caught.value.problems[0])
    assert live(root) == second
    path.write_text("[signatures]\nrequired = 0\n")
    assert rollback(order(root)).id == first


def test_only_its_owner_and_root_may_be_able_to_change_a_policy(tmp_path: Path, root: Path, authority: Authority) -> None:
    """The file, its lists, and every directory above; a link may lead there, through directories that hold the same. (Row 26.)"""
    authority.allow("ci")
    path = authority.policy("", required=1)
    artifact = authority.artifact(tmp_path, "1.0", "ci")

    def problem() -> str:
        with pytest.raises(RefusedError) as caught:
            install(root, artifact)
        assert not root.exists()
        return str(caught.value.problems[0])

    for changed, mode in ((path, 0o666), (authority.allowed, 0o664), (authority.directory, 0o777), (authority.home, 0o770)):
        before = changed.stat().st_mode & 0o7777
        changed.chmod(mode)
        assert problem().startswith(f"{changed}: can be written by ")
        changed.chmod(before)
    if os.geteuid() == 0:
        os.chown(authority.allowed, 12345, -1)
        assert problem().startswith(f"{authority.allowed}: belongs to user 12345")
        os.chown(authority.allowed, 0, -1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.replace(path, elsewhere / "shop.ini")
    path.symlink_to(elsewhere / "shop.ini")
    elsewhere.chmod(0o777)
    assert problem().startswith(f"{elsewhere}: can be written by everybody")
    elsewhere.chmod(0o755)
    os.replace(elsewhere / "shop.ini", elsewhere / "x")
    assert "can't be read: No such file" in problem()
    path.unlink()
    path.mkdir()
    assert "is not a regular file" in problem()
    path.rmdir()
    os.mkfifo(path)
    assert "is not a regular file" in problem()
    path.unlink()
    path.write_text("#" * (2 << 20))
    assert "is longer than" in problem()


def test_lists_that_can_not_be_used_are_told_together(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Rows 14 and 18: missing or empty lists of the host's are no bad signature, and all of it is said at once."""
    authority.allowed.write_text("nonsense\n")
    authority.policy("", required=1, revocations=True)
    path = authority.artifact(tmp_path, "1.0", "ci")
    for content, said in ((None, "can't be read"), (b"", "does not begin with a line that says its version")):
        if content is not None:
            authority.revocations.write_bytes(content)
        with pytest.raises(RefusedError) as caught:
            install(root, path)
        assert [said in str(each) for each in caught.value.problems[:2]] == [False, True]
    authority.allow("ci")
    authority.revoke(1)
    authority.policy("", required=2, revocations=True)
    with pytest.raises(RefusedError) as caught:
        install(root, path)
    assert "names 1 keys that may sign for install-release:shop; the policy requires 2" in str(caught.value.problems[0])


def test_nothing_else_of_an_untrusted_artifact_is_read(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Its tables may be nonsense: what is told is that nobody has signed it, together with what the host lacks."""
    authority.allow("ci")
    authority.policy("", required=1)
    path = authority.artifact(tmp_path, "1.0", requires=FACTS.requires._replace(commands=("no-such-command",)))
    data = bytearray(path.read_bytes())
    data[data.index(b"release.json") + 20_000 : -2000] = bytes(len(data[data.index(b"release.json") + 20_000 : -2000]))
    path.write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        install(root, path)
    assert [each.where for each in caught.value.problems] == ["commands", "signatures"]
    assert run(path, "--root", root, "--plan").returncode == 3


def test_standard_input_is_refused_by_its_first_bytes(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Nothing is made for a stream that nobody has signed; one that is signed goes in."""
    authority.allow("ci")
    authority.policy("", required=1)
    path = authority.artifact(tmp_path, "1.0")

    def piped(*words: str) -> subprocess.CompletedProcess[str]:
        with path.open("rb") as stream:
            return run("-", "--root", root, *words, stdin=stream)

    for words in ((), ("--plan",)):
        done = piped(*words)
        assert done.returncode == 3
        assert "there is none" in done.stderr + done.stdout
        assert not root.exists()
    signing.add(path, [authority.key("ci")])
    assert "ci@example (ED25519" in piped("--plan").stdout
    assert piped().returncode == 0
    assert live(root) == id_of(path)
    path = authority.artifact(tmp_path, "1.1")
    command = [sys.executable, "-m", "builder.install_release", "-", "--root", str(root), *["--allow-root"] * (os.geteuid() == 0)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(path.read_bytes()[:8192])  # an upgrade neither: this never ends, and is not waited for
        process.stdin.flush()
        assert process.wait(60) == 3


def test_a_revoked_key_or_an_old_list_of_them_is_refused(tmp_path: Path, root: Path, authority: Authority) -> None:
    """What it signed is not installed any more; what was good here stays; and the list never goes back to an older version."""
    authority.allow("ci", "release")
    authority.revoke(1)
    authority.policy("", required=1, revocations=True)
    first = install(root, authority.artifact(tmp_path, "1.0", "ci")).id
    authority.revoke(2, "ci")
    with pytest.raises(RefusedError) as caught:
        install(root, authority.artifact(tmp_path, "1.1", "ci"))
    assert "which is revoked" in str(caught.value.problems[0])
    second = install(root, authority.artifact(tmp_path, "1.2", "release")).id
    authority.revoke(1)
    with pytest.raises(RefusedError) as caught:
        install(root, authority.artifact(tmp_path, "1.3", "release"))
    assert "is version 1, and version 2 was here" in str(caught.value.problems[0])
    authority.revoke(2, "ci")
    assert rollback(order(root)).id == first
    assert past(root).of(second).state == "bad"


def test_a_release_that_only_lies_here_needs_its_signatures_too(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Installed before there was a policy, and never live: it can't be activated; by one whose key has been revoked neither."""
    install(root, authority.artifact(tmp_path, "1.0"))
    unsigned = install(root, authority.artifact(tmp_path, "1.1"), activate=False).id
    authority.allow("ci", "release")
    authority.revoke(1)
    authority.policy("", required=1, revocations=True)
    signed = install(root, authority.artifact(tmp_path, "1.2", "ci"), activate=False).id
    with pytest.raises(RefusedError) as caught:
        activate(order(root), unsigned)
    assert "asks for signatures by 1 different key that may sign; there is none" in str(caught.value.problems[0])
    authority.revoke(2, "ci")
    with pytest.raises(RefusedError) as caught:
        activate(order(root), signed)
    assert "which is revoked" in str(caught.value.problems[0])
    assert propose_flip(order(root), signed, "activate")[0].refusals[0].what.endswith("which is revoked.")
    authority.revoke(3)
    assert activate(order(root), signed).id == signed


def test_signatures_that_come_later_are_taken_over(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Put here unsigned while nobody asked; its artifact, signed since, is brought again, and only then it can be made live."""
    install(root, authority.artifact(tmp_path, "1.0"))
    path = authority.artifact(tmp_path, "1.1")
    staged = install(root, path, activate=False).id
    authority.allow("ci", "release")
    authority.policy("", required=2)
    signing.add(path, [authority.key("ci")])
    with pytest.raises(RefusedError):
        install(root, path, activate=False)
    signing.add(path, [authority.key("release")])
    with pytest.raises(RefusedError) as caught:
        activate(order(root), staged)
    assert caught.value.problems[0].sentence.endswith("Install its artifact again, signed by who may.")
    record = (root / "releases" / staged / "install.json").read_bytes()
    assert install(root, path, activate=False).already
    assert install(root, path, activate=False).already
    assert (root / "releases" / staged / "install.json").read_bytes() == record
    with Host(str(root)) as host:
        signed = [event for event in history.read(host) if event["event"] == "signed"]
        assert [event["by"]["principal"] for event in signed] == ["ci@example", "release@example"]
        assert [each.principal for each in trust.all_signers(host, staged, past(root))] == ["ci@example", "release@example"]
    assert activate(order(root), staged).id == live(root) == staged


def test_signatures_of_another_manifest_do_not_count(tmp_path: Path, root: Path, authority: Authority) -> None:
    """What the history says is of a manifest, not of an id, which is 48 bits of it."""
    staged = install(root, authority.artifact(tmp_path, "1.0"), activate=False).id
    authority.allow("ci")
    authority.policy("", required=1)
    by = {"principal": "ci@example", "kind": "ED25519", "key": keys.keygen("-l", "-f", f"{authority.key('ci')}.pub").stdout.decode().split()[1]}
    with Host(str(root)) as host:
        history.append(host, [order(root).event("signed", staged, manifest="f" * 64, by=by)])
        assert trust.all_signers(host, staged, past(root)) == ()
    with pytest.raises(RefusedError):
        activate(order(root), staged)


def test_a_key_whose_time_is_over_counts_no_more_for_what_only_lies_here(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Signed and installed in time, activated too late."""
    authority.policy("", required=1)
    authority.allow("ci", more='valid-before="20990101Z"')
    signed = install(root, authority.artifact(tmp_path, "1.0", "ci"), activate=False).id
    authority.allow("ci", more='valid-before="20200101Z"')
    with pytest.raises(RefusedError) as caught:
        activate(order(root), signed)
    assert "whose time is over" in str(caught.value.problems[0])
    authority.allow("ci", more='valid-after="20200101Z"')
    assert activate(order(root), signed).id == signed


def test_what_is_revoked_while_it_is_unpacked_does_not_become_live(tmp_path: Path, root: Path, authority: Authority) -> None:
    """The policy of the moment counts, not that of before the lock was waited for; nothing of the release is left."""
    authority.allow("ci")
    authority.revoke(1)
    authority.policy("", required=1, revocations=True)
    with open_artifact(authority.artifact(tmp_path, "1.0", "ci")) as opened:
        with pytest.raises(RefusedError) as caught:
            release.install(opened, order(root)._replace(say=lambda line: authority.revoke(2, "ci")))
        assert "which is revoked" in str(caught.value.problems[0])
        assert not (root / "releases" / opened.id).exists()
    assert live(root) == ""


def test_what_is_left_runs_no_hook_that_the_policy_has_something_against(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A rollback from a revoked release is the last moment to run its code; one from another release runs its hooks as ever."""
    mark = tmp_path / "ran"
    hooks = (Hook("pre_rollback", ("touch", str(mark))),)
    first = install(root, authority.artifact(tmp_path, "1.0")).id
    second = install(root, authority.artifact(tmp_path, "1.1", hooks=hooks)).id
    for text in (f"[releases]\nrevoked = {second}\n", "[commands]\nrun = echo\n"):
        authority.policy(text)
        said: list[str] = []
        assert propose_flip(order(root), None, "rollback")[0].hooks == ()
        assert rollback(order(root)._replace(note=said.append), keep=True).id == first
        assert any(f"hooks of {second}, which is left, are not run" in line for line in said)
        assert not mark.exists()
        authority.policy("[signatures]\nrequired = 0\n")
        activate(order(root), second)
    rollback(order(root))
    assert mark.exists()


def test_two_releases_with_one_id_are_told_apart() -> None:
    """It is 48 bits of a digest: whoever was good here lends that to no other manifest, with a policy or without one."""
    release_id = "20251123101112-5f0c9a7be2d1"
    past = History({release_id: Past(release_id, state="good", manifest="a" * 64)})
    for rules in (None, Policy(PATH)):
        judgement = trust.judge(Trust("b" * 64, rules), FACTS, release_id, None, past, False)
        assert [each.where for each in judgement.problems] == ["release"]
        assert trust.judge(Trust("a" * 64, rules), FACTS, release_id, None, past, False).problems == ()


def test_a_revoked_release_is_neither_activated_nor_rolled_back_to(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A rollback goes to the newest good one that is not revoked; to the revoked one not even by its name."""
    first, second, third = (install(root, authority.artifact(tmp_path, version)).id for version in ("1.0", "1.1", "1.2"))
    authority.policy(f"[releases]\nrevoked = {second}\n")
    for attempt in (lambda: activate(order(root), second), lambda: rollback(order(root), second)):
        with pytest.raises(RefusedError) as caught:
            attempt()
        assert f"{second} is revoked" in str(caught.value.problems[0])
    assert live(root) == third
    assert propose_flip(order(root), None, "rollback")[0].to_id == first
    assert rollback(order(root)).id == first


def test_another_name_that_lies_here_is_no_way_round(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Put here before there was any policy: where others have one since, it is not made live without one; what was good stays legal."""
    first, second = (install(root, authority.artifact(tmp_path, version)).id for version in ("1.0", "1.1"))
    staged = install(root, authority.artifact(tmp_path, "1.2"), activate=False).id
    authority.policy("[releases]\nfloor = yes\n").rename(authority.directory / "blog.ini")
    with pytest.raises(RefusedError) as caught:
        activate(order(root), staged)
    assert caught.value.problems[0].what == f"{authority.directory} says whom this host trusts, and has no shop.ini."
    assert live(root) == second
    assert rollback(order(root)).id == first


def test_a_root_is_one_applications(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Two that lie in one root while nothing is live there: once one is live, the other one is neither activated nor planned to be."""
    shop = install(root, authority.artifact(tmp_path, "1.0"), activate=False).id
    blog = install(root, authority.artifact(tmp_path, "1.1", name="blog"), activate=False).id
    activate(order(root), shop)
    with pytest.raises(RefusedError) as caught:
        activate(order(root), blog)
    assert caught.value.problems[0].what == f"{root} holds shop; {blog} is blog."
    assert propose_flip(order(root), blog, "activate")[0].refusals == caught.value.problems
    assert live(root) == shop


def test_what_only_a_revoked_release_has_is_stopped_as_it_says(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Its hooks are not run any more, its service's ``disable`` is: else what is revoked would go on running."""
    stopped, hooked = tmp_path / "stopped", tmp_path / "hooked"
    service = Service("thing", "command", restart_on=("release",), restart=("true",), disable=("touch", str(stopped)))
    first = install(root, authority.artifact(tmp_path, "1.0")).id
    second = install(root, authority.artifact(tmp_path, "1.1", services=(service,), hooks=(Hook("pre_rollback", ("touch", str(hooked))),))).id
    authority.policy(f"[releases]\nrevoked = {second}\n[commands]\nrun = echo\n")
    assert rollback(order(root)).id == first
    assert (stopped.exists(), hooked.exists()) == (True, False)


def test_another_name_is_no_way_round(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Where some applications have a policy, one without is refused; an empty policy takes it."""
    authority.policy("[releases]\nfloor = yes\n").rename(authority.directory / "blog.ini")
    path = authority.artifact(tmp_path, "1.0")
    with pytest.raises(RefusedError) as caught:
        install(root, path)
    assert caught.value.problems[0].what == f"{authority.directory} says whom this host trusts, and has no shop.ini."
    authority.policy("[signatures]\nrequired = 0\n")
    assert install(root, path).state == "good"


def test_a_policy_that_is_not_where_it_should_be_is_not_passed_over(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Under a name that does not count, with only its lists there, as a file in the directory's place, or behind a link to what is not mounted."""
    path = authority.artifact(tmp_path, "1.0")

    def said() -> str:
        with pytest.raises(RefusedError) as caught:
            install(root, path)
        assert not root.exists()
        return str(caught.value.problems[0])

    authority.allow("ci")
    assert "has no shop.ini" in said()
    authority.allowed.rename(authority.directory / "shop.conf")
    assert "has no shop.ini" in said()
    authority.directory.rename(tmp_path / "elsewhere")
    authority.directory.write_text("[signatures]\nrequired = 1\n")
    assert "shop.ini: can't be read: Not a directory" in said()
    authority.directory.unlink()
    authority.directory.symlink_to(tmp_path / "not mounted")
    assert "shop.ini: can't be read: No such file" in said()


def test_a_forged_manifest_is_refused_though_enough_others_are_good(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A signature of a listed key that is of something else is no slip of the pen."""
    authority.allow("ci", "release")
    authority.policy("", required=1)
    other = authority.artifact(tmp_path, "1.1", "release")
    path = authority.artifact(tmp_path, "1.0", "ci")
    with open_artifact(other) as opened:
        (tmp_path / "moved.sig").write_bytes(opened.signatures[0])
    done = run(path, "--root", root, "--signature", tmp_path / "moved.sig")
    assert done.returncode == 3
    assert "is not of this release" in done.stderr


# What is told


def test_status_and_doctor_tell_of_the_policy(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Which one counts and what it asks for; by whom the live release is signed; what is revoked; what is wrong with it."""
    authority.allow("ci")
    authority.policy("[releases]\nfloor = yes\n", required=1)
    first = install(root, authority.artifact(tmp_path, "1.0", "ci")).id
    second = install(root, authority.artifact(tmp_path, "1.1", "ci")).id
    asks = "a signature required, nothing older than what was live, unless it was good"
    assert f"policy: {authority.directory}/shop.ini: {asks}   1.1 signed by ci@example" in run("status", "--root", root).stdout
    value = json.loads(run("status", "--root", root, "--json").stdout)
    assert (value["policy"]["floor"], value["policy"]["revoked"], value["policy"]["problems"]) == (second, [], [])
    assert [[each["principal"] for each in row["signed"]] for row in value["rows"]] == [["ci@example"], ["ci@example"]]
    assert "by tester, signed by ci@example (ED25519" in run("log", "--root", root).stdout
    authority.policy(f"[releases]\nrevoked = {first} {second}\n", required=1)
    told = run("status", "--root", root).stdout
    assert told.count("good, revoked") == 2
    assert f"problem: {second} is live, and revoked" in told
    assert f"{second} is live, and revoked" in run("doctor", "--root", root).stderr
    authority.allowed.write_text("x\n")
    for words in (("status",), ("doctor",)):
        done = run(*words, "--root", root)
        assert f"{authority.allowed}:1" in done.stdout + done.stderr


def test_a_script_for_root_is_not_written_for_what_is_not_trusted(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Bootstrap of an artifact that nobody has signed, where somebody should; the script says where a policy goes."""
    path = authority.artifact(tmp_path, "1.0")
    words = ("bootstrap", "--print", path, "--root", root, "--user", "nobody")
    done = run(*words)
    assert '#   ci@example.org namespaces="install-release:shop" ssh-ed25519 AAAA...\n' in done.stdout
    assert "note: signature: nobody has signed this artifact" in done.stderr
    authority.allow("ci")
    authority.policy("", required=1)
    done = run(*words)
    assert (done.returncode, done.stdout) == (3, "")
    assert "refused: this host's policy does not trust it" in done.stderr
    detached = signing.add(path, [authority.key("ci")], detached=True).files[0]
    assert run(*words, "--signature", detached).returncode == 0
    assert [run("config-diff", path, "--root", root, *more).returncode for more in ((), ("--signature", detached))] == [3, 0]
