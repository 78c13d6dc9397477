"""What loggers with a folder for each run have in common."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from engine.loggers.base import Logger
from engine.loggers.dummy import Silent
from engine.runtime.distributed.world import on_rank_zero

if TYPE_CHECKING:
    from engine.runtime.data.types import Metrics

DEFAULT_NAME = "lightning_logs"
TEST_TUBES_NAME = "default"  # what test-tube's logger has by default


class FolderLogger(Logger):
    """A logger with a folder for each run: `save_dir/name/version_n`.

    Without `save_dir` it writes where the run's other files go: see `set_root`.

    Args:
        save_dir: the folder of all experiments. By default None: where the run's other files go.
        name: the folder within it; "" or None for none. By default `"lightning_logs"`.
        version: the run's number, or the name of its folder. By default None: the next number.
        prefix: text before each metric's name, with a hyphen in between. By default none.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = DEFAULT_NAME,
        version: int | str | None = None,
        prefix: str = "",
    ) -> None:
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._save_dir_was_given = save_dir is not None
        self._name = name or ""
        self._version = version
        self._version_was_given = version is not None
        self._prefix = prefix
        self._experiment: Any = None

    @property
    def name(self) -> str:
        """The experiment's name: the folder between `save_dir` and the version."""
        return self._name

    @property
    def version(self) -> int | str:
        """The run's number, or the name that was given to it."""
        if self._version is None:
            self._version = next_version(self.root_dir)
        return self._version

    @property
    def save_dir(self) -> str:
        """The folder that all experiments lie in."""
        return os.getcwd() if self._save_dir is None else self._save_dir

    @property
    def root_dir(self) -> str:
        """The folder that all versions of this experiment lie in."""
        return os.path.join(self.save_dir, self._name)

    @property
    def log_dir(self) -> str:
        """The folder of this run."""
        version = self.version
        return os.path.join(
            self.root_dir, version if isinstance(version, str) else f"version_{version}"
        )

    @property
    def experiment(self) -> Any:
        """The object that really writes; on other ranks one that ignores whatever is asked."""
        if self._experiment is None:
            self._experiment = self._open() if on_rank_zero() else Silent()
        return self._shown(self._experiment)

    def set_root(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """Write where the trainer writes, unless a `save_dir` was given.

        That is below `root`, or, where the run has a folder `root/version` already, in that.
        """
        if self._save_dir_was_given:
            return
        if version is not None:
            self._name = "" if self._name == DEFAULT_NAME else self._name
            self._version, self._version_was_given = version, True
        elif self._save_dir != os.fspath(root) and not self._version_was_given:
            self._version = None  # a number of another folder
        self._save_dir = os.fspath(root)
        self._experiment = None  # what an earlier run wrote was closed with it

    def _open(self) -> Any:
        raise NotImplementedError

    def _named(self, metrics: Metrics) -> dict[str, Any]:
        """The metrics under the names they are written by."""
        if not self._prefix:
            return dict(metrics)
        return {f"{self._prefix}-{key}": value for key, value in metrics.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Open files and writer threads stay with the process that opened them.
        return {**self.__dict__, "_experiment": None}


def next_version(folder: str | os.PathLike[str]) -> int:
    """The number after the highest `version_n` in `folder`; 0 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    numbers = [int(m[1]) for name in names if (m := re.fullmatch(r"version_(\d+)", name))]
    return max(numbers, default=-1) + 1
