"""Prediction: what the module says to every batch, in the order of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from engine.loops.ends.batches import note_length
from engine.loops.ends.uneven import in_step
from engine.loops.evaluate import Plan, eval_mode, eval_step, first, without_gradients
from engine.loops.run import Run, batches_of, until_told
from engine.runtime.data.samplers import mapped
from engine.runtime.distributed import world as distributed


def predict(run: Run, plan: Plan, returns: bool, keeps: bool) -> list[list[Any]]:
    """Run all batches of all loaders; returns the predictions, one list a loader, if wanted.

    Each rank predicts its share of the batches, and every rank gets the predictions of all. They
    may be kept for the hooks of the end alone.
    """
    call = run.hooks.call
    with eval_mode(run, "predict"), without_gradients(run):
        run.state.evaluated_batches = 0
        call("on_predict_start")
        call("on_predict_epoch_start")
        outputs = [predict_loader(run, plan, idx, keeps) for idx in range(len(plan.loaders))]
        call("on_predict_epoch_end", outputs)
        call("on_predict_end")
    return [in_order(distributed.gather_all(mine)) for mine in outputs] if returns else []


def predict_loader(run: Run, plan: Plan, dataloader_idx: int, keeps: bool) -> list[Any]:
    """Run the batches of one loader; returns this rank's predictions, off the device."""
    count, to_device = plan.counts[dataloader_idx], plan.to_device
    step = eval_step(run, "predict_step", dataloader_idx, len(plan.loaders) > 1)
    batch_start = run.hooks.find("on_predict_batch_start", 3)
    batch_end = run.hooks.find("on_predict_batch_end", 4)
    outputs: list[Any] = []
    if not count and run.strategy.holds_all:
        return outputs
    seen = 0
    with batches_of(plan.loaders[dataloader_idx]) as iterator:
        batches = run.hooks.fetching("predict_dataloader_next", iterator)
        mine = first(until_told(run, batches), count)
        for batch_idx, batch in in_step(run, mine, to_device, dataloader_idx, step):
            seen = batch_idx + 1
            if to_device is not None:
                batch = to_device(batch, dataloader_idx)
            if batch_start is not None:
                batch_start(batch, batch_idx, dataloader_idx)
            output = step(batch, batch_idx)
            run.state.evaluated_batches += 1
            if batch_end is not None:
                batch_end(output, batch, batch_idx, dataloader_idx)
            if keeps:
                outputs.append(on_cpu(output))
    note_length(run.state, "predict", plan.loaders[dataloader_idx], count, seen, dataloader_idx)
    return outputs


def on_cpu(value: Any) -> Any:
    """A value with all its tensors on the CPU, where many predictions have room."""
    return value.cpu() if isinstance(value, torch.Tensor) else mapped(value, on_cpu)


def in_order(shares: Iterable[list[Any]]) -> list[Any]:
    """The shares of ranks that took batches in turn, as one list."""
    queues = [iter(share) for share in shares]
    merged: list[Any] = []
    while queues:
        left = []
        for queue in queues:
            for item in queue:
                merged.append(item)
                left.append(queue)
                break
        queues = left
    return merged
