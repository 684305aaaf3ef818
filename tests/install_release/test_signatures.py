"""signatures: what is read, who may sign, and what the real ssh-keygen says of it. A test for each row of the measured cases."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from builder.install_release import signatures, trust
from builder.install_release.errors import ArtifactError, RefusedError
from builder.install_release.signatures import Verifier
from tests import keys
from tests.keys import NAMESPACE
from tests.releases import FACTS

MESSAGE = b'{"a":1}\n'
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    return keys.key(tmp_path, "ci")


def verifier(allowed: str, revoked: bytes | None = None, **more: object) -> Verifier:
    """What may sign, by lists that are read as a host reads them, without a complaint."""
    signers, problems = signatures.signers(allowed.encode(), "allowed_signers")
    listed, more_problems = signatures.revocations(revoked, "revocations") if revoked is not None else (None, ())
    assert not [*problems, *more_problems]
    return Verifier(NAMESPACE, allowed.encode(), signers, revoked=listed)._replace(**more)


def verified(signature: bytes, allowed: str, revoked: bytes | None = None, **more: object) -> str:
    """By whom it is; "not …" with the reason when it does not count."""
    try:
        return verifier(allowed, revoked, **more).verify(signatures.parse(signature, NAMESPACE, "signature 1"), MESSAGE)
    except ValueError as error:
        return f"not: {error}"


def lint(text: str) -> str:
    """What is said against an allowed signers file."""
    return "\n".join(map(str, signatures.signers(text.encode(), "allowed_signers")[1]))


def malformed(data: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        signatures.parse(data, NAMESPACE, "signature 1")
    return str(caught.value.problems[0])


def test_a_good_signature_is_good(ci: Path) -> None:
    """Row 1: it is verified, and told by principal, kind and fingerprint."""
    data = keys.sign(ci, MESSAGE)
    assert verified(data, keys.allow(ci)) == "ci@example"
    read = signatures.parse(data, NAMESPACE, "")
    shown = keys.keygen("-l", "-f", f"{ci}.pub").stdout.decode().split()
    assert (str(read), read.fingerprint) == (f"ED25519 {shown[1]}", shown[1])


def test_a_signature_of_another_message_is_a_forgery(ci: Path) -> None:
    """A listed key's signature over other bytes is refused whatever else there is."""
    with pytest.raises(ArtifactError, match="changed"):
        verified(keys.sign(ci, b"another"), keys.allow(ci))


def test_a_namespace_is_one_applications(ci: Path) -> None:
    """Rows 2, 3 and 8: what was signed for another namespace, or for an empty one, is malformed here; a key limited to another one does not count."""
    assert "namespace 'install-release:blog'" in malformed(keys.sign(ci, MESSAGE, "install-release:blog"))
    blob = bytearray(base64.b64decode(b"".join(keys.sign(ci, MESSAGE, "x").splitlines()[1:-1])))
    at = blob.index(b"\0\0\0\1x")
    blob[at : at + 5] = b"\0\0\0\0"
    assert "namespace ''" in malformed(keys.armour(bytes(blob)))
    assert verified(keys.sign(ci, MESSAGE), keys.allow(ci, namespaces="install-release:blog")).startswith("not: which may not sign for")


def test_nobody_but_the_listed_counts(ci: Path, tmp_path: Path) -> None:
    """Rows 4, 5 and 6: neither a key that is not listed, nor one whose principal the policy does not name; nothing asked says so."""
    other = keys.key(tmp_path, "other")
    assert verified(keys.sign(other, MESSAGE), keys.allow(ci)) == "not: which is not among the allowed signers"
    assert verified(keys.sign(ci, MESSAGE), keys.allow(ci), principals=("release@example",)).startswith("not: whose principal ci@example is none of")
    source = Path(signatures.__file__).read_text()
    assert not any(f'"{word}"' in source for word in ("check-novalidate", "find-principals", "match-principals"))


def test_wildcards_are_refused(ci: Path) -> None:
    """Row 7: neither principals nor namespaces of the list have any."""
    assert "no wildcards" in lint(keys.allow(ci, "*"))
    assert "no wildcards" in lint(keys.allow(ci, "ci@example,!bob"))
    assert "wildcards" in lint(keys.allow(ci, namespaces="install-release:*"))


def test_a_key_stands_once(ci: Path) -> None:
    """Rows 9 and 25: of two lines with one key the wider would count, and one key could be two people."""
    assert "again" in lint(keys.allow(ci, more='valid-before="20200101Z"') + keys.allow(ci))
    assert "allowed_signers:2: has the key of line 1 again" in lint(keys.allow(ci, "alice") + keys.allow(ci, "bob"))


