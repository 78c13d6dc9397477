"""What every profiler has in common: actions that start and stop, and a report at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from engine.runtime.distributed.world import on_rank_zero
from engine.runtime.storage.files import write_whole

T = TypeVar("T")


class Profiler:
    """Measures named actions; override `start`, `stop` and `summary`.

    The report goes to the file `<stage>-<filename>.txt` in `dirpath` (in the run's folder, if only
    a `filename` was given; other ranks add their number), without either to the terminal.

    Args:
        dirpath: the folder of the report. By default None: the run's folder, if there is a
            `filename`, else the report goes to the terminal.
        filename: the end of the report's name, without its suffix. By default None.
        output_filename: folder and name as one path, as in 1.0 to 1.2. By default None.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        output_filename: str | os.PathLike[str] | None = None,
    ) -> None:
        if output_filename is not None:  # folder and name in one, as 1.0 to 1.2 had it
            dirpath, name = os.path.split(os.path.abspath(output_filename))
            filename = name.removesuffix(".txt")
        self.dirpath = None if dirpath is None else os.fspath(dirpath)
        self.filename = filename
        self._stage: str | None = None
        self._local_rank = 0
        self._log_dir: str | None = None

    def start(self, action_name: str) -> None:
        """An action begins."""
        raise NotImplementedError

    def stop(self, action_name: str) -> None:
        """An action that began ends."""
        raise NotImplementedError

    def summary(self) -> str:
        """The report."""
        return ""

    def setup(
        self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None
    ) -> None:
        """A run begins: fit, validate, test or predict."""
        self._stage, self._local_rank, self._log_dir = stage, local_rank or 0, log_dir

    def teardown(self, stage: str | None = None) -> None:
        """A run has ended and was reported."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Measure what happens within."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def profile_iterable(self, iterable: Iterable[T], action_name: str) -> Iterator[T]:
        """The items of an iterable; waiting for each is measured."""
        iterator = iter(iterable)
        while True:
            with self.profile(action_name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def describe(self) -> None:
        """Hand out the report."""
        text = self.summary()
        if not text:
            return
        path = self.path()
        if path is not None:
            write_whole(path, text + "\n")
        elif on_rank_zero():
            sys.stdout.write(text + "\n")

    def path(self, ending: str = ".txt") -> Path | None:
        """The file of the report; None if it is for the terminal."""
        if self.dirpath is None and self.filename is None:
            return None
        words = [self._stage, self.filename, str(self._local_rank) if self._local_rank else None]
        name = "-".join(word for word in words if word) or "report"
        return Path(self.dirpath or self._log_dir or os.curdir) / f"{name}{ending}"


class PassThroughProfiler(Profiler):
    """Measures nothing."""

    def start(self, action_name: str) -> None:
        """Do nothing."""

    def stop(self, action_name: str) -> None:
        """Do nothing."""
