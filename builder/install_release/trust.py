"""Whether this host trusts a release: its policy file and the release's signatures, asked before anything is changed.

Where there is neither, this costs two looks for a file: all else is imported when it is needed.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from .errors import DamagedError, Problem, RefusedError
from .history import History
from .host import RELEASE_JSON, RELEASES, Host
from .manifest import Manifest
from .records import NamedTuple
from .typed import TYPE_CHECKING, Any
from .who import account

if TYPE_CHECKING:
    from .floor import Floor
    from .policy import Policy
    from .signatures import Signature, Verifier

SYSTEM = "/etc/install-release"


class By(NamedTuple):
    """Who has signed: a principal of the allowed signers, the kind of key and its fingerprint."""

    principal: str
    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.principal} ({self.kind} {self.key})"


class Trust(NamedTuple):
    """A release, and what this host's policy (None: there is none) says of where it comes from. ``sha256`` is that of its manifest.

    ``problems`` are reasons against it whatever it is; ``lacking``: what its signatures lack, which a release need not have that was good here
    before. ``revocations``: the version of the list of revoked keys.
    """

    sha256: str
    policy: Policy | None = None
    signers: tuple[By, ...] = ()
    problems: tuple[Problem, ...] = ()
    lacking: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    revocations: int = 0

    @property
    def told(self) -> str:
        """For the plan: by whom it is signed, and what the policy asks for; "" where there is none: a warning says so then."""
        if self.policy is None:
            return ""
        by = ", ".join(map(str, self.signers)) or "none that counts here"
        return f"{by}; {self.policy.path}: {f'{self.policy.required} required' if self.policy.required else 'optional'}"


def places(name: str, owner: int | None = None) -> tuple[str, ...]:
    """Where the policy for an application may stand; the first that is there counts. ``owner``: of the root, if that is somebody else.

    A home is that in passwd before what HOME says: sudo may leave that of another user there.
    """
    homes = [account(os.geteuid() if owner is None else owner)[1]]
    homes += [os.environ.get("HOME", "")] if owner in (None, os.geteuid()) else []
    directories = (SYSTEM, *(os.path.join(home, ".config/install-release") for home in dict.fromkeys(homes) if os.path.isabs(home)))
    return tuple(os.path.join(directory, f"{name}.ini") for directory in directories)


def find(name: str, owner: int | None = None) -> str:
    """The path of the policy for an application; "" where there is none.

    One of the system's that can't be looked for is one that can't be read: that refuses everything. So is one where something else stands than a
    directory, like a link to what is not mounted. (A home that is closed to its user is none.)
    """
    for path in places(name, owner):
        directory = os.path.dirname(path)
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.lexists(directory) or os.path.isdir(directory):
                continue
        except OSError:
            if not path.startswith(f"{SYSTEM}/"):
                continue
        return path
    return ""


def _others(name: str) -> str:
    """A directory in which somebody has begun to say whom to trust, though not for this application; "" where there is none.

    Whatever lies there counts: a policy for another one, a list, a file whose name does not end in ``.ini`` as it should.
    """
    for path in places(name):
        directory = os.path.dirname(path)
        try:
            there = os.listdir(directory)
        except OSError as error:
            there = ["unseen"] if directory == SYSTEM and error.errno != errno.ENOENT else []
        if there:
            return directory
    return ""


def of_artifact(manifest: Manifest, data: bytes, signatures: Sequence[bytes], vouched: bool = False) -> Trust:
    """What there is to say of an artifact with the manifest ``data``. ``vouched``: somebody has compared the digest of the whole file."""
    trust, path = Trust(hashlib.sha256(data).hexdigest()), find(manifest.name)
    if not path and (others := _others(manifest.name)):  # else whoever is refused by one would only have to take another name
        return trust._replace(problems=(_unnamed(manifest.name, others),))
    if not path and not signatures:
        return trust if vouched else trust._replace(warnings=(_unsigned(manifest.name),))
    from . import signatures as signing

    try:
        if path:
            from . import policy

            trust = trust._replace(policy=policy.read(path))
        found = signing.read_all(signatures, f"{signing.NAMESPACE}{manifest.name}")
        if trust.policy is None or not trust.policy.allowed_signers:
            warning = _unknown(manifest.name, [str(each) for each in found]) if found else _unsigned(manifest.name)
            return trust if vouched else trust._replace(warnings=(warning,))
        return _count(trust, trust.policy, _verifier(trust.policy, manifest.name), found, data)
    except RefusedError as error:
        return trust._replace(problems=error.problems)


def of_installed(host: Host, release: str, manifest: Manifest, past: History) -> Trust:
    """The same of a release that is here: its signatures were verified when it was installed; whose they were, its record and the history say."""
    data = host.read(RELEASES, release, RELEASE_JSON) or b""
    trust, path = Trust(hashlib.sha256(data).hexdigest()), find(manifest.name)
    if not path:
        others = "" if known_good(past, release, trust.sha256) else _others(manifest.name)
        return trust._replace(problems=(_unnamed(manifest.name, others),)) if others else trust
    from . import policy
    from . import signatures as signing

    try:
        rules = policy.read(path)
        trust = trust._replace(policy=rules)
        if not rules.allowed_signers or known_good(past, release, trust.sha256):
            return trust._replace(signers=all_signers(host, release, past))
        verifier = _verifier(rules, manifest.name)
        counted, reasons = [], []
        for each in all_signers(host, release, past):
            try:
                key = next((signer.key for signer in verifier.signers if signing.fingerprint(signer.key) == each.key), b"")
                counted.append(each._replace(principal=verifier.still(key)))
            except ValueError as error:
                reasons.append(Problem("signature", f"is by {each}, {error}."))
        version = verifier.revoked.version if verifier.revoked else 0
        trust = trust._replace(signers=tuple(counted), revocations=version)
        return trust._replace(lacking=(*reasons, *_short(rules, counted, "Install its artifact again, signed by who may.")))
    except RefusedError as error:
        return trust._replace(problems=error.problems)


class Judgement(NamedTuple):
    """What the policy says of making a release live: reasons against it; the floor from then on (None: none is kept); whether it goes below it."""

    problems: tuple[Problem, ...] = ()
    floor: Floor | None = None
    downgrade: bool = False


def judge(trust: Trust, manifest: Manifest, release: str, host: Host | None, past: History, downgrade: bool) -> Judgement:
    """Every reason against a release on this host (None: there is no root yet). ``downgrade``: whoever wants it says that it may go back."""
    rules, problems = trust.policy, [*trust.problems, *_double(past, release, trust.sha256)]
    if rules is None:
        return Judgement(tuple(problems))
    from . import floor, policy

    asked = policy.Asked(manifest, release, trust.sha256, known_good(past, release, trust.sha256), downgrade)
    here = _floor(host, rules, past) if host else floor.Floor()
    problems += () if asked.known_good else trust.lacking
    if trust.revocations and trust.revocations < here.revocations:
        problems.append(_older(rules, trust.revocations, here.revocations))
    problems += policy.refusals(rules, asked, here)
    mine = floor.Floor(manifest.commit_time, release) if rules.floor else floor.Floor()
    kept = here.raised(mine._replace(revocations=trust.revocations))
    return Judgement(tuple(problems), kept if kept != floor.Floor() else None, policy.is_downgrade(rules, asked, here))


def _double(past: History, release: str, sha256: str) -> Iterator[Problem]:
    """An id is 48 bits of the digest: somebody with a few machines can make a manifest that has the id of another one."""
    known = past.of(release).manifest
    if known and known != sha256:
        what = f"{release} was here, and this is another release with that id: the sha256 of its manifest is {sha256}, not {known}."
        yield Problem("release", what, "That is no accident: ask where it comes from.")


def _older(rules: Policy, version: int, newest: int) -> Problem:
    what = f"{rules.revocations} is version {version}, and version {newest} was here: somebody has put an old one back."
    return Problem("policy", what, "Put the newest one there.")


def _floor(host: Host, rules: Policy, past: History) -> Floor:
    """What is recorded, and where the policy asks for a floor the live release: it may not have asked all the time."""
    from . import floor

    here = floor.read(host) if host.prepared else floor.Floor()
    if rules.floor and past.live and host.has_release(past.live):
        return here.raised(floor.of_release(past.live))
    return here


def not_revoked(host: Host, releases: Sequence[str]) -> tuple[str, ...]:
    """Those of the releases here that the policy does not revoke. A policy that can't be read is told of when one of them is made live."""
    left = []
    for release in releases:
        with suppress(DamagedError, RefusedError):
            manifest = host.manifest(release)
            if path := find(manifest.name):
                from . import policy

                data = host.read(RELEASES, release, RELEASE_JSON) or b""
                if policy.read(path).is_revoked(release, hashlib.sha256(data).hexdigest()):
                    continue
        left.append(release)
    return tuple(left)


