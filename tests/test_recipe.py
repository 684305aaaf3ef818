"""recipe: toml → Recipe."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import recipe as module
from builder.errors import RecipeError
from builder.install_release.declared import Conflict, Copied, Health, Hook, Overlay, Service
from builder.recipe import BuildStep, Dependencies, EnvSpec, HostSpec, PythonSpec, Recipe, SourceSpec, load

EXAMPLE = Path(__file__).parent.parent / "recipes" / "example.toml"
COMMENTED_KEY = re.compile(r"^#(?=[a-z_]+ = )", re.MULTILINE)


SERVICE = 'etc = "etc"\n[[services]]\nname = "web"\n'
KINDS_OF_SERVICE = '"{}" is not one of systemd, supervisord, gunicorn, nginx, apache, cron, logrotate, init, command.'


def written(folder: Path, text: str) -> Path:
    path = folder / "app.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load(written(folder, text))
    return caught.value


def reasons(folder: Path, text: str) -> dict[str, str]:
    return {problem.where: f"{problem.what} {problem.remedy}".strip() for problem in refusal(folder, text).problems}


def dotted(value: Any, where: str = "") -> Iterator[str]:
    """The keys of a parsed file, spelled as ``recipe.keys`` spells them; a table of variables has no keys of the schema."""
    for key, inner in value.items():
        name = f"{where}.{key}" if where else key
        yield name
        for table in inner if isinstance(inner, list) else [inner]:
            if isinstance(table, dict) and name not in ("build.env", "overlay.copied", "overlay.on_conflict"):
                yield from dotted(table, name)


# The reference


def test_the_example_names_every_key_and_no_other() -> None:
    """Uncommented, recipes/example.toml has exactly the keys that recipe.py knows."""
    assert set(dotted(tomllib.loads(COMMENTED_KEY.sub("", EXAMPLE.read_text())))) == set(module.keys())


def test_the_example_is_a_recipe() -> None:
    """recipes/example.toml loads as it stands."""
    assert load(EXAMPLE).name == "shop"


@pytest.mark.parametrize("left_out", ["entry_point", "script"])
def test_every_commented_key_of_the_example_is_valid(tmp_path: Path, left_out: str) -> None:
    """All keys of recipes/example.toml can be used as shown, but for those that exclude each other."""
    text = COMMENTED_KEY.sub("", EXAMPLE.read_text()).replace('kind = "venv"', 'kind = "pex"')
    recipe = load(written(tmp_path, re.sub(rf"^({left_out}|tcp|command) = .*$", "", text, flags=re.MULTILINE)))
    assert recipe.env.kind == "pex"


def test_the_example_shows_the_true_defaults(tmp_path: Path) -> None:
    """A key whose line says "default" and shows a value has that default."""
    text = 'name = "shop"\n[dependencies]\npackages = ["x"]\n[[build]]\nrun = "x"\n[[services]]\nname = "x"\nkind = "systemd"\nunit = "x.service"\n'
    bare = load(written(tmp_path, f'{text}[[hooks]]\nwhen = "pre_flip"\nrun = "x"\n[health]\nurl = "http://localhost/"\n'))
    tables = {"": bare, "[[build]]": bare.build[0], "[dependencies]": bare.dependencies, "[env]": bare.env}
    tables |= {"[source]": bare.source, "[python]": bare.python, "[host]": bare.host}
    tables |= {"[[services]]": bare.services[0], "[[hooks]]": bare.hooks[0], "[health]": bare.health}
    table, shown, real = "", {}, {}
    for line in EXAMPLE.read_text().splitlines():
        table = line.split()[0] if line.startswith("[") else table
        if line.startswith("#") and "# default" in line:
            for key, value in tomllib.loads(line[1:]).items():
                shown[table, key], real[table, key] = value, getattr(tables[table], key)
    assert shown == real
    assert len(shown) == 20


# What is read


def test_a_name_is_enough(tmp_path: Path) -> None:
    """A recipe of one line has every default."""
    recipe = load(written(tmp_path, 'name = "shop"'))
    assert recipe == Recipe(
        path=tmp_path / "app.toml",
        name="shop",
        version=None,
        root="/srv/shop",
        keep_releases=5,
        etc=None,
        rollback_safe_to="",
        source=SourceSpec(),
        python=PythonSpec(),
        dependencies=Dependencies(),
        env=EnvSpec(),
        build=(),
        host=HostSpec(),
        overlay=Overlay(),
        services=(),
        hooks=(),
        health=Health(),
    )


def test_values_are_frozen(tmp_path: Path) -> None:
    """Nothing can change a recipe after it was read."""
    recipe = load(written(tmp_path, 'name = "shop"'))
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"  # type: ignore[misc]


def test_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe named by a relative path knows its folder."""
    written(tmp_path, 'name = "shop"')
    monkeypatch.chdir(tmp_path)
    assert load(Path("app.toml")).directory == tmp_path


