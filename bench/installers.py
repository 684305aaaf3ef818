"""Who installs: one shell script each, run in an empty directory that plays the host, on what the builders made.

Variables: PRODUCTS (what is installed from, see ``products``), LOCK, WHEELS, PYTHON, HERE.
"""

from __future__ import annotations

from .application import IMPORT
from .builders import CHECK_OURS, OURS
from .measure import Step

HOST = "host"
_EMPTY = 'rm -rf "$HERE"'
_PLAIN = f"PYTHONPATH=release/src:release/venv/lib/python3.11/site-packages \"$PYTHON\" -c '{IMPORT}'"
_VENV = f"PYTHONPATH=src venv/bin/python -c '{IMPORT}'"
_SOURCE = '\ntar xzf "$PRODUCTS/source-base.tgz"'
_UV = """
uv venv --quiet --python "$PYTHON" venv
uv pip sync --quiet --offline --no-index --find-links "$WHEELS" --require-hashes {0} --python venv/bin/python "$LOCK"
"""
TAR = "tar xzf"
UV_WARM = "uv, warm cache, new venv"


def _install(artifact: str, under: str = "") -> str:
    """From the file alone, as on a host that has nothing. ``under``: a program that runs the installer."""
    return f"""
    tar xzf "$PRODUCTS/{artifact}.tgz" --occurrence=1 release/install-release
    "$PYTHON" {under} release/install-release "$PRODUCTS/{artifact}.tgz" --root "$PWD/root" --python "$PYTHON" --allow-root --json
    """


def _upgrade(artifact: str) -> str:
    return f'"$PYTHON" -IS root/bin/install-release "$PRODUCTS/{artifact}.tgz" --python "$PYTHON" --allow-root --json'


_NEW = f'{_EMPTY} && mkdir "$HERE" && cd "$HERE"\n'
_BASE = _NEW + _install("base")


def _step(name: str, script: str, check: str, before: str = _EMPTY, place: str = HOST, remark: str = "") -> Step:
    return Step(name, place, script, before, check, weigh=name == OURS, remark=remark)


def on_an_empty_host() -> tuple[Step, ...]:
    """Everything is to be made. What ends without byte code says so."""
    return (
        _step(OURS, _install("base"), CHECK_OURS, remark="digests checked"),
        _step(TAR, 'tar xzf "$PRODUCTS/plain-base.tgz"', _PLAIN, remark="the same tree"),
        _step("tar xf, not compressed", 'tar xf "$PRODUCTS/plain-base.tar"', _PLAIN, remark="the same tree"),
        _step("python -m tarfile", '"$PYTHON" -m tarfile --filter tar -e "$PRODUCTS/plain-base.tgz" .', _PLAIN, remark="the same tree"),
        _step("venv-pack: tar xzf", 'mkdir venv && tar xzf "$PRODUCTS/venv.tar.gz" -C venv', f"PYTHONPATH=venv/src venv/bin/python -c '{IMPORT}'"),
        _step(
            "shiv, first run",
            'SHIV_ROOT="$HERE" "$PYTHON" "$PRODUCTS/app.pyz"',
            f'SHIV_ROOT="$HERE" SHIV_INTERPRETER=1 "$PYTHON" "$PRODUCTS/app.pyz" -c \'{IMPORT}\'',
            remark="no byte code",
        ),
        _step("uv, cold cache", 'export UV_CACHE_DIR="$HERE/cache"' + _UV.format("--compile-bytecode") + _SOURCE, _VENV),
        _step("uv, warm cache", 'export UV_CACHE_DIR="$PRODUCTS/uv"' + _UV.format("--compile-bytecode") + _SOURCE, _VENV),
        _step(
            "uv, warm cache, no byte code",
            'export UV_CACHE_DIR="$PRODUCTS/uv"' + _UV.format("") + _SOURCE,
            _VENV,
            remark="no byte code; links into its cache",
        ),
        _step(
            "pex-tools venv",
            'PEX_TOOLS=1 PEX_ROOT="$HERE/root" "$PYTHON" "$PRODUCTS/app.pex" venv --compile venv',
            f"venv/bin/python -c '{IMPORT}'",
        ),
        _step(
            "virtualenv + pip --no-index",
            """
            virtualenv --quiet --no-download --python "$PYTHON" venv
            venv/bin/python -m pip install --quiet --no-index --find-links "$WHEELS" --require-hashes --no-deps --requirement "$LOCK"
            """
            + _SOURCE,
            _VENV,
        ),
    )


