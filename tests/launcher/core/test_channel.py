"""Frames between controller and agent, and the first words of the two."""

from __future__ import annotations

import json
import marshal
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.core.protocol import channel
from launcher.core.protocol.channel import greet, proof
from launcher.core.protocol.frames import ChannelError, Decoder, dumps, encode, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=4), st.randoms())
def test_messages_survive_any_cut(messages: list[dict[str, Any]], dice: random.Random) -> None:
    """However the bytes are cut, the same messages come out in order."""
    stream = b"".join(map(encode, messages))
    decoder, found = Decoder(), []
    while stream:
        size = dice.randint(1, 30)
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == messages


def test_bytes_that_are_no_text_survive() -> None:
    """Lone surrogates stand for bytes that are no UTF-8, and come back as those bytes."""
    text = b"\xff ok \xfe".decode("utf-8", "surrogateescape")
    (message,) = Decoder().feed(encode({"text": text}))
    assert message["text"].encode("utf-8", "surrogateescape") == b"\xff ok \xfe"


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff....", b"\0\0\0\x02[]", b"SSH-2.0-x\r\n"])
def test_garbage_is_refused(garbage: bytes) -> None:
    """A length beyond all reason, or JSON that is no object, is not our protocol."""
    with pytest.raises(ChannelError):
        list(Decoder().feed(garbage))


@pytest.mark.parametrize(
    "body", [b'{"a":', b"\xff\xfe", b'{"a":' + b"[" * 500_000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_broken_json_is_an_error(body: bytes) -> None:
    """No JSON, no text, nesting and numbers without end: one named error, whatever it is."""
    with pytest.raises(ChannelError, match="no JSON"):
        list(Decoder().feed(len(body).to_bytes(4, "big") + body))


def test_a_message_has_a_largest_size() -> None:
    """One that claims more is refused by its first four bytes."""
    with pytest.raises(ChannelError, match="a message of 101 bytes, and 100 is the most"):
        list(Decoder(100).feed((101).to_bytes(4, "big")))


@given(JSON)
def test_json_is_what_json_says(value: Any) -> None:
    """Its core alone reads and writes the same, to the byte, blanks and NaN included."""
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    assert loads(dumps(value).encode()) == value
    assert loads(json.dumps(value, indent=1).encode() + b"\n") == value


def test_what_is_no_json_is_refused_as_json_does() -> None:
    """By the same errors."""
    assert loads(b"[NaN, 1e400, -Infinity]")[1:] == [float("inf"), -float("inf")]
    for text in (b"", b"[1,]", b"{1: 2}", b"[1] 2", b"\xff", b"nul", b'"\n"'):
        with pytest.raises(ValueError):
            loads(text)
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        dumps({"a": {1}})


class Node:
    """The bootstrap in a process of its own, as a transport starts it."""

    def __init__(self, before: str = "", after: str = "") -> None:
        login = f"import os\nos.write(1, {before!r}.encode())\n"
        code = login + channel.BOOTSTRAP + after
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        return os.read(self.process.stdout.fileno(), size)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), data)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


def cargo(code: str) -> Callable[[str], bytes]:
    """Code for the node's end, as every kind of Python takes it, and the config behind it."""
    return lambda _: zlib.compress(marshal.dumps({"launcher.agent.boot": code}, 2)) + b"the rest"


@pytest.mark.parametrize(
    "noise", ["", "Welcome!\nLast login: today\n", "plaunch-agent is no marker\n", "no end", "\0\n"]
)
def test_login_shells_may_talk(noise: str) -> None:
    """What a login shell prints before the marker is skipped, what comes after is kept."""
    code = 'import os; os.write(1, b"after " + config)'
    with Node(noise) as node:
        rest = greet(node.read, node.write, "secret", "nonce", cargo(code))
        while len(rest) < len(b"after the rest"):
            more = node.read(100)
            assert more, rest
            rest += more
    assert rest == b"after the rest"


def test_the_node_runs_nothing_without_the_controllers_proof(tmp_path: Any) -> None:
    """A controller that does not know the secret gets its code refused."""
    witness = tmp_path / "ran"
    with Node() as node:
        node.write(b"secret theirs\n")
        seen = b""
        while seen.count(b"\n") < 2:
            seen += node.read(1000)
        body = cargo(f"open({str(witness)!r}, 'w')")("")
        node.write(f"{'0' * 64} {len(body)} {'0' * 64}\n".encode() + body)
        _, errors = node.process.communicate(timeout=30)
    assert b"wrong secret" in errors
    assert not witness.exists()


def test_an_impostor_is_refused() -> None:
    """A node's end that can't prove the secret gets no code."""
    written: list[bytes] = []
    wrong = proof("other", "agent", "n", "abc", "-", "py").encode()
    answers = [b"motd\n\0plaunch-agent abc " + wrong + b" - py\n", b""]
    with pytest.raises(ChannelError, match="could not prove"):
        greet(lambda _: answers.pop(0), written.append, "secret", "n", lambda _: b"code")
    assert b"code" not in b"".join(written)


def test_a_stream_that_ends_tells_what_it_said() -> None:
    """The shell's own error is the message; endless noise is given up."""
    answers = [b"bash: python9: command not found\n", b""]
    with pytest.raises(ChannelError, match="python9: command not found"):
        greet(lambda _: answers.pop(0), lambda _: None, "s", "n", cargo(""))
    with pytest.raises(ChannelError, match="login shell printed"):
        greet(lambda size: b"x" * size, lambda _: None, "s", "n", cargo(""))


def test_the_secret_is_in_no_command_line() -> None:
    """It goes over the stream: the bootstrap is the same for every run."""
    assert "{" not in channel.BOOTSTRAP.replace("{}", "").partition("space = ")[0]
    compile(channel.BOOTSTRAP, "bootstrap", "exec")
