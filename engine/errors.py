"""The exceptions that the engine raises on its own account."""

from __future__ import annotations


class MisconfigurationException(Exception):
    """What was asked for cannot work; the message says what to change."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable or holds more than plain data."""


class Preempted(SystemExit):
    """The process was told to make room, and has saved; it ends with exit code 75: run me again.

    No `except Exception` stops it, as it stops no SystemExit.
    """

    def __init__(self, code: int = 75) -> None:
        super().__init__(code)
