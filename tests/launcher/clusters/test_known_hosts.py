"""known_hosts files are read as OpenSSH reads them."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from launcher.clusters.ssh.known_hosts import KnownKey, key_name, known_keys


def hashed(name: str) -> str:
    """``name`` as ssh-keygen -H writes it."""
    salt = bytes(range(20))
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "asked", "speaks_of_it"),
    [
        ("host1", "host1", True),
        ("Host1", "hOST1", True),
        ("host1,10.0.0.1", "10.0.0.1", True),
        ("host1", "host11", False),
        ("host1", "[host1]:2222", False),
        ("[host1]:2222", "[host1]:2222", True),
        ("[host1]:2222", "host1", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "example.org", False),
        ("host?", "host1", True),
        ("[host*]:2222", "[host7]:2222", True),
        ("host*,!host3", "host2", True),
        ("host*,!host3", "host3", False),
        (hashed("host1"), "host1", True),
        (hashed("[host1]:2222"), "[host1]:2222", True),
        (hashed("host1"), "host2", False),
        ("|1|no|hash", "host1", False),
    ],
)
def test_names(tmp_path: Path, names: str, asked: str, speaks_of_it: bool) -> None:
    """Plain and hashed names, several, with ports, wildcards and negations."""
    file = tmp_path / "known_hosts"
    file.write_text(f"# comment\n\n{names} ssh-ed25519 AAAA comment\n")

    expected = [KnownKey(str(file), 3, "ssh-ed25519", "AAAA")] if speaks_of_it else []
    assert known_keys([str(file)], asked) == expected


def test_several_files_and_keys(tmp_path: Path) -> None:
    """All keys of all files; files that aren't there know nobody; broken lines are passed over."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("host1 ssh-ed25519 AAAA\nhost1\nhost1 ssh-rsa BBBB\n")
    second.write_text("@revoked host1 ssh-rsa BBBB\n@cert-authority * ssh-rsa CCCC\n")

    assert known_keys([str(first), "/nowhere", str(second)], "host1") == [
        KnownKey(str(first), 1, "ssh-ed25519", "AAAA"),
        KnownKey(str(first), 3, "ssh-rsa", "BBBB"),
        KnownKey(str(second), 1, "ssh-rsa", "BBBB", revoked=True),
    ]


def test_key_name() -> None:
    """The usual port is left out."""
    assert key_name("host1", 22) == "host1"
    assert key_name("host1", 2222) == "[host1]:2222"
