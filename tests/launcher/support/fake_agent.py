"""A node's end that knows the protocol's first words, and then says whatever a test tells it to.

It runs where a node's python would (``python:`` in the cluster file): ``FAKE_SAYS`` in the
environment names a file of JSON with what is sent to each kind of order.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from launcher.core.protocol import channel
from launcher.core.protocol.frames import Decoder, encode


def main() -> None:
    """Greet as an agent does, then answer each order with the frames that the test has written."""
    with open(os.environ["FAKE_SAYS"]) as file:
        answers: dict[str, list[Any]] = json.load(file)
    secret, theirs = line().split()
    told = ("mine", "-", "none")
    right = channel.proof(secret, "agent", theirs, *told)
    os.write(1, channel.MARKER + f"mine {right} - none\n".encode())
    size = int(line().split()[1])
    while size > 0:
        size -= len(os.read(0, min(size, 65536)))
    say(answers.get("hello", []))
    decoder = Decoder()
    while data := os.read(0, 65536):
        for order in decoder.feed(data):
            if order["type"] == "end":
                sys.exit(0)
            say(answers.pop(order["type"], []))


def line() -> str:
    out = b""
    while not out.endswith(b"\n"):
        out += os.read(0, 1) or sys.exit(1)
    return out.decode()


def say(frames: list[Any]) -> None:
    """Objects as frames; a text is the body of a frame as it stands."""
    for frame in frames:
        body = frame.encode() if isinstance(frame, str) else None
        data = encode(frame) if body is None else len(body).to_bytes(4, "big") + body
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
