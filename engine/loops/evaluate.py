"""Validation and test: every batch once, in eval mode, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from engine.loops.ends.batches import note_length
from engine.loops.ends.uneven import in_step
from engine.loops.hooks import accepted, requires, takes
from engine.loops.run import Run, batches_of, send_to_loggers, until_told
from engine.loops.steps.automatic import detached
from engine.loops.steps.missing import say_missing
from engine.loops.steps.returned import was_logged
from engine.loops.steps.schedulers import Schedules
from engine.module.logging.collection import Collection
from engine.module.logging.entry import LOADER_MARK
from engine.runtime.distributed.world import rank_zero_warn

Results = list[dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """What one evaluation runs: its loaders, and how many batches of each."""

    verb: str  # validation or test
    loaders: Sequence[Any]
    counts: Sequence[int | float]
    to_device: Callable[[Any, int], Any] | None


def evaluate(run: Run, plan: Plan, then: Callable[[], None] | None = None) -> Results:
    """Run all batches of all loaders; returns the epoch's metrics, one dict a loader.

    `then` runs once the metrics are there, before the hooks that look at them and save.

    eval mode, no gradients
    for each loader, for each batch: batch_start, step, step_end, batch_end
    epoch_end, metrics of all ranks, end
    back to the modes that the module was in
    """
    verb, call = plan.verb, run.hooks.call
    with eval_mode(run, verb), without_gradients(run):
        collection = run.logged.open_evaluation()
        run.state.evaluated_batches = 0
        call(f"on_{verb}_start")
        call(f"on_{verb}_epoch_start")
        epoch_end = run.hooks.own(f"{verb}_epoch_end")
        keeps = epoch_end is not None or run.hooks.wants_outputs(f"on_{verb}_epoch_end")
        count = len(plan.loaders)
        outputs = [evaluate_loader(run, plan, index, keeps) for index in range(count)]
        kept = outputs[0] if count == 1 else outputs
        if epoch_end is not None:
            with run.logged.within(f"{verb}_epoch_end"):
                returned = epoch_end(kept)
            if returned is not None and not was_logged(run, f"{verb}_epoch_end", returned):
                rank_zero_warn(
                    f"{verb}_epoch_end returned something, which nobody gets: use self.log to keep "
                    "a value"
                )
        values = end_epoch(run, collection, f"on_{verb}_epoch_end", kept)
        run.logged.close_evaluation()
        if not run.state.sanity_checking:
            send_to_loggers(run, values)
        files = run.module.__dict__.pop("_predictions", None)  # for which the module collects
        if files is not None:
            files.write(run.strategy.world)
        if then is not None:
            then()
        call(f"on_{verb}_end")
        collection.reset_metrics()
    return by_loader(collection.results, len(plan.loaders))


def end_epoch(
    run: Run,
    collection: Collection,
    hook: str,
    outputs: Any,
    schedules: Schedules | None = None,
) -> dict[str, torch.Tensor]:
    """Reduce an epoch's metrics and call the hooks of its end; returns what loggers get.

    `outputs` are for those who take them, as hooks of 1.3 did; `schedules` look at the metrics.
    The metrics are there before the hooks. What hooks log themselves is reduced once more, before
    the callbacks that monitor it; where no hook could have logged there is no second collective.
    """
    logged, hooks = run.logged, run.hooks
    values = logged.finish_epoch(collection)
    if schedules is not None:
        schedules.after_epoch()
    may_log = hooks.may_log(hook)

    def finish() -> None:
        if may_log:
            values.update(logged.finish_epoch(collection))

    def then() -> None:
        finish()
        if schedules is not None:
            schedules.after_hooks()

    (hooks.find(hook, 1, then=then) or (lambda _: then()))(outputs)
    if hooks.may_log_after(hook):
        finish()
    return values


def evaluate_loader(run: Run, plan: Plan, dataloader_idx: int, keeps_outputs: bool) -> list[Any]:
    """Run the batches of one loader; returns what the steps returned, if it is wanted."""
    verb, count = plan.verb, plan.counts[dataloader_idx]
    many = len(plan.loaders) > 1
    logged, to_device = run.logged, plan.to_device
    step = eval_step(run, f"{verb}_step", dataloader_idx, many)
    batch_start = run.hooks.find(f"on_{verb}_batch_start", 3)
    batch_end = run.hooks.find(f"on_{verb}_batch_end", 4)
    outputs: list[Any] = []
    if not count and run.strategy.holds_all:
        return outputs
    logged.dataloader_suffix = f"{LOADER_MARK}{dataloader_idx}" if many else ""
    sends = bool(run.loggers) and not run.state.sanity_checking
    seen, evaluated = 0, run.state.progress.evaluated
    with batches_of(plan.loaders[dataloader_idx]) as iterator:
        batches = run.hooks.fetching(f"{verb}_dataloader_next", iterator)
        mine = counted(until_told(run, batches), count, verb)
        for batch_idx, batch in in_step(run, mine, to_device, dataloader_idx, step):
            seen = batch_idx + 1
            if to_device is not None:
                batch = to_device(batch, dataloader_idx)
            logged.batch = batch
            if batch_start is not None:
                batch_start(batch, batch_idx, dataloader_idx)
            output = step(batch, batch_idx)
            run.state.evaluated_batches += 1
            if batch_end is not None:
                batch_end(output, batch, batch_idx, dataloader_idx)
            if keeps_outputs and output is not None:
                outputs.append(detached(output))
            if sends and logged.has_new_step_value:
                send_to_loggers(run, logged.new_step_values(), evaluated.get(verb, 0) + batch_idx)
    note_length(run.state, verb, plan.loaders[dataloader_idx], count, seen, dataloader_idx)
    if sends:
        evaluated[verb] = evaluated.get(verb, 0) + seen
    logged.dataloader_suffix = ""
    logged.batch = None
    return outputs


def counted(batches: Iterator[Any], count: int | float, kind: str) -> Iterator[tuple[int, Any]]:
    """So many batches with their index; those that are none are left out, and said."""
    for batch_idx, batch in first(batches, count):
        if batch is None:
            say_missing(kind)
        else:
            yield batch_idx, batch


def first(batches: Iterator[Any], count: int | float) -> Iterator[tuple[int, Any]]:
    """So many batches with their index."""
    return islice(enumerate(batches), None if count == float("inf") else int(count))


def eval_step(run: Run, name: str, dataloader_idx: int, many: bool) -> Callable[[Any, int], Any]:
    """The step of one loader as the loop calls it; it goes round DDP, which would wait for others
    that may have fewer batches.
    """
    method, logged = getattr(run.module, name), run.logged
    # A single loader has no index, and a parameter with a default keeps that.
    wants_index = requires(method, "dataloader_idx") or (
        many and (takes(method, "dataloader_idx") or accepted(method, 3) == 3)
    )
    extra = (dataloader_idx,) if wants_index else ()
    count = accepted(method, 2)
    step_end = run.hooks.own(f"{name}_end")
    context = run.precision.context if run.precision.has_context else None

    def step(batch: Any, batch_idx: int) -> Any:
        logged.hook = name
        arguments = (batch, batch_idx)[:count] + extra
        if context is None:
            output = method(*arguments)
        else:
            with context():
                output = method(*arguments)
        if step_end is not None:
            logged.hook = f"{name}_end"
            output = step_end(output)
        logged.hook = None
        return output

    return step


@contextmanager
def eval_mode(run: Run, verb: str) -> Iterator[None]:
    """Eval mode, and afterwards every layer in the mode that it was in."""
    module = run.module
    modes = [(layer, layer.training) for layer in module.modules()]
    to_eval = run.hooks.own(f"on_{verb}_model_eval")
    to_train = run.hooks.own(f"on_{verb}_model_train")
    if to_eval is None:
        module.eval()
    else:
        to_eval()
    try:
        yield
    finally:
        if to_train is None:
            for layer, mode in modes:
                layer.training = mode
        else:
            to_train()


def without_gradients(run: Run) -> AbstractContextManager[object]:
    """Inference mode, or no gradients where the user wants to use the results elsewhere."""
    wanted = run.settings.data.inference_mode and run.strategy.allows_inference_mode
    return torch.inference_mode() if wanted else torch.no_grad()


def by_loader(results: dict[str, torch.Tensor], count: int) -> Results:
    """An epoch's metrics as numbers, each loader's under the names that belong to it."""
    from engine.module.logging.values import to_floats

    floats = to_floats(results)
    if count <= 1:
        return [floats]
    split: Results = []
    for index in range(count):
        mine = f"/dataloader_idx_{index}"
        names = [n for n in floats if n.endswith(mine) or "/dataloader_idx_" not in n]
        split.append({name: floats[name] for name in names})
    return split
