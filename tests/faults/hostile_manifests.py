"""Hostile manifests: of other spellings, of other types, and of values that lie about the file, lead out of it, or are meant for a terminal."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from builder.install_release.declared import Conflict, Copied, Health, Hook, Service
from builder.install_release.manifest import canonical

from .forge import LAYERS, SOURCE, Forged, Value, honest
from .hostile_cases import ACCEPTED, REFUSED, Case

ESCAPE = "\x1b[2J\x1b]0;owned\x07"
BASE = Forged()


def _records() -> tuple[Value, Value, Value, Value, Value]:
    """A service, a hook, a health check, a copied file and a conflict that nothing is wrong with, as JSON."""
    from builder.install_release.records import as_dict

    service = as_dict(Service("web", "command", restart=("true",), restart_on=("release",)))
    health = as_dict(Health(url="http://127.0.0.1:8000/", status=200, passes=1, deadline=1))
    values = (service, as_dict(Hook("post_flip", ("true",))), health, as_dict(Copied("a", "/etc/a")), as_dict(Conflict("a", "refuse")))
    return tuple(json.loads(canonical(value)) for value in values)  # type: ignore[return-value]


SERVICE, HOOK, HEALTH, COPIED, CONFLICT = _records()


def _text(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    return lambda data: change(data.decode("ascii")).encode("utf-8", "surrogatepass")


def _swap(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return _text(change)


NO_JSON, NO_CANON = "is no JSON", "canonical"
SPELLINGS: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("empty", NO_JSON, lambda data: b""),
    ("a NUL", NO_JSON, lambda data: b"\0"),
    ("null", "", lambda data: b"null\n"),
    ("a list", "", lambda data: b"[]\n"),
    ("a string", "", lambda data: b'"release"\n'),
    ("a number", "", lambda data: b"0\n"),
    ("an empty object", "format", lambda data: b"{}\n"),
    ("no line feed", NO_CANON, lambda data: data[:-1]),
    ("two line feeds", NO_CANON, lambda data: data + b"\n"),
    ("a carriage return", NO_CANON, lambda data: data[:-1] + b"\r\n"),
    ("a space before", NO_CANON, lambda data: b" " + data),
    ("a space after", NO_CANON, lambda data: data + b" "),
    ("a NUL after", NO_JSON, lambda data: data + b"\0"),
    ("two documents", NO_JSON, lambda data: data + data),
    ("half a document", NO_JSON, lambda data: data[: len(data) // 2]),
    ("a byte order mark", NO_JSON, lambda data: b"\xef\xbb\xbf" + data),
    ("UTF-16", NO_JSON, lambda data: data.decode().encode("utf-16")),
    ("UTF-32", NO_JSON, lambda data: data.decode().encode("utf-32")),
    ("white space inside", NO_CANON, _swap(",", ", ")),
    ("a tab inside", NO_CANON, _swap(":", ":\t")),
    ("a line feed inside", NO_CANON, _swap(",", ",\n")),
    ("keys out of order", NO_CANON, lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode() + b"\n"),
    ("a key twice, alike", NO_CANON, _swap('"name":"shop"', '"name":"shop","name":"shop"')),
    ("a key twice, differently", NO_CANON, _swap('"name":"shop"', '"name":"evil","name":"shop"')),
    ("a key of an inner object twice", NO_CANON, _swap('"share":true', '"share":false,"share":true')),
    ("a range's key twice", NO_CANON, _swap('"offset":0', '"offset":9,"offset":0')),
    ("a float", "must be a whole number", _swap('"keep_releases":5', '"keep_releases":5.0')),
    ("a float in powers of ten", NO_CANON, _swap('"keep_releases":5', '"keep_releases":5e0')),
    ("a float without end", NO_JSON, _swap('"keep_releases":5', '"keep_releases":1e999')),
    ("NaN", NO_JSON, _swap('"keep_releases":5', '"keep_releases":NaN')),
    ("Infinity", NO_JSON, _swap('"keep_releases":5', '"keep_releases":Infinity')),
    ("-Infinity", NO_JSON, _swap('"keep_releases":5', '"keep_releases":-Infinity')),
    ("minus zero", NO_CANON, _swap('"offset":0', '"offset":-0')),
    ("a zero before", NO_JSON, _swap('"keep_releases":5', '"keep_releases":05')),
    ("a plus sign", NO_JSON, _swap('"keep_releases":5', '"keep_releases":+5')),
    ("hexadecimal", NO_JSON, _swap('"keep_releases":5', '"keep_releases":0x5')),
    ("a number of 4000 digits", "", _swap('"keep_releases":5', '"keep_releases":' + "9" * 4000)),
    ("a number of 900 000 digits", "", _swap('"keep_releases":5', '"keep_releases":' + "9" * 900_000)),
    ("an escaped letter", NO_CANON, _swap('"shop"', '"\\u0073hop"')),
    ("an escaped slash", NO_CANON, _swap("/srv/shop", "\\/srv\\/shop")),
    ("upper case in an escape", NO_CANON, _swap('"1.0"', '"\\u00E9"')),
    ("raw UTF-8", NO_JSON, _swap('"shop"', '"sh\u00f6p"')),
    ("Latin-1", NO_JSON, lambda data: data.replace(b'"shop"', b'"sh\xf6p"', 1)),
    ("overlong UTF-8", NO_JSON, lambda data: data.replace(b"/srv", b"\xc0\xafsrv", 1)),
    ("a raw control character", NO_JSON, _swap('"shop"', '"sh\x01op"')),
    ("a raw line feed in a string", NO_JSON, _swap('"shop"', '"sh\nop"')),
    ("single quotes", NO_JSON, _swap('"shop"', "'shop'")),
    ("a comma at the end", NO_JSON, lambda data: data[:-2] + b",}\n"),
    ("a comment", NO_JSON, _swap("{", "{/* */")),
    ("lists in lists", NO_JSON, lambda data: b"[" * 100_000 + b"]" * 100_000 + b"\n"),
    ("objects in objects", NO_JSON, lambda data: b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n"),
    ("lists in a list of the manifest's", "", _swap('"hooks":[]', '"hooks":' + "[" * 100_000 + "]" * 100_000)),
    ("900 lists in a list of the manifest's", "", _swap('"hooks":[]', '"hooks":' + "[" * 900 + "]" * 900)),
    ("hundreds of thousands of lists", "", lambda data: b"[" + b"[]," * 340_000 + b"[]]\n"),
    ("hundreds of thousands of objects as layers", "", _swap('"layers":[', '"layers":[' + "{}," * 340_000)),
    ("hundreds of thousands of objects as hooks", "", _swap('"hooks":[]', '"hooks":[' + "{}," * 340_000 + "{}]")),
    ("hundreds of thousands of words", "", _swap('"commands":[]', '"commands":[' + '"",' * 340_000 + '""]')),
    ("hundreds of thousands of numbers", "", _swap('"commands":[]', '"commands":[' + "0," * 500_000 + "0]")),
    ("tens of thousands of unknown keys", "", lambda data: b"{" + b",".join(b'"%05x":0' % n for n in range(90_000)) + b"," + data[1:]),
    ("a string of nearly a MiB", "", _swap('"shop"', '"' + "s" * 1_000_000 + '"')),
    ("a key of nearly a MiB", "", _swap('{"', '{"' + "!" * 1_000_000 + '":0,"')),
    ("longer than its cap", "has no release/release.json", lambda data: data[:-1] + b" " * (8 << 20) + b"\n"),
    ("8 MiB of objects", "", _swap('"layers":[', '"layers":[' + "{}," * 2_790_000)),
    ("8 MiB of lists", "", _swap('"commands":[]', '"commands":[' + "[]," * 2_790_000 + "[]]")),
    ("8 MiB of short strings", "", _swap('"commands":[]', '"commands":[' + '"a",' * 2_090_000 + '""]')),
    ("a million layers that are none", "", _swap('"layers":[', '"layers":[' + "1," * 1_000_000)),
)


def _spelled() -> Iterator[Case]:
    for name, says, change in SPELLINGS:
        yield Case.of("manifest: spelling", name, says, BASE.but(spelled=change))


def _at(value: Any, path: tuple[str | int, ...]) -> tuple[Any, str | int]:
    for key in path[:-1]:
        value = value[key]
    return value, path[-1]


def _setting(*path: str | int, to: Any) -> Callable[[Value], object]:
    def change(value: Value) -> None:
        holder, key = _at(value, path)
        holder[key] = copy.deepcopy(to)

    return change


def _full() -> Forged:
    """A manifest in which every key that can be there has a value."""

    def change(value: Value) -> None:
        value["services"], value["hooks"], value["health"] = copy.deepcopy(([SERVICE], [HOOK], HEALTH))
        value["overlay"] = copy.deepcopy({"copied": [COPIED], "on_conflict": [CONFLICT]})
        value["requires"].update(linked_dirs=["media"], linked_files=["local.py"], env=["KEY"], commands=["sh"])

    return BASE.but(change=change)


FULL = _full()
_TYPES: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("true", True),
    ("a number", 7),
    ("a negative number", -1),
    ("a number above 2^53", 1 << 53),
    ("a float", 1.5),
    ("a string", "7"),
    ("a list", []),
    ("a list of lists", [[]]),
    ("an object", {}),
)


def _walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from _walk(item, (*path, key))


def _words(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)[1:]


def _typed() -> Iterator[Case]:
    """Every key with a value of every other type, left out, and with a neighbour that is unknown."""

    def alike(first: Any, second: Any) -> bool:
        return type(first) is type(second) and not (isinstance(second, int) and not 0 <= second < 1 << 53) and second != [[]]

    def removing(path: tuple[str | int, ...]) -> Callable[[Value], object]:
        def change(value: Value) -> None:
            FULL.change(value)
            holder, key = _at(value, path)
            del holder[key]

        return change

    def both(change: Callable[[Value], object]) -> Callable[[Value], object]:
        return lambda value: (FULL.change(value), change(value))

    for path, item in _walk(json.loads(FULL.manifest())):
        for name, other in _TYPES:
            if not alike(item, other) and path != ("format",):
                says = "must be"
                yield Case.of("manifest: types", f"{_words(path)} is {name}", says, BASE.but(change=both(_setting(*path, to=other))))
        if isinstance(path[-1], str):
            yield Case.of("manifest: keys", f"{_words(path)} is missing", "", BASE.but(change=removing(path)))
        if isinstance(item, dict):
            change = both(_setting(*path, "surprise", to=0))
            yield Case.of("manifest: keys", f"{_words(path)}.surprise", "is unknown", BASE.but(change=change))
    yield Case.of("manifest: keys", "surprise", "is unknown", BASE.but(change=_setting("surprise", to=0)))
    yield Case.of("manifest: keys", "a key that is an escape", "is unknown", BASE.but(change=_setting(ESCAPE, to=0)))
    yield Case.of("manifest: keys", "a layer's key that is an escape", "is unknown", BASE.but(change=_setting("layers", 0, ESCAPE, to=0)))


OFFSET = len(LAYERS[0].table.data)
VALUES: tuple[tuple[str, str, Callable[[Value], object]], ...] = (
    ("format 0", "format", _setting("format", to=0)),
    ("format 2", "format", _setting("format", to=2)),
    ("a format that is a string", "format", _setting("format", to="1")),
    ("a format that is true", "format", _setting("format", to=True)),
    ("a format that is an escape", "format", _setting("format", to=ESCAPE)),
    ("a format that is a long list", "format", _setting("format", to=[0] * 300_000)),
    *(
        (f"name {name!r}", "name", _setting("name", to=name))
        for name in ("", ".", "..", "../x", "-rf", "a/b", "A", "a\n", "a\0", "x" * 65, "caf\xe9")
    ),
    ("a name that is an escape", "name", _setting("name", to=ESCAPE)),
    ("a name of wide letters", "name", _setting("name", to="\uff53hop")),
    ("a name that runs to the left", "name", _setting("name", to="shop\u202egpj")),
    *(
        (f"version {version!r}", "version", _setting("version", to=version))
        for version in ("", "-rf", "1 0", "1;reboot", "../1", "1/0", "1\n", "1\0", "x" * 129, "1$(id)", "\uff11.0")
    ),
    ("a version that is an escape", "version", _setting("version", to="1" + ESCAPE)),
    *((f"commit {name}", "commit", _setting("commit", to=commit)) for name, commit in (("empty", ""), ("in upper case", "A" * 40))),
    *((f"a commit of {length}", "commit", _setting("commit", to="a" * length)) for length in (39, 41, 63, 65)),
    ("a commit that is an escape", "commit", _setting("commit", to=ESCAPE)),
    ("a commit after the year 9999", "commit_time", _setting("commit_time", to=253402300800)),
    *(
        (f"root {root!r}", "root", _setting("root", to=root))
        for root in ("", "srv", "/srv/../etc", "/srv/x\0", "/srv/x\ny", "./x", "~/x", "/srv/./x")
    ),
    ("a root that is an escape", "root", _setting("root", to=f"/srv/{ESCAPE}")),
    ("a root of half a character", "root", _setting("root", to="/srv/\ud800")),
    ("a root of bytes that are no character", "root", _setting("root", to="/srv/\udcff")),
    ("a root of 5000 letters", "root", _setting("root", to="/" + "x" * 5000)),
    ("a root that runs to the left", "root", _setting("root", to="/srv/\u202eshop")),
    ("no release is kept", "keep_releases", _setting("keep_releases", to=0)),
    *(
        (f"minimum_installer {name}", "installer", _setting("minimum_installer", to=version))
        for name, version in (
            ("99", "99.0.0"),
            ("of 5000 digits", "9" * 5000),
            ("of superscripts", "\xb2.0"),
            ("empty", ""),
            ("an escape", ESCAPE),
            ("of dots", "1..0"),
            ("negative", "-1"),
        )
    ),
    ("an implementation that is an escape", "", _setting("target", "implementation", to=ESCAPE)),
    ("an abi that is an escape", "", _setting("target", "abi", to=ESCAPE)),
    ("a platform that is an escape", "", _setting("target", "platform", to=ESCAPE)),
    ("a libc that is an escape", "", _setting("target", "libc", "name", to=ESCAPE)),
    ("a byte_code that is an escape", "", _setting("target", "byte_code", to=ESCAPE)),
    ("a python that is an escape", "target.python", _setting("target", "python", to=ESCAPE)),
    ("a python of wide digits", "target.python", _setting("target", "python", to="\uff13.\uff11")),
    ("a python of 5000 digits", "target.python", _setting("target", "python", to="3." + "9" * 5000)),
    ("a python that leads elsewhere", "target.python", _setting("target", "python", to="3.11/../../../outside/evil")),
    ("a python with a line feed", "target.python", _setting("target", "python", to="3.11\n")),
    ("another python", "", _setting("target", "python", to="2.7")),
    ("another abi", "cp27mu", _setting("target", "abi", to="cp27mu")),
    ("another platform", "", _setting("target", "platform", to="win_amd64")),
    ("a libc of superscripts", "target.libc.minimum", _setting("target", "libc", "minimum", to="\xb2.1")),
    ("a libc of 5000 digits", "target.libc.minimum", _setting("target", "libc", "minimum", to="2." + "9" * 5000)),
    ("a libc of the future", "libc", _setting("target", "libc", "minimum", to="99.0")),
    ("another libc", "libc", _setting("target", "libc", "name", to="musl")),
    ("an unknown kind of environment", "env.kind", _setting("env", "kind", to="egg")),
    ("a pex without a layer of it", "", _setting("env", "kind", to="pex")),
    ("a wheelhouse without a layer of it", "", _setting("env", "kind", to="wheelhouse")),
    *(
        (f"linked_dirs {path!r}", "requires.linked_dirs", _setting("requires", "linked_dirs", to=[path]))
        for path in ("", ".", "..", "../x", "/etc", "a/../b", "a//b", "a/", "a\0", "a\n", "a\ud800", ESCAPE, "x" * 256, "x/" * 200 + "x")
    ),
    *((f"linked_files {path!r}", "requires.linked_files", _setting("requires", "linked_files", to=[path])) for path in ("..", "/etc/passwd", ESCAPE)),
    ("a linked directory twice", "twice", _setting("requires", "linked_dirs", to=["m", "m"])),
    ("a linked directory in another", "holds it", _setting("requires", "linked_dirs", to=["m", "m/n"])),
    ("a linked directory where the source has a file", "app.py", _setting("requires", "linked_dirs", to=["app.py"])),
    ("a linked directory below a file of the source", "app.py", _setting("requires", "linked_dirs", to=["app.py/x"])),
    ("a linked directory that holds files of the source", "d/data", _setting("requires", "linked_dirs", to=["d"])),
    ("a linked directory below a link of the source", "link", _setting("requires", "linked_dirs", to=["link/x"])),
    ("a linked file where the source has a link", "link", _setting("requires", "linked_files", to=["link"])),
    ("thousands of linked directories", "", _setting("requires", "linked_dirs", to=[f"m{n}" for n in range(60_000)])),
    ("thousands of linked files", "", _setting("requires", "linked_files", to=[f"m{n}" for n in range(3_000)])),
    *((f"requires.env {key!r}", "requires.env", _setting("requires", "env", to=[key])) for key in ("", "A-B", "A=B", "1A", "A\n", ESCAPE, "\xc4")),
    *(
        (f"a command {command!r}", "commands", _setting("requires", "commands", to=[command]))
        for command in ("", "-rf", "no/such", "../../outside/evil", "a\0b", "a\ud800", ESCAPE, "x" * 5000)
    ),
    ("thousands of commands", "commands", _setting("requires", "commands", to=[f"no-such-{n}" for n in range(30_000)])),
    ("bytes that no disk has", "disk", _setting("requires", "bytes", to=(1 << 53) - 1)),
    ("inodes that no disk has", "", _setting("requires", "inodes", to=(1 << 53) - 1)),
    ("rollback_safe_to an escape", "rollback_safe_to", _setting("rollback_safe_to", to=ESCAPE)),
    # what is declared for the host
    *(
        (f"copied from {path!r}", "overlay.copied", _setting("overlay", "copied", to=[{**COPIED, "path": path}]))
        for path in ("..", "../a", "/etc/shadow", "a//b", ESCAPE, "")
    ),
    *(
        (f"copied to {path!r}", "overlay.copied", _setting("overlay", "copied", to=[{**COPIED, "to": path}]))
        for path in ("", "a", "/", "/etc/../x", "/etc/x/", "/etc//x", "/etc/\0", f"/etc/{ESCAPE}", "/" + "x/" * 200)
    ),
    ("copied twice", "overlay.copied", _setting("overlay", "copied", to=[COPIED, COPIED])),
    ("copied below another", "overlay.copied", _setting("overlay", "copied", to=[COPIED, {"path": "b", "to": "/etc/a/b"}])),
    ("thousands are copied", "overlay.copied", _setting("overlay", "copied", to=[{"path": f"a{n}", "to": f"/etc/a{n}"} for n in range(20_000)])),
    ("a conflict of stars", "overlay.on_conflict", _setting("overlay", "on_conflict", to=[{"path": "**/" * 1000 + "*" * 200, "verdict": "refuse"}])),
    ("a conflict that leads out", "overlay.on_conflict", _setting("overlay", "on_conflict", to=[{"path": "../*", "verdict": "refuse"}])),
    ("a conflict without a verdict", "overlay.on_conflict", _setting("overlay", "on_conflict", to=[{"path": "a", "verdict": "delete"}])),
    ("thousands of conflicts", "overlay", _setting("overlay", "on_conflict", to=[{"path": f"a{n}", "verdict": "refuse"} for n in range(20_000)])),
    *(
        (f"a service with {key} {value!r:.40}", "services[", _setting("services", to=[{**SERVICE, key: value}]))
        for key, value in (
            ("name", "../x"),
            ("kind", "docker"),
            ("unit", "--force"),
            ("unit", "../x.service"),
            ("program", "x"),
            ("config", ["../../etc/shadow"]),
            ("restart_on", ["always"]),
            ("restart_on", ["env", "env"]),
            ("deadline", 0),
            ("deadline", 1 << 40),
            ("restart", ["a\0b"]),
            ("restart", [ESCAPE]),
            ("restart", ["--x"]),
            ("restart", ["x"] * 300),
            ("reload", ["x"] * 60_000),
            ("modules", ["a/b"]),
            ("app", "x:(__import__('os'))"),
        )
    ),
    ("a service that is an escape", "services", _setting("services", to=[{**SERVICE, "name": ESCAPE}])),
    ("two services of one name", "services", _setting("services", to=[SERVICE, SERVICE])),
    ("thousands of services", "services", _setting("services", to=[{**SERVICE, "name": f"s{n}"} for n in range(2_500)])),
    *(
        (f"a hook with {key} {value!r:.40}", "hooks[0]", _setting("hooks", to=[{**HOOK, key: value}]))
        for key, value in (("when", "now"), ("when", ESCAPE), ("run", []), ("run", [""]), ("run", ["-rf"]), ("run", [ESCAPE]), ("deadline", 0))
    ),
    ("thousands of hooks", "hooks", _setting("hooks", to=[HOOK] * 12_000)),
    *(
        (f"health with {key} {value!r:.40}", "health", _setting("health", to={**HEALTH, key: value}))
        for key, value in (
            ("tcp", "h:1"),
            ("url", "file:///etc/passwd"),
            ("url", "http://h/a b"),
            ("url", "http://h/\r\nX: y"),
            ("url", "http://u@h/"),
            ("url", "https://h/"),
            ("url", "http://h:65536/"),
            ("url", ESCAPE),
            ("socket", "@root@/../x"),
            ("socket", "relative"),
            ("status", 99),
            ("body", "\0"),
            ("body", "x" * 5000),
            ("passes", 0),
            ("passes", 101),
            ("deadline", 0),
            ("deadline", 1 << 40),
        )
    ),
    # layers and ranges
    *(
        (f"a layer named {name!r:.20}", "has a name", _setting("layers", 0, "name", to=name))
        for name in ("", "..", "../x", "-rf", ".x", "a/b", "x" * 201)
    ),
    ("a layer that is an escape", "has a name", _setting("layers", 0, "name", to=ESCAPE)),
    ("a layer of an unknown kind", "unknown kind", _setting("layers", 0, "kind", to="evil")),
    ("a layer whose kind is an escape", "unknown kind", _setting("layers", 0, "kind", to=ESCAPE)),
    ("two layers of one name", "is there twice", _setting("layers", 1, "name", to="src")),
    ("a layer twice", "tile", lambda value: value["layers"].append(value["layers"][0])),
    ("layers in another order", "tile", lambda value: value["layers"].reverse()),
    ("no layers", "tile", _setting("layers", to=[])),
    ("a layer too few", "tile", lambda value: value["layers"].pop()),
    ("a layer without a byte", "impossible length", _setting("layers", 0, "bytes", to=0)),
    ("a layer of other bytes", "tile", lambda value: value["layers"][0].update(bytes=value["layers"][0]["bytes"] + 1)),
    ("a layer of more bytes than the file", "tile", _setting("layers", 1, "bytes", to=(1 << 53) - 1)),
    ("a table without a byte", "impossible length", _setting("layers", 0, "table", "bytes", to=0)),
    ("a table longer than its layer", "impossible length", lambda value: value["layers"][0]["table"].update(bytes=value["layers"][0]["bytes"] + 1)),
    (
        "a table of 65 MiB",
        "impossible length",
        lambda value: (value["layers"][1].update(bytes=66 << 20), value["layers"][1]["table"].update(bytes=65 << 20)),
    ),
    ("a table that begins at 0", "tile", _setting("layers", 0, "table", "offset", to=0)),
    ("a table that begins too late", "tile", lambda value: value["layers"][0]["table"].update(offset=value["layers"][0]["table"]["offset"] + 1)),
    ("a table behind the file", "tile", _setting("layers", 1, "table", "offset", to=1 << 40)),
    ("two tables that overlap", "tile", lambda value: value["layers"][1]["table"].update(offset=value["layers"][0]["table"]["offset"] + 9)),
    ("a table without a digest", "has no sha256", _setting("layers", 0, "table", "sha256", to="")),
    (
        "a digest in upper case",
        "has no sha256",
        lambda value: value["layers"][0]["table"].update(sha256=value["layers"][0]["table"]["sha256"].upper()),
    ),
    ("a table of another digest", "differs from its digest", _setting("layers", 0, "table", "sha256", to="0" * 64)),
    ("another layer's digest", "differs from its digest", lambda v: v["layers"][0]["table"].update(sha256=v["layers"][1]["table"]["sha256"])),
    ("a table that inflates to less", "stated", lambda value: value["layers"][0]["table"].update(size=value["layers"][0]["table"]["size"] - 1)),
    ("a table that inflates to more", "stated", lambda value: value["layers"][0]["table"].update(size=value["layers"][0]["table"]["size"] + 1)),
    ("a table that inflates to nothing", "", _setting("layers", 0, "table", "size", to=0)),
    ("a table that inflates to 2^53", "stated", _setting("layers", 0, "table", "size", to=(1 << 53) - 1)),
    ("fewer files than there are", "files", _setting("layers", 0, "files", to=0)),
    ("more files than there are", "files", lambda value: value["layers"][0].update(files=value["layers"][0]["files"] + 1)),
    ("more files than any disk takes", "", _setting("layers", 0, "files", to=(1 << 53) - 1)),
    ("less contents than there are", "bytes", _setting("layers", 0, "size", to=0)),
    ("more contents than there are", "bytes", lambda value: value["layers"][0].update(size=value["layers"][0]["size"] + 1)),
    ("more contents than any disk takes", "disk", _setting("layers", 0, "size", to=(1 << 53) - 1)),
    ("an installer that begins later", "tile", _setting("installer", "offset", to=1)),
    ("an installer without a byte", "tile", _setting("installer", "bytes", to=0)),
    ("an installer of 17 MiB", "is too long", lambda value: value["installer"].update(size=17 << 20)),
    ("an installer of another digest", "differs from its digest", _setting("installer", "sha256", to="0" * 64)),
    ("an installer that inflates to more", "stated", lambda value: value["installer"].update(size=value["installer"]["size"] + 1)),
    ("an installer that inflates to nothing", "", _setting("installer", "size", to=0)),
    ("an end that begins earlier", "tile", _setting("end", "offset", to=0)),
    ("an end without a digest", "has no sha256", _setting("end", "sha256", to="x")),
    ("a tail that is shorter", "tail.bytes", lambda value: value["tail"].update(bytes=value["tail"]["bytes"] - 1)),
    ("a tail that is longer", "tail.bytes", lambda value: value["tail"].update(bytes=value["tail"]["bytes"] + 1)),
    ("a tail without a byte", "tail.bytes", _setting("tail", "bytes", to=0)),
    ("a tail of 2^53", "tail.bytes", _setting("tail", "bytes", to=(1 << 53) - 1)),
    ("a checksum of 33 bits", "tail.crc32", _setting("tail", "crc32", to=1 << 32)),
    ("all ranges a byte later", "", lambda v: (v["end"].update(offset=v["end"]["offset"] + 1), v["tail"].update(bytes=v["tail"]["bytes"] + 1))),
)


OF_HOSTS = {
    "minimum_installer 99",
    "another python",
    "another abi",
    "another platform",
    "a libc of the future",
    "another libc",
    "a pex without a layer of it",
    "a wheelhouse without a layer of it",
    "a linked directory twice",
    "a linked directory in another",
    "a linked directory where the source has a file",
    "a linked directory below a file of the source",
    "a linked directory that holds files of the source",
    "a linked directory below a link of the source",
    "a linked file where the source has a link",
    "a command 'no/such'",
    "a command '../../outside/evil'",
}


def _valued() -> Iterator[Case]:
    for name, says, change in VALUES:
        # The environment of what is live is used again, whatever room it would need; what makes one of another kind is run, and fails.
        statuses = (0, 3) if "that no disk has" in name else (3, 4) if "without a layer of it" in name else REFUSED
        yield Case.of("manifest: values", name, says, BASE.but(change=change), statuses=statuses, hosts=name in OF_HOSTS)
    # Nothing is wrong with these, however odd they look: nobody is led astray.
    odd = {
        "-rf": b"a file\n",
        "--help": b"",
        "$(id)": b"",
        "`id`": b"",
        "a;b|c&d": b"",
        "*": b"",
        "~": b"",
        "a\\b": b"",
        "con": b"",
        "a\xa0b" * 0 + "x": b"",
    }
    yield Case.of("manifest: values", "names that are options and orders", "", BASE.but(layers=(honest("src", odd), LAYERS[1])), statuses=ACCEPTED)
    yield Case.of(
        "manifest: values", "a linked directory named -rf", "", BASE.but(change=_setting("requires", "linked_dirs", to=["-rf"])), statuses=ACCEPTED
    )
    yield Case.of(
        "manifest: values",
        "another checksum of the tail, and a trailer to it",
        "",
        BASE.but(change=_setting("tail", "crc32", to=7)),
        statuses=ACCEPTED,
    )
    yield Case.of(
        "manifest: values", "another length of the tail, and a trailer to it", "", BASE.but(change=_setting("tail", "size", to=7)), statuses=ACCEPTED
    )
    many = tuple(honest("src", {f"f{n}": b"x"}, name=f"src{n}") for n in range(300))
    yield Case.of("manifest: values", "300 layers of one kind", "", BASE.but(layers=many), statuses=ACCEPTED)
    assert SOURCE  # the other cases tell of its files


def cases() -> Iterator[Case]:
    yield from _spelled()
    yield from _typed()
    yield from _valued()
