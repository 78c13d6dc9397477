"""The last lines of a rank, for the verdict, out of all that it writes. Pure; bounded memory."""

from __future__ import annotations

KEPT_LINES = 160  # the 50 of a verdict, and the stack that a crash prints behind them
LINE_BYTES = 4000  # of a longer line the end is kept
RAW_BYTES = 1 << 17  # wait as they came before lines are made of them


class LastLines:
    """Bytes of a rank's streams in, its last lines out; needs little memory, whatever comes.

    Of a progress bar, whose states are divided by carriage returns, the last state is kept.
    """

    def __init__(self, keep: int = KEPT_LINES) -> None:
        self._keep = keep
        self._recent: list[tuple[int, bytes]] = []
        self._size = 0
        self._lines: list[bytes] = []
        self._partial: dict[int, bytes] = {}

    def feed(self, stream: int, data: bytes) -> None:
        """Add what came on one of the streams."""
        self._recent.append((stream, data))
        self._size += len(data)
        if self._size > RAW_BYTES:
            self._digest()

    def lines(self) -> list[str]:
        """The last lines so far, unfinished ones included.

        Bytes that are no UTF-8 are lone surrogates, so that a file can get them back unchanged.
        """
        self._digest()
        rest = [_shown(line) for line in self._partial.values() if line]
        last = (self._lines + rest)[-self._keep :]
        return [line.decode("utf-8", "surrogateescape") for line in last]

    def _digest(self) -> None:
        """Make lines of what has come, and forget all but the last ones."""
        for stream, data in self._recent:
            # The one that was heard last comes last.
            *whole, rest = (self._partial.pop(stream, b"") + data).split(b"\n")
            self._lines += [_shown(line) for line in whole[-self._keep :]]
            del self._lines[: -self._keep]
            # "\r\n" may be cut between its two bytes: a "\r" at the very end waits for more.
            state = rest.rstrip(b"\r")
            end = rest[len(state) :][:2]
            self._partial[stream] = (state.rpartition(b"\r")[2] + end)[-LINE_BYTES:]
        self._recent.clear()
        self._size = 0


def _shown(line: bytes) -> bytes:
    """What a terminal would show of a line with carriage returns in it, roughly: the last state."""
    return line.rstrip(b"\r").rpartition(b"\r")[2][-LINE_BYTES:]
