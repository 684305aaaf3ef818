"""Every verdict of the three-way table, every policy, and the way back: on the bytes, modes and owners of real files."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import pytest

from builder.install_release import overlay
from builder.install_release.errors import DamagedError
from builder.install_release.overlay import OverlayError

from .system import System, digest, journaled, write


def saved(name: str, text: str) -> str:
    return f".{name}.rel-old.{digest(text)[:12]}~"


def offered(name: str, text: str) -> str:
    return f".{name}.rel-new.{digest(text)[:12]}~"


def test_a_new_file_is_laid_down(system: System) -> None:
    """What was not there is there, with the mode that the artifact says, whatever the umask; its owner is this user."""
    umask = os.umask(0o077)
    try:
        kinds = system.flip(system.release("1", {"shop": "one\n", "tool": ("#!/bin/sh\n", 0o755)}))
    finally:
        os.umask(umask)
    assert kinds == {"shop": "new", "tool": "new"}
    assert system.tree() == {"shop": "one\n", "tool": "#!/bin/sh\n"}
    assert [(system.etc / name).stat().st_mode & 0o7777 for name in ("shop", "tool")] == [0o644, 0o755]
    assert (system.etc / "shop").stat().st_uid == os.geteuid()


def test_an_untouched_file_is_replaced_and_put_back(system: System) -> None:
    """Laid down, untouched, changed by the next release: replaced; and put back as it was by the way back."""
    first, second = system.release("1", {"shop": "one\n", "same": "same\n"}), system.release("2", {"shop": "two\n", "same": "same\n"})
    system.flip(first)
    before = (system.etc / "same").stat().st_ino
    assert system.flip(second) == {"shop": "changed", "same": "untouched"}
    assert system.tree() == {"shop": "two\n", "same": "same\n"}
    assert (system.etc / "same").stat().st_ino == before, "a file that does not change is not even replaced"
    assert system.flip(first, back=True) == {"shop": "changed", "same": "untouched"}
    assert system.tree() == {"shop": "one\n", "same": "same\n"}


def test_a_way_back_that_can_open_no_file_is_not_over(system: System) -> None:
    """Too many open files say nothing of what is there: it is not taken for somebody else's, and put back as soon as that is possible."""
    first, second = system.release("1", {"shop": "one\n"}), system.release("2", {"shop": "two\n", "new": "new\n"})
    system.flip(first)
    changes = journaled(system.propose(second).changes)
    overlay.prepare(system.host, "0" * 12, changes)
    overlay.switch(system.host, "0" * 12, changes)
    lowest, limits, failed = os.dup(0), resource.getrlimit(resource.RLIMIT_NOFILE), 0
    os.close(lowest)
    for room in range(8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, limits[1]))
        try:
            assert overlay.restore(system.host, "0" * 12, changes) == ()
        except OSError:
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert 0 < failed < 8
    assert system.tree() == {"shop": "one\n"}


def test_a_mode_is_a_change(system: System) -> None:
    """The same bytes with another mode are replaced; an operator's chmod is an edit."""
    first, second = system.release("1", {"shop": "one\n"}), system.release("2", {"shop": ("one\n", 0o755)})
    system.flip(first)
    assert system.flip(second) == {"shop": "changed"}
    assert (system.etc / "shop").stat().st_mode & 0o777 == 0o755
    (system.etc / "shop").chmod(0o600)
    assert system.flip(system.release("3", {"shop": ("one\n", 0o755)})) == {"shop": "kept"}
    assert (system.etc / "shop").stat().st_mode & 0o777 == 0o600
    [problem] = system.propose(first).refusals
    assert "has another mode here (755 → 600)" in problem.what


def test_an_edit_that_the_release_does_not_touch_is_kept(system: System) -> None:
    """Edited here, not changed between the releases: it stays, now and on the way back, and is no question."""
    first, second = system.release("1", {"shop": "one\n"}), system.release("2", {"shop": "one\n"})
    system.flip(first)
    write(system.etc / "shop", "edited\n")
    assert system.flip(second) == {"shop": "kept"}
    assert system.flip(first, back=True) == {"shop": "kept"}
    assert system.tree() == {"shop": "edited\n"}


def test_a_file_that_an_operator_removed_stays_away(system: System) -> None:
    """Removed here, not changed by the release: it does not come back by itself."""
    system.flip(system.release("1", {"shop": "one\n"}))
    (system.etc / "shop").unlink()
    assert system.flip(system.release("2", {"shop": "one\n"})) == {"shop": "kept"}
    assert system.tree() == {}
    [problem] = system.propose(system.release("3", {"shop": "three\n"})).refusals
    assert "was removed here, and 3 changes it" in problem.what