def of_new_source() -> tuple[Step, ...]:
    """A release is there, and only the source has changed."""
    changed = "\ntest \"$({0} -c 'import bench_app.part_07.module_07 as it; print(it.EDIT)')\" = 0"
    uv = 'export UV_CACHE_DIR="$PRODUCTS/uv"' + _UV.format("") + '\ntar xzf "$PRODUCTS/source-edit.tgz"'
    in_place = _UV.format("--compile-bytecode").strip().splitlines()[1]
    return (
        _step(OURS, _upgrade("edit"), CHECK_OURS + changed.format("root/current/bin/run python"), _BASE, remark="a new release, the old one stays"),
        _step(UV_WARM, uv, _VENV + changed.format("PYTHONPATH=src venv/bin/python"), remark="no byte code; links into its cache"),
        _step(
            "uv pip sync, in the live venv",
            f'export UV_CACHE_DIR="$PRODUCTS/uv"\n{in_place}\ntar xzf "$PRODUCTS/source-edit.tgz"',
            _VENV + changed.format("PYTHONPATH=src venv/bin/python"),
            f'{_NEW}export UV_CACHE_DIR="$PRODUCTS/uv"{_UV.format("--compile-bytecode")}{_SOURCE}',
            remark="what is live is changed: no way back",
        ),
        _step(TAR, 'tar xzf "$PRODUCTS/plain-edit.tgz"', _PLAIN, remark="the same tree, whole"),
    )


def of_one_new_wheel() -> tuple[Step, ...]:
    """A release is there, and one of 67 wheels has changed."""
    version = "\ntest \"$({0} -c 'import sentry_sdk; print(sentry_sdk.VERSION)')\" = 2.74.0"
    plain = version.format('PYTHONPATH=release/venv/lib/python3.11/site-packages "$PYTHON"')
    return (
        _step(
            OURS,
            _upgrade("changed"),
            CHECK_OURS + version.format("root/current/bin/run python"),
            _BASE,
            remark="a new environment, the old one stays",
        ),
        _step(TAR, 'tar xzf "$PRODUCTS/plain-changed.tgz"', _PLAIN + plain, remark="the same tree, whole"),
    )


def on_a_disk(place: str) -> tuple[Step, ...]:
    """What it costs that an installed release survives a power cut; ``place`` is on a real disk.

    Every run has a directory of its own, and all stay until the end: ext4 makes files slowly where as many were removed in the last minutes.
    """
    tar = 'tar xzf "$PRODUCTS/plain-base.tgz"'
    kinds = (
        (f"{OURS}, durable", _install("base"), CHECK_OURS, ""),
        (f"{OURS}, not synced", _install("base", under='"$BENCH/unsynced.py"'), CHECK_OURS, "its calls of fsync and syncfs do nothing"),
        (f"{TAR}, then sync", f"{tar} && sync", _PLAIN, "the same tree"),
        (TAR, tar, _PLAIN, "the same tree"),
    )
    return tuple(_step(name, script, check, "sync", f"{place}/{number}-$ROUND", remark) for number, (name, script, check, remark) in enumerate(kinds))


def starts() -> tuple[Step, ...]:
    """The first import of everything, and of Django alone, in what an install made and in what pip made."""
    small = "import django.conf; django.conf.settings.configure(); import django; django.setup()"
    return tuple(
        Step(f"{what}: {who}", place, f"{command} -c '{code}'")
        for what, code in (("everything", IMPORT), ("Django alone", small))
        for who, place, command in (
            (OURS, "started/ours", "cd root/current/src && ../venv/bin/python"),
            (f"{OURS}, bin/run", "started/ours", "root/current/bin/run python"),
            ("virtualenv + pip", "started/pip", "cd src && ../venv/bin/python"),
        )
    )
