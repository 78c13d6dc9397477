"""A checkpoint when the training breaks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine.callbacks.base import Callback
from engine.runtime.distributed import world
from engine.runtime.distributed.world import rank_zero_info

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class OnExceptionCheckpoint(Callback):
    """Saves `dirpath/filename.ckpt` when an exception, or Ctrl-C, ends a fit of one process.

    With several ranks nothing is saved: those that did not fail can't be asked for their part.

    Args:
        dirpath: the folder of the file.
        filename: its name without the suffix. By default `"on_exception"`.
    """

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        self.dirpath = os.fspath(dirpath)
        self.filename = filename

    @property
    def ckpt_path(self) -> str:
        """Where it is saved."""
        return os.path.join(self.dirpath, f"{self.filename}.ckpt")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save."""
        is_in_training = trainer.training or (trainer.validating and not trainer.sanity_checking)
        if trainer.state.fn == "fit" and is_in_training and not world.is_connected():
            trainer.save_checkpoint(self.ckpt_path)
            rank_zero_info(f"engine: {type(exception).__name__}: saved {self.ckpt_path}")