def against_hooks(host: Host, trust: Trust, release: str, manifest: Manifest) -> bool:
    """Whether the policy has something against the commands of a release here, or against the release itself."""
    if trust.policy is None:
        return False
    from . import policy

    data = host.read(RELEASES, release, RELEASE_JSON) or b""
    return trust.policy.is_revoked(release, hashlib.sha256(data).hexdigest()) or any(policy.commands(trust.policy, manifest))


class Standing(NamedTuple):
    """What ``status`` and ``doctor`` tell of a host's policy (``path`` "": there is none): in words, the release that is the floor, those here that
    are revoked, and what is wrong with it."""

    path: str = ""
    says: str = ""
    floor: str = ""
    revoked: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def standing(host: Host, name: str) -> Standing:
    """Look at the policy for the application ``name`` of a root. Nothing of it stops those who only look."""
    owner = os.fstat(host.fd).st_uid
    path = find(name, owner) if name else ""
    if not path:
        return Standing()
    if owner != os.geteuid() and not path.startswith(f"{SYSTEM}/"):
        return Standing(path, "not looked at: it is another user's")
    from . import floor, policy
    from . import signatures as signing

    try:
        rules = policy.read(path)
    except RefusedError as error:
        return Standing(path, "can't be used: nothing is installed", problems=error.problems)
    problems: list[Problem] = []
    here = floor.Floor()
    try:
        here = floor.read(host)
        verifier = _verifier(rules, name) if rules.allowed_signers else None
        if verifier and not os.access(verifier.program, os.X_OK):
            problems.append(signing.missing(verifier.program))
        if verifier and verifier.revoked and verifier.revoked.version < here.revocations:
            problems.append(_older(rules, verifier.revoked.version, here.revocations))
    except (RefusedError, DamagedError) as error:
        problems += error.problems
    except PermissionError:  # somebody else's root
        pass
    allowed = not_revoked(host, host.releases())
    revoked = tuple(release for release in host.releases() if release not in allowed)
    says = [f"signatures by {rules.required} different keys required" if rules.required > 1 else "a signature required" if rules.required else ""]
    says += ["nothing older than what was live, unless it was good" if rules.floor else ""]
    says += ["narrows what a release may run or write" if (rules.roots, rules.run, rules.services) != (None, None, None) else ""]
    return Standing(path, ", ".join(filter(None, says)) or "asks for nothing", here.release, revoked, tuple(problems))


