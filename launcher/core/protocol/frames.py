"""Framed messages over a byte stream.

Standard library only, and little of it: this file travels to the nodes. A frame is four bytes of
length (big endian) and a JSON object. Nothing that comes from the other side is ever unpickled or
evaluated.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

MAX_FRAME = 256 * 1024 * 1024


class _Usual:
    """What json's own decoder asks its core for."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant: Callable[[str], float] = {
        "NaN": float("nan"),
        "Infinity": float("inf"),
        "-Infinity": float("-inf"),
    }.__getitem__


def _refuse(value: object) -> None:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _core() -> tuple[Callable[[Any], str], Callable[[bytes], Any]]:
    """What json.dumps and json.loads do, by json's own core.

    Importing json (and re, enum and functools with it) takes longer than all that an agent does
    before it is at work. Raises what such attempts raise if this Python's core is another.
    """
    import _json

    core: Any = _json
    scan, quote = core.make_scanner(_Usual), core.encode_basestring_ascii
    write = core.make_encoder(None, _refuse, quote, None, ":", ",", False, False, True)

    def loads(body: bytes) -> Any:
        text = body.decode()
        try:
            value, end = scan(text, 0)
        except StopIteration:
            end = -1
        if end == len(text):
            return value
        import json  # it is no JSON, or begins or ends with blanks

        return json.loads(text)

    def dumps(value: Any) -> str:
        return "".join(write(value, 0))

    probe = {"a": [1, -2.5, None, True, "\u20ac\n"], "b": {}}
    if loads(dumps(probe).encode()) != probe:
        raise TypeError
    return dumps, loads


dumps: Callable[[Any], str]
loads: Callable[[bytes], Any]
try:
    dumps, loads = _core()
except (ImportError, AttributeError, TypeError):
    from json import dumps, loads


class ChannelError(Exception):
    """The other side does not speak our protocol, or is not who it should be."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One frame. Lone surrogates (bytes that are no UTF-8) survive as JSON escapes."""
    body = dumps(message).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ChannelError(f"a message of {len(body)} bytes is larger than {MAX_FRAME}")
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Bytes in, whole messages out, none larger than ``limit``; ``size`` is that of the last."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self.size = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Add ``data`` and yield the messages that are complete now. Raises ChannelError."""
        self._buffer += data
        while len(self._buffer) >= 4:
            size = self.size = int.from_bytes(self._buffer[:4], "big")
            if size > self._limit:
                raise ChannelError(
                    f"a message of {size} bytes, and {self._limit} is the most that may come"
                )
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                message = loads(body)
            except (ValueError, RecursionError):
                raise ChannelError("a message that is no JSON, or nested without end") from None
            if not isinstance(message, dict):
                raise ChannelError("a message that is no JSON object")
            yield message
