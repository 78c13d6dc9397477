"""Each action's duration: how often, how long on average, and in all."""

from __future__ import annotations

import os
import time
from collections import deque

from engine.profilers.base import Profiler

MOST_DURATIONS = 10_000  # kept of each action: a run may have any number of steps


class SimpleProfiler(Profiler):
    """Adds up the time of each action: a row each, the longest first.

    An action's time includes that of actions within it. On a GPU what counts is the time of the
    call, not of the kernels that it starts.

    Args:
        dirpath: the folder of the report. By default None: the run's folder, if there is a
            `filename`, else the report goes to the terminal.
        filename: the end of the report's name, without its suffix. By default None.
        extended: whether the table shows means, numbers of calls and shares beside the totals. By
            default True.
        output_filename: folder and name as one path, as in 1.0 to 1.2. By default None.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        extended: bool = True,
        output_filename: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(dirpath, filename, output_filename)
        self.extended = extended
        self._began_at: dict[str, float] = {}
        self._totals: dict[str, tuple[int, float]] = {}  # calls and seconds
        self._newest: dict[str, deque[float]] = {}
        self._first = time.monotonic()

    def setup(
        self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None
    ) -> None:
        """Each run has a report of its own."""
        super().setup(stage, local_rank, log_dir)
        self._began_at, self._totals, self._first = {}, {}, time.monotonic()
        self._newest = {}

    def start(self, action_name: str) -> None:
        """Take the time."""
        if action_name in self._began_at:
            raise ValueError(f"the action {action_name!r} has started already")
        self._began_at[action_name] = time.monotonic()

    def stop(self, action_name: str) -> None:
        """Add the time since the start."""
        now = time.monotonic()
        if action_name not in self._began_at:
            raise ValueError(f"the action {action_name!r} stops and has not started")
        calls, seconds = self._totals.get(action_name, (0, 0.0))
        took = now - self._began_at.pop(action_name)
        self._totals[action_name] = (calls + 1, seconds + took)
        if action_name not in self._newest:
            self._newest[action_name] = deque(maxlen=MOST_DURATIONS)
        self._newest[action_name].append(took)

    @property
    def recorded_durations(self) -> dict[str, list[float]]:
        """The seconds of each call of each action: of its newest 10 000 calls."""
        return {action: list(newest) for action, newest in self._newest.items()}

    @property
    def current_actions(self) -> dict[str, float]:
        """The actions that have started and not stopped, and when."""
        return dict(self._began_at)

    def summary(self) -> str:
        """The table."""
        whole = max(time.monotonic() - self._first, 1e-9)
        head = ["Action", "Total time (s)"]
        if self.extended:
            head = ["Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %"]
        rows = [head]
        ordered = sorted(self._totals.items(), key=lambda item: -item[1][1])
        for action, (calls, seconds) in [("Total", (1, whole)), *ordered]:
            mean = [f"{seconds / calls:.5g}", str(calls)] if self.extended else []
            share = [f"{100 * seconds / whole:.5g}"] if self.extended else []
            rows.append([action, *mean, f"{seconds:.5g}", *share])
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join(["Profiler report", lines[0], "-" * len(lines[0]), *lines[1:]])
