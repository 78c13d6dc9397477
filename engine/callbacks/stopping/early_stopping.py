"""Stop when a metric no longer improves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from engine.callbacks.base import Callback
from engine.callbacks.checkpoint.top_k import MODES, mode_of
from engine.callbacks.checks import missing_metric, validates_once_an_epoch_or_never
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import ArgumentError

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Metrics, State
    from engine.trainer.trainer import Trainer


@dataclass
class Patience:
    """Decides from one value after the other whether it is time to stop: plain numbers only."""

    patience: int = 3
    min_delta: float = 0.0
    mode: str = "min"
    check_finite: bool = True
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None
    best: float | None = None
    waited: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ArgumentError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if self.patience < 0:
            raise ArgumentError(f"patience must be at least 0 checks, not {self.patience}")
        self.min_delta = abs(self.min_delta)

    def reason_to_stop(self, value: float) -> str | None:
        """Take in the next value; a text says why to stop, None says to go on."""
        if self.check_finite and not math.isfinite(value):
            return f"{value} is not finite (best so far: {self.best})"
        if self.stopping_threshold is not None and self._beats(value, self.stopping_threshold):
            return f"{value:.4g} has passed the stopping threshold {self.stopping_threshold}"
        limit = self.divergence_threshold
        if limit is not None and self._beats(limit, value):
            return f"{value:.4g} has diverged past {limit}"
        if self.best is None or self._beats(value, self.best, by=self.min_delta):
            self.best, self.waited = value, 0
            return None
        self.waited += 1
        if self.waited < self.patience:
            return None
        return (
            f"no better than {self.best:.4g} in {self.waited} checks (min_delta {self.min_delta})"
        )

    def _beats(self, value: float, other: float, by: float = 0.0) -> bool:
        return value < other - by if self.mode == "min" else value > other + by


class OfRule:
    """An attribute of the rule that the callback shows as its own: programs read and set it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, callback: Any, owner: type | None = None) -> Any:
        """The rule's value."""
        return self if callback is None else getattr(callback._rule, self._name)

    def __set__(self, callback: Any, value: Any) -> None:
        setattr(callback._rule, self._name, value)


