"""What the installers install from: made once by the builders, untimed."""

from __future__ import annotations

from collections.abc import Iterable

from .builders import BUILDERS, Builder
from .measure import Bench

_FETCH = """
for branch in main changed; do
    git -C "$REPO" checkout --quiet $branch
    for recipe in bench wheelhouse; do
        BUILD_RELEASE_CACHE="$HERE/cache" PIP_NO_INDEX=1 PIP_FIND_LINKS="$WHEELS" build-release fetch "$REPO/$recipe.toml" >/dev/null
    done
done
git -C "$REPO" checkout --quiet main
for place in ours wheelhouse; do mkdir -p build/$place && cp -a cache build/$place/; done
rm -rf cache
"""
_ONE = """
git -C "$REPO" checkout --quiet {branch}
rm -rf build/ours/out
(cd build/ours && HERE="$PWD" && {script})
cp build/ours/out/*.tgz "$PRODUCTS/{name}.tgz"
mkdir tree && tar xzf "$PRODUCTS/{name}.tgz" -C tree
rm -r tree/release/layers tree/release/release.json tree/release/install-release
tar cf "$PRODUCTS/plain-{name}.tar" -C tree release
gzip -6 < "$PRODUCTS/plain-{name}.tar" > "$PRODUCTS/plain-{name}.tgz"
rm -r tree
git -C "$REPO" archive --prefix src/ --output "$PRODUCTS/source-{name}.tgz" HEAD bench_app
git -C "$REPO" checkout --quiet main
"""
_PEERS = """
cp build/venv-pack/out/venv.tar.gz build/pex/out/app.pex build/shiv/out/app.pyz "$PRODUCTS/"
cp -a build/uv/cache "$PRODUCTS/uv"
"""
BRANCHES = {"base": "main", "edit": "edit-0", "changed": "changed"}


def fill_caches(bench: Bench) -> None:
    """Put what both locks name into our cache of downloads, as every other has it in the directory of wheels."""
    bench.shell(_FETCH)


def build(bench: Bench, builders: Iterable[Builder]) -> None:
    """Leave every builder's directory as its build of ``main`` leaves it, with a copy beside it, from which it builds again."""
    bench.shell('git -C "$REPO" checkout --quiet main')
    for builder in builders:
        bench.once(builder.anew(), 0, check=False)
        bench.shell(f'rm -rf "{builder.place}.base" && cp -a "{builder.place}" "{builder.place}.base"')


def make(bench: Bench) -> None:
    """Fill $PRODUCTS, once all have built: our artifacts of three commits, the same trees as plain archives, what the others made."""
    bench.shell('mkdir "$PRODUCTS"')
    for name, branch in BRANCHES.items():
        bench.shell(_ONE.format(name=name, branch=branch, script=BUILDERS[0].script))
    bench.shell(_PEERS)


def start(bench: Bench) -> None:
    """Lay out what the imports are timed in: our install, and what pip made."""
    bench.shell("""
        mkdir -p started/ours started/pip
        tar xzf "$PRODUCTS/base.tgz" -C started --occurrence=1 release/install-release
        "$PYTHON" started/release/install-release "$PRODUCTS/base.tgz" --root "$PWD/started/ours/root" --allow-root
        cp -a build/pip.base/tree/. started/pip/
    """)
