"""Which checkpoint: to go on from, or to evaluate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import CheckpointError, MisconfigurationException
from engine.runtime.storage.checkpoint import called, is_path
from engine.runtime.storage.run_folder import Index


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


def given_checkpoint(trainer: Any, given: Any) -> Any:
    """The file that `ckpt_path` means: best, last, a path, or an open file as it is."""
    if isinstance(given, str) and given in ("best", "last"):
        return named_checkpoint(trainer, given)
    if given is not None and not is_path(given):
        return given
    return None if given is None else os.path.abspath(os.fspath(given))


def path_or_name(checkpoint: Any) -> str | None:
    """What `trainer.ckpt_path` tells of a checkpoint."""
    return checkpoint if checkpoint is None or is_path(checkpoint) else called(checkpoint)


def checkpoint_to_resume(trainer: Any, given: Any) -> Any:
    """The file that fit goes on from; "last" of a run that has not saved yet is a new beginning."""
    if isinstance(given, str) and given == "last" and not found_checkpoint(trainer, "last"):
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
    return str(trainer.strategy.broadcast(_last_of(trainer)))


def _last_of(trainer: Any) -> str:
    """The newest last file of all callbacks, or that which an earlier process left in a folder."""
    if not distributed.on_rank_zero():
        return ""
    callbacks = trainer.checkpoint_callbacks
    callbacks = [c for c in callbacks if not c.save_weights_only] or callbacks  # to resume from
    without_monitor = [c.best_model_path for c in callbacks if c.monitor is None]
    for paths in ([c.last_model_path for c in callbacks], without_monitor):
        if any(paths):
            return _newest(Path(path) for path in paths if path)
    folders = [c for c in callbacks if c.dirpath]
    return _newest(
        file
        for c in folders
        for file in Path(c.dirpath).glob(f"{c.CHECKPOINT_NAME_LAST}*{c.FILE_EXTENSION}")
    )


def _newest(files: Iterable[Path]) -> str:
    """The file that was written last; the first one where none is there, empty without any."""
    ordered = list(files)
    there = [file for file in ordered if file.exists()]
    if there:
        return str(max(there, key=lambda file: file.stat().st_mtime_ns))
    return str(ordered[0]) if ordered else ""


def named_checkpoint(trainer: Any, name: str) -> str:
    """The file that "best" or "last" means; it is an error if there is none."""
    callback = trainer.checkpoint_callback
    path = found_checkpoint(trainer, name)
    if not path:
        raise MisconfigurationException(
            f'ckpt_path="{name}": there is no such checkpoint. '
            + (
                "Nothing was saved; look at the callback's monitor and save_top_k"
                if callback is not None and not trainer.fast_dev_run
                else "Checkpointing is off; give a path, or pass the model to use its weights"
            )
        )
    return str(path)


def checkpoint_to_evaluate(trainer: Any, model_given: bool, ckpt_path: Any) -> Any:
    """The checkpoint whose weights are evaluated; None for the weights that the module has."""
    path = given_checkpoint(trainer, ckpt_path)
    if path is not None:  # each rank has an open file of its own
        return str(trainer.strategy.broadcast(path)) if is_path(path) else path
    if model_given or trainer.checkpoint_callback is None or trainer.fast_dev_run:
        return None
    return str(trainer.strategy.broadcast(named_checkpoint(trainer, "best")))
