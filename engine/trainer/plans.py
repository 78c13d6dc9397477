"""Which loaders a run uses: those that were given, the data module's or the module's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.loops.evaluate import Plan
from engine.loops.fit import Reloaded
from engine.loops.hooks import is_overridden
from engine.loops.run import Run, to_device_function
from engine.loops.state import window_at
from engine.module.datamodule import LightningDataModule
from engine.module.module import LightningModule
from engine.runtime.data.combined import CombinedLoader, combined, each, is_loader, own_seed
from engine.runtime.data.samplers import (
    for_evaluation,
    for_training,
    in_sequence,
    length,
    limited,
    once_more,
)
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import FitSettings

_VERBS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


def found(kind: str, given: Any, run: Run) -> Any:
    """The loader or loaders of a kind (train, val, test or predict), None if there are none.

    What was given counts first, then the data module, then the module.
    """
    name = f"{kind}_dataloader"
    in_module = is_overridden(name, run.module, LightningModule)
    in_data = is_overridden(name, run.datamodule, LightningDataModule)
    if given is not None:
        if in_module or (in_data and run.datamodule_is_given):
            rank_zero_warn(f"the {kind} loader that was given is used, not `{name}`")
        return given
    if in_data or in_module:
        run.hooks.module_only(f"on_{name}")  # of 1.x
    if in_data:
        if in_module and run.datamodule_is_given:
            rank_zero_warn(f"`{name}` of the data module is used, not that of the module")
        return getattr(run.datamodule, name)()
    return getattr(run.module, name)() if in_module else None


def several(loaders: Any) -> list[Any]:
    """One loader or several, as a list; a plain list of batches is one loader."""
    if loaders is None:
        return []
    if isinstance(loaders, Mapping):
        return list(loaders.values())
    if isinstance(loaders, CombinedLoader) and loaders.mode == "sequential":
        return loaders.flattened
    if isinstance(loaders, (list, tuple)) and any(is_loader(item) for item in loaders):
        return list(loaders)
    if isinstance(loaders, (list, tuple)) and not loaders:
        return []
    return [loaders]


def training_loader(run: Run, given: Any) -> tuple[Any, int | float]:
    """The loader to train on, in an order of ours, and how many of its batches are used."""
    loader = found("train", given, run)
    if loader is None:
        raise MisconfigurationException(
            "there is nothing to train on: give fit() a loader or a datamodule, or define "
            "`train_dataloader`"
        )
    data, world = run.settings.data, run.strategy.world
    loader = combined(loader, data.multiple_trainloader_mode)
    if getattr(loader, "mode", "") == "sequential":
        raise MisconfigurationException(
            "training reads several loaders together, not one after the other: give max_size_cycle "
            "or min_size, or one loader over a torch.utils.data.ConcatDataset"
        )
    if data.overfit_batches:
        loader = each(loader, lambda _, one: in_sequence(one))
    seed = run.state.progress.data_seed
    replaces = data.use_distributed_sampler
    loader = each(
        loader, lambda index, one: for_training(one, own_seed(seed, index), world, replaces)
    )
    total, limit = length(loader), _limit(run, "train")
    name = "overfit_batches" if data.overfit_batches else "limit_train_batches"
    count = limited(total, limit, name)
    if not total:
        rank_zero_warn(
            "the training loader has no batches, nothing is trained: is the dataset empty, "
            "smaller than a batch and drop_last=True, or are there fewer batches than ranks?"
        )
    elif not count and limit:
        raise _no_batch(name, limit, total)
    interval = run.settings.fit.val_check_interval
    if count == float("inf") and isinstance(interval, float) and interval != 1.0:
        raise MisconfigurationException(
            f"val_check_interval={interval} is a share of a loader whose length is unknown; give "
            "a number of batches (an int)"
        )
    return loader, count


def _no_batch(name: str, limit: int | float, total: int | float) -> MisconfigurationException:
    return MisconfigurationException(
        f"Trainer({name}={limit}): that share of {total} batches is none; give a number of "
        "batches (an int), or a larger share"
    )


def _limit(run: Run, kind: str) -> int | float:
    data = run.settings.data
    if data.overfit_batches and kind in ("train", "val"):
        return data.overfit_batches
    limit: int | float = getattr(data, f"limit_{kind}_batches")
    return limit


def evaluation_plan(run: Run, verb: str, loaders: Sequence[Any]) -> Plan:
    """How an evaluation runs over `loaders`; `verb` is validate, test or predict."""
    kind = _VERBS[verb]
    data, world = run.settings.data, run.strategy.world
    seed = run.state.progress.data_seed
    replaces = data.use_distributed_sampler
    ordered = [
        each(loader, lambda index, one: for_evaluation(one, own_seed(seed, index), world, replaces))
        for loader in loaders
    ]
    limit = _limit(run, kind)
    is_overfit = data.overfit_batches and kind == "val"
    name = "overfit_batches" if is_overfit else f"limit_{kind}_batches"
    counts = [limited(length(x), limit, name) for x in ordered]
    if isinstance(limit, float) and 0 < limit < 1:
        for total in run.strategy.broadcast([length(x) for x in ordered]):
            if total and not limited(total, limit, name):
                raise _no_batch(name, limit, total)
    word = "validation" if verb == "validate" else verb
    if limit and any(length(one) == 0 for one in ordered):
        rank_zero_warn(f"a {word} loader has no batches: is the dataset empty?")
    return Plan(word, ordered, counts, to_device_function(run))


def validation_plan(run: Run, given: Any, training: Any) -> Plan | None:
    """How fit validates; None where module or data have nothing for it."""
    if run.state.tuning:
        return None
    has_step = callable(getattr(run.module, "validation_step", None))
    overfits = run.settings.data.overfit_batches
    if overfits and has_step:  # on the very batches that this rank trains on
        again = each(training, lambda _, one: once_more(one))
        count = limited(length(again), overfits, "overfit_batches")
        return Plan("validation", [again], [count], to_device_function(run))
    loaders = several(found("val", given, run))
    if not loaders:
        if has_step:
            rank_zero_warn("there is a validation_step and no validation loader: no validation")
        return None
    if not has_step:
        rank_zero_warn("there is a validation loader and no validation_step: no validation")
        return None
    plan = evaluation_plan(run, "validate", loaders)
    return plan if sum(most_batches(run, plan)) else None


def reloaded(run: Run, loader: Any, count: int | float, given: Any) -> Reloaded:
    """What a fit goes on with once its loaders were made anew, at the beginning of an epoch."""
    validation = validation_plan(run, given, loader)
    run.state.num_val_batches = [] if validation is None else most_batches(run, validation)
    return Reloaded(loader, count, validation)


def most_batches(run: Run, plan: Plan) -> list[int | float]:
    """The batches of rank zero, which no rank has more of: all ranks must decide by the same."""
    return run.strategy.broadcast(list(plan.counts))


def sanity_plan(run: Run, plan: Plan | None) -> Plan | None:
    """The first few batches of a validation; None where there is nothing to check."""
    limit = run.settings.fit.num_sanity_val_steps
    if plan is None or limit == 0:
        return None
    if limit == -1:
        return plan
    return replace(plan, counts=[min(count, limit) for count in plan.counts])


def steps_of_fit(
    fit: FitSettings, batches: int | float, accumulation: int | dict[int, int]
) -> int | float:
    """Optimizer steps of a whole fit, infinity where that is not known."""
    epochs, total = fit.max_epochs, math.inf
    if epochs is not None and epochs >= 0 and batches != math.inf:
        windows = (window_at(accumulation, epoch) for epoch in range(epochs))
        total = sum(-(-int(batches) // window) for window in windows)
    return min(total, fit.max_steps) if fit.max_steps >= 0 else total