class EarlyStopping(Callback):
    """Ends the training once `monitor` has not improved by `min_delta` for `patience` checks.

    A check follows each validation, or each training epoch where there is none or
    `check_on_train_epoch_end` says so. A value is looked at once: a metric that brought no new
    value costs no patience. All ranks stop together, as soon as one of them wants to.

    Args:
        monitor: the name of the logged metric that is checked. By default `"early_stop_on"`.
        min_delta: the least change that counts as an improvement, in the metric's unit; its sign
            does not matter. By default 0.
        patience: how many checks in a row without an improvement end the training. By default 3.
        verbose: whether to print why the training ends. By default False.
        mode: `"min"` if smaller values are better, `"max"` if greater ones are, `"auto"` to tell
            by the metric's name (accuracies: max). By default `"min"`.
        strict: whether a `monitor` that is not logged is an error. By default True.
        check_finite: whether nan or infinity ends the training at once. By default True.
        stopping_threshold: a value of the metric that is good enough to end the training when it
            is passed. By default None: no such value.
        divergence_threshold: a value so bad that the training ends when it is passed. By default
            None: no such value.
        check_on_train_epoch_end: whether checks follow training epochs (True) or validations
            (False). By default None: training epochs that are validated exactly once, or never.

    Raises:
        ArgumentError: `mode` has no meaning, or `patience` is negative.
        RuntimeError: in the fit, if `strict` and `monitor` is not logged.

    Example:
        End the fit when the validation loss has not gone down in five validations::

            Trainer(callbacks=[EarlyStopping("val_loss", patience=5)])
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the arguments are those that scripts already use)
        self,
        monitor: str = "early_stop_on",
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        self.monitor = monitor
        self.verbose = verbose
        self.strict = strict
        self.stopped_epoch = 0
        self.stopping_reason: str | None = None
        self._check_on_train_epoch_end = check_on_train_epoch_end
        self._looked_at: Any = None
        self._metrics: Metrics = {}  # those of the fit that runs
        self._kept: dict[str, Any] = {}  # what an earlier process has looked at
        self._validated = False
        self._rule = Patience(
            patience,
            min_delta,
            mode_of(mode, monitor),
            check_finite,
            stopping_threshold,
            divergence_threshold,
        )

    @property
    def state_key(self) -> str:
        """Two of them on different metrics keep their states apart."""
        return f"EarlyStopping(monitor={self.monitor!r}, mode={self._rule.mode!r})"

    mode = OfRule("mode")
    patience = OfRule("patience")
    min_delta = OfRule("min_delta")
    check_finite = OfRule("check_finite")
    stopping_threshold = OfRule("stopping_threshold")
    divergence_threshold = OfRule("divergence_threshold")
    wait_count = OfRule("waited")

    @property
    def best_score(self) -> torch.Tensor:
        """The best value so far; infinitely bad before the first one."""
        worst = math.inf if self.mode == "min" else -math.inf
        best = self._rule.best
        return torch.tensor(worst if best is None else best, dtype=torch.float64)

    @best_score.setter
    def best_score(self, value: Any) -> None:
        self._rule.best = float(value)

    def state_dict(self) -> State:
        """What a resumed run goes on from."""
        return {
            "wait_count": self._rule.waited,
            "best_score": self._rule.best,
            "stopped_epoch": self.stopped_epoch,
            "looked_at": None if self._looked_at is None else float(self._looked_at),
            "is_present": self._metrics.get(self.monitor) is self._looked_at,
        }

    def __getstate__(self) -> dict[str, Any]:
        # A copy is a rule, not a part of the run that it was taken from.
        return {**self.__dict__, "_metrics": {}}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on from an earlier run."""
        self._rule.waited = state_dict["wait_count"]
        self._rule.best = state_dict["best_score"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self._kept = dict(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, but for what an earlier process has checked.

        A check that was due in the very hook that it saved in is made now.
        """
        self._metrics, self._validated = trainer.callback_metrics, False
        kept, self._kept = self._kept, {}
        value, known = self._metrics.get(self.monitor), kept.get("looked_at")
        is_same = known is not None and value is not None and float(value) == known
        self._looked_at = None if known is None else torch.tensor(known)
        if kept.get("is_present", is_same):  # older files have the number alone
            self._looked_at = value
        elif "is_present" in kept and value is not None and self._was_due(trainer):
            self._check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check, where validation is the time for it."""
        if trainer.sanity_checking:
            return
        self._validated = True
        if not self._checks_on_train_epoch_end(trainer):
            self._check(trainer)

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Check, where the end of an epoch is the time for it; a part of one is none."""
        if trainer.state.progress.is_last and self._checks_on_train_epoch_end(trainer):
            self._check(trainer)

    def _was_due(self, trainer: Trainer) -> bool:
        """Whether the last thing that was trained was followed by a check."""
        progress = trainer.state.progress
        has_ended = bool(progress.ended_at == progress.total_batches)
        if self._checks_on_train_epoch_end(trainer):
            return has_ended and not progress.batch
        return not has_ended and bool(progress.validated_at == progress.total_batches)

    def _checks_on_train_epoch_end(self, trainer: Trainer) -> bool:
        if self._check_on_train_epoch_end is not None:
            return self._check_on_train_epoch_end
        return validates_once_an_epoch_or_never(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:
            return
        if self.monitor not in trainer.callback_metrics:
            if self.strict and (self._validated or not sum(trainer.num_val_batches)):
                raise RuntimeError(
                    missing_metric("EarlyStopping", self.monitor, trainer.callback_metrics)
                )
            return
        value = trainer.callback_metrics[self.monitor]
        if value is self._looked_at:
            return
        self._looked_at = value
        reason = self._rule.reason_to_stop(float(value))
        if trainer.strategy.reduce_boolean_decision(reason is not None, all=False):
            trainer.should_stop = True
            self.stopped_epoch = trainer.current_epoch
            self.stopping_reason = reason or "another rank stopped"
            if self.verbose:
                rank_zero_info(f"EarlyStopping: {self.monitor}: {self.stopping_reason}")