def test_a_key_counts_in_its_time_by_the_wall_clock(ci: Path) -> None:
    """Rows 10 and 12: before valid-after and from valid-before on it does not count, and ssh-keygen's reason is told."""
    data = keys.sign(ci, MESSAGE)
    assert "key has expired" in verified(data, keys.allow(ci, more='valid-before="20200101Z"'))
    assert "key is not yet valid" in verified(data, keys.allow(ci, more='valid-after="20990101Z"'))
    assert verified(data, keys.allow(ci, more='valid-after="20200101Z",valid-before="20990101Z"')) == "ci@example"


def test_what_is_asked_never_names_a_time(ci: Path, tmp_path: Path) -> None:
    """Rows 11 and 41: ssh-keygen gets exactly these words: no verify-time, no option of the signature's own making; and a plain environment."""
    program = tmp_path / "recorder"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\nenv >> {tmp_path}/environment\nexec {signatures.KEYGEN} "$@"\n')
    program.chmod(0o755)
    listed = b"# revocations v1\n"
    assert verified(keys.sign(ci, MESSAGE), keys.allow(ci), listed, program=str(program)) == "ci@example"
    words = (tmp_path / "words").read_text().split()
    assert [word for word in words if not word.startswith("/proc/self/fd/")] == [
        *("-Y", "verify", "-I", "ci@example", "-n", NAMESPACE, "-f", "-s", "-r"),
    ]
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"LC_ALL", "TZ", "INSTALL_RELEASE_CHILD"}


