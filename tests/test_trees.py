"""The layer etc: what a recipe says of it is held against what it holds, before anything is packed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from builder import recipe, trees
from builder.errors import RecipeError

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
