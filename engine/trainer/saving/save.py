"""The checkpoint of a moment, and the weights that an evaluation uses."""

from __future__ import annotations

import os
import warnings
from typing import Any

from engine.loops.run import Run
from engine.runtime.coordination import barrier
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.agent_client import line
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage import checkpoint as files
from engine.runtime.storage.run_folder import Index
from engine.trainer.saving import resume
from engine.trainer.saving.select import checkpoint_to_evaluate, path_or_name


def save(trainer: Any, run: Run | None, index: Index | None, path: Any, weights_only: bool) -> None:
    """Write a checkpoint of this moment; all ranks call it, rank zero writes."""
    if run is None:
        raise MisconfigurationException("there is nothing to save before a run")
    path = os.path.abspath(os.fspath(path))
    content = resume.dump(run, trainer.callbacks, trainer, weights_only)
    error: BaseException | None = None
    digest = b""
    progress = run.state.progress
    if run.is_global_zero:
        try:
            digest = files.write(content, path)
            if index is not None and not weights_only:
                index.add(path, progress.epoch, progress.step)
        except Exception as failure:  # the other ranks wait for word of it
            error = failure
    files.note_own(distributed.raise_together(error, digest))
    line().progress(progress.step, progress.epoch, path)


def save_if_all_arrive(
    trainer: Any, run: Run | None, index: Index | None, path: Any, weights_only: bool
) -> None:
    """`save`, also where a program asks for it on rank zero alone: nobody waits for ever."""
    if run is None or not distributed.is_connected() or _all_arrive(run):
        save(trainer, run, index, path, weights_only)
        return
    problem = (
        f"trainer.save_checkpoint({os.fspath(path)!r}) was not called on all ranks: no other "
        f"rank arrived within {barrier.PATIENCE_S:.0f} s. Call it on every rank, rank zero writes "
        "the file"
    )
    if not run.strategy.holds_all:
        raise MisconfigurationException(f"{problem}; what is divided can't be saved by one")
    if not run.is_global_zero:
        warnings.warn(f"{problem}; nothing was written", stacklevel=3)
        return
    rank_zero_warn(f"{problem}; saved without the random state of the others and their metrics")
    with distributed.alone():
        save(trainer, run, index, path, weights_only)


def _all_arrive(run: Run) -> bool:
    progress = run.state.progress
    return barrier.all_ranks_arrive(run.strategy.world, f"{progress.step}/{progress.total_batches}")


def load_for(
    trainer: Any, run: Run, model: Any, ckpt_path: Any, weights_only: bool = True
) -> str | None:
    """Give the module the weights to evaluate: a checkpoint's, or those that it has."""
    checkpoint = checkpoint_to_evaluate(trainer, model is not None, ckpt_path)
    if checkpoint is not None:
        content = resume.read_for(run, checkpoint, weights_only)
        resume.load_weights(run, content, checkpoint)
    path = path_or_name(checkpoint)
    run.strategy.to_device(run.module)
    run.strategy.broadcast_parameters(run.module)
    rank_zero_info(f"engine: {run.state.fn} with {path or 'the present weights'}")
    return path
