"""When the schedulers of learning rates are stepped."""

from __future__ import annotations

from engine.distributed import rank_zero_warn
from engine.errors import MisconfigurationException
from engine.hooks import by_name
from engine.optimizers import SchedulerConfig
from engine.run import Run


class Schedules:
    """Steps the schedulers when it is their time; with manual optimisation the module does."""

    def __init__(self, run: Run) -> None:
        configs = run.optimization.schedulers if run.module.automatic_optimization else []
        self.any = bool(configs)
        self._run = run
        self._by_step = [c for c in configs if c.interval == "step"]
        self._by_epoch = [c for c in configs if c.interval == "epoch" and not c.reduce_on_plateau]
        self._plateau = [c for c in configs if c.interval == "epoch" and c.reduce_on_plateau]
        own = run.hooks.own("lr_scheduler_step")
        self._own = None if own is None else by_name(own, "scheduler", "optimizer_idx", "metric")
        self._seen = self._steps()
        self._is_whole = True  # whether the epoch has come to its end
        self._late: list[SchedulerConfig] = []  # those whose metric only its last hooks log

    def after_batch(self, stepped: bool, is_last: bool) -> None:
        """Schedulers of steps, and at the end of an epoch those of epochs."""
        self._is_whole = is_last
        if stepped and self._by_step:
            steps = self._steps()
            for config in self._by_step:
                taken = steps[config.opt_idx or 0]
                if taken != self._seen[config.opt_idx or 0] and taken % config.frequency == 0:
                    self._step(config)
            self._seen = steps
        if is_last and self._by_epoch:
            self._epochs(self._by_epoch)

    def after_epoch(self) -> None:
        """Schedulers that look at a metric: of the validation, or of the epoch's steps. What hooks
        save after this has them as they are in the next epoch.
        """
        if self._plateau:
            metrics = self._run.logged.callback_metrics()
            missing = [c for c in self._plateau if c.monitor not in metrics]
            self._late += [config for config in missing if config not in self._late]
            self._epochs([config for config in self._plateau if config not in self._late])

    def after_hooks(self) -> None:
        """Those whose metric was not there before the hooks of the epoch's end."""
        self._epochs(self._late)

    def _steps(self) -> list[int]:
        """The steps that each optimizer has taken."""
        progress = self._run.state.progress
        return list(progress.optimizer_steps) or [progress.step]

    def _epochs(self, configs: list[SchedulerConfig]) -> None:
        for config in configs:
            if (self._run.state.progress.epoch + 1) % config.frequency == 0:
                self._step(config)

    def _step(self, config: SchedulerConfig) -> None:
        metric = None
        if config.monitor is not None and config.reduce_on_plateau:
            metrics = self._run.logged.callback_metrics()
            metric = metrics.get(config.monitor)
            if metric is None:
                if not self._is_whole:
                    return  # max_steps came before the validation that would have logged it
                text = (
                    f"the scheduler looks at {config.monitor!r}, which was not logged; there are "
                    f"{sorted(metrics)}"
                )
                if config.strict:
                    raise MisconfigurationException(text)
                rank_zero_warn(text)
                return
        if self._own is not None:
            self._own(config.scheduler, config.opt_idx or 0, metric)
        elif metric is None:
            config.scheduler.step()
        else:
            config.scheduler.step(metric)
