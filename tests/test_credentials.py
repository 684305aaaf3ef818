"""What is refused as a credential, what is told from one, and that none is ever shown."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from builder.source.credentials import in_text, scan

# Put together here, so that neither this file nor a copy of it holds anything that looks like a credential.
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nMzEfYyjiWA4R4ypbJ5mz2pPnPOl0JqvQYcxGqjA2s4wWnQe3jUq2Lc0q9tGxw1Zk\n"
DASHES = "-" * 5
RANDOM = "q7Zx2LmW9vKtR4bNc8YpHs3JdFg6TaQeU1oVkBnM5rXwCzSyEiDhGjPlOuAfI0q7Zx2LmW9vKtR4bNc8YpHs3JdFg6TaQeU1oV"


def pem(kind: str, body: str = BODY) -> str:
    return f"{DASHES}BEGIN {kind}{DASHES}\n{body}{DASHES}END {kind}{DASHES}\n"


def kinds(text: str | bytes) -> list[str]:
    return [kind for _, kind in in_text(io.BytesIO(text if isinstance(text, bytes) else text.encode()))]


REAL = {
    pem("PRIVATE KEY"): "a private key",
    pem("RSA PRIVATE KEY"): "a private key",
    pem("EC PRIVATE KEY"): "a private key",
    pem("ENCRYPTED PRIVATE KEY"): "a private key",
    pem("OPENSSH PRIVATE KEY"): "a private key",
    pem("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n" + BODY): "a private key",
    pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F\n\n" + BODY): "a private key",
    '{"type": "service_account", "private_key": ' + repr(pem("PRIVATE KEY")).replace("'", '"') + "}": "a private key",
    "KEY = b'" + pem("RSA PRIVATE KEY").replace("\n", "\\n'\n   b'") + "'": "a private key",
    pem("RSA PRIVATE KEY").replace("\n", "\r\n"): "a private key",
    "PuTTY-User-Key-File-" + "2: ssh-rsa\nEncryption: none\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\n" + RANDOM[:64]: "a private key of PuTTY",
    "id = AKI" + "AQ7ZX2LMW7VKTR4BN": "a key id of AWS",
    "AWS_SECRET" + f'_ACCESS_KEY="{RANDOM[:40]}"': "a secret key of AWS",
    "aws_secret" + f"_access_key = {RANDOM[:40]}": "a secret key of AWS",
    f"ghp_{RANDOM[:36]}": "a token of GitHub",
    f"token: ghs_{RANDOM[:36]}": "a token of GitHub",
    f"github_pat_{RANDOM[:22]}_{RANDOM[:59]}": "a token of GitHub",
    f"glpat-{RANDOM[:20]}": "a token of GitLab",
    f"xoxb-9870654321-{RANDOM[:24]}": "a token of Slack",
    f"https://hooks.slack.com/services/T0Q7ZX2LM/B0W9VKTR4/{RANDOM[:24]}": "a webhook of Slack",
    f"sk_live_{RANDOM[:24]}": "a live key of Stripe",
    f"AIza{RANDOM[:35]}": "a key of Google's APIs",
    f"pypi-AgEIcHlwaS5vcmc{RANDOM[:60]}": "a token of PyPI",
    f"npm_{RANDOM[:36]}": "a token of npm",
    f"//registry/:_authToken={RANDOM[:36]}": "a token of npm",
    f"SG.{RANDOM[:22]}.{RANDOM[:43]}": "a key of SendGrid",
    f"AccountKey={RANDOM[:86]}==": "a key of an Azure account",
    "https://deploy:" + "kX9v2qLm@git.corp.net/shop.git": "a password in a URL",
    "DATABASE_URL=postgres://shop:" + "p%40ss9Kx!@db.internal:5432/shop": "a password in a URL",
    "redis://:" + "kX9v2qLmz@cache:6379/0": "a password in a URL",
}


@pytest.mark.parametrize("text", REAL, ids=[f"{number}-{kind}" for number, kind in enumerate(REAL.values())])
def test_credentials_are_found(text: str) -> None:
    """Each kind of credential is found in a text, alone, quoted, and behind other text."""
    assert kinds(text) == kinds(f"x\n{text}\n") == [REAL[text]]


@pytest.mark.parametrize(
    "text",
    [
        pem("PUBLIC KEY"),
        pem("CERTIFICATE"),
        pem("PGP PUBLIC KEY BLOCK"),
        pem("RSA PRIVATE KEY", "MIIEpAIBAAKCAQEA...\n"),
        pem("RSA PRIVATE KEY", "x" * 64 + "\n"),
        f"if '{DASHES}BEGIN RSA PRIVATE KEY{DASHES}' in text:\n    pass\n" + "a = 1\n" * 100,
        "PuTTY-User-Key-File-" + "2 is how such a file begins",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']",
        "ghp_" + "x" * 36,
        "ghp_1234567890abcdefghijklmnopqrstuvwxyz",
        "the prefixes are ghp_, glpat- and sk_live_",
        "sk_test_" + RANDOM[:24],
        "//registry/:_authToken=${NPM_TOKEN}",
        "https://user:pass@example.com/",
        "https://user:kX9v2qLm@www.example.org/",
        "postgres://postgres:postgres@db/shop",
        "postgres://shop:kX9v2qLm@localhost/shop",
        "postgres://shop:kX9v2qLm@127.0.0.1:5432/shop",
        "https://user:${PASSWORD}@git.corp.net/",
        "https://user:$PASSWORD@git.corp.net/",
        "https://{user}:{password}@git.corp.net/",
        "https://%s:%s@git.corp.net/",
        "https://user:<password>@git.corp.net/",
        "https://user:******@git.corp.net/",
        "https://user:secret123@git.corp.net/",
        "https://user:abc@git.corp.net/",
        "https://host.corp.net:8080/@scope/package",
        "git@git.corp.net:shop.git https://git.corp.net/shop@v1.2",
    ],
)
def test_placeholders_are_not_taken_for_credentials(text: str) -> None:
    """Public keys, prefixes, examples, variables and words for passwords are no credentials."""
    assert kinds(text) == []


def test_names_of_files(tmp_path: Path) -> None:
    """Files in which keys and passwords are kept are refused by their names, in any case and at any depth; examples of them are not."""
    refused = [".env", "a/.env.production", "a/.ENV", "id_rsa", "keys/id_ed25519", "store/cert.P12", "x.pfx", "x.jks", ".netrc", ".pypirc"]
    refused += [".pgpass", ".htpasswd", ".git-credentials", ".aws/credentials", "home/.docker/config.json"]
    fine = [".env.example", ".env.sample", ".env.template", ".env.dist", ".env.production.example", "id_rsa.pub", "env", "x.env", "netrc"]
    fine += ["credentials", "cert.pem", ".envrc", "environment.py", "docker/config.json"]
    for path in (*refused, *fine):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("HARMLESS=1\n")
    assert {problem.where for problem in scan(tmp_path)} == set(refused)


def test_problems_say_where_and_what_but_not_the_secret(tmp_path: Path) -> None:
    """Every problem has path, line, kind and remedy, all files are reported together, and no credential is in any word of them."""
    token = f"ghp_{RANDOM[:36]}"
    (tmp_path / "b.py").write_text(f"# one\n\nTOKEN = '{token}'  # {token}\nurl = 'ftp://me:{RANDOM[:9]}@files.corp.net/'\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "server.key").write_text("\n" + pem("PRIVATE KEY"))
    problems = scan(tmp_path)
    assert [(problem.where, problem.what) for problem in problems] == [
        ("a/server.key, line 2", "holds a private key."),
        ("b.py, line 3", "holds a token of GitHub."),
        ("b.py, line 4", "holds a password in a URL."),
    ]
    assert all("allow_secrets" in problem.remedy for problem in problems)
    assert not any(secret in str(problem) for problem in problems for secret in (RANDOM[:9], BODY[:9]))


def test_allowed_paths_are_not_looked_at(tmp_path: Path) -> None:
    """A pattern of the recipe allows the paths that it matches, by name and by content, and no other."""
    for path in ("tests/keys/server.pem", "tests/.env", "shop/server.pem"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(pem("PRIVATE KEY"))
    assert [problem.where for problem in scan(tmp_path, ["tests/keys/*.pem", "tests/.env"])] == ["shop/server.pem, line 1"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a credential outside the tree is not read: whether it may be packed is another check's matter."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key.pem").write_text(pem("PRIVATE KEY"))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "key.pem").symlink_to("../outside/key.pem")
    (tmp_path / "tree" / "all").symlink_to("../outside")
    assert scan(tmp_path / "tree") == ()


def test_binary_files_are_skipped_and_utf_16_is_read() -> None:
    """A file with a NUL byte at its start is no text; one that begins with a mark of UTF-16 is."""
    assert kinds(b"\x7fELF\0\0" + pem("PRIVATE KEY").encode()) == []
    assert kinds(("\ufeff" + pem("PRIVATE KEY")).encode("utf-16-le")) == ["a private key"]
    assert kinds(pem("PRIVATE KEY").encode("utf-16")) == ["a private key"]


@pytest.mark.parametrize("before", [(4 << 20) - 4200, (4 << 20) - 4096, (4 << 20) - 30, (4 << 20) - 5, 4 << 20, (8 << 20) - 4100, (8 << 20) + 77])
def test_large_files_are_read_in_pieces(before: int) -> None:
    """A credential is found once and with its line, wherever it lies on the border of two pieces of a large file."""
    filler = b"a" * 63 + b"\n"
    data = (filler * (before // 64 + 1))[: before - 1] + b"\n"
    lines = data.count(b"\n")
    found = list(in_text(io.BytesIO(data + pem("PRIVATE KEY").encode() + filler * 100000 + f"ghp_{RANDOM[:36]}".encode())))
    assert found == [(lines + 1, "a private key"), (lines + 5 + 100000, "a token of GitHub")]


def test_a_file_made_to_be_slow_is_read_quickly() -> None:
    """Text made of markers and of beginnings of URLs takes no more than linear time."""
    began = time.perf_counter()
    assert kinds("://a:" * 400000 + "PRIVATE KEY-----" * 50000 + "xoxb-1-" * 100000 + "://" + "a" * 2000000 + ":") == []
    assert time.perf_counter() - began < 20