def test_an_edit_that_is_what_the_release_says_is_no_conflict(system: System) -> None:
    """An operator who was quicker than the release: the same bytes, nothing to decide."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "two\n")
    assert system.flip(system.release("2", {"shop": "two\n"})) == {"shop": "untouched"}
    assert system.flip(system.release("3", {"shop": "three\n"})) == {"shop": "changed"}


@pytest.mark.parametrize("edit", ["edited\n", None], ids=["edited", "removed"])
@pytest.mark.parametrize("policy", ["refuse", "keep-local", "take-new", "beside"])
@pytest.mark.parametrize("said", ["by the recipe", "by the operator"])
def test_a_conflict(system: System, policy: str, edit: str | None, said: str) -> None:
    """Edited here and changed by the release: what the recipe or the operator says is done, and no edit is lost."""
    first = system.release("1", {"shop": "one\n"})
    by_recipe = said == "by the recipe"
    second = system.release("2", {"shop": "two\n"}, {"sys/*": policy} if by_recipe else {"sys/*": "refuse"})
    answers = () if by_recipe else (("sys/shop", policy),)
    system.flip(first)
    write(system.etc / "shop", edit) if edit else (system.etc / "shop").unlink()
    before = system.tree()
    if policy == "refuse":
        proposal = system.propose(second, answers)
        assert system.kinds(proposal) == {"shop": "conflict"}
        assert "keep-local, =take-new or =beside" in proposal.refusals[0].remedy
        assert system.tree() == before
        return
    kinds = system.flip(second, answers)
    after = {
        "keep-local": before,
        "take-new": {"shop": "two\n", **({saved("shop", edit): edit} if edit else {})},
        "beside": {**before, offered("shop", "two\n"): "two\n"},
    }[policy]
    assert system.tree() == after
    assert kinds["shop"] == {"keep-local": "kept", "take-new": "changed" if edit else "new", "beside": "beside"}[policy]
    system.flip(first, back=True)
    assert system.tree() == before, "the way back brings the edit back, and takes away what lay beside it"


def test_what_services_are_told(system: System) -> None:
    """A file that stays, with the release's beside it, is no change for what reads it; one that is replaced is, its saved edit is not another."""
    system.flip(system.release("1", {"shop": "one\n", "same": "one\n", "gone": "one\n"}))
    write(system.etc / "shop", "edited\n")
    second = system.release("2", {"shop": "two\n", "same": "one\n"})
    assert overlay.laid(system.propose(second, [("sys/shop", "beside")]).changes) == {"sys/gone"}
    assert overlay.laid(system.propose(second, [("sys/shop", "take-new")]).changes) == {"sys/gone", "sys/shop"}


def test_what_was_decided_is_not_asked_again(system: System) -> None:
    """An edit that was kept against one release is no conflict for the next one that has the same file."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "edited\n")
    system.flip(system.release("2", {"shop": "two\n"}), [("**", "beside")])
    assert system.flip(system.release("3", {"shop": "two\n"})) == {"shop": "kept"}
    assert system.tree() == {"shop": "edited\n", offered("shop", "two\n"): "two\n"}, "what was put beside stays as long as it says something"
    assert system.propose(system.release("4", {"shop": "four\n"})).refusals
    system.flip(system.release("5", {"shop": "five\n"}), [("sys/shop", "beside")])
    assert system.tree() == {"shop": "edited\n", offered("shop", "five\n"): "five\n"}, "and no longer"
    write(system.etc / "shop", "five\n")
    system.flip(system.release("6", {"shop": "five\n"}))
    assert system.tree() == {"shop": "five\n"}, "merged: nothing is left beside it"


def test_a_second_file_that_somebody_edits_is_theirs(system: System) -> None:
    """What was put beside and then edited is never removed."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "edited\n")
    system.flip(system.release("2", {"shop": "two\n"}), [("**", "beside")])
    write(system.etc / offered("shop", "two\n"), "merging\n")
    system.flip(system.release("3", {"shop": "three\n"}), [("**", "take-new")])
    assert system.tree() == {"shop": "three\n", offered("shop", "two\n"): "merging\n", saved("shop", "edited\n"): "edited\n"}


