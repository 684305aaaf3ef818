"""Whatever happens in whatever order: flips forward and back with any policy, and an operator who edits, removes and chmods in between."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builder.install_release import overlay
from builder.install_release.overlay import ledger

from .system import System, digest, write

NAMES = ("a", "b", "dir/c")
FILES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("one\n", "two\n", "three\n")))
POLICIES = st.sampled_from(("keep-local", "take-new", "beside"))


class Host(RuleBasedStateMachine):
    """``written``: what the operator wrote and has neither removed nor written over himself, by its text; where he wrote it."""

    @initialize(own=st.sets(st.sampled_from(NAMES)))
    def begin(self, own: set[str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="overlay-"))
        self.directory.chmod(0o755)
        self.system = System(self.directory)
        self.number = 0
        self.releases: dict[str, dict[str, str]] = {}
        self.written: dict[str, str] = {}
        for name in sorted(own):
            self.operator_writes(name, 0o644)
        self.own = self.system.tree()
        none = self.system.release("0", {})
        self.releases[none] = {}
        self.system.flip(none)

    def files(self) -> dict[str, str]:
        """Without directories: an empty one that was made for a file goes with the release that has no such file, and is no loss."""
        return {name: text for name, text in self.system.tree().items() if text != "dir"}

    def text(self) -> str:
        self.number += 1
        return f"text {self.number}\n"

    @rule(name=st.sampled_from(NAMES), mode=st.sampled_from((0o644, 0o600)))
    def operator_writes(self, name: str, mode: int) -> None:
        """A text that nobody else has."""
        path, text = self.system.etc / name, self.text()
        if path.exists():
            self.written.pop(path.read_text(), None)
        write(path, (text, mode))
        self.written[text] = name

    @rule(name=st.sampled_from(NAMES))
    def operator_removes(self, name: str) -> None:
        path = self.system.etc / name
        if path.exists():
            self.written.pop(path.read_text(), None)
            path.unlink()

    @rule(files=FILES, policy=POLICIES)
    def forward(self, files: dict[str, str], policy: str) -> None:
        """A release that was never there before."""
        release = self.system.release(f"{len(self.releases)}", files, {"**": policy})
        self.releases[release] = files
        self.flip(release, back=False)

    @precondition(lambda self: len(self.releases) > 1)
    @rule(data=st.data(), back=st.booleans())
    def again(self, data: st.DataObject, back: bool) -> None:
        """A release that was there before."""
        release = data.draw(st.sampled_from(sorted(set(self.releases) - {self.system.live})))
        self.flip(release, back)

    @rule(files=FILES, policy=POLICIES)
    def there_and_back(self, files: dict[str, str], policy: str) -> None:
        """Whatever a release does, the way back undoes, when nobody did anything meanwhile: byte for byte, mode for mode."""
        here, before = self.system.live, self.files()
        self.forward(files, policy)
        self.flip(here, back=True)
        assert self.files() == before

    @rule(files=FILES, policy=POLICIES, switched=st.booleans())
    def failing(self, files: dict[str, str], policy: str, switched: bool) -> None:
        """A flip that fails leaves everything as it was."""
        before, release = self.system.tree(), self.system.release("failing", files, {"**": policy})
        changes = self.system.propose(release).changes
        if not self.system.propose(release).refusals:
            overlay.prepare(self.system.host, "f" * 12, changes)
            if switched:
                overlay.switch(self.system.host, "f" * 12, changes)
            assert overlay.restore(self.system.host, "f" * 12, changes) == ()
            overlay.clear(self.system.host)
        assert self.system.tree() == before
        shutil.rmtree(self.system.root / "releases" / release)

    def flip(self, release: str, back: bool) -> None:
        edits = {name: (self.system.etc / name).read_text() for name in NAMES if (self.system.etc / name).exists()}
        refused = bool(self.system.propose(release, back=back).refusals)
        assert not (refused and back), "the way back asks nothing"
        self.system.flip(release, [("**", "take-new")] if refused else [], back)
        files = self.releases[release]
        for name in NAMES:
            path = self.system.etc / name
            if name in files and not (path.exists() and path.read_text() in (files[name], edits.get(name))):
                assert not path.exists() or path.read_text().startswith("text "), f"{name} is neither the release's nor anybody's"

    @invariant()
    def no_edit_is_lost(self) -> None:
        """What an operator wrote is where it was written, or saved beside it, or kept for the release under which it was written."""
        if not hasattr(self, "system"):
            return
        texts, blobs = {path.read_text() for path in self.system.etc.rglob("*") if path.is_file()}, self.system.blobs()
        for text, name in self.written.items():
            assert text in texts or digest(text) in blobs, f"{text!r}, written to {name}, is lost"

    @invariant()
    def nothing_is_left_over(self) -> None:
        """No temporary file anywhere, no bytes that nobody needs, and each file beside another is in the ledger or was given to the operator."""
        if not hasattr(self, "system"):
            return
        assert overlay.leftovers(self.system.host) == ()
        assert not [name for name in self.system.tree() if ".rel-tmp." in name]
        assert ledger.read(self.system.host).release in ("", self.system.live)

    def teardown(self) -> None:
        if hasattr(self, "system"):
            self.system.host.close()
            shutil.rmtree(self.directory)


EXAMPLES = 400 if os.environ.get("FAULTS") == "all" else 15
Host.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)
TestAnyOrder = Host.TestCase
