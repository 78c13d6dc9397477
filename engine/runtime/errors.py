"""The exceptions that the engine raises on its own account."""

from __future__ import annotations


class MisconfigurationException(Exception):
    """What was asked for cannot work; the message says what to change."""


class ArgumentError(MisconfigurationException, ValueError):
    """An argument has a wrong value; programs of 1.x and of plain Python both know to catch it."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable or holds more than plain data."""


class Preempted(SystemExit):
    """The process was told to make room, and has saved; it ends with exit code 75: run me again.

    No `except Exception` stops it, as it stops no SystemExit.
    """

    def __init__(self, code: int = 75) -> None:
        super().__init__(code)


class RankFailed(RuntimeError):
    """A rank that was forked or spawned from here has failed, with no exception to raise again."""


class RankTraceback(Exception):
    """The cause of an exception that a rank raised: where it was raised there."""

    def __init__(self, rank: int, text: str) -> None:
        super().__init__(rank, text)
        self.rank, self.text = rank, text

    def __str__(self) -> str:
        return f"in rank {self.rank}\n{self.text}"