def test_a_saved_edit_stays_until_it_is_back(system: System) -> None:
    """The edit that gave way lies beside the file through later releases; an operator may remove it."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", ("edited\n", 0o640))
    system.flip(system.release("2", {"shop": "two\n"}), [("**", "take-new")])
    system.flip(system.release("3", {"shop": "three\n"}))
    assert system.tree() == {"shop": "three\n", saved("shop", "edited\n"): "edited\n 640"}
    (system.etc / saved("shop", "edited\n")).unlink()
    system.flip(system.release("4", {"shop": "four\n"}))
    assert system.tree() == {"shop": "four\n"}


@pytest.mark.parametrize("policy", ["keep-local", "take-new", "beside"])
def test_a_file_that_was_there_before_us(system: System, policy: str) -> None:
    """A host's own file is a conflict the first time; when no release has the path any more, it is there again, byte for byte."""
    write(system.etc / "shop", ("the host's own\n", 0o600))
    before = system.tree()
    none, first = system.release("0", {}), system.release("1", {"shop": "one\n"})
    system.flip(none)
    assert "was here already" in system.propose(first).refusals[0].what
    system.flip(first, [("**", policy)])
    if policy == "take-new":
        assert system.tree() == {"shop": "one\n", saved("shop", "the host's own\n"): "the host's own\n 600"}
    system.flip(system.release("2", {}))
    assert system.tree() == before
    system.flip(first, [("**", policy)])
    system.flip(none, back=True)
    assert system.tree() == before


def test_a_file_that_is_there_already_and_the_same_is_nobodys_loss(system: System) -> None:
    """The host had exactly this file: it is ours now, and stays when we go."""
    write(system.etc / "shop", "one\n")
    assert system.flip(system.release("1", {"shop": "one\n"})) == {"shop": "untouched"}
    system.flip(system.release("2", {}))
    assert system.tree() == {"shop": "one\n"}


def test_what_no_release_has_any_more_is_removed(system: System) -> None:
    """A file that the next release lacks goes, with the directories that were made for it; the way back brings it again."""
    first, second = system.release("1", {"shop": "one\n", "made/for/it": "deep\n"}), system.release("2", {"shop": "one\n"})
    assert system.flip(first) == {"shop": "new", "made/for/it": "new"}
    with_it = system.tree()
    assert system.flip(second) == {"shop": "untouched", "made/for/it": "removed"}
    assert system.tree() == {"shop": "one\n"}
    assert system.flip(first, back=True)["made/for/it"] == "new"
    assert system.tree() == with_it


def test_a_directory_with_something_else_in_it_stays(system: System) -> None:
    """A directory that was made for a release is removed only when it is empty."""
    system.flip(system.release("1", {"made/shop": "one\n"}))
    write(system.etc / "made/operator", "mine\n")
    system.flip(system.release("2", {}))
    assert system.tree() == {"made": "dir", "made/operator": "mine\n"}


