"""Each action's functions, as Python's own profiler sees them."""

from __future__ import annotations

import cProfile
import io
import os
import pstats

from engine.profilers.base import Profiler


class AdvancedProfiler(Profiler):
    """Runs `cProfile` for each action.

    Of actions within each other, time counts for the innermost one: there is one such profiler in
    a thread at a time. `line_count_restriction` limits each report: a number of lines or a share.

    Args:
        dirpath: the folder of the report. By default None: the run's folder, if there is a
            `filename`, else the report goes to the terminal.
        filename: the end of the report's name, without its suffix. By default None.
        line_count_restriction: how much of each action's table is shown: an int is a number of
            lines, a float a share. By default 1.0: all.
        output_filename: folder and name as one path, as in 1.0 to 1.2. By default None.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        output_filename: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(dirpath, filename, output_filename)
        self.line_count_restriction = line_count_restriction
        self._profiles: dict[str, cProfile.Profile] = {}
        self._running: list[str] = []

    def setup(
        self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None
    ) -> None:
        """Each run has a report of its own."""
        super().setup(stage, local_rank, log_dir)
        self._profiles, self._running = {}, []

    def start(self, action_name: str) -> None:
        """Profile this action; the one around it waits."""
        if self._running:
            self._profiles[self._running[-1]].disable()
        self._running.append(action_name)
        self._profiles.setdefault(action_name, cProfile.Profile()).enable()

    def stop(self, action_name: str) -> None:
        """End this action, with what an error has left within, and go on with the one around it."""
        if action_name not in self._running:
            raise ValueError(f"the action {action_name!r} stops and has not started")
        self._profiles[self._running[-1]].disable()
        while self._running.pop() != action_name:
            pass
        if self._running:
            self._profiles[self._running[-1]].enable()

    def teardown(self, stage: str | None = None) -> None:
        """Stop what a failed run has left."""
        if self._running:
            self._profiles[self._running[-1]].disable()
        self._running = []

    def summary(self) -> str:
        """The functions of each action, by the time within and below them."""
        parts = ["Profiler report"]
        for action, profile in self._profiles.items():
            profile.create_stats()
            if not profile.stats:
                continue
            text = io.StringIO()
            statistics = pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative")
            statistics.print_stats(self.line_count_restriction)
            parts.append(f"Profile of action: {action}\n{text.getvalue().rstrip()}")
        return "\n\n".join(parts)
