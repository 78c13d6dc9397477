"""The code that a run was made with, kept beside its metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.loggers.dummy import Silent
from engine.loggers.folders.base import TEST_TUBES_NAME
from engine.loggers.folders.tensorboard import TensorBoardLogger
from engine.runtime.distributed.world import on_rank_zero, rank_zero_warn
from engine.runtime.storage.files import write_whole

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters

FOLDER = "code"
GIT_TIMEOUT_S = 30


class Code(NamedTuple):
    """The state of a git checkout."""

    commit: str
    diff: str  # what differs from the commit, as `git apply` takes it
    untracked: str  # names only: data and secrets lie about as well


class CodeSnapshotLogger(TensorBoardLogger):
    """TensorBoard's logger that also keeps the code's state, in the folder `code` of the run.

    That is the commit (`commit.txt`), what differs from it (`changes.diff`) and the names of files
    that git does not know (`untracked.txt`). To see the code of a run again: check out the commit,
    then `git apply changes.diff`. The repository itself is only read, so `create_git_tag`, which
    TestTubeLogger had for the same end, sets no tag.

    Args:
        save_dir: the folder of all experiments. By default None: where the run's other files go.
        name: the folder within it. By default `"default"`.
        description: a text that is kept beside the code. By default None.
        debug: whether nothing at all is written. By default False.
        version: the run's number, or the name of its folder. By default None: the next number.
        create_git_tag: accepted and without effect.
        log_graph: whether the model's graph is written. By default False.
        prefix: text before each metric's name, with a hyphen in between. By default none.
        options: further arguments of `TensorBoardLogger`.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = TEST_TUBES_NAME,
        description: str | None = None,
        debug: bool = False,
        version: int | str | None = None,
        create_git_tag: bool = False,
        log_graph: bool = False,
        prefix: str = "",
        **options: Any,
    ) -> None:
        super().__init__(save_dir, name, version, log_graph, prefix=prefix, **options)
        del create_git_tag  # the snapshot is always made
        self._description = description
        self._debug = debug
        self._is_kept = False

    @property
    def experiment(self) -> Any:
        """TensorBoard's writer; nothing is written with `debug=True`."""
        if self._debug:
            return Silent()
        return super().experiment

    def _open(self) -> Any:
        self._keep_code()
        return super()._open()

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write each value as a scalar."""
        if not self._debug:
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Hyperparameters, metrics: Any = None, **kwargs: Any) -> None:
        """Keep the hyper-parameters."""
        if not self._debug:
            super().log_hyperparams(params, metrics, **kwargs)

    def save(self) -> None:
        """Keep the code, at the latest now, and hand everything to the file."""
        self._keep_code()
        super().save()

    def _keep_code(self) -> None:
        if self._is_kept or self._debug or not on_rank_zero():
            return
        self._is_kept = True
        target = Path(self.log_dir) / FOLDER
        if self._description:
            write_whole(target / "description.txt", self._description + "\n")
        try:
            code = read_code(script_folder())
        except (OSError, subprocess.SubprocessError) as error:
            rank_zero_warn(f"the state of the code is not kept: {_reason(error)}")
            return
        write_whole(target / "commit.txt", code.commit)
        write_whole(target / "changes.diff", code.diff, errors="surrogateescape")
        write_whole(target / "untracked.txt", code.untracked, errors="surrogateescape")


TestTubeLogger = CodeSnapshotLogger


def script_folder() -> Path:
    """Where the program that runs lies; in a notebook or shell the working folder."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).resolve().parent if script else Path.cwd()


def read_code(folder: Path) -> Code:
    """The state of the checkout that `folder` is in."""
    root = _git(folder, "rev-parse", "--show-toplevel").rstrip("\n")
    return Code(
        _git(root, "rev-parse", "HEAD"),
        _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color"),
        _git(root, "ls-files", "--others", "--exclude-standard"),
    )


def _git(folder: str | Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", os.fspath(folder), *words],
        check=True,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return str(error.stderr.decode(errors="replace")).strip()
    return str(error)