def known_good(past: History, release: str, sha256: str) -> bool:
    """Whether the history says that exactly this release was good here, gone or not."""
    found = past.of(release)
    return found.state == "good" and found.manifest == sha256


def recorded(record: Mapping[str, Any]) -> tuple[By, ...]:
    """By whom a release was signed that is here, from its ``install.json``."""
    return tuple(By(**each) for each in record.get("signed", ()))


def all_signers(host: Host, release: str, past: History) -> tuple[By, ...]:
    """The same, and by whom its artifact was signed that was brought again: the record stays as it is, so that the history has those.

    Those of another manifest with the same id do not count.
    """
    found = {each.key: each for each in recorded(host.record(release))}
    if later := past.of(release).signed:
        sha256 = hashlib.sha256(host.read(RELEASES, release, RELEASE_JSON) or b"").hexdigest()
        for manifest, *by in later:
            if manifest == sha256:
                found.setdefault(by[-1], By(*by))
    return tuple(found.values())


def _count(trust: Trust, rules: Policy, verifier: Verifier, found: Sequence[Signature], data: bytes) -> Trust:
    """Which signatures count; one by each key. Raises ``RefusedError`` for a forgery, and where nothing can be verified."""
    good: dict[bytes, By] = {}
    reasons = []
    for number, each in enumerate(found, 1):
        if each.key in good:
            continue
        try:
            good[each.key] = By(verifier.verify(each, data), each.kind, each.fingerprint)
        except ValueError as error:
            reasons.append(Problem(f"signature {number}", f"is by {each.fingerprint}, {error}."))
    signers = tuple(good.values())
    trust = trust._replace(signers=signers, revocations=verifier.revoked.version if verifier.revoked else 0)
    lacking = _short(rules, signers, "Have it signed by who may: build-release sign ARTIFACT --key KEY.", signed=bool(found))
    return trust._replace(lacking=(*reasons, *lacking)) if lacking else trust._replace(warnings=tuple(reasons))


