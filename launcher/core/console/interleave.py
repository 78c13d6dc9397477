"""The output of several ranks on one terminal or pipe: whole lines, each with its rank's prefix.

What has no newline yet is shown, too, a moment later: a prompt, dots, the last words of a rank that
hangs. It is continued on the same line if nobody else wrote meanwhile, else on a new one. Of a
progress bar, whose states are divided by carriage returns, the latest state is shown, at a bounded
rate. Needs little memory, however long a line is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

HOLD_S = 0.5  # an unfinished line waits so long for its rest
HOLD_BYTES = 1 << 20  # and for no more than that
STATE_S = 2.0  # between the first two states of a bar; then twice as long, and so on
SLOWEST_STATE_S = 30.0
REDRAW_S = 0.1  # between two states of a bar on a terminal

# Compiled when it is used. A sequence for terminals that has begun and may go on: colours, titles.
_UNFINISHED_ESCAPE = rb"\x1b(\[[0-9;:<=>?]{0,60}|\][^\x07\x1b]{0,200}|)\Z"

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Line:
    """The line that a stream is writing."""

    held: bytes = b""  # came, and was not shown
    is_begun: bool = False  # a part of it was shown
    due: float | None = None  # when it is to be shown, unfinished as it is
    state: bytes | None = None  # of a bar, as it was shown last
    next_state: float = 0.0
    pause: float = STATE_S


@dataclass
class Interleaver(Generic[Key]):
    """Where the streams (each with its ``Key``) are written together.

    ``bar`` shows a state of a bar where such a thing can move; else a state is a line like others.
    """

    write: Callable[[Key, bytes], None]
    prefix: Callable[[Key], bytes]
    bar: Callable[[Key, bytes], None] | None = None
    _lines: dict[Key, _Line] = field(default_factory=dict)
    _open: Key | None = None  # whose line stands there without its end

    def feed(self, key: Key, data: bytes, now: float) -> None:
        """Add what a stream has written; ``now`` in seconds, as for :meth:`tick`."""
        line = self._lines.setdefault(key, _Line())
        *whole, line.held = (line.held + data).split(b"\n")
        if whole:
            self._write_whole(key, line, whole)
            line.state, line.due, line.pause, line.is_begun = None, None, STATE_S, False
        if not line.held:
            return
        if is_bar(line.held):
            line.held = unfinished_state(line.held)[-HOLD_BYTES:]
            soon = now if self.bar is not None else now + HOLD_S
            line.due = line.due or max(soon, line.next_state)
        else:
            line.due = line.due or now + HOLD_S
            if len(line.held) > HOLD_BYTES:
                line.due = now
        if line.due <= now:
            self._show(key, line, now)

    def tick(self, now: float) -> None:
        """Show the unfinished lines that have waited long enough."""
        for key, line in self._lines.items():
            if line.due is not None and line.due <= now:
                self._show(key, line, now)

    def due(self) -> float | None:
        """When :meth:`tick` has something to do next, if ever."""
        return min((one.due for one in self._lines.values() if one.due is not None), default=None)

    def finish(self, keys: Iterable[Key] | None = None) -> None:
        """These streams (or all) have ended: what they have left is shown, and their lines end."""
        for key in list(self._lines) if keys is None else keys:
            line = self._lines.pop(key, None)
            if line is not None and line.held:
                self._write_whole(key, line, [line.held])
            elif self._open == key:
                self.end_line()

    def end_line(self) -> None:
        """End the line that stands there unfinished, so that something else can be written."""
        if self._open is not None:
            key, self._open = self._open, None
            self.write(key, b"\n")

    def _write_whole(self, key: Key, line: _Line, whole: list[bytes]) -> None:
        first, *others = map(latest_state, whole)
        text = b""
        if self._open == key and not is_bar(whole[0]):
            text, self._open = first + b"\n", None
        elif first != line.state and (first or not line.is_begun):
            others = [first, *others]
        prefix = self.prefix(key) if others else b""
        text += b"".join([b"%s%s\n" % (prefix, one) for one in others])
        if text:
            self.end_line()
            self.write(key, text)

    def _show(self, key: Key, line: _Line, now: float) -> None:
        """Show an unfinished line."""
        line.due = None
        if is_bar(line.held):
            state = latest_state(line.held)
            if not state or state == line.state:
                return
            line.state = state
            if self.bar is not None:
                self.bar(key, state)
                line.next_state = now + REDRAW_S
                return
            self.end_line()
            self.write(key, b"%s%s\n" % (self.prefix(key), state))
            line.next_state = now + line.pause
            line.pause = min(2 * line.pause, SLOWEST_STATE_S)
            return
        end = end_of_whole(line.held)
        part, line.held = line.held[:end], line.held[end:]
        if not part:
            return
        if self._open != key:
            self.end_line()
            part = self.prefix(key) + part
        self._open, line.is_begun = key, True
        self.write(key, part)


def is_bar(line: bytes) -> bool:
    """Whether a line replaces itself, or is about to."""
    return b"\r" in line.removesuffix(b"\r\n")


def latest_state(line: bytes) -> bytes:
    """What a terminal would show of a line with carriage returns in it, roughly: the last state."""
    return line.rstrip(b"\r").rpartition(b"\r")[2] if b"\r" in line else line


def unfinished_state(line: bytes) -> bytes:
    """The last state of a line that goes on; a "\\r" at the very end may be half of "\\r\\n"."""
    state = line.rstrip(b"\r")
    return b"\r" + state.rpartition(b"\r")[2] + line[len(state) :][:1]


def end_of_whole(data: bytes) -> int:
    """Where to cut, so that no character of UTF-8 and no sequence for terminals is cut in two."""
    cut = re.search(_UNFINISHED_ESCAPE, data[-256:])
    end = len(data) if cut is None else max(0, len(data) - 256) + cut.start()
    for back in range(1, min(4, end + 1)):
        byte = data[end - back]
        if byte & 0xC0 == 0x80:
            continue
        needs = 1 if byte >= 0xF8 else 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2
        return end - back if byte >= 0xC0 and needs > back else end
    return end
