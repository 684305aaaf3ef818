"""Who builds: one shell script each, run in its own directory, which does what is still to do and leaves its result in ``out/``.

The same script builds anew (in an empty directory) and again (in the directory as its last build left it, with whatever it caches).
Variables: REPO, LOCK, WHEELS, PYTHON (the target interpreter), JOBS (processors), HERE.
"""

from __future__ import annotations

from dataclasses import dataclass

from .application import IMPORT
from .measure import Step

OURS = "build-release"
_SOURCE = """
rm -rf {0} && mkdir -p {0}
git -C "$REPO" archive HEAD bench_app | tar x -C {0}
"""
_COMPILED = _SOURCE + '"$PYTHON" -m compileall -q -j "$JOBS" --invalidation-mode checked-hash {0}\n'
_UV = """
export UV_CACHE_DIR="$HERE/cache"
[ -d tree/venv ] || uv venv --quiet --relocatable --python "$PYTHON" tree/venv
uv pip sync --quiet --offline --no-index --find-links "$WHEELS" --require-hashes --compile-bytecode --python tree/venv/bin/python "$LOCK"
"""
_PEX = """
export PEX_ROOT="$HERE/root"
pex --python "$PYTHON" {0} --jobs "$JOBS" --pre-resolved-dists "$WHEELS" --requirement "$LOCK" --sources-directory src \\
    --entry-point bench_app.ready:main --venv --include-tools --output-file out/app.pex
"""
_UNPACKED = 'rm -rf "$HERE.check" && mkdir "$HERE.check" && cd "$HERE.check"\n'


@dataclass(frozen=True)
class Builder:
    """``script`` builds; ``keeps`` names what "nothing cached" leaves in place (patterns for find); ``check`` proves ``out/``.

    ``settle`` is run, untimed, in a directory that was copied, before it is built in again.
    """

    name: str
    place: str
    script: str
    check: str
    keeps: str = ""
    settle: str = ""
    ships_byte_code: bool = True
    remark: str = ""

    def step(self, before: str) -> Step:
        check = f'{_UNPACKED}{self.check}\nrm -rf "$HERE.check"'
        return Step(self.name, self.place, self.script, before, check, check_once=True, ships_byte_code=self.ships_byte_code, remark=self.remark)

    def anew(self) -> Step:
        """A build with nothing cached but downloads."""
        kept = f"! -path ./cache ! -path './{self.keeps}*'" if self.keeps else ""
        return self.step(f'mkdir -p "$HERE" && cd "$HERE" && find . -depth -mindepth 1 {kept} -delete')

    def again(self, branch: str) -> Step:
        """A build in the directory of the last one, after ``branch`` was checked out."""
        last = 'rm -rf "$HERE" && cp -a "$HERE.base" "$HERE" && git -C "$REPO" checkout --quiet main'
        return self.step("\n".join([last, *([self.settle] if self.settle else []), f'git -C "$REPO" checkout --quiet "{branch}"']))


def _ours(name: str, place: str, recipe: str, check: str, remark: str = "") -> Builder:
    command = 'BUILD_RELEASE_CACHE="$HERE/cache" build-release'
    script = f'{command} "$REPO/{recipe}" -o out --jobs "$JOBS" --json'
    # A cache that was copied is read once, to the last byte; where people rebuild nobody has copied it.
    settle = f'{command} fetch "$REPO/{recipe}" >/dev/null'
    return Builder(name, place, script, check, keeps="cache/distributions", settle=settle, remark=remark)


_INSTALL_OURS = """
artifact=$(ls -t "$HERE"/out/*.tgz | head -n 1)
tar xzf "$artifact" --occurrence=1 release/install-release
"$PYTHON" release/install-release "$artifact" --root "$PWD/root" --allow-root
"""
CHECK_OURS = f"root/current/bin/run python -c '{IMPORT}'"

BUILDERS = (
    _ours(OURS, "build/ours", "bench.toml", _INSTALL_OURS + CHECK_OURS),
    Builder(
        "virtualenv + pip + tar czf",
        "build/pip",
        """
        [ -d tree/venv ] || virtualenv --quiet --no-download --python "$PYTHON" tree/venv
        tree/venv/bin/python -m pip install --quiet --no-index --find-links "$WHEELS" --require-hashes --no-deps --requirement "$LOCK"
        """
        + _COMPILED.format("tree/src")
        + "mkdir -p out && tar czf out/tree.tgz -C tree .",
        f"tar xzf \"$HERE/out/tree.tgz\" && PYTHONPATH=src venv/bin/python -c '{IMPORT}'",
    ),
    Builder(
        "uv + tar czf",
        "build/uv",
        _UV + _COMPILED.format("tree/src") + "mkdir -p out && tar czf out/tree.tgz -C tree .",
        f"tar xzf \"$HERE/out/tree.tgz\" && PYTHONPATH=src venv/bin/python -c '{IMPORT}'",
    ),
    Builder(
        "uv + venv-pack",
        "build/venv-pack",
        _UV + _COMPILED.format("tree/venv/src") + "mkdir -p out && venv-pack --quiet --force --prefix tree/venv --output out/venv.tar.gz",
        f"tar xzf \"$HERE/out/venv.tar.gz\" && PYTHONPATH=src bin/python -c '{IMPORT}'",
    ),
    Builder(
        "pex --venv",
        "build/pex",
        _SOURCE.format("src") + _PEX.format(""),
        f'PEX_ROOT="$PWD/root" PEX_INTERPRETER=1 "$PYTHON" "$HERE/out/app.pex" -c \'{IMPORT}\'',
        ships_byte_code=False,
    ),
    Builder(
        "shiv",
        "build/shiv",
        _SOURCE.format("src")
        + """
        mkdir -p out && shiv --python "$PYTHON" --output-file out/app.pyz --entry-point bench_app.ready:main --site-packages src \\
            --quiet --no-index --find-links "$WHEELS" --require-hashes --no-deps --requirement "$LOCK"
        """,
        f'SHIV_ROOT="$PWD" SHIV_INTERPRETER=1 "$PYTHON" "$HERE/out/app.pyz" -c \'{IMPORT}\'',
        ships_byte_code=False,
    ),
)

REBUILDERS = tuple(builder for builder in BUILDERS if builder.name not in ("virtualenv + pip + tar czf", "shiv"))
"""Those that can win when little has changed: pip's way is uv's and slower, shiv keeps nothing."""

WHEELS_ONLY = (
    _ours(f"{OURS}, kind wheelhouse", "build/wheelhouse", "wheelhouse.toml", _INSTALL_OURS + CHECK_OURS),
    Builder(
        "pex --venv --no-pre-install-wheels",
        "build/pex-wheels",
        _SOURCE.format("src") + _PEX.format("--no-pre-install-wheels"),
        f'PEX_ROOT="$PWD/root" PEX_INTERPRETER=1 "$PYTHON" "$HERE/out/app.pex" -c \'{IMPORT}\'',
        ships_byte_code=False,
    ),
)
"""Those that carry wheels as they are: the host makes the environment of them. A game of its own."""
