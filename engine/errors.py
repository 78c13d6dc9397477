"""The exceptions that the engine raises on its own account."""

from __future__ import annotations


class MisconfigurationException(Exception):
    """What was asked for cannot work; the message says what to change."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable or holds more than plain data."""
