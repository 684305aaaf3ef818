"""masking: what is told of hooks, checks and services holds no secret of the host's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from builder.install_release import masking
from builder.install_release.declared import Health, Hook

from .roots import artifact, install, run

PASSWORD = "hunter2secret"


def test_secrets_of_both_files_are_masked(tmp_path: Path) -> None:
    """Those of host.ini, the values of shared/env, the password of an address; not what is short, nor a path that is there."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/host.ini").write_text("[values]\nname_of_it = visible\n[secrets]\nkey = s3cr\n")
    (tmp_path / "shared/env").write_text(f"DB=postgres://u:{PASSWORD}@db/x\nDEBUG=true\nHOME_OF_IT={tmp_path}\nLINES='one line\nand one'\n")
    masked = masking.mask(str(tmp_path), "shop")
    assert masked(f"{PASSWORD} at postgres://u:{PASSWORD}@db/x") == "$DB at $DB"
    assert masked(f"visible s3cr true {tmp_path} \033") == f"visible @key@ true {tmp_path} ?"
    assert masking.mask(str(tmp_path / "nowhere"), "shop")(PASSWORD) == PASSWORD


def test_nothing_says_the_password_that_a_hook_or_a_check_said(tmp_path: Path) -> None:
    """Not the screen, not the history, not revisions.log, which everybody may read."""
    says = (sys.executable, "-c", "import os, sys; sys.exit('no connection with ' + os.environ['DB_PASSWORD'])")
    root = tmp_path / "root"
    install(root, artifact(tmp_path / "1", "1.0"))
    (root / "shared/env").write_text(f"DB_PASSWORD={PASSWORD}\n")
    (root / "shared/env").chmod(0o640)
    facts: dict[str, dict[str, Any]] = {"2.0": {"hooks": (Hook("post_flip", says),)}, "3.0": {"health": Health(command=says, passes=1, deadline=1)}}
    for version, declared in facts.items():
        done = run(artifact(tmp_path / version, version, **declared), "--root", root)
        assert done.returncode == 4
        assert "no connection with $DB_PASSWORD" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
    kept = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and PASSWORD.encode() in path.read_bytes()]
    assert kept == [root / "shared/env"]
