"""The learning rate, logged as a metric."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from engine.callbacks.attach import attach
from engine.callbacks.base import Callback
from engine.callbacks.checks import needs_logger
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import ArgumentError

if TYPE_CHECKING:
    import torch

    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer

INTERVALS = (None, "step", "epoch")
KEPT = 1000  # of the values that were logged: a run of millions of steps must not fill the memory


class LearningRateMonitor(Callback):
    """Logs the rate of every scheduler's optimizer, and of optimizers without a scheduler.

    `logging_interval`: 'step' (as often as other values, every `log_every_n_steps`), 'epoch', or
    None for each scheduler's own interval. Names: `lr-SGD`, `lr-SGD-1` for a second one,
    `lr-SGD/pg2` for the second group of parameters, or the `name` of a scheduler's configuration.
    `lrs` has the last 1000 values under each name, the newest at the end.

    Args:
        logging_interval: `"step"`, `"epoch"`, or None for each scheduler's own interval. By default
            None.
        log_momentum: whether momenta are logged, too. By default False.

    Raises:
        ArgumentError: the interval is none of these.
        MisconfigurationException: in the fit, if the Trainer has no logger.
    """

    def __init__(self, logging_interval: str | None = None, log_momentum: bool = False) -> None:
        if logging_interval not in INTERVALS:
            raise ArgumentError(
                f"logging_interval must be one of {INTERVALS}, not {logging_interval!r}"
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.lrs: dict[str, list[float]] = {}
        self._logged_step = -1  # batches that are accumulated belong to one step
        self._sources: list[tuple[str, str, Any]] = []  # name, interval, optimizer
        if logging_interval != "epoch":
            attach(self, "on_train_batch_start", self._at_step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name what there is to log."""
        needs_logger(self, trainer)
        self._sources = [] if trainer.fast_dev_run else _sources(trainer)
        self._warn()
        self.lrs = {}
        self._logged_step = -1

    def _warn(self) -> None:
        without = {
            type(optimizer).__name__
            for _, _, optimizer in self._sources
            if not {"momentum", "betas"} & set(optimizer.defaults)
        }
        if self.log_momentum and without:
            rank_zero_warn(
                f"LearningRateMonitor(log_momentum=True): {', '.join(sorted(without))} has no "
                "momentum, 0 is logged",
                RuntimeWarning,
            )

    def _at_step(self, trainer: Trainer, *_: object) -> None:
        step = trainer.global_step
        # When the step is done, its other values are logged, too: the same x for all of them.
        if (step + 1) % trainer.log_every_n_steps == 0 and step != self._logged_step:
            self._logged_step = step
            self._log(trainer, "step", step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what changes from epoch to epoch."""
        if self.logging_interval != "step":
            self._log(trainer, "epoch", trainer.global_step)

    def _log(self, trainer: Trainer, interval: str, step: int) -> None:
        values: dict[str, float] = {}
        for name, own_interval, optimizer in self._sources:
            if self.logging_interval == interval or own_interval == interval:
                values.update(self._read(name, optimizer))
        if not values:
            return
        for name, value in values.items():
            kept = self.lrs.setdefault(name, [])
            kept.append(value)
            if len(kept) > KEPT:
                del kept[0]
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics({**values, "epoch": trainer.current_epoch}, step)

    def _read(self, name: str, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        groups = optimizer.param_groups
        values: dict[str, float] = {}
        for number, group in enumerate(groups, start=1):
            own = group.get("name") or (f"pg{number}" if len(groups) > 1 else None)
            key = name if own is None else f"{name}/{own}"
            key = f"{name}/pg{number}" if key in values else key  # two groups of one name
            values[key] = float(group["lr"])
            if self.log_momentum:
                momentum = group.get("momentum", group.get("betas", (0.0,)))
                first = momentum[0] if isinstance(momentum, (tuple, list)) else momentum
                values[f"{key}-momentum"] = float(first)
        return values


def _sources(trainer: Trainer) -> list[tuple[str, str, Any]]:
    """Name, interval and optimizer of all that has a rate, each name once."""
    unnumbered = [
        (
            config.name or _name_of(config.scheduler.optimizer),
            config.interval,
            config.scheduler.optimizer,
        )
        for config in trainer.lr_scheduler_configs
    ]
    scheduled = {id(optimizer) for _, _, optimizer in unnumbered}
    unnumbered += [
        (_name_of(optimizer), "epoch", optimizer)
        for optimizer in trainer.optimizers
        if id(optimizer) not in scheduled
    ]
    seen: Counter[str] = Counter()
    sources = []
    for name, interval, optimizer in unnumbered:
        sources.append((f"{name}-{seen[name]}" if seen[name] else name, interval, optimizer))
        seen[name] += 1
    return sources


def _name_of(optimizer: torch.optim.Optimizer) -> str:
    return f"lr-{type(optimizer).__name__}"


LearningRateLogger = LearningRateMonitor
