"""The tuner: searches by trials, each undone to the last bit, all ranks with one result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from engine.module.datamodule import LightningDataModule
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.torch_internals.torch_parts import without_compiler
from engine.strategies.base import Strategy
from engine.trainer import lifecycle
from engine.tuner import names, sizes
from engine.tuner.lr_finder import MODES, LRFinder, learning_rates
from engine.tuner.lr_search import Rising
from engine.tuner.memory import is_out_of_memory, make_room
from engine.tuner.snapshot import Snapshot
from engine.tuner.trial import Leaves, join_ranks, lay_bare, run_trial, settings_of_trial


class Tuner:
    """Looks for a learning rate or a batch size with what a trainer would train with."""

    def __init__(self, trainer: Any, updates: bool = True) -> None:
        self._trainer = trainer
        self._updates = updates  # whether lr_find keeps what it suggests: not so in 1.x

    def lr_find(  # noqa: PLR0913, PLR0917  (the union of the arguments of 1.x and 2.x)
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool | None = None,
        attr_name: str = "",
        train_dataloader: Any = None,
    ) -> LRFinder | None:
        """Train with a learning rate that grows from `min_lr` to `max_lr` in `num_training` steps.

        `update_attr` gives the suggestion to the module. None where nothing was looked for: in a
        fast_dev_run.
        """
        _only_by_fit(method)
        if self._is_trial_run():
            return None
        if mode not in MODES:
            raise MisconfigurationException(f"lr_find(mode={mode!r}): give one of {MODES}")
        if not model.automatic_optimization:
            raise MisconfigurationException(
                "lr_find needs automatic optimisation: with `automatic_optimization = False` the "
                "module steps its optimizer itself"
            )
        train = train_dataloaders if train_dataloaders is not None else train_dataloader
        train, datamodule = _sorted_out(train, dataloaders, datamodule)
        inner = without_compiler(model)
        owners = (inner, datamodule)
        update_attr = self._updates if update_attr is None else update_attr
        wanted = attr_name or self._trainer._settings.tune.auto_lr_find or True
        name = names.learning_rate_name(wanted, *owners) if update_attr else ""
        found = LRFinder(mode, min_lr, max_lr, num_training)
        rates = learning_rates(mode, min_lr, max_lr, num_training)
        probe = Rising(found, rates, early_stop_threshold)
        with self._undone(inner, datamodule, train):
            lay_bare(inner, datamodule)
            settings = settings_of_trial(self._trainer._settings, num_training, probe)
            run_trial(self._trainer, settings, None, model, (train, datamodule))
        if update_attr:
            suggested = found.suggestion()
            if suggested is None:
                rank_zero_warn(
                    f"the learning rate search took {len(found.results['lr'])} steps, too few to "
                    f"suggest one: `{name}` stays"
                )
            else:
                names.write(name, suggested, *owners)
                rank_zero_info(f"engine: learning rate {suggested:.3g}, kept as `{name}`")
        return found

    def scale_batch_size(  # noqa: PLR0913, PLR0917  (the union of the arguments of 1.x and 2.x)
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
    ) -> int | None:
        """Look for the largest batch size for which there is memory, and keep it.

        None where nothing was looked for: in a fast_dev_run.
        """
        _only_by_fit(method)
        if self._is_trial_run():
            return None
        train, datamodule = _sorted_out(train_dataloaders, dataloaders, datamodule)
        if train is not None:
            raise MisconfigurationException(
                "the batch size of a loader that was given can't be changed: define "
                f"`train_dataloader` in the module or a data module, with self.{batch_arg_name}"
            )
        if mode not in sizes.MODES:
            raise MisconfigurationException(f"scale_batch_size: mode is one of {sizes.MODES}")
        inner = without_compiler(model)
        owners = (inner, datamodule)
        names.existing(batch_arg_name, "auto_scale_batch_size", *owners)
        with self._undone(inner, datamodule) as snapshot:  # from here on all ranks are there
            trial = _SizeTrial(self._trainer, model, datamodule, steps_per_trial, batch_arg_name)

            def fits(size: int) -> bool:
                snapshot.restore()
                return trial.fits(size)

            best = sizes.largest(fits, mode, init_val, max_trials, lambda: trial.samples)
        if not best:
            raise MisconfigurationException(
                "the batch size scaler found no size that fits into memory: not even one sample"
            )
        names.write(batch_arg_name, best, *owners)
        rank_zero_info(f"engine: batch size {best}, kept as `{batch_arg_name}`")
        return best

    def _is_trial_run(self) -> bool:
        if self._trainer.fast_dev_run:
            rank_zero_info("engine: nothing is tuned in a fast_dev_run")
        return bool(self._trainer.fast_dev_run)

    @contextmanager
    def _undone(self, module: Any, datamodule: Any, train: Any = None) -> Iterator[Snapshot]:
        """All that is done within is undone; data is prepared before."""
        settings = self._trainer._settings
        strategy = join_ranks(self._trainer)
        if not strategy.holds_all:
            raise MisconfigurationException(
                "the tuner can't undo its trials where the ranks divide the model: tune with "
                "strategy='ddp', or on one device"
            )
        lifecycle.prepare_data(strategy.world, settings.data, datamodule, module)
        strategy.barrier()
        snapshot = Snapshot((module, datamodule, train), skip=(type(self._trainer),))
        try:
            yield snapshot
        finally:
            snapshot.restore()
            make_room()


class _SizeTrial:
    """Tries batch sizes: each rank by itself, since one without memory must not hang the others."""

    def __init__(self, trainer: Any, module: Any, datamodule: Any, steps: int, name: str) -> None:
        self._trainer = trainer
        self._module = module
        self._datamodule = datamodule
        self._name = name
        self._settings = settings_of_trial(trainer._settings, steps, _Sees(self))
        self._alone = Strategy(trainer.strategy.root_device, trainer.strategy.world)
        self._size = 0
        self.samples: int | None = None

    def fits(self, size: int) -> bool:
        """Whether all ranks have memory for batches of this size."""
        inner = without_compiler(self._module)
        lay_bare(inner, self._datamodule)
        names.write(self._name, size, inner, self._datamodule)
        self._size = size
        outcome, error = "", None
        with distributed.alone():
            try:
                self._try()
            except Exception as failure:  # whatever it is, the other ranks must hear of it
                if is_out_of_memory(failure):
                    outcome = "memory"
                else:
                    error = failure
        make_room()
        distributed.raise_together(error)
        return not any(distributed.gather_all(outcome))

    def _try(self) -> None:
        # Where gradients are averaged, they are held twice.
        shared = self._trainer.strategy.world.world_size > 1
        weights = [p for p in self._module.parameters() if p.requires_grad] if shared else []
        device = self._alone.root_device
        doubles = [torch.empty(p.shape, dtype=p.dtype, device=device) for p in weights]
        data = (None, self._datamodule)
        run_trial(self._trainer, self._settings, self._alone, self._module, data)
        del doubles

    def check(self, loader: Any) -> None:
        """See whether the loader has the size that is tried, and how many samples there are."""
        with suppress(TypeError, AttributeError):  # not all loaders know
            self.samples = max(1, len(loader.dataset) // self._alone.world.world_size)
        sampler = getattr(loader, "batch_sampler", None)
        size = getattr(sampler, "batch_size", None) or getattr(loader, "batch_size", None)
        if size is not None and size != self._size:
            raise MisconfigurationException(
                f"auto_scale_batch_size has set `{self._name}` to {self._size}, and "
                f"`train_dataloader` makes batches of {size}: let it use self.{self._name}"
            )


class _Sees(Leaves):
    """Shows a trial's loader to who wants to check it."""

    def __init__(self, trial: _SizeTrial) -> None:
        self._trial = trial

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The loaders are there."""
        self._trial.check(trainer.train_dataloader)


def _only_by_fit(method: str) -> None:
    if method != "fit":
        raise MisconfigurationException(
            f"the tuner looks by training: method='fit', not {method!r}"
        )


def _sorted_out(train: Any, third: Any, datamodule: Any) -> tuple[Any, Any]:
    """A data module may come in the place of loaders; in 1.x it is the fourth argument."""
    for given in (train, third):
        if isinstance(given, LightningDataModule):
            return None, given
    return train if train is not None else third, datamodule
