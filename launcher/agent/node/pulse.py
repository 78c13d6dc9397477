"""Whether the agent's loop still turns, as its guard sees it: pure. The guard ends it, not this."""

from __future__ import annotations

AT_WORK, IDLE = b"w", b"i"  # what the agent says each second: whether it has ranks
IDLE_S = 120.0  # asking drivers and file systems what a node has may take long
MORE_S = 5.0  # than the controller's patience: by then it has given the node up
PAUSE_S = 3.0  # who stood still so long was stopped himself, maybe with all of the node


class Pulse:
    """What has been heard of the agent. ``silence_s``: for how long the controller waits for it."""

    def __init__(self, silence_s: float, now: float) -> None:
        self._silence_s = silence_s
        self._heard = self._checked = now
        self._at_work = False

    def has_stopped(self, beats: bytes, now: float) -> bool:
        """Whether the agent is stuck; to be asked each second, with its beats since then."""
        if beats or now - self._checked > PAUSE_S:
            self._heard = now
        if beats:
            self._at_work = beats.endswith(AT_WORK)
        self._checked = now
        return now - self._heard > (self._silence_s + MORE_S if self._at_work else IDLE_S)
