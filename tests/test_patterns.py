"""Patterns as a .gitignore spells them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.source.patterns import matcher, may_match_below

PATHS = [
    "a.py",
    "docs/index.md",
    "docs/img/a.psd",
    "src/docs/x.md",
    "src/a.py",
    "src/deep/er/a.py",
    "src/deep/er/b.txt",
    "web/static/app.js",
    "web/static/app.min.js",
    "a[1].txt",
    "ab.txt",
    "src/.env",
    "x/y/z/w.txt",
    "build",
    "src/build/out.o",
    "we+ird/na+me.txt",
    "src/a^b",
    "src/a-b",
    "src/*",
]
PATTERNS = [
    r"*.py",
    r"docs",
    r"docs/",
    r"/docs/",
    r"/docs",
    r"src/*.py",
    r"/src/**/a.py",
    r"**/er/",
    r"src/**",
    r"**/a.py",
    r"*.min.*",
    r"a?.txt",
    r"a[[]1].txt",
    r"[!a]*.py",
    r"/build",
    r"build/",
    r"build",
    r"x/**/w.txt",
    r"x/*/w.txt",
    r"we+ird/",
    r"src/d*p/",
    r"src/\*",
    r"src/a[-^]b",
    r"src/a[!-]b",
    r"**",
    r"web/static",
    r"*/static/*.js",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_git_ignores_by_it(pattern: str, tmp_path: Path) -> None:
    """Each pattern matches exactly the paths that git itself ignores when it stands in .gitignore."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".git" / "info" / "exclude").write_text(pattern + "\n")
    ask = [
        "git",
        "-C",
        tmp_path,
        "check-ignore",
        "-z",
        "--stdin",
        "--no-index",
    ]
    said = subprocess.run(ask, input="\0".join(PATHS), capture_output=True, text=True)
    matches = matcher([pattern])
    assert {path for path in PATHS if matches(path)} == set(said.stdout.split("\0")) - {""}


def test_the_last_pattern_that_matches_decides() -> None:
    """A pattern with an exclamation mark takes back what one before it matched, and one after it wins again."""
    matches = matcher(["docs/", "!docs/keep/", "docs/keep/*.psd"])
    assert [matches(path) for path in ("docs/a", "docs/keep/a", "docs/keep/a.psd", "other")] == [True, False, True, False]


@pytest.mark.parametrize(
    ("pattern", "directory", "may"),
    [
        ("*.py", "vendor/lib", True),
        ("/shop/", "vendor/lib", False),
        ("/vendor/", "vendor/lib", True),
        ("/vendor/lib/py/*.py", "vendor/lib", True),
        ("/vendor/other", "vendor/lib", False),
        ("**/py/", "vendor/lib", True),
        ("/v*/lib", "vendor/lib", True),
    ],
)
def test_a_pattern_may_match_below_a_directory(pattern: str, directory: str, may: bool) -> None:
    """Whether a pattern could match below a directory of unknown content is read from its parts."""
    assert may_match_below(pattern, directory) is may
