"""Which checkpoint: to go on from, or to evaluate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine import distributed
from engine.distributed import rank_zero_info, rank_zero_warn
from engine.errors import CheckpointError, MisconfigurationException
from engine.rundir import Index


def newest_of_run(index: Index | None) -> tuple[str | None, bool]:
    """The newest checkpoint of this fit's run folder, and whether the fit was complete with it.

    Rank zero looks, all ranks get what it found, or its error.
    """
    found: tuple[str | None, bool] = (None, False)
    error: BaseException | None = None
    if index is not None and distributed.on_rank_zero():
        try:
            found = index.newest(), index.complete
        except CheckpointError as failure:
            error = failure
    distributed.raise_together(error)
    found = distributed.broadcast(found)
    if found[0] is not None:
        rank_zero_info(f"engine: going on from {found[0]}")
    return found


def given_checkpoint(trainer: Any, given: Any) -> str | None:
    """The file that `ckpt_path` means: best, last or a path."""
    if given in ("best", "last"):
        return named_checkpoint(trainer, given)
    return None if given is None else os.path.abspath(os.fspath(given))


def checkpoint_to_resume(trainer: Any, given: Any) -> str | None:
    """The file that fit goes on from; "last" of a run that has not saved yet is a new beginning."""
    if given == "last" and not found_checkpoint(trainer, "last"):
        rank_zero_warn('fit(ckpt_path="last"): there is none yet, so the training begins anew')
        return None
    return given_checkpoint(trainer, given)


def found_checkpoint(trainer: Any, name: str) -> str:
    """The file that "best" or "last" means, empty if there is none."""
    callback = trainer.checkpoint_callback
    if callback is None:
        return ""
    if name == "best":
        return str(callback.best_model_path)
    newest = "" if callback.monitor is not None else callback.best_model_path
    path = callback.last_model_path or newest
    return str(path or trainer.strategy.broadcast(_last_on_disk(callback)))


def _last_on_disk(callback: Any) -> str:
    """The newest `last.ckpt` that an earlier process left in the callback's folder."""
    if not callback.dirpath or not distributed.on_rank_zero():
        return ""
    name = f"{callback.CHECKPOINT_NAME_LAST}*{callback.FILE_EXTENSION}"
    files = sorted(Path(callback.dirpath).glob(name), key=lambda file: file.stat().st_mtime)
    return str(files[-1]) if files else ""


def named_checkpoint(trainer: Any, name: str) -> str:
    """The file that "best" or "last" means; it is an error if there is none."""
    callback = trainer.checkpoint_callback
    path = found_checkpoint(trainer, name)
    if not path:
        raise MisconfigurationException(
            f'ckpt_path="{name}": there is no such checkpoint. '
            + (
                "Nothing was saved; look at the callback's monitor and save_top_k"
                if callback is not None
                else "Checkpointing is off; give a path, or pass the model to use its weights"
            )
        )
    return str(path)


def checkpoint_to_evaluate(trainer: Any, model_given: bool, ckpt_path: Any) -> str | None:
    """The checkpoint whose weights are evaluated; None for the weights that the module has."""
    path = given_checkpoint(trainer, ckpt_path)
    if path is not None:
        return str(trainer.strategy.broadcast(path))
    if model_given or trainer.checkpoint_callback is None or trainer.fast_dev_run:
        return None
    return str(trainer.strategy.broadcast(named_checkpoint(trainer, "best")))