def test_a_time_zone_changes_nothing(ci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 34: a time without its Z is refused, and with it the host's zone does not matter."""
    assert "no time of UTC" in lint(keys.allow(ci, more='valid-before="202611231300"'))
    assert "no time of UTC" in lint(keys.allow(ci, more='valid-before="20261323Z"'))
    when = [signatures.signers(keys.allow(ci, more=f'valid-after="{each}"').encode(), "")[0][0].after for each in ("20261123Z", "202611231011Z")]
    assert when == [1795392000, 1795392000 + 10 * 3600 + 11 * 60]
    assert signatures.signers(keys.allow(ci, more='valid-before="20261123101112Z"').encode(), "")[0][0].before == 1795428672
    now = subprocess.run(["date", "-u", "-d", "+1 hour", "+%Y%m%d%H%MZ"], capture_output=True, text=True, check=True).stdout.strip()
    past = subprocess.run(["date", "-u", "-d", "-1 hour", "+%Y%m%d%H%MZ"], capture_output=True, text=True, check=True).stdout.strip()
    for zone in ("UTC+12", "UTC-12"):
        monkeypatch.setenv("TZ", zone)
        assert verified(keys.sign(ci, MESSAGE), keys.allow(ci, more=f'valid-before="{now}"')) == "ci@example"
        assert "expired" in verified(keys.sign(ci, MESSAGE), keys.allow(ci, more=f'valid-before="{past}"'))


def test_a_revoked_key_does_not_count(ci: Path, tmp_path: Path) -> None:
    """Rows 13 and 16: in a plain list, and in a KRL."""
    data, other = keys.sign(ci, MESSAGE), keys.key(tmp_path, "other")
    assert verified(data, keys.allow(ci), f"# revocations v2\n{keys.public(ci)}\n".encode()) == "not: which is revoked"
    assert verified(data, keys.allow(ci), f"# revocations v2\n{keys.public(other)}\n".encode()) == "ci@example"
    assert verified(data, keys.allow(ci), krl(tmp_path, ci)) == "not: which is revoked"
    assert verified(data, keys.allow(ci), krl(tmp_path, other)) == "ci@example"


def krl(directory: Path, *revoked: Path, version: int = 3) -> bytes:
    keys.keygen("-q", "-k", "-f", directory / "krl", "-z", str(version), *(f"{each}.pub" for each in revoked))
    return (directory / "krl").read_bytes()


def test_a_list_of_revocations_says_what_it_is(ci: Path, tmp_path: Path) -> None:
    """Rows 15, 17 and 18: an empty one, a truncated KRL, one without a version and garbage are errors of the host's, told as such."""
    whole = krl(tmp_path, ci)
    for data in (b"", b"\n", b"garbage\n", b"# revocations v0\n", b"# revocations v1", whole[:30], krl(tmp_path, ci, version=0)):
        assert signatures.revocations(data, "revocations")[0] is None
    _, problems = signatures.revocations(b"# revocations v1\nssh-ed25519 AAAA\n", "revocations")
    assert str(problems[0]).startswith("revocations:2: is no public key.")
    assert signatures.revocations(whole, "revocations")[0] == (3, whole, None)
    assert signatures.revocations(b"# revocations v7\n# none\n", "revocations")[0] == (7, b"# revocations v7\n# none\n", frozenset())
    cut = verifier(keys.allow(ci), whole[:-4])
    assert [str(each).partition(": ")[0] for each in cut.refusals("krl")] == ["krl"]
    assert not list(verifier(keys.allow(ci), whole).refusals("krl"))


def test_a_signature_is_one_block_and_nothing_else(ci: Path, tmp_path: Path) -> None:
    """Rows 19, 20 and 21: nothing before, after or within it; one spelling."""
    good, evil = keys.sign(ci, MESSAGE), keys.sign(keys.key(tmp_path, "evil"), MESSAGE)
    lines = good.split(b"\n")
    for data in (
        *(b"", b"\n" + good, good + b"\n", good + b"junk\n", good + evil, evil + good, good.replace(b"\n", b"\r\n"), good[:-30]),
        b"\n".join([lines[0], b"Version: 1", *lines[1:]]),
        b"\n".join([lines[0], lines[1] + b"!", *lines[2:]]),
        b"\n".join([lines[0], b"", *lines[1:]]),
    ):
        assert "one armoured block" in malformed(data)
    signatures.parse(good.rstrip(b"\n"), NAMESPACE, "")
    blob = base64.b64decode(b"".join(lines[1:-2]))
    for broken in (blob + b"\0", blob[:-1], b"XSHSIG" + blob[6:], blob[:9] + b"\2" + blob[10:], blob.replace(b"sha512", b"sha384")):
        assert malformed(keys.armour(broken))


def test_a_huge_signature_is_not_even_looked_at(ci: Path) -> None:
    """Row 50: more than 64 KiB is no signature."""
    assert "longer than" in malformed(keys.sign(ci, MESSAGE) + b"\n" * (200 << 20))


def test_every_line_of_the_list_is_understood(ci: Path, tmp_path: Path) -> None:
    """Rows 27, 28 and 42: an unknown option, a broken line, one for a certificate's authority or of another type is told by its number."""
    good, other = keys.allow(ci), keys.public(keys.key(tmp_path, "other"))
    for line, said in (
        (f'a namespaces="x",no-touch {other}', "the option 'no-touch'"),
        (f'a cert-authority,namespaces="x" {other}', "the option 'cert-authority'"),
        (f"a {other}", "has no namespaces"),
        (f'a namespaces="" {other}', "has no namespaces"),
        (f'a namespaces="x",namespaces="y" {other}', "namespaces twice"),
        (f'a namespaces="x" {other[:-5]}', "base64"),
        (f'a namespaces="x" ssh-rsa {other.split()[1]}', "another type"),
        (f'a namespaces="x" sk-ssh-ed25519@openssh.com {other.split()[1]}', "its key is another"),
        (f'a namespaces="x y" {other}', "allowed_signers:2"),
        (f'a namespaces="x" {other}\r', "control character"),
        ("nonsense", "no whole line"),
    ):
        assert said in lint(f"{good}{line}\n"), line
        assert "allowed_signers:2:" in lint(f"{good}{line}\n")
    assert "names nobody" in lint("# nobody yet\n")
    assert "beyond ASCII" in str(signatures.signers("é".encode(), "x")[1][0])
    assert lint(f"# who\n\n{good}") == ""


def test_only_ed25519_keys_sign(tmp_path: Path) -> None:
    """Row 46: no RSA, ECDSA or DSA, however long; neither in a signature nor in a list."""
    for kind, more in (("rsa", ("-b", "1024")), ("rsa", ("-b", "3072")), ("ecdsa", ())):
        path = keys.key(tmp_path, f"{kind}{len(more) and more[1]}", kind, *more)
        assert "which is none of ssh-ed25519" in malformed(keys.sign(path, MESSAGE))
        assert "another type" in lint(keys.allow(path))


def test_a_key_in_a_security_token_signs(ci: Path, tmp_path: Path) -> None:
    """As OpenSSH's own: verified by ssh-keygen, told by its kind; one that nobody has touched signs nothing."""
    token = keys.Token(tmp_path)
    line = f'me@example namespaces="{NAMESPACE}" sk-ssh-ed25519@openssh.com {base64.b64encode(token.blob).decode()}\n'
    assert verified(token.sign(MESSAGE), keys.allow(ci) + line) == "me@example"
    assert signatures.parse(token.sign(MESSAGE), NAMESPACE, "").kind == "ED25519-SK"
    assert "nobody touched" in malformed(token.sign(MESSAGE, touched=False))
    with pytest.raises(ArtifactError, match="changed"):
        verified(token.sign(b"another"), line)


def test_certificates_do_not_sign(ci: Path, tmp_path: Path) -> None:
    """Rows 41, 43, 44 and newer OpenSSH's: a certificate does not sign, in date or not, its authority revoked or not, with principals or none."""
    authority = keys.key(tmp_path, "authority")
    for words in (("-n", "ci@example"), ("-n", "ci@example", "-V", "20200101:20200201"), ()):
        keys.keygen("-q", "-s", authority, "-I", "ci", *words, f"{ci}.pub")
        certificate = tmp_path / "ci-cert.pub"
        assert "ssh-ed25519-cert-v01" in malformed(keys.sign(certificate, MESSAGE))
    assert "cert-authority" in lint(f'ci@example cert-authority,namespaces="{NAMESPACE}" {keys.public(authority)}\n')


def test_a_user_without_a_name_is_told_apart(ci: Path, tmp_path: Path) -> None:
    """Row 32: where passwd has no entry for the user, ssh-keygen refuses to work: that says nothing of the signature."""
    program = f"""
import sys
from builder.install_release import signatures
from builder.install_release.errors import RefusedError
allowed = open({str(tmp_path / "allowed")!r}, "rb").read()
try:
    one = signatures.Verifier({NAMESPACE!r}, allowed, signatures.signers(allowed, "")[0])
    one.verify(signatures.parse(open({str(tmp_path / "sig")!r}, "rb").read(), {NAMESPACE!r}, ""), {MESSAGE!r})
except RefusedError as error:
    print(error, *error.problems)
"""
    (tmp_path / "allowed").write_text(keys.allow(ci))
    (tmp_path / "sig").write_bytes(keys.sign(ci, MESSAGE))
    words = ["unshare", "--user", "--map-user=54321", sys.executable, "-c", program]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("signatures can't be verified ssh-keygen: refuses to work for user 54321, whom this system has no name for.")


def test_a_host_without_openssh_says_so(ci: Path) -> None:
    """What is missing is told, and what to install."""
    with pytest.raises(RefusedError) as caught:
        verified(keys.sign(ci, MESSAGE), keys.allow(ci), program="/nonexistent/ssh-keygen")
    assert "/nonexistent/ssh-keygen can't be run" in str(caught.value.problems[0])
    assert "Install OpenSSH's client" in str(caught.value.problems[0])


def test_one_that_hangs_or_lies_is_no_yes(ci: Path, tmp_path: Path) -> None:
    """Only status 0 together with exactly the expected words is a yes."""
    program = tmp_path / "liar"
    good = f'Good "{NAMESPACE}" signature for ci@example with ED25519 key'
    shown = signatures.parse(keys.sign(ci, MESSAGE), NAMESPACE, "").fingerprint
    for text, counts in (
        (f"echo '{good} {shown}'", True),
        (f"echo '{good} {shown}'; exit 1", False),
        (f"echo '{good} SHA256:other'", False),
        ("exit 0", False),
    ):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        assert verified(keys.sign(ci, MESSAGE), keys.allow(ci), program=str(program)).startswith("not") != counts


def test_every_malformed_signature_is_told_at_once(ci: Path) -> None:
    """Of an artifact with several, each with its number."""
    with pytest.raises(ArtifactError) as caught:
        signatures.read_all([b"x", keys.sign(ci, MESSAGE), b"y"], NAMESPACE)
    assert [each.where for each in caught.value.problems] == ["signature 1", "signature 3"]


def test_nothing_is_imported_where_nothing_is_asked() -> None:
    """No policy and no signature: neither policy nor signatures nor what they need is loaded."""
    program = "import sys; from builder.install_release import cli, trust; from tests.releases import FACTS; before = set(sys.modules)\n"
    program += "trust.of_artifact(FACTS, b'{}', ()); print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_a_policy_a_signature_is_read_and_said_not_to_be_verified(ci: Path) -> None:
    """It must be well-formed; by whose key it is is told; a compared digest needs no such words."""
    data = b"{}\n"
    told = trust.of_artifact(FACTS, data, [keys.sign(ci, data)])
    assert not told.problems
    assert "that was not verified" in str(told.warnings[0])
    assert "nobody has signed" in str(trust.of_artifact(FACTS, data, ()).warnings[0])
    assert (
        trust.of_artifact(FACTS, data, (), vouched=True).warnings
        == trust.of_artifact(FACTS, data, [keys.sign(ci, data)], vouched=True).warnings
        == ()
    )
    assert trust.of_artifact(FACTS, data, [b"junk"], vouched=True).problems
