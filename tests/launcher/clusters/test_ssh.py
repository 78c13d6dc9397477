"""The SSH backend's pure parts; tests/clusters/ssh/test_ssh.py has the rest."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.clusters.ssh.cluster import SshCluster, command_line, explain_exit
from launcher.clusters.ssh.config import parse_jump, read_config
from launcher.clusters.ssh.errors import SshProblem
from launcher.clusters.ssh.options import SshOptions
from launcher.core.job import Node

ODD = [
    "",
    " ",
    "it's",
    '"',
    "a\nb\n",
    "$(x)",
    "; x",
    "`x`",
    "!!",
    "~",
    "*",
    "\\0101\\n",
    "%s",
    "é😀",
]
SHELLS = [name for name in ("sh", "bash", "dash", "zsh", "tcsh", "fish") if shutil.which(name)]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ~/.ssh/config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").touch()
    return tmp_path / ".ssh/config"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_login_shell_understands_the_command(shell: str) -> None:
    """Arguments arrive intact through any shell."""
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"

    command = command_line([sys.executable, "-c", show, *ODD])

    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout) == ODD, done.stderr


def test_the_command_holds_nothing_that_a_shell_takes_for_its_own() -> None:
    """Inside the single quotes are only characters that mean nothing to any shell."""
    command = command_line(["python", "-c", "".join(map(chr, range(1, 256)))])

    inside = command.removeprefix("exec /bin/sh -c '").removesuffix("'")
    assert not set(inside) & set("'!\n\r\t`*?[]{}<>|&;#~^")


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("bastion", (None, "bastion", None)),
        ("me@bastion:2222", ("me", "bastion", 2222)),
        ("me@corp@bastion", ("me@corp", "bastion", None)),
        ("[fe80::1]:2222", (None, "fe80::1", 2222)),
        ("me@[::1]", ("me", "::1", None)),
        ("fe80::1", (None, "fe80::1", None)),
        ("ssh://me@bastion:2222", ("me", "bastion", 2222)),
    ],
)
def test_jump_hosts_are_written_as_for_ssh(
    word: str, parts: tuple[str | None, str, int | None]
) -> None:
    """[user@]host[:port]."""
    assert parse_jump(word) == parts


@pytest.mark.parametrize("word", ["", "me@", "host:port", "host:", "[::1]x"])
def test_a_word_that_is_no_jump_host(word: str) -> None:
    """It is named."""
    with pytest.raises(SshProblem, match="is no jump host"):
        parse_jump(word)


def test_included_files_keep_to_their_block(config: Path) -> None:
    """After an Include, the block goes on in which it stood."""
    (config.parent / "one.conf").write_text("User one\nHost other\n  Port 7\n")
    config.write_text("Host a\n  Include *.conf\n  Port 5\nHost b\n  Port 6\n")

    targets = [read_config(SshOptions()).node(name, None, None) for name in ("a", "b", "other")]

    assert [target.port for target in targets] == [5, 6, 7]
    assert targets[0].user == "one"
    assert targets[1].user != "one"


def test_a_file_that_includes_itself_is_an_error(config: Path) -> None:
    """It ends, by name."""
    config.write_text("Include config\n")

    with pytest.raises(SshProblem, match="is included by itself"):
        read_config(SshOptions())


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a;x", "$(x)", "a b", "`x`", "a\nb", "a|b"])
def test_names_that_a_shell_could_misunderstand(config: Path, name: str) -> None:
    """Host and user names end up in a ProxyCommand: such names are refused, as OpenSSH does."""
    config.write_text("Host *\n  ProxyCommand nc %h %p\n")

    with pytest.raises(SshProblem, match="can't be the name of a host"):
        read_config(SshOptions()).node(name, None, None)
    with pytest.raises(SshProblem, match="can't be the name of a user"):
        read_config(SshOptions()).node("host1", None, name)


def test_comments_at_the_end_of_a_line(config: Path) -> None:
    """They are no part of the value."""
    config.write_text("Host a # the first\n  Port 5 # five\n  ProxyCommand nc -x # %h\n")

    target = read_config(SshOptions()).node("a", None, None)

    assert (target.port, target.proxy_command) == (5, "nc -x # a")


def test_defaults(config: Path) -> None:
    """Without a word about a host: its name, port 22, the usual keys and files."""
    target = read_config(SshOptions()).node("a", None, None)

    assert (target.host, target.port, target.key_name) == ("a", 22, "a")
    assert target.known_hosts[0] == f"{config.parent}/known_hosts"
    assert target.known_hosts[2] == "/etc/ssh/ssh_known_hosts"
    assert target.identity_files[0] == f"{config.parent}/id_ed25519"
    assert not target.explicit_identities
    assert target.is_direct


@pytest.mark.parametrize(
    ("code", "is_explained"),
    [(127, True), (126, True), (1, False), (0, False), (None, False), (-9, False)],
)
def test_explain_exit(code: int | None, is_explained: bool) -> None:
    """Only the codes by which sh says that the program never ran."""
    said = "sh: 1: exec: /env/python: not found\n"

    error = explain_exit(Node("host1", "host1", python="/env/python"), code, said)

    assert (error is not None) == is_explained
    assert error is None or str(error).startswith("host1: ")


def test_the_constructor_stores_only() -> None:
    """No host is looked up, no file is read, before somebody connects."""
    nodes = (Node("nowhere", "nowhere.invalid"),)

    assert SshCluster(nodes, SshOptions(identity_file="/nowhere")).nodes() == nodes
