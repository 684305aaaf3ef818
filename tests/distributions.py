"""Tiny wheels and sdists, made on the fly, and a package index on 127.0.0.1 that serves them: real pip, no network.

An sdist carries its own build back end, so that building it needs nothing from any index.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

BACKEND = '''\
"""A build back end: what stands in wheel/ goes into the wheel as it is."""
import pathlib, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    {before}
    name = {wheel!r}
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        for path in sorted(pathlib.Path("wheel").rglob("*")):
            if path.is_file():
                archive.writestr(zipfile.ZipInfo(path.relative_to("wheel").as_posix()), path.read_bytes())
    return name
'''


def make_wheel(
    directory: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    *,
    requires: Iterable[str] = (),
    scripts: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
    requires_python: str = "",
) -> Path:
    """A wheel in ``directory``. ``files``: by default one module of the distribution's name; ``scripts``: console script -> ``module:function``."""
    path = directory / _wheel_name(name, version, tag)
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in _wheel_files(name, version, files, requires, scripts or {}, tag, requires_python).items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return path


def make_sdist(
    directory: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    *,
    requires: Iterable[str] = (),
    build_requires: Iterable[str] = (),
    before: str = "pass",
) -> Path:
    """An sdist in ``directory``. ``before`` is a statement that its back end runs before it makes the wheel."""
    base = f"{_escaped(name)}-{version}"
    wheel = _wheel_name(name, version, "py3-none-any")
    members = {
        "PKG-INFO": _metadata(name, version, requires, ""),
        "pyproject.toml": f'[build-system]\nrequires = {list(build_requires)!r}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = {list(requires)!r}\n',
        "backend.py": BACKEND.format(before=before, wheel=wheel),
        **{f"wheel/{key}": text for key, text in _wheel_files(name, version, files, requires, {}, "py3-none-any", "").items()},
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{base}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in sorted(members.items()):
            info = tarfile.TarInfo(f"{base}/{member}")
            data = text.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _wheel_files(
    name: str, version: str, files: Mapping[str, str] | None, requires: Iterable[str], scripts: Mapping[str, str], tag: str, requires_python: str
) -> dict[str, str]:
    info = f"{_escaped(name)}-{version}.dist-info"
    members = dict({f"{_escaped(name)}.py": f"version = {version!r}\n"} if files is None else files)
    members[f"{info}/METADATA"] = _metadata(name, version, requires, requires_python)
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {'true' if tag.endswith('any') else 'false'}\nTag: {tag}\n"
    if scripts:
        members[f"{info}/entry_points.txt"] = "[console_scripts]\n" + "".join(f"{key} = {value}\n" for key, value in scripts.items())
    record = [f"{member},sha256={_digest(text)},{len(text.encode())}\n" for member, text in members.items()]
    members[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    return members


def _metadata(name: str, version: str, requires: Iterable[str], requires_python: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {item}" for item in requires)]
    return "\n".join([*lines, *([f"Requires-Python: {requires_python}"] if requires_python else []), ""])


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _escaped(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _wheel_name(name: str, version: str, tag: str) -> str:
    return f"{_escaped(name)}-{version}-{tag}.whl"


class Index:
    """A package index: the files in ``directory``. ``yanked`` names files; ``asked`` lists every path that was asked for."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.yanked: set[str] = set()
        self.asked: list[str] = []

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes pip use this index."""
        return {"PIP_INDEX_URL": f"http://127.0.0.1:{self.port}/simple/"}

    def answer(self, path: str) -> bytes | None:
        """The body for a path of the index; None where there is nothing."""
        self.asked.append(path)
        kind, _, name = unquote(path).strip("/").partition("/")
        if kind == "files" and (self.directory / name).is_file():
            return (self.directory / name).read_bytes()
        if kind != "simple":
            return None
        files = [file for file in sorted(self.directory.iterdir()) if _escaped(re.split(r"-\d", file.name)[0]) == _escaped(name)]
        return "".join(map(self._link, files)).encode() if files else None

    def _link(self, file: Path) -> str:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        yanked = ' data-yanked="broken"' if file.name in self.yanked else ""
        return f'<a href="/files/{html.escape(file.name)}#sha256={digest}"{yanked}>{html.escape(file.name)}</a>\n'


@contextmanager
def serve(directory: Path) -> Iterator[Index]:
    """An index of what is in ``directory`` at the time when it is asked."""
    directory.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.answer(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(directory, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
