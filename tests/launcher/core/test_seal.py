"""Sealed records: what is not as it was sent, in its place and direction, is refused."""

from __future__ import annotations

import random

import pytest

from launcher.core.protocol.frames import ChannelError
from launcher.core.protocol.seal import MAX_RECORD, Opener, Sealer

KEY, OTHER = b"k" * 64, b"o" * 64


def records(*data: bytes) -> list[bytes]:
    sealer = Sealer(KEY)
    return [sealer.seal(one) for one in data]


def test_data_survives_any_cut() -> None:
    """However the bytes are cut, and however large the data is, it comes out whole, in order."""
    dice = random.Random(1)
    data = [b"", b"a", dice.randbytes(5000), dice.randbytes(MAX_RECORD + 10), b"z"]
    stream, opener, found = b"".join(records(*data)), Opener(KEY), b""
    while stream:
        size = dice.choice((1, 3, 40, 10_000, 600_000))
        found += opener.open(stream[:size])
        stream = stream[size:]
    assert found == b"".join(data)


@pytest.mark.parametrize(
    "attack",
    [
        lambda a, b, c: a + b[:-1] + bytes([b[-1] ^ 1]),
        lambda a, b, c: a + b[:5] + bytes([b[5] ^ 128]) + b[6:],
        lambda a, b, c: a + a,
        lambda a, b, c: b + a,
        lambda a, b, c: a + c,
        lambda a, b, c: Sealer(OTHER).seal(b"first"),
        lambda a, b, c: b"\xff\xff\xff\xff",
        lambda a, b, c: a[:3] + bytes([a[3] - 1]) + a[4:] + b,
    ],
    ids=["mac", "data", "repeated", "swapped", "omitted", "other-direction", "length", "shorter"],
)
def test_what_was_touched_is_refused(attack: object) -> None:
    """A record that was changed, repeated, moved, left out, sent back or cut short."""
    assert callable(attack)
    stream = attack(*records(b"first", b"second", b"third"))
    with pytest.raises(ChannelError, match="somebody else has written"):
        Opener(KEY).open(stream)
