"""From a run to a checkpoint's content, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.loops.hooks import fitted, takes
from engine.loops.optimizers import SchedulerConfig
from engine.loops.run import Run
from engine.module.compiled import named_for
from engine.runtime.distributed import world as distributed
from engine.runtime.errors import CheckpointError
from engine.runtime.seed import random_state, set_random_state
from engine.runtime.storage import checkpoint as files


def dump(run: Run, callbacks: Sequence[Any], trainer: Any, weights_only: bool) -> dict[str, Any]:
    """What a checkpoint of this moment holds; call it on every rank.

    Rank zero's is the one to write. `weights_only` leaves out all that only training needs.
    """
    progress = run.state.progress
    content: dict[str, Any] = {
        "epoch": progress.epoch,
        "global_step": progress.step,
        files.VERSION_KEY: files.VERSION,
        files.LIGHTNING_KEY: files.LIGHTNING,
        "state_dict": run.strategy.module_state(run.module),
        "loops": {"fit": progress.state_dict()},
    }
    files.put_hparams(content, run.module, run.datamodule)
    with run.logged.within("on_save_checkpoint"):
        if not weights_only:
            _put_training(content, run, callbacks, trainer)
        if run.datamodule is not None:
            run.datamodule.on_save_checkpoint(content)
            state = run.datamodule.state_dict()
            if state:
                content[type(run.datamodule).__qualname__] = state
        run.module.on_save_checkpoint(content)
    return content


def _put_training(
    content: dict[str, Any], run: Run, callbacks: Sequence[Any], trainer: Any
) -> None:
    def save(callback: Any) -> Any:
        return callback.on_save_checkpoint(trainer, run.module, content)

    state, collection, loops = run.state, run.logged.training, content["loops"]
    sums = state.restored_metrics  # of an epoch that was left, whose values were reduced
    if sums is None:
        sums = collection.state_dict() if collection else []
    random = state.validation_random or random_state()
    gathered = distributed.gather_to_zero((sums, random, state.epoch_random))
    by_rank = zip(*(gathered or []), strict=True)
    loops.update(zip(("logged", "random", "epoch_random"), map(list, by_rank), strict=False))
    if state.left_by:  # here is none of the ranks
        loops["logged"], loops["epoch_random"] = map(list, zip(*state.left_by, strict=True))
    metrics = run.logged.callback_metrics()
    loops["metrics"] = {name: v.cpu() for name, v in metrics.items()}
    schedulers = enumerate(run.optimization.schedulers)
    loops["asked"] = [i for i, c in schedulers if _has_seen(state.asked.get(i), c, metrics)]
    content["callbacks"] = files.callback_states(list(callbacks), save)
    content["optimizer_states"] = [
        run.strategy.optimizer_state(optimizer) for optimizer in run.optimization.optimizers
    ]
    content["lr_schedulers"] = [c.scheduler.state_dict() for c in run.optimization.schedulers]
    if run.precision.scaler is not None:
        content["native_amp_scaling_state"] = run.precision.scaler.state_dict()


def _has_seen(value: Any, config: SchedulerConfig, metrics: Mapping[str, Any]) -> bool:
    """Whether the last value that a scheduler looked at is the present one."""
    return value is not None and value is metrics.get(str(config.monitor))


def load_weights(run: Run, content: dict[str, Any], path: Any) -> None:
    """Give the module the weights of the checkpoint `path`, as strictly as it wants them."""
    files.weights_in(content)
    if run.datamodule is not None:
        run.datamodule.on_load_checkpoint(content)
        state = content.get(type(run.datamodule).__qualname__)
        if state:
            run.datamodule.load_state_dict(state)
    run.module.on_load_checkpoint(content)
    state = named_for(run.module, content["state_dict"])
    strict = files.is_strict(run.module)
    try:
        run.strategy.load_module_state(run.module, state, strict)
    except RuntimeError as error:
        raise RuntimeError(
            f"{error}\n{files.called(path)} is of another model, or of this one with other "
            "arguments: give another ckpt_path; strict_loading = False in the module takes the "
            "weights whose names are in both, if their shapes are the same"
        ) from error
    if not strict and (left := files.differences(run.module, state)):
        distributed.rank_zero_info(f"engine: the checkpoint was not loaded strictly: {left}")


def load_callbacks(
    run: Run, content: dict[str, Any], callbacks: Sequence[Any], trainer: Any
) -> None:
    """Give callbacks their states; one of 1.x gets what its `on_save_checkpoint` returned."""
    states = content.get("callbacks", {})
    files.restore_callbacks(list(callbacks), states)
    for callback in callbacks:
        method = fitted(callback.on_load_checkpoint, 3)
        state = states.get(callback.state_key)
        if state is not None and "legacy" in state:
            method(trainer, run.module, state["legacy"])
        elif not takes(callback.on_load_checkpoint, "callback_state"):
            method(trainer, run.module, content)


def load_training(run: Run, content: dict[str, Any]) -> None:
    """Put optimizer, schedulers, scaler and progress to where the checkpoint was taken."""
    if "optimizer_states" not in content:
        raise CheckpointError(
            "the checkpoint holds weights only: a run cannot be resumed from it. "
            "Load it with load_from_checkpoint and fit anew"
        )
    made = run.optimization
    for optimizer, state in _paired("optimizers", made.optimizers, content["optimizer_states"]):
        try:
            run.strategy.load_optimizer_state(optimizer, state)
        except ValueError as error:  # other parameters, or other groups of them
            raise CheckpointError(_changed(f"for {type(optimizer).__name__}: {error}")) from error
    for config, state in _paired("schedulers", made.schedulers, content.get("lr_schedulers", [])):
        config.scheduler.load_state_dict(state)
    if run.precision.scaler is not None and "native_amp_scaling_state" in content:
        run.precision.scaler.load_state_dict(content["native_amp_scaling_state"])
    loops = content.get("loops", {})
    own = loops.get("fit", {})
    if "step" in own:
        run.state.progress.load_state_dict(own)
        in_epoch = run.state.progress.batch > 0
        run.state.restored_metrics = _of_this_rank(run, loops.get("logged")) if in_epoch else None
        run.state.epoch_random = _of_this_rank(run, loops.get("epoch_random"))
        metrics = loops.get("metrics", {})
        metrics = {name: value.to(run.device) for name, value in metrics.items()}
        run.logged.epoch_callback.update(metrics)
        _restore_asked(run, loops.get("asked"), metrics)
    else:  # a file of Lightning's: it was written at the end of an epoch
        done = {"epoch": content["epoch"] + 1, "step": content["global_step"]}
        run.state.progress.load_state_dict(done)


def _restore_asked(run: Run, asked: list[int] | None, metrics: dict[str, Any]) -> None:
    """Note which schedulers have seen the values that there are; older files do not say."""
    schedulers = run.optimization.schedulers
    if asked is None:
        asked = [] if run.state.progress.batch else list(range(len(schedulers)))
    for index in asked:
        value = metrics.get(str(schedulers[index].monitor))
        if value is not None:
            run.state.asked[index] = value


def _paired(what: str, ours: Sequence[Any], kept: Sequence[Any]) -> list[tuple[Any, Any]]:
    """What configure_optimizers made, each with its state."""
    if len(ours) != len(kept):
        raise CheckpointError(_changed(f"it holds {len(kept)} {what}, there are {len(ours)} now"))
    return list(zip(ours, kept, strict=True))


def _changed(how: str) -> str:
    return (
        "the checkpoint is of a run with other optimizers or schedulers than configure_optimizers "
        f"makes now ({how}). Make them as they were to go on with that run, or load_from_checkpoint"
        " its weights and fit anew"
    )


def load_random(run: Run, content: dict[str, Any]) -> None:
    """Put the random state of this rank back, last of all: making things draws from it."""
    state = _of_this_rank(run, content.get("loops", {}).get("random"))
    if state:
        set_random_state(state)


def _of_this_rank(run: Run, gathered: list[Any] | None) -> Any:
    """This rank's part of what was gathered; None if there were more ranks or fewer then."""
    world = run.strategy.world
    return gathered[world.rank] if gathered and len(gathered) == world.world_size else None


def read_for(run: Run, path: Any, weights_only: bool = True) -> dict[str, Any]:
    """Read a checkpoint on every rank; where one cannot, all raise."""
    error: BaseException | None = None
    content: dict[str, Any] = {}
    try:
        content = files.read(path, "cpu", weights_only)
    except CheckpointError as failure:
        error = failure
    distributed.raise_together(error)
    return content
