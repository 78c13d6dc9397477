"""Truncated back-propagation: a batch of long sequences as several short ones, one after the other.

Gradients end where a split begins; what the network remembers (`hiddens`) goes on, detached.
"""

from __future__ import annotations

from typing import Any

from engine.loops.hooks import takes
from engine.loops.run import Run
from engine.loops.steps.forward import Memory
from engine.runtime.distributed import world as distributed
from engine.runtime.errors import MisconfigurationException


class Splits:
    """Runs each batch split by split, each with an optimizer step of its own.

    With windows of accumulation it is the mean over all splits of a window's batches that is
    stepped with. A batch counts as one step of the run, however many splits it has.
    """

    def __init__(self, run: Run, inner: Any, memory: Memory) -> None:
        self._inner = inner
        self._memory = memory
        self._module = run.module
        self._default = run.settings.fit.truncated_bptt_steps
        self._progress = run.state.progress
        self._many = run.strategy.world.world_size > 1
        self.window = 1

    def begin_epoch(self, window: int) -> None:
        """Begin with windows of so many batches."""
        self.window = window
        self._inner.begin_epoch(window)

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets: a list of its splits for each batch."""
        arranged: list[Any] = self._inner.arranged(outputs)
        return arranged

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns a list of what the splits' steps returned."""
        inner, progress = self._inner, self._progress
        self._memory.forget()
        size = self._module.truncated_bptt_steps or self._default
        if not size:
            inner.parts = 1
            return inner(batch, batch_idx, ends_window, window)
        parts = self._parts(batch, batch_idx, size)
        at_once = self.window > 1  # one step for all of a window
        inner.parts = len(parts) if at_once else 1
        before = (progress.step, progress.windows, *progress.optimizer_steps)
        after = list(before)
        outputs: list[Any] = []
        for number, part in enumerate(parts, 1):
            ends = ends_window and (not at_once or number == len(parts))
            outputs.append(without_hiddens(inner(part, batch_idx, ends, window)))
            # Whose turn it is and what is counted depends on batches, not on splits.
            now = (progress.step, progress.windows, *progress.optimizer_steps)
            after = [max(one, two) for one, two in zip(after, now, strict=True)]
            progress.step, progress.windows, *progress.optimizer_steps = before
        progress.step, progress.windows, *progress.optimizer_steps = after
        return inner.joined(outputs)

    def _parts(self, batch: Any, batch_idx: int, size: int) -> list[Any]:
        has_none = batch is None  # then as many steps without one as other ranks have splits
        parts = [] if has_none else list(self._module.tbptt_split_batch(batch, size))
        if not parts and not has_none:
            raise MisconfigurationException(
                f"tbptt_split_batch made nothing of batch {batch_idx}: return a list of splits"
            )
        if self._many:
            counts = distributed.gather_all(len(parts))
            if len(set(counts) - {0}) > 1:
                raise MisconfigurationException(
                    f"batch {batch_idx} has {counts} splits on the ranks from 0 on: ranks step "
                    "together, so give all sequences of a batch the same length on all ranks, or "
                    "override tbptt_split_batch"
                )
            if has_none:
                return [None] * max(1, *counts)
        return [None] if has_none else parts


def without_hiddens(output: Any) -> Any:
    """What hooks get of a split: the hiddens are for the next split alone."""
    for one in output if isinstance(output, list) else [output]:
        if isinstance(one, dict):
            one.pop("hiddens", None)
    return output


def is_split(run: Run) -> bool:
    """Whether batches are cut into splits: said by the module or by the Trainer."""
    module = run.module
    return bool(
        module.truncated_bptt_steps
        or run.settings.fit.truncated_bptt_steps
        or takes(module.training_step, "hiddens")
    )