@pytest.mark.parametrize("policy", ["refuse", "keep-local", "take-new", "beside"])
def test_an_edited_file_that_the_release_has_no_more(system: System, policy: str) -> None:
    """It is a conflict like another: kept, and nobody's from then on; or saved beside, and removed."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "edited\n")
    second = system.release("2", {}, {"sys/shop": policy})
    if policy == "refuse":
        assert "has it no more" in system.propose(second).refusals[0].what
        return
    system.flip(second)
    assert system.tree() == {saved("shop", "edited\n"): "edited\n"} if policy == "take-new" else {"shop": "edited\n"}
    system.flip(system.release("3", {}))
    assert system.tree() == {saved("shop", "edited\n"): "edited\n"} if policy == "take-new" else {"shop": "edited\n"}


def test_rollback_restores_what_was_there_edits_included(system: System) -> None:
    """Under release 1 an operator edited, removed and chmodded; release 2 took it all over: the way back is byte for byte, mode for mode."""
    files = {"edited": "one\n", "removed": "one\n", "chmodded": "one\n", "plain": "one\n", "gone": "one\n"}
    first = system.release("1", files)
    second = system.release("2", {**{name: "two\n" for name in files if name != "gone"}, "added": "two\n", "new/dir/added": "two\n"})
    system.flip(first)
    write(system.etc / "edited", "by hand\n")
    (system.etc / "removed").unlink()
    (system.etc / "chmodded").chmod(0o600)
    before = system.tree()
    system.flip(second, [("**", "take-new")])
    assert system.tree() == {
        **dict.fromkeys(("edited", "removed", "chmodded", "plain", "added", "new/dir/added"), "two\n"),
        **{"new": "dir", "new/dir": "dir"},
        saved("edited", "by hand\n"): "by hand\n",
        saved("chmodded", "one\n"): "one\n 600",
    }
    kinds = system.flip(first, back=True)
    assert system.tree() == before
    assert kinds["edited"] == kinds["chmodded"] == "restored"
    assert kinds["removed"] == kinds["added"] == "removed"
    assert kinds["gone"] == "new"


def test_rollback_saves_what_was_edited_since_and_asks_nothing(system: System) -> None:
    """An edit under the newer release to a file that the older one has otherwise gives way, saved beside; the newer release gets it back."""
    first, second = (
        system.release("1", {"shop": "one\n", "same": "same\n"}),
        system.release("2", {"shop": "two\n", "same": "same\n", "added": "two\n"}),
    )
    system.flip(first)
    system.flip(second)
    for name in ("shop", "same", "added"):
        write(system.etc / name, f"{name} by hand\n")
    with_edits = system.tree()
    assert system.propose(first).refusals, "going forward would have asked"
    system.flip(first, back=True)
    assert system.tree() == {
        "shop": "one\n",
        "same": "same by hand\n",
        saved("shop", "shop by hand\n"): "shop by hand\n",
        saved("added", "added by hand\n"): "added by hand\n",
    }
    system.flip(second)
    assert system.tree() == with_edits


def test_the_operator_may_keep_an_edit_on_the_way_back(system: System) -> None:
    """What is said with --etc holds for a rollback too."""
    first, second = system.release("1", {"shop": "one\n"}), system.release("2", {"shop": "two\n"})
    system.flip(first)
    system.flip(second)
    write(system.etc / "shop", "by hand\n")
    assert system.flip(first, [("sys/shop", "keep-local")], back=True) == {"shop": "kept"}
    assert system.tree() == {"shop": "by hand\n"}


def test_rollback_over_several_releases(system: System) -> None:
    """What came and went in between is as it was under the one that is returned to."""
    first = system.release("1", {"shop": "one\n"})
    releases = [system.release(str(n), {"shop": f"{n}\n", f"only{n}": f"{n}\n"}) for n in range(2, 5)]
    system.flip(first)
    write(system.etc / "shop", "by hand\n")
    before = system.tree()
    system.flip(releases[0], [("**", "take-new")])
    for release in releases[1:]:
        system.flip(release)
    system.flip(first, back=True)
    assert system.tree() == before


def test_the_longest_rule_wins(system: System) -> None:
    """Of several patterns the most exact decides, whatever their order; what the operator says goes before all of them."""
    system.flip(system.release("1", {"a/x": "one\n", "a/y": "one\n"}))
    for name in ("a/x", "a/y"):
        write(system.etc / name, "by hand\n")
    second = system.release("2", {"a/x": "two\n", "a/y": "two\n"}, {"**": "refuse", "sys/a/x": "take-new", "sys/a/*": "keep-local"})
    assert {"a/x": "changed", "a/y": "kept"}.items() <= system.kinds(system.propose(second)).items()
    kinds = system.kinds(system.propose(second, [("**", "beside"), (str(system.etc / "a/y"), "take-new")]))
    assert {"a/x": "beside", "a/y": "changed"}.items() <= kinds.items()


def test_an_answer_about_no_file_is_refused(system: System) -> None:
    """A path that was mistyped decides nothing in silence."""
    [problem] = system.propose(system.release("1", {"shop": "one\n"}), [("sys/shp", "take-new")]).refusals
    assert (problem.where, "sys/shp" in problem.what) == ("--etc", True)


def test_an_edit_between_decision_and_preparation(system: System) -> None:
    """An operator who saves a file while the release is unpacked is noticed; nothing has changed."""
    system.flip(system.release("1", {"shop": "one\n"}))
    changes = system.propose(system.release("2", {"shop": "two\n"})).changes
    write(system.etc / "shop", "quick\n")
    with pytest.raises(OverlayError) as caught:
        overlay.prepare(system.host, "a" * 12, changes)
    assert str(system.etc / "shop") in caught.value.problems[0].what
    [told] = overlay.restore(system.host, "a" * 12, changes)
    assert "was changed by somebody else" in told
    assert system.tree() == {"shop": "quick\n"}


@pytest.mark.parametrize("how", ["edited", "removed", "chmodded", "a link", "a directory"])
def test_an_edit_between_preparation_and_switch(system: System, how: str) -> None:
    """What an operator does to a file right before the switch stops it; the other files go back, this one stays."""
    system.flip(system.release("1", {"a": "one\n", "shop": "one\n", "z": "one\n"}))
    changes = journaled(system.propose(system.release("2", {"a": "two\n", "shop": "two\n", "z": "two\n", "zz/new": "two\n"})).changes)
    overlay.prepare(system.host, "a" * 12, changes)
    path = system.etc / "shop"
    if how == "chmodded":
        path.chmod(0o600)
    else:
        path.unlink()
    if how == "edited":
        write(path, "quick\n")
    elif how == "a link":
        path.symlink_to("a")
    elif how == "a directory":
        path.mkdir()
    with pytest.raises(OverlayError):
        overlay.switch(system.host, "a" * 12, changes)
    assert (system.etc / "a").read_text() == "two\n"
    for _ in range(2):
        [told] = overlay.restore(system.host, "a" * 12, changes)
        assert str(path) in told
    found = system.tree()
    assert found.pop("shop", "") == {"edited": "quick\n", "removed": "", "chmodded": "one\n 600", "a link": "other 777", "a directory": "dir"}[how]
    assert found == {"a": "one\n", "z": "one\n"}


def test_an_edit_after_the_switch_survives_the_way_back(system: System) -> None:
    """A health check fails, and meanwhile somebody has mended the new file: theirs stays, and what was there lies beside it."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "by hand\n")
    changes = system.propose(system.release("2", {"shop": "two\n"}), [("**", "take-new")]).changes
    overlay.prepare(system.host, "a" * 12, changes)
    overlay.switch(system.host, "a" * 12, changes)
    write(system.etc / "shop", "mended\n")
    [told] = overlay.restore(system.host, "a" * 12, changes)
    assert "changed by somebody else" in told
    assert system.tree() == {"shop": "mended\n", saved("shop", "by hand\n"): "by hand\n"}


