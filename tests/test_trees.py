"""The layer etc: what a recipe says of it is held against what it holds, before anything is packed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from builder import recipe, target, trees
from builder.errors import RecipeError
from builder.recipe import PythonSpec

SITE = 'name = "shop"\netc = "etc"\n'
UNIT = "[Service]\nExecStart=@root@/current/bin/run x\n"


def refusals(place: Path, text: str, files: Mapping[str, str]) -> dict[str, str]:
    """By where they are; {} when the layer can be made."""
    (place / "shop.toml").write_text(SITE + text)
    for name, content in files.items():
        path = place / "tree" / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    try:
        assert trees.configuration(place / "tree", recipe.load(place / "shop.toml")) is not None
    except RecipeError as error:
        return {problem.where: f"{problem.what} {problem.remedy}".strip() for problem in error.problems}
    return {}


def test_every_path_that_a_recipe_names_below_etc_is_there(tmp_path: Path) -> None:
    """All that are not are told at once, with what may have been meant."""
    text = """
[overlay]
copied = { "shoprc" = "/etc/shoprc", "dir" = "/etc/dir" }
on_conflict = { "nginz/**" = "refuse", "**/*.conf" = "beside" }
[[services]]
name = "web"
kind = "nginx"
config = ["nginx/sites-available/shop.cnf", "nginx/**"]
"""
    found = refusals(tmp_path, text, {"nginx/sites-available/shop.conf": "", "shop.rc": "", "dir/x": ""})
    assert found == {
        "overlay.copied": '"shoprc" is no file or directory of it. Did you mean "shop.rc"?',
        "overlay.on_conflict": '"nginz/**" matches no file of it.',
        "services.web.config": '"nginx/sites-available/shop.cnf" matches no file of it. Did you mean "nginx/sites-available/shop.conf"?',
    }


def test_what_no_host_would_run_is_refused_where_it_is_built(tmp_path: Path) -> None:
    """A unit that leaves bin/run out; with the line to write, for the recipe's own root."""
    text = '[[services]]\nname = "web"\nkind = "systemd"\nunit = "shop.service"\nconfig = ["shop.service"]\n'
    assert refusals(tmp_path, text, {"shop.service": UNIT}) == {}
    found = refusals(tmp_path, text, {"shop.service": UNIT.replace("bin/run x", "venv/bin/x")})
    what = "/srv/shop/current/venv/bin/x is started without a lease and without shared/env. Write: /srv/shop/current/bin/run x"
    assert found == {"services.web: etc/shop.service": what}


@pytest.mark.parametrize(
    ("kind", "more", "files"),
    [
        ("cron", "", {"cron.d/shop": "@minute@ 4 * * * @user@ @root@/current/bin/run x\n"}),
        ("supervisord", 'program = "x:*"\n', {"x.conf": "[program:x]\ncommand=y\nnumprocs=@many@\nprocess_name=a%(process_num)d\n"}),
        ("systemd", 'unit = "a.service"\n', {"a.service": f"{UNIT}User=@user@\n"}),
    ],
)
def test_a_value_that_only_a_host_knows_is_no_fault(tmp_path: Path, kind: str, more: str, files: Mapping[str, str]) -> None:
    """What it will be is judged there, once it is filled in."""
    text = f'[[services]]\nname = "web"\nkind = "{kind}"\n{more}config = {list(files)}\n'
    assert refusals(tmp_path, text, files) == {}


def test_only_files_that_are_source_are_compiled(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """No link, and nothing in a __pycache__; links and empty directories travel as they are, files with their contents."""
    tree, root = tmp_path / "tree", tmp_path / "root"
    for name in ("a/b.py", "a/data.txt", "__pycache__/odd.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"# {name}")
    (tree / "empty").mkdir()
    (tree / "a/link.py").symlink_to("b.py")
    (tree / "a/data.txt").chmod(0o755)
    (tmp_path / "x.toml").write_text('name = "x"\n')
    python = target.find(PythonSpec(version=next(iter(interpreters))))
    files = trees.source(tree, recipe.load(tmp_path / "x.toml"), python, tmp_path / "cache").make(root)
    assert files is not None
    found = {file.path: (file.executable, b"".join(file.read())) for file in files}
    compiled = [path for path in found if path.endswith(".pyc")]
    assert compiled == [f"src/a/__pycache__/b.{python.cache_tag}.pyc"]
    assert {path: value for path, value in found.items() if path not in compiled} == {
        "src/a/b.py": (False, b"# a/b.py"),
        "src/a/data.txt": (True, b"# a/data.txt"),
        "src/__pycache__/odd.py": (False, b"# __pycache__/odd.py"),
    }
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == ["src", "src/a", "src/a/link.py", "src/empty"]
    assert (root / "src/a/link.py").readlink() == Path("b.py")