def _short(rules: Policy, signers: Sequence[By], remedy: str, signed: bool = False) -> tuple[Problem, ...]:
    """Too few. What is signed must be signed by somebody who may, also where no signature is required."""
    wanted = max(rules.required, int(signed))
    if len(signers) >= wanted:
        return ()
    by = f": {', '.join(map(str, signers))}" if signers else ""
    what = f"{rules.path} asks for signatures by {wanted} different key{'s' if wanted > 1 else ''} that may sign; there {_are(len(signers))}{by}."
    return (Problem("signatures", what, remedy),)


def _are(count: int) -> str:
    return {0: "is none", 1: "is 1"}.get(count, f"are {count}")


def _verifier(rules: Policy, name: str) -> Verifier:
    """The lists that a policy names, read strictly. Raises ``RefusedError`` with all that is wrong with them."""
    from . import ownership
    from . import signatures as signing

    problems: list[Problem] = []
    signers: tuple[signing.Signer, ...] = ()
    revoked, allowed = None, b""
    try:
        allowed = ownership.read(rules.allowed_signers, signing.MAX_LIST_BYTES)
        signers, found = signing.signers(allowed, rules.allowed_signers)
        problems += found
    except RefusedError as error:
        problems += error.problems
    try:
        if rules.revocations:
            revoked, found = signing.revocations(ownership.read(rules.revocations, signing.MAX_LIST_BYTES), rules.revocations)
            problems += found
    except RefusedError as error:
        problems += error.problems
    verifier = signing.Verifier(f"{signing.NAMESPACE}{name}", allowed, signers, rules.principals, revoked)
    if not problems:
        problems += verifier.refusals(rules.revocations)
    usable = sum(bool(verifier.names(each)) for each in signers)
    if not problems and usable < rules.required:
        what = f"names {usable} keys that may sign for {verifier.namespace}; the policy requires {rules.required}."
        problems.append(Problem(rules.allowed_signers, what, "Add keys there, or lower required."))
    if problems:
        raise RefusedError("the policy of this host can't be used", problems)
    return verifier


def _unnamed(name: str, others: str) -> Problem:
    what = f"{others} says whom this host trusts, and has no {name}.ini."
    remedy = f"Is {name} the application that you mean? Then write that file; 'required = 0' below '[signatures]' asks for nothing."
    return Problem("policy", what, remedy)


def _unsigned(name: str) -> Problem:
    what = f"nobody has signed this artifact, and no policy of this host says who may sign {name}: where it comes from is not known."
    return Problem("signature", what, "Compare its digest with --expect-sha256, or write a policy (docs/policy.md).")


def _unknown(name: str, keys: Sequence[str]) -> Problem:
    what = f"it is signed by {', '.join(keys)}, and no policy of this host says who may sign {name}: that was not verified."
    return Problem("signature", what, "Compare its digest with --expect-sha256, or write a policy (docs/policy.md).")