def test_the_way_back_can_be_gone_again_and_again(system: System) -> None:
    """After preparation, after the switch, twice, and when nothing was done yet: byte for byte as before, and no file too many."""
    system.flip(system.release("1", {"shop": "one\n", "gone": "one\n"}))
    write(system.etc / "shop", ("by hand\n", 0o640))
    before, ledger = system.tree(), (system.root / ".install/ledger.json").read_bytes()
    changes = journaled(system.propose(system.release("2", {"shop": "two\n", "new/deep": "two\n"}), [("**", "take-new")]).changes)
    for steps in range(3):
        if steps > 0:
            overlay.prepare(system.host, "a" * 12, changes)
        if steps > 1:
            overlay.switch(system.host, "a" * 12, changes)
            assert system.tree() != before
        for _ in range(2):
            assert overlay.restore(system.host, "a" * 12, changes) == ()
            assert system.tree() == before
    overlay.clear(system.host)
    assert system.blobs() == []
    assert (system.root / ".install/ledger.json").read_bytes() == ledger


def test_a_directory_that_is_gone_is_told(system: System) -> None:
    """Somebody removed the whole directory during a switch: the rest goes back, and that is said."""
    system.flip(system.release("1", {"dir/shop": "one\n", "shop": "one\n"}))
    changes = system.propose(system.release("2", {"dir/shop": "two\n", "shop": "two\n"})).changes
    overlay.prepare(system.host, "a" * 12, changes)
    overlay.switch(system.host, "a" * 12, changes)
    (system.etc / "dir/shop").unlink()
    (system.etc / "dir").rmdir()
    [told] = overlay.restore(system.host, "a" * 12, changes)
    assert "its directory is gone" in told
    assert system.tree() == {"shop": "one\n"}


def test_kept_bytes_that_were_damaged(system: System) -> None:
    """What is kept is compared with its digest: a damaged copy is never put back, and the other files are."""
    system.flip(system.release("1", {"a": "one\n", "b": "another one\n"}))
    changes = system.propose(system.release("2", {"a": "two\n", "b": "two\n"})).changes
    overlay.prepare(system.host, "a" * 12, changes)
    overlay.switch(system.host, "a" * 12, changes)
    kept = system.root / ".install/overlay" / digest("one\n")
    kept.write_text("damaged\n")
    with pytest.raises(DamagedError):
        overlay.restore(system.host, "a" * 12, changes)
    assert system.tree()["b"] == "another one\n"
    kept.write_text("one\n")
    assert overlay.restore(system.host, "a" * 12, changes) == ()
    assert system.tree() == {"a": "one\n", "b": "another one\n"}


