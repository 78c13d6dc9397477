"""Records with a MAC: what travels over a connection that anybody could touch.

A record is four bytes of length (big endian), the data, and HMAC-SHA256 over the record's number,
the length and the data. Each direction has a key of its own, drawn from the secret and from both
sides' nonces, so a record can't be changed, left out, repeated, moved or sent back. What it says
can still be read. Standard library only, and little of it: this file travels to the nodes.
"""

from __future__ import annotations

from launcher.core.protocol.frames import ChannelError

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MUCH = 1 << 20  # bytes after which a faster SHA-256 is worth its import
MAX_RECORD = 1 << 20  # bytes of data; more travels as several records
MAC_BYTES = 32
BLOCK_BYTES = 64  # of SHA-256, by HMAC's definition


def quick_sha256() -> Callable[[bytes], Any]:
    """The SHA-256 whose import is quickest; hashlib's takes longer than a small run's records."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # CPython 3.12 on
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]  # before
        except ImportError:
            from hashlib import sha256
    found: Callable[[bytes], Any] = sha256
    return found


class Mac:
    """HMAC-SHA256 with one key; what depends on the key alone is computed once."""

    def __init__(self, key: bytes) -> None:
        self._key, self._until_much = key.ljust(BLOCK_BYTES, b"\0"), MUCH
        self._begin(quick_sha256())

    def _begin(self, algorithm: Callable[[bytes], Any]) -> None:
        self._inner = algorithm(bytes(byte ^ 0x36 for byte in self._key))
        self._outer = algorithm(bytes(byte ^ 0x5C for byte in self._key))

    def of(self, *parts: bytes) -> bytes:
        """The MAC of the parts, one after the other."""
        if self._until_much > 0:
            self._until_much -= sum(map(len, parts))
            if self._until_much <= 0:
                import hashlib

                self._begin(hashlib.sha256)
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return bytes(outer.digest())


class Sealer:
    """Data in, records out. ``key``: at most 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._mac = Mac(key)
        self._number = 0

    def seal(self, data: bytes) -> bytes:
        """The records that carry ``data``."""
        out = bytearray()
        for start in range(0, len(data), MAX_RECORD):
            part = data[start : start + MAX_RECORD]
            head = len(part).to_bytes(4, "big")
            out += head + part + self._mac.of(self._number.to_bytes(8, "big"), head, part)
            self._number += 1
        return bytes(out)


class Opener:
    """Records in, data out, as far as it is proved."""

    def __init__(self, key: bytes) -> None:
        self._mac = Mac(key)
        self._number = 0
        self._buffer = bytearray()

    def open(self, data: bytes) -> bytes:
        """Add bytes; the data of the records that are complete now. Raises ChannelError."""
        from _operator import _compare_digest

        buffer, out, at = self._buffer, [], 0
        buffer += data
        while len(buffer) - at >= 4:
            head = bytes(buffer[at : at + 4])
            end = at + 4 + int.from_bytes(head, "big")
            if end - at - 4 > MAX_RECORD:
                raise ChannelError(FORGED)
            if len(buffer) < end + MAC_BYTES:
                break
            part = bytes(buffer[at + 4 : end])
            mac = self._mac.of(self._number.to_bytes(8, "big"), head, part)
            if not _compare_digest(mac, bytes(buffer[end : end + MAC_BYTES])):
                raise ChannelError(FORGED)
            out.append(part)
            self._number += 1
            at = end + MAC_BYTES
        del buffer[:at]
        return b"".join(out)


FORGED = "somebody else has written into the connection: a record without the secret's proof"
