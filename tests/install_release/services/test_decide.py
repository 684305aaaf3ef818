"""decide: what a flip does to which service."""

from __future__ import annotations

import pytest

from builder.install_release.declared import Service
from builder.install_release.manifest import Manifest
from builder.install_release.overlay import Rendered, Wanted
from builder.install_release.rules import KINDS
from builder.install_release.services import changed_config, decide
from tests.releases import FACTS


def service(kind: str, name: str = "x", **given: object) -> Service:
    needed: dict[str, object] = {"unit": "x.service"} if kind in ("systemd", "gunicorn") else {}
    if kind in ("nginx", "apache", "cron", "logrotate", "systemd", "supervisord", "gunicorn", "command"):
        needed["config"] = (f"{kind}/*",)
    values = {"restart_on": KINDS[kind].restart_on, **needed, **given}
    return Service(name, kind, **values)  # type: ignore[arg-type]


def release(*services: Service, version: str = "1") -> Manifest:
    return FACTS._replace(version=version, services=services)


def said(before: Manifest | None, to: Manifest, changed: tuple[str, ...] = (), env: bool = False) -> list[tuple[str, str]]:
    return [(action.service.name, action.verb) for action in decide(before, to, frozenset(changed), env)]


ALL = tuple(service(kind, kind) for kind in KINDS)


def test_nothing_is_done_when_nothing_changed() -> None:
    """The same release again, with the same configuration and environment, touches no service."""
    assert said(release(*ALL), release(*ALL)) == []


def test_everything_is_started_by_a_first_release() -> None:
    """With nothing before, each service starts, in the recipe's order."""
    assert said(None, release(*ALL)) == [(kind, "start") for kind in KINDS]


def test_a_new_release_restarts_what_runs_its_code_and_nothing_else() -> None:
    """New source, same configuration: programs restart; nginx, apache, cron and logrotate are left alone."""
    restarted = [("systemd", "restart"), ("supervisord", "restart"), ("gunicorn", "restart"), ("init", "restart"), ("command", "restart")]
    assert said(release(*ALL), release(*ALL, version="2")) == restarted


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_a_proxy_is_reloaded_when_its_own_configuration_changed(kind: str) -> None:
    """Its own files, and no others, make it read them again."""
    old, new = release(service(kind)), release(service(kind), version="2")
    assert said(old, new, (f"{kind}/a.conf",)) == [("x", "reload")]
    assert said(old, new, ("other/a.conf",), env=True) == []


@pytest.mark.parametrize("kind", ["cron", "logrotate"])
def test_files_are_laid_down_when_they_changed(kind: str) -> None:
    """cron and logrotate are updated, never restarted."""
    assert said(release(service(kind)), release(service(kind), version="2"), (f"{kind}/a",)) == [("x", "update")]


@pytest.mark.parametrize(("kind", "verb"), [("systemd", "restart"), ("supervisord", "update"), ("gunicorn", "restart"), ("command", "restart")])
def test_a_program_that_is_not_restarted_for_releases_is_for_its_configuration(kind: str, verb: str) -> None:
    """restart_on = ["config"]: a new release alone does nothing; gunicorn gets no HUP, it would keep the old code."""
    only = service(kind, restart_on=("config",), restart=("r",))
    assert said(release(only), release(only, version="2")) == []
    assert said(release(only), release(only, version="2"), (f"{kind}/a",)) == [("x", verb)]


def test_restart_on_env_is_for_a_new_environment() -> None:
    """A worker that wants to run on through source changes restarts when its packages change."""
    worker = service("systemd", restart_on=("env",))
    assert said(release(worker), release(worker, version="2")) == []
    assert said(release(worker), release(worker, version="2"), env=True) == [("x", "restart")]


def test_what_a_release_no_longer_has_is_stopped_first() -> None:
    """It may hold a port that something new wants; what is new starts after it."""
    old, new = release(service("systemd", "a"), service("nginx", "b")), release(service("command", "c"), version="2")
    assert said(old, new) == [("b", "stop"), ("a", "stop"), ("c", "start")]
    assert said(new, old) == [("c", "stop"), ("a", "start"), ("b", "start")]


@pytest.mark.parametrize("change", [{"kind": "gunicorn"}, {"unit": "y.service"}, {"user": True}])
def test_a_service_that_becomes_another_thing_stops_and_starts(change: dict[str, object]) -> None:
    """The same name with another kind, unit or manager is not the same service."""
    old = service("systemd")
    assert said(release(old), release(old._replace(**change), version="2")) == [("x", "stop"), ("x", "start")]  # type: ignore[arg-type]


def test_files_under_another_pattern_are_other_files() -> None:
    """cron.d/a that becomes cron.d/b: the one is removed, the other laid down."""
    assert said(release(service("cron", config=("a",))), release(service("cron", config=("b",)))) == [("x", "stop"), ("x", "start")]


def test_a_pattern_that_changed_is_a_configuration_that_changed() -> None:
    """A file that the recipe no longer names is gone for the service, though no byte of it changed."""
    assert said(release(service("nginx")), release(service("nginx", config=("nginx/a",)))) == [("x", "reload")]


@pytest.mark.parametrize(
    ("given", "changed", "verb"),
    [
        ({"reload": ("l",), "restart": ("r",)}, True, "reload"),
        ({"restart": ("r",)}, True, "restart"),
        ({"reload": ("l",)}, True, "reload"),
        ({"reload": ("l",), "restart": ("r",)}, False, "restart"),
        ({"reload": ("l",)}, False, "reload"),
    ],
)
def test_commands_are_chosen_by_what_there_is(given: dict[str, object], changed: bool, verb: str) -> None:
    """Only configuration: reload, else restart. A new release: restart, else reload."""
    each = service("command", **given)
    only = each._replace(restart_on=("config",))
    if changed:
        assert said(release(only), release(only, version="2"), ("command/a",)) == [("x", verb)]
    else:
        assert said(release(each), release(each, version="2")) == [("x", verb)]


def test_the_reasons_are_told_in_words() -> None:
    """All that is due, not only the first; with the files that changed."""
    each = service("systemd")
    [action] = decide(release(each), release(each, version="2"), frozenset({"systemd/a", "b"}), True)
    assert str(action) == "x: restart (another release, its environment changed, its configuration changed)"
    assert action.changed == ("systemd/a",)


def test_what_changed_between_two_releases() -> None:
    """Bytes, modes, what came and what went; of copied files only those that the overlay changes on the host: a kept edit is no change."""
    old = {"same": "1", "edited": "1", "went": "1", "mode": "1", "copied/kept": "1", "copied/laid": "1"}
    new = {"same": "1", "edited": "2", "came": "1", "mode": "1", "copied/kept": "2", "copied/laid": "2"}
    before, after = ({path: Rendered(text.encode(), "644") for path, text in files.items()} for files in (old, new))
    after["mode"] = Rendered(b"1", "755")
    changed = changed_config(Wanted(before), Wanted(after), ["copied"], {"copied/laid"})
    assert changed == {"edited", "went", "came", "mode", "copied/laid"}
    assert changed_config(Wanted(), Wanted(before), (), ()) == set(old)
