"""When the schedulers of learning rates are stepped."""

from __future__ import annotations

from typing import Any

from engine.loops.hooks import by_name
from engine.loops.optimizers import SchedulerConfig
from engine.loops.run import Run
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException


class Schedules:
    """Steps the schedulers when it is their time; with manual optimisation the module does.

    Those that look at a metric are asked when they are due, with the value of that moment: after
    the validation of that very step, or at the end of the epoch. No value is looked at twice.
    """

    def __init__(self, run: Run) -> None:
        configs = run.optimization.schedulers if run.module.automatic_optimization else []
        self.any = bool(configs)
        self._run = run
        self._configs = configs
        self._progress = run.state.progress
        self._by_step = [i for i, config in enumerate(configs) if config.interval == "step"]
        self._by_epoch = [c for c in configs if c.interval == "epoch" and not _looks(c)]
        self._plateau = [i for i, c in enumerate(configs) if c.interval == "epoch" and _looks(c)]
        own = run.hooks.own("lr_scheduler_step")
        self._own = None if own is None else by_name(own, "scheduler", "optimizer_idx", "metric")
        self._seen = self._steps()
        self._late: list[int] = []  # due at an epoch's end, for which its last hooks may log

    def after_batch(self, stepped: bool, is_last: bool) -> None:
        """Schedulers of steps, and at the end of an epoch those of epochs."""
        if stepped and self._by_step:
            steps = self._steps()
            for index in self._by_step:
                config = self._configs[index]
                taken = steps[config.opt_idx or 0]
                if taken != self._seen[config.opt_idx or 0] and taken % config.frequency == 0:
                    if _looks(config):
                        self._progress.asks.append(index)
                    else:
                        self._step(config, None)
            self._seen = steps
        if is_last:
            for config in self._by_epoch:
                if self._is_of_this_epoch(config):
                    self._step(config, None)

    def ask(self) -> None:
        """Let those that are due look at their metrics; what validation had to say is there."""
        due, self._progress.asks = self._progress.asks, []
        left = [index for index in due if not self._ask(index)]
        if self._progress.is_last:  # the end of the epoch belongs to this step, too
            self._progress.asks = left

    def after_epoch(self) -> None:
        """Schedulers that look at a metric: of the validation, or of the epoch's steps. What hooks
        save after this has them as they are in the next epoch.
        """
        due, self._progress.asks = self._progress.asks, []
        if self._progress.is_last:  # else the training was stopped before
            due += [i for i in self._plateau if self._is_of_this_epoch(self._configs[i])]
        self._late = [index for index in due if not self._ask(index)]

    def after_hooks(self) -> None:
        """Those whose metric was not there before the hooks of the epoch's end."""
        late, self._late = self._late, []
        for index in late:
            if not self._ask(index):
                self._note_missing(self._configs[index])

    def _steps(self) -> list[int]:
        """The steps that each optimizer has taken."""
        return list(self._progress.optimizer_steps) or [self._progress.step]

    def _is_of_this_epoch(self, config: SchedulerConfig) -> bool:
        return (self._progress.epoch + 1) % config.frequency == 0

    def _ask(self, index: int) -> bool:
        """Hand on the metric, if it has a value that this scheduler has not seen."""
        config, asked = self._configs[index], self._run.state.asked
        metric = self._run.logged.callback_metrics().get(str(config.monitor))
        if metric is None or metric is asked.get(index):
            return False
        asked[index] = metric
        self._step(config, metric)
        return True

    def _note_missing(self, config: SchedulerConfig) -> None:
        metrics, state = self._run.logged.callback_metrics(), self._run.state
        is_to_come = bool(sum(state.num_val_batches)) and state.progress.validated_at < 0
        if config.monitor in metrics or is_to_come:
            return
        text = (
            f"the scheduler looks at {config.monitor!r}, which was not logged; there are "
            f"{sorted(metrics)}"
        )
        if config.strict:
            raise MisconfigurationException(text)
        rank_zero_warn(text)

    def _step(self, config: SchedulerConfig, metric: Any) -> None:
        if self._own is not None:
            self._own(config.scheduler, config.opt_idx or 0, metric)
        elif metric is None:
            config.scheduler.step()
        else:
            config.scheduler.step(metric)


def _looks(config: SchedulerConfig) -> bool:
    """Whether a scheduler is stepped with a metric."""
    return config.reduce_on_plateau and config.monitor is not None