def test_command_is_split_without_a_shell(tmp_path: Path) -> None:
    """A build step's command is a list of words, or a string that is split as a shell would."""
    text = 'name = "x"\n[[build]]\nrun = "a \'b c\' $D"\n[[build]]\nrun = ["a", "b c"]\nenv = { A = "1" }\noutputs = ["./static/"]'
    assert load(written(tmp_path, text)).build == (
        BuildStep(run=("a", "b c", "$D")),
        BuildStep(run=("a", "b c"), env={"A": "1"}, outputs=("static",)),
    )


@pytest.mark.parametrize(
    ("text", "lock"),
    [
        ('name = "shop"', ""),
        ('name = "shop"\n[dependencies]', ""),
        ('name = "shop"\n[dependencies]\nrequirements = ["r.txt"]', "recipe:pylock.shop.toml"),
        ('name = "my.shop"\n[dependencies]\npackages = ["x"]', "recipe:pylock.my-shop.toml"),
        ('name = "shop"\n[dependencies]\npyproject = "pyproject.toml"', "recipe:pylock.shop.toml"),
        ('name = "shop"\n[dependencies]\nlock = "pylock.toml"', "pylock.toml"),
        ('name = "shop"\n[dependencies]\nlock = "deploy/requirements.txt"', "deploy/requirements.txt"),
    ],
)
def test_lock_has_a_default_where_something_is_declared(tmp_path: Path, text: str, lock: str) -> None:
    """No dependencies, no lock; else its name is that of the recipe."""
    assert load(written(tmp_path, text)).dependencies.lock == lock


@pytest.mark.parametrize(("written_as", "read_as"), [("python3.11", "python3.11"), ("/usr/bin/python3", "/usr/bin/python3"), ("bin/py", "{}/bin/py")])
def test_an_interpreter_is_a_command_or_a_path(tmp_path: Path, written_as: str, read_as: str) -> None:
    """A path of an interpreter is relative to the recipe's folder, wherever the build is started; a bare name is looked up on PATH."""
    recipe = load(written(tmp_path, f'name = "x"\n[python]\ninterpreter = "{written_as}"'))
    assert recipe.python.interpreter == read_as.format(tmp_path)


def test_what_a_host_shall_do_is_read_into_what_the_manifest_holds(tmp_path: Path) -> None:
    """Overlay, services, hooks and health have every default, by kind, when the recipe has been read; commands are words."""
    text = """name = "x"
etc = "etc"
rollback_safe_to = "1.3"
overlay.copied = { "./b/" = "/etc/b", a = "/etc/a" }
overlay.on_conflict = { "b/**" = "beside" }
services = [{ name = "web", kind = "nginx", config = ["n/*"] }, { name = "job", kind = "systemd", unit = "job.service", stop_deadline = 600 }]
hooks = [{ when = "post_flip", run = "a 'b c'", once = true }]
health = { url = "http://[::1]:80/x" }
"""
    recipe = load(written(tmp_path, text))
    assert recipe.overlay == Overlay((Copied("a", "/etc/a"), Copied("b", "/etc/b")), (Conflict("b/**", "beside"),))
    assert recipe.services == (
        Service("web", "nginx", config=("n/*",), restart_on=("config",)),
        Service("job", "systemd", unit="job.service", restart_on=("release", "env", "config"), stop_deadline=600),
    )
    assert recipe.hooks == (Hook("post_flip", ("a", "b c"), 300, True),)
    assert recipe.health == Health("http://[::1]:80/x", status=200, reports_id=True, passes=3, deadline=60)
    assert load(written(tmp_path, 'name = "x"\nhealth.tcp = "localhost:1"')).health == Health(tcp="localhost:1", passes=3, deadline=60)
    assert recipe.rollback_safe_to == "1.3"


