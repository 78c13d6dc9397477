"""Preemption: after a signal, save between two steps and end with exit code 75."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from engine.callbacks.checkpoint.file_names import SUFFIX, free_path
from engine.loops.run import Run
from engine.module.logging.values import to_floats
from engine.runtime.coordination.barrier import all_ranks_known_to_arrive
from engine.runtime.coordination.consensus import StopConsensus
from engine.runtime.coordination.signals import preemption
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import Preempted
from engine.runtime.storage.run_folder import Index, fit_folder, launched_dir
from engine.trainer.lifecycle import report

PREFIX = "preempted-step="


def handles_preemption(trainer: Any, verb: str) -> bool:
    """Whether a run stops after a preemption signal.

    Under a launcher always, since that runs it again; else a fit that keeps checkpoints does.
    """
    if trainer.fast_dev_run or trainer.tuning:
        return False
    keeps = verb == "fit" and trainer.checkpoint_callback is not None
    return launched_dir() is not None or keeps


def was_left_alone(verb: str, error: BaseException) -> bool:
    """Whether an evaluation failed because other ranks were preempted already, as this one is.

    It has nothing to save, so ranks leave it without agreeing first.
    """
    has_others = distributed.is_connected()
    is_preempted = preemption.signal is not None and verb != "fit"
    return is_preempted and has_others and isinstance(error, RuntimeError)


def remove_outdated(index: Index) -> None:
    """Delete what was saved at earlier preemptions, once there is a newer checkpoint."""
    with suppress(OSError):
        newest = index.newest()
        if newest is not None:
            index.remove_others(newest, PREFIX)


class PreemptionWatch:
    """Checks between the steps of a fit whether it is time to save and stop."""

    def __init__(self, trainer: Any, run: Run, ordinal: int, index: Index | None) -> None:
        self._trainer = trainer
        self._run = run
        self._ordinal = ordinal
        self._index = index
        self._handles = handles_preemption(trainer, "fit")
        # A later fit, or a later start of the program, must not find the messages of this one.
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._consensus = StopConsensus(run.strategy.world, f"{start}/{ordinal}")

    def before_training(self) -> None:
        """Stop a single process that is preempted so early: there is nothing new to save."""
        if (
            preemption.signal is None
            or not self._handles
            or self._run.strategy.world.world_size > 1
        ):
            return
        rank_zero_info(f"engine: {preemption.signal}: stopped before the first step")
        raise Preempted

    def stop_if_agreed(self) -> None:
        """Save and stop, if this is the boundary that all ranks stop at; call it after a signal."""
        progress = self._run.state.progress
        if not self._handles or not self._consensus.stops_at(progress.total_batches):
            return
        path = self._run.strategy.broadcast(self._free_path())
        with all_ranks_known_to_arrive():  # they have agreed to
            self._trainer.save_checkpoint(path)  # none returns before it is written and recorded
        if self._index is not None and self._run.is_global_zero:
            remove_outdated(self._index)
        report(self._trainer, to_floats(self._trainer.callback_metrics))
        further = "run again" if self._index is not None else "fit with this ckpt_path"
        rank_zero_info(
            f"engine: {preemption.signal}: stopped at step {progress.step} and saved {path}; "
            f"to go on, {further}"
        )
        raise Preempted

    def _free_path(self) -> str:
        """Where to save: beside the other checkpoints, which all nodes can read."""
        folder = getattr(self._trainer.checkpoint_callback, "dirpath", None)
        folder = folder or fit_folder(self._ordinal) or self._trainer.default_root_dir
        name = os.path.join(os.path.abspath(folder), f"{PREFIX}{self._run.state.progress.step}")
        return free_path(name, ()) if self._run.is_global_zero else name + SUFFIX
