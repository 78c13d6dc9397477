"""A message between ranks, in one part of a fixed size and, if that is too small, a second one."""

from __future__ import annotations

from typing import Any

import torch

from engine.runtime.distributed.plain_data import MOST_BYTES, Damaged, NotPlain, pack, unpack

FIRST = 1024  # bytes: most messages are no longer, so that ranks meet once for them
_HEAD = 9  # the message's size, and whether it is one or says why there is none


class Letter:
    """Plain data of one rank for others, in bytes."""

    def __init__(self, first: torch.Tensor, body: torch.Tensor | None) -> None:
        self.first = first  # what every rank sends, of whatever length its message is
        self._body = body  # all of it, where it is known
        size = int.from_bytes(bytes(first[:8].tolist()), "little")
        if size > MOST_BYTES:
            raise Damaged(f"a message says that it has {size} bytes")
        self._size = size
        self.rest_size = max(0, size - (FIRST - _HEAD))

    @classmethod
    def of(cls, value: object) -> Letter:
        """A message that says `value`; or why it can't, which all are then to raise."""
        try:
            body, is_value = pack(value), True
        except Exception as error:  # of a property, too: nobody may wait for a message in vain
            text = f"{error if isinstance(error, NotPlain) else repr(error)}".encode()
            body, is_value = _bytes(text[: FIRST - _HEAD]), False
        return cls(_first(body, is_value), body)

    @classmethod
    def empty(cls) -> Letter:
        """The place for a message of another rank."""
        return cls(torch.zeros(FIRST, dtype=torch.uint8), None)

    @classmethod
    def begun(cls, first: torch.Tensor) -> Letter:
        """A message of which the first part has come."""
        letter = cls(first, None)
        if not letter.rest_size:
            letter._body = first[_HEAD : _HEAD + letter._size].clone()
        return letter

    def rest(self, size: int) -> torch.Tensor:
        """The second part, with as many bytes as the longest of all ranks' has."""
        part = torch.zeros(size, dtype=torch.uint8)
        if self._body is not None and self.rest_size:
            part[: self.rest_size] = self._body[FIRST - _HEAD :]
        return part

    def end(self, rest: torch.Tensor) -> None:
        """The second part has come."""
        if self._body is None:
            self._body = torch.cat([self.first[_HEAD:], rest[: self.rest_size]])

    def check(self, rank: int) -> None:
        """Raise NotPlain if the message says why there is none."""
        if self.first[8] == 0:
            text = bytes(self.first[_HEAD : _HEAD + self._size].tolist())
            raise NotPlain(f"rank {rank}: {text.decode(errors='replace')}")

    def read(self, rank: int) -> Any:
        """What `rank` has said. Raises NotPlain where it could not, and Damaged."""
        self.check(rank)
        assert self._body is not None
        return unpack(self._body)


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data or b" "), dtype=torch.uint8)


def _first(body: torch.Tensor, is_value: bool) -> torch.Tensor:
    first = torch.zeros(FIRST, dtype=torch.uint8)
    first[:_HEAD] = _bytes(body.numel().to_bytes(8, "little") + bytes([is_value]))
    head = body[: FIRST - _HEAD]
    first[_HEAD : _HEAD + head.numel()] = head
    return first