def test_names_of_distributions_are_normalised(tmp_path: Path) -> None:
    """sdists, extras and groups are compared by their normalised names."""
    text = 'name = "x"\n[dependencies]\npyproject = "p.toml"\nsdists = ["Foo_Bar"]\nextras = ["A.b"]\ngroups = ["C_d"]'
    deps = load(written(tmp_path, text)).dependencies
    assert (deps.sdists, deps.extras, deps.groups) == (("foo-bar",), ("a-b",), ("c-d",))


# Where a path leads


def test_paths_are_below_the_tree_or_the_recipe(tmp_path: Path) -> None:
    """A declared path is below the source tree; after recipe: it is below the recipe's folder."""
    recipe = load(written(tmp_path, 'name = "x"'))
    assert recipe.locate("a/b.txt", tmp_path / "tree") == tmp_path / "tree" / "a" / "b.txt"
    assert recipe.locate("recipe:a/b.txt", tmp_path / "tree") == tmp_path / "a" / "b.txt"


@pytest.mark.parametrize("declared", ["out/passwd", "recipe:out/passwd"])
def test_links_out_of_the_tree_are_refused(tmp_path: Path, declared: str) -> None:
    """A link in the source tree or the recipe's folder can't lead a declared path elsewhere."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "out").symlink_to("/etc")
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, 'name = "x"')).locate(declared, tmp_path / "tree")
    assert caught.value.problems[0].where == declared
    assert "a link leads out of" in caught.value.problems[0].what


# What is refused


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    """One reading names every problem of every table, in the order of the schema, unknown keys first."""
    text = 'depends = []\nroot = "srv"\n[env]\nkind = "vnev"\n[[build]]\n[[build]]\nrun = "x"\noutputs = ["../y"]'
    error = refusal(tmp_path, text)
    assert error.message == f"{tmp_path / 'app.toml'}, 6 problems"
    assert error.status == 3
    assert [problem.where for problem in error.problems] == ["depends", "name", "root", "env.kind", "build[0].run", "build[1].outputs[0]"]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('nmae = "x"', "nmae", 'unknown key. Did you mean "name"?'),
        ("depends = 1", "depends", 'unknown key. Did you mean "dependencies"?'),
        ('kind = "pex"', "kind", 'unknown key. Did you mean "env.kind"?'),
        ('[host]\nroot = "/srv/x"', "host.root", 'unknown key. Did you mean "root"? It stands before the first table.'),
        ("[python]\nzzzz = 1", "python.zzzz", "unknown key."),
        ('[env]\nkind = "vnev"', "env.kind", '"vnev" is not one of venv, pex, wheelhouse. Did you mean "venv"?'),
        ('[env]\nkind = "docker"', "env.kind", '"docker" is not one of venv, pex, wheelhouse.'),
        ("[env]\nkind = 1", "env.kind", "must be a string, not a whole number."),
        ('[env]\nproject = "yes"', "env.project", "must be true or false, not a string."),
        ("env = 1", "env", "must be a table, not a whole number."),
        ("name = 2026-11-24", "name", "must be a string, not a date or time."),
        ('name = "Shop"', "name", "must be 1 to 64 lower-case letters, digits, '.', '_' or '-', not \"Shop\"."),
        ('name = ""', "name", "must not be empty."),
        ('name = "x"\nversion = "1 2"', "version", 'must be letters, digits and . + ! _ -, not "1 2".'),
        ('root = "/"', "root", "must be an absolute path like /srv/shop, without '.', '..' or a slash at its end, not \"/\"."),
        ('root = "/srv/../etc"', "root", "must be an absolute path like /srv/shop, without '.', '..' or a slash at its end, not \"/srv/../etc\"."),
        ("keep_releases = 0", "keep_releases", "must be a whole number from 1 to 1000, not 0."),
        ("keep_releases = true", "keep_releases", "must be a whole number from 1 to 1000, not true or false."),
        ('etc = "/etc"', "etc", 'must be a relative path, "/etc" is absolute.'),
        ('etc = "recipe:/etc"', "etc", 'must be a relative path, "/etc" is absolute.'),
        ('etc = "recipe:../etc"', "etc", 'must be a path that stays below its directory; "../etc" does not.'),
        ("[python]\nversion = 3.10", "python.version", 'must be a string: write "3.1", in quotes (3.10 without them is the number 3.1).'),
        ('[python]\nversion = "3.8"', "python.version", 'must be a version like "3.11", 3.9 or newer, not "3.8".'),
        ('[python]\nversion = "3.11.2"', "python.version", 'must be a version like "3.11", 3.9 or newer, not "3.11.2".'),
        (
            '[source]\nrepository = "https://u:p@h/x"',
            "source.repository",
            "must not hold a password. Use ssh, or git's own credential helper.",
        ),
        ('[source]\nrepository = "--upload-pack=x"', "source.repository", 'must be a path or a URL, not "--upload-pack=x".'),
        ('[source]\nref = "--all"', "source.ref", 'must be a commit, branch or tag, not "--all".'),
        ('[source]\nref = "a b"', "source.ref", 'must be a commit, branch or tag, not "a b".'),
        ('[source]\nexclude = "x"', "source.exclude", "must be a list, not a string."),
        ("[dependencies]\npackages = [1]", "dependencies.packages[0]", "must be a string, not a whole number."),
        (
            '[dependencies]\npackages = ["a @ https://u:p@h/a.whl"]',
            "dependencies.packages[0]",
            "must not hold a password. Use ssh, or git's own credential helper.",
        ),
        ('[dependencies]\nsdists = ["a b"]', "dependencies.sdists[0]", '"a b" is no name of a distribution.'),
        (
            '[dependencies]\nlock = "uv.lock"',
            "dependencies.lock",
            'must be named pylock.toml, pylock.NAME.toml (no dot in NAME) or end in .txt, "uv.lock" is not.',
        ),
        ('[dependencies]\nextras = ["a"]', "dependencies.extras", "needs dependencies.pyproject, the file that defines them."),
        (
            '[dependencies]\nconstraints = ["a"]',
            "dependencies.constraints",
            "constrains nothing: there are no requirements, packages or pyproject.",
        ),
        ('[env]\nscript = "x"', "env.script", 'is for env.kind = "pex", this one is "venv".'),
        ('[env]\nkind = "pex"\nentry_point = "x"', "env.entry_point", 'must be like package.module:function, not "x".'),
        (
            '[env]\nkind = "pex"\nscript = "x"\nentry_point = "a:b"',
            "env.script",
            "can't stand beside env.entry_point: a pex has one of them.",
        ),
        ('[[build]]\nrun = "a \'b"', "build[0].run", "can't be split into words: No closing quotation."),
        ("[[build]]\nrun = []", "build[0].run", "names no command."),
        ('[[build]]\nrun = "a"\nenv = { "A-B" = "1" }', "build[0].env.A-B", "is no name of a variable."),
        ('[[build]]\nrun = "a"\nenv = { A = 1 }', "build[0].env.A", "must be a string, not a whole number."),
        ('[[build]]\nrun = "a"\noutputs = ["x"]\n[[build]]\nrun = "b"\noutputs = ["x"]', "build", '"x" is an output of two steps.'),
        ('[host]\nlinked_files = ["/etc/passwd"]', "host.linked_files[0]", 'must be a relative path, "/etc/passwd" is absolute.'),
        ('[host]\nlinked_dirs = ["a", "a/"]', "host.linked_dirs", 'names "a" twice.'),
        ('[host]\nlinked_dirs = ["a"]\nlinked_files = ["a"]', "host.linked_files", '"a" is in linked_dirs too.'),
        ('[host]\nlinked_dirs = ["a"]\nlinked_files = ["a/b"]', "host.linked_files", '"a/b" is below "a", which is linked as a whole.'),
        ('[host]\nenv = ["A B"]', "host.env[0]", 'must be the name of a variable, not "A B".'),
        (
            'rollback_save_to = "1"',
            "rollback_save_to",
            'unknown key. Did you mean "rollback_safe_to"?',
        ),
        (SERVICE + 'kind = "apche"', "services[0].kind", KINDS_OF_SERVICE.format("apche") + ' Did you mean "apache"?'),
        (SERVICE + 'kind = "docker"', "services[0].kind", KINDS_OF_SERVICE.format("docker")),
        (SERVICE + 'kind = "cron"', "services[0].config", 'a service of kind "cron" needs config.'),
        (SERVICE + 'kind = "cron"\nconfig = ["x"]\nunit = "a.timer"', "services[0].unit", 'is nothing that a service of kind "cron" has.'),
        (SERVICE + 'kind = "gunicorn"', "services[0].kind", 'a service of kind "gunicorn" needs unit or program.'),
        (
            SERVICE + 'kind = "gunicorn"\nunit = "a.service"\nprogram = "a"',
            "services[0].program",
            "can't stand beside unit: one of them runs it.",
        ),
        (
            SERVICE + 'kind = "gunicorn"\nunit = "a.socket"',
            "services[0].unit",
            "must be the service that runs gunicorn, not 'a.socket'; its socket stays open by itself.",
        ),
        (SERVICE + 'kind = "systemd"\nunit = "shop"', "services[0].unit", "must be the name of a unit, like shop.service, not 'shop'."),
        (SERVICE + 'kind = "init"\nunit = "../x"', "services[0].unit", "must be the name of a script in /etc/init.d, not '../x'."),
        (
            SERVICE + 'kind = "supervisord"\nprogram = "a b"',
            "services[0].program",
            'must be a program of supervisord, like "shop" or "shop:*", not \'a b\'.',
        ),
        (SERVICE + 'kind = "command"', "services[0].kind", 'a service of kind "command" needs check or enable or reload or restart or disable.'),
        (SERVICE + 'kind = "command"\nreload = "-x"', "services[0].reload", "'-x' is no command."),
        (SERVICE + 'kind = "nginx"\nconfig = ["x"]\ndeadline = 0', "services[0].deadline", "must be a whole number from 1 to 86400, not 0."),
        (SERVICE + 'kind = "nginx"\nconfig = ["../x"]', "services[0].config[0]", 'must be a path that stays below its directory; "../x" does not.'),
        (
            SERVICE + 'kind = "nginx"\nconfig = ["x"]\nrestart_on = ["relase"]',
            "services[0].restart_on[0]",
            '"relase" is not one of release, env, config. Did you mean "release"?',
        ),
        (
            SERVICE + 'kind = "systemd"\nunit = "a.service"\nrestart_on = ["env"]\nstop_deadline = 5',
            "services[0].stop_deadline",
            'is for services that a new release restarts; restart_on has no "release".',
        ),
        (
            SERVICE + 'kind = "systemd"\nunit = "a.service"\n' + '[[services]]\nname = "web"\nkind = "init"\nunit = "b"',
            "services",
            "two of them are called 'web'.",
        ),
        (
            SERVICE + 'kind = "systemd"\nunit = "a.service"\n[[services]]\nname = "b"\nkind = "gunicorn"\nunit = "a.service"',
            "services",
            "a.service belongs to two of them: it would be restarted twice. Declare it once.",
        ),
        ('[[hooks]]\nwhen = "before"\nrun = "x"', "hooks[0].when", '"before" is not one of pre_flip, post_flip, pre_rollback, post_rollback.'),
        ('[[hooks]]\nwhen = "pre_flip"', "hooks[0].run", "is missing."),
        ("[health]\npasses = 1", "health.url", "is missing: a health check asks a url, a socket, a tcp port or a command."),
        ('[health]\nurl = "http://h/"\ntcp = "h:1"', "health.tcp", "can't stand beside url: there is one way to ask."),
        (
            '[health]\nurl = "http://u:p@h/"',
            "health.url",
            "must be like http://127.0.0.1:8000/health, without a password, not 'http://u:p@h/'.",
        ),
        ('[health]\ntcp = "h:70000"', "health.tcp", "must be like 127.0.0.1:8000, not 'h:70000'."),
        ('[health]\nsocket = "run/x"', "health.socket", "must be an absolute path, or begin with @root@/, not 'run/x'."),
        (
            '[health]\nurl = "https://h/"',
            "health.url",
            "must be http: an installer trusts no certificate. Ask the service itself, or its socket; or let a command ask.",
        ),
        ('[health]\nsocket = "/run/x"\nbody = "x"', "health.body", "needs an answer to look at: that of a url or a command."),
        ('[health]\ncommand = "x"\nstatus = 200', "health.status", "is what a url answers; there is none."),
        (
            '[overlay]\ncopied = { "a" = "/etc/a" }',
            "overlay.copied",
            '"a" is a path below etc/, and there is none: say etc = "…" at the top.',
        ),
        (
            'etc = "etc"\n[overlay]\ncopied = { "a" = "etc/a" }',
            "overlay.copied",
            "'etc/a' is no absolute path (without '.', '..' or a slash at its end).",
        ),
        (
            'etc = "etc"\n[overlay]\ncopied = { "a" = "/etc/a", "a/b" = "/opt/b" }',
            "overlay.copied",
            "'a/b' is copied twice. Name a file or directory once, and nothing below it.",
        ),
        (
            'etc = "etc"\n[overlay]\non_conflict = { "a" = "keep" }',
            'overlay.on_conflict."a"',
            '"keep" is not one of refuse, keep-local, take-new, beside. Did you mean "keep-local"?',
        ),
        ('[host]\ncommands = ["/bin/x"]', "host.commands[0]", 'must be the name of a command, not "/bin/x".'),
    ],
)
def test_each_wrong_value_has_its_reason(tmp_path: Path, text: str, where: str, what: str) -> None:
    """A wrong value is named by its path in the file, with the reason and what may have been meant."""
    text = text if text.startswith("name") else f'name = "x"\n{text}'
    assert reasons(tmp_path, text) == {where: what}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('name = "x', "end of document", "unterminated string."),
        ("a = 1\nb = [1,\n c=3", "line 3, column 2", "invalid value."),
        ('name = "x"\nname = "y"\n', "line 2, column 11", "cannot overwrite a value."),
    ],
)
def test_wrong_syntax_says_line_and_column(tmp_path: Path, text: str, where: str, what: str) -> None:
    """A file that is no TOML is refused with the place of the first mistake."""
    error = refusal(tmp_path, text)
    assert error.message == f"{tmp_path / 'app.toml'} is not valid TOML"
    assert [(problem.where, problem.what.lower()) for problem in error.problems] == [(where, what)]


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    """A recipe in another encoding is refused with the first wrong byte."""
    (tmp_path / "app.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(RecipeError, match="is not valid TOML") as caught:
        load(tmp_path / "app.toml")
    assert caught.value.problems[0].where == "byte 8"


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    """A recipe that does not exist is a typed error."""
    with pytest.raises(RecipeError, match="there is no recipe"):
        load(tmp_path / "none.toml")


def test_a_directory_is_refused_with_the_recipe_in_it(tmp_path: Path) -> None:
    """A directory is no recipe; the next step names one that it holds."""
    path = written(tmp_path, 'name = "x"')
    for name in ("pylock.app.toml", "pyproject.toml"):
        (tmp_path / name).write_text("")
    with pytest.raises(RecipeError, match="is a directory, not a recipe") as caught:
        load(tmp_path)
    assert caught.value.next_step == f"build-release {path}"
