"""What reaches a person's terminal: printable text, the colours we use, and what ranks may send.

Pure. Texts from elsewhere (hosts, agents, programs, SLURM) may hold escape sequences, which a
terminal obeys: they can rewrite what was said, fill the clipboard, or let it type.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

# Patterns are compiled when they are used: every start imports this.
# Control characters but for tab and newline, C1 controls, what reorders text (bidi) or breaks lines
# in some places, and lone surrogates, which are written as the bytes that they stand for.
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"

# Of middle brightness, so that they can be read on black and on white; none is red.
PALETTE = ("38;5;33", "38;5;136", "38;5;133", "38;5;28", "38;5;30", "38;5;98")
RED = "38;5;160"


def printable(text: str) -> str:
    """``text`` with what a terminal could obey written as escapes; tabs and newlines stay.

    ASCII of JSON stays as it is. What is printable already does not change.
    """
    if text.replace("\n", "").isprintable():
        return text  # as nearly always
    return re.sub(_UNSAFE, _escape, text)


def one_line(text: str) -> str:
    """The same, and no newline either: for a cell of a table, or a name."""
    return printable(text).replace("\n", "\\n").replace("\t", " ")


def paragraph(text: str) -> str:
    """The same for a message: what follows a newline is set in, so that it can't pass for ours."""
    return printable(text).replace("\n", "\n  ")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def wants_colour(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to use colours: NO_COLOR, then FORCE_COLOR, then TERM, then whether it is a terminal.

    Variables that are empty count as not set; ``FORCE_COLOR=0`` forbids.
    """
    if environ.get("NO_COLOR"):
        return False
    forced = environ.get("FORCE_COLOR", "")
    if forced:
        return forced not in ("0", "false")
    return terminal and environ.get("TERM") != "dumb"


def can_redraw(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether a line can be drawn over."""
    return terminal and environ.get("TERM") != "dumb"


def coloured(text: str, colour: str) -> str:
    """``text`` in a colour; nothing around an empty one."""
    return f"\033[{colour}m{text}\033[0m" if text else text


def as_bytes(text: str) -> bytes:
    """UTF-8; bytes that were none come back as they were, other lone surrogates as ``?``."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


# A whole control sequence; one of the strings (title, clipboard, ...) up to its end; any other
# escape; or a C1 control, which some terminals take for the same.
_SEQUENCE = (
    r"(?s)\x1b\[(?P<csi>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|\Z)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x80-\x9f]"
)
_CUT = r"\x1b(\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]{0,4096}\x1b?|[ -/]*)?\Z"
_MOVES = "ABCDEFGHJKLMPSTX@df"  # of the cursor, and erasing
_SPECIAL = "[\x1b\x80-\x9f]"
_NEVER = "[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]"  # what is no text, and moves or asks
_NEVER_OF_SEVERAL = "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\u2028-\u202e\u2066-\u2069]"


def end_colours(data: bytes) -> bytes:
    """Lines of which each ends the colours that it has set."""
    if b"\x1b[" not in data:
        return data
    return b"\n".join(map(_ended, data.split(b"\n")))


def _ended(line: bytes) -> bytes:
    _, escape, rest = line.rpartition(b"\x1b[")
    return line if not escape or re.match(b"0?m", rest) else line + b"\x1b[0m"


class Filter:
    """What of a rank's own output a terminal gets: text and colours, and with ``moves`` (the only
    rank, as if the program ran here) the cursor's movements. Titles, the clipboard, questions that
    the terminal would answer by typing, and modes that stay on are left out.
    """

    def __init__(self, *, moves: bool) -> None:
        self._finals = "m" + (_MOVES if moves else "")
        self._moves = moves
        self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, text: str) -> str:
        """Filter a piece; what is cut at its end waits for the next piece."""
        text = self._held + self._decoder.decode(as_bytes(text))
        cut = re.search(_CUT, text)
        self._held = cut[0] if cut is not None else ""
        never = _NEVER if self._moves else _NEVER_OF_SEVERAL
        return self._filtered(text[: len(text) - len(self._held)], never)

    def _filtered(self, text: str, never: str) -> str:
        if re.search(_SPECIAL, text):
            text = re.sub(_SEQUENCE, self._kept, text)
        return re.sub(never, "", text)

    def _kept(self, found: re.Match[str]) -> str:
        final, parameters = found["final"], found["csi"]
        if final is not None and final in self._finals and not parameters.strip("0123456789;:"):
            return found[0]
        if self._moves and parameters == "?25" and final in ("h", "l"):
            return found[0]  # the cursor itself, which bars hide
        return ""