def test_bytes_are_kept_as_long_as_a_release_that_needs_them(system: System) -> None:
    """An edit is kept while the release under which it was made is here; when that is pruned, so are the bytes."""
    first = system.release("1", {"shop": "one\n"})
    system.flip(first)
    write(system.etc / "shop", "by hand\n")
    system.flip(system.release("2", {"shop": "two\n"}), [("**", "take-new")])
    assert system.blobs() == [digest("by hand\n")]
    assert (system.root / ".install/overlay" / digest("by hand\n")).stat().st_mode & 0o777 == 0o600
    third, second = system.release("3", {"shop": "three\n"}), system.live
    system.flip(third)
    assert digest("by hand\n") in system.blobs()
    (system.etc / saved("shop", "by hand\n")).unlink()
    for release in (first, second):  # under the second one it lay beside the file
        shutil.rmtree(system.root / "releases" / release)
    system.flip(system.release("4", {"shop": "four\n"}))
    assert digest("by hand\n") not in system.blobs()


def test_an_edit_whose_kept_bytes_are_gone(system: System) -> None:
    """Somebody emptied .install/overlay: a rollback lays down the release's own file; that what was there before us is lost is refused."""
    write(system.etc / "own", "the host's own\n")
    none, first = system.release("0", {}), system.release("1", {"shop": "one\n", "own": "one\n"})
    system.flip(none)
    system.flip(first, [("sys/own", "take-new")])
    write(system.etc / "shop", "by hand\n")
    system.flip(system.release("2", {"shop": "two\n", "own": "two\n"}), [("**", "take-new")])
    for blob in (system.root / ".install/overlay").iterdir():
        blob.unlink()
    [told] = [each for each in system.propose(first, back=True).verdicts if each.path.endswith("/shop")]
    assert (told.lost, told.words) == (True, "what was there when 1 was left is not kept any more: its own counts")
    assert system.flip(first, back=True)["shop"] == "changed"
    assert (system.etc / "shop").read_text() == "one\n"
    [problem] = system.propose(none, back=True).refusals
    assert "before is not in .install/overlay/" in problem.what


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file any group")
def test_a_group_is_kept(system: System) -> None:
    """A file's group and mode that an operator set survive replacing and the way back."""
    first, second = system.release("1", {"shop": "one\n"}), system.release("2", {"shop": "two\n"})
    system.flip(first)
    os.chown(system.etc / "shop", -1, 12345)
    system.flip(second)
    assert (system.etc / "shop").stat().st_gid == 12345
    system.flip(first, back=True)
    assert (system.etc / "shop").stat().st_gid == 12345


def test_what_is_kept_is_named_in_no_directory_listing_that_matters(system: System) -> None:
    """While files are swapped, nothing lies beside them that a glob or a list of cron, nginx or logrotate would take for configuration."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "by hand\n")
    changes = system.propose(system.release("2", {"shop": "two\n", "other": "two\n"}), [("**", "take-new")]).changes
    overlay.prepare(system.host, "a" * 12, changes)
    beside = [name for name in os.listdir(system.etc) if name != "shop"]
    assert len(beside) == 3
    assert all(name.startswith(".") and name.endswith("~") for name in beside)
    assert [path.name for path in Path(system.etc).glob("[!.]*")] == ["shop"]
    overlay.restore(system.host, "a" * 12, changes)


def test_leftovers_of_a_dead_transaction(system: System) -> None:
    """Temporary files beside ours and bytes that nobody needs are found and removed; those of a live transaction and of other people are not."""
    system.flip(system.release("1", {"shop": "one\n"}))
    changes = system.propose(system.release("2", {"shop": "two\n"})).changes
    overlay.prepare(system.host, "a" * 12, changes)
    write(system.etc / ".vimrc.rel-tmp.notours~", "mine\n")
    assert overlay.leftovers(system.host, "a" * 12) == ()
    dead = {str(system.etc / f".shop.rel-tmp.{'a' * 12}~"), str(system.root / ".install/overlay" / digest("one\n"))}
    assert set(overlay.leftovers(system.host)) == dead
    assert set(overlay.clear(system.host)) == dead
    assert overlay.leftovers(system.host) == ()
    assert system.tree() == {"shop": "one\n", ".vimrc.rel-tmp.notours~": "mine\n"}
