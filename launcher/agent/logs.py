"""Whole lines out of the bytes that a rank writes.

A carriage return ends a *transient* line (a progress bar's state): it replaces the one before it,
so only the last one is worth keeping, and a log file wants none of them.
"""

from __future__ import annotations

MAX_LINE = 1 << 20


class Line:
    """One line without its end; ``transient`` if a carriage return ended it so far."""

    # No dataclass: importing those would delay every start.
    __slots__ = ("text", "transient")

    def __init__(self, text: str, *, transient: bool = False) -> None:
        self.text, self.transient = text, transient


def _text(data: bytes) -> str:
    # Bytes that are no UTF-8 travel as lone surrogates, so that a file gets them back unchanged.
    return data.decode("utf-8", "surrogateescape")


class LineSplitter:
    """Bytes of one stream in, whole lines out; keeps the last lines for the verdict."""

    def __init__(self, keep: int = 50) -> None:
        self._partial = bytearray()
        self._keep = keep
        self.tail: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether an unfinished line is waiting (a prompt, say)."""
        return bool(self._partial)

    def feed(self, data: bytes) -> list[Line]:
        """Add ``data``; return the lines that are complete now, at most one of them transient."""
        self._partial += data
        if b"\n" not in data and b"\r" not in data and len(self._partial) < MAX_LINE:
            return []
        *whole, rest = bytes(self._partial).split(b"\n")
        lines = [Line(_text(_last_state(part))) for part in whole]
        if len(rest) >= MAX_LINE and b"\r" not in rest:
            lines.append(Line(_text(rest)))
            rest = b""
        self._note(lines)
        # "\r\n" may be cut between its two bytes: a "\r" at the very end waits for more.
        states, found, _ = rest.removesuffix(b"\r").rpartition(b"\r")
        if found:
            state = _last_state(states)
            if state:
                lines.append(Line(_text(state), transient=True))
            rest = rest[len(states) + 1 :]
        self._partial = bytearray(rest)
        return lines

    def flush(self) -> list[Line]:
        """The unfinished line, if any: at the end of the stream, or when a prompt waits."""
        rest, self._partial = bytes(self._partial), bytearray()
        if not rest:
            return []
        line = Line(_text(_last_state(rest)))
        self._note([line])
        return [line]

    def _note(self, lines: list[Line]) -> None:
        self.tail += [line.text for line in lines]
        del self.tail[: max(0, len(self.tail) - self._keep)]


def _last_state(line: bytes) -> bytes:
    """What a terminal would show of a line with carriage returns in it, roughly: the last state."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
