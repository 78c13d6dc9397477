"""Save checkpoints while training: the best by a metric, the newest, or all of them."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import torch

from engine.callbacks.attach import attach
from engine.callbacks.checkpoint import file_names as names
from engine.callbacks.checkpoint.kept_files import KeptFiles, as_score
from engine.callbacks.checkpoint.top_k import TopK, mode_of
from engine.callbacks.checks import (
    Freshness,
    missing_metric,
    validates_once_an_epoch_or_never,
)
from engine.runtime.coordination.interval import Every
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import ArgumentError, MisconfigurationException
from engine.runtime.storage.files import write_whole


class Plan(NamedTuple):
    """What rank zero decided about one moment; all ranks carry it out."""

    score: float | None
    path: str | None  # of the file among the best k, None if the state is none of them
    last: str | None  # of the newest file, None if none is wanted
    gone: list[str]  # remembered files that are no longer there


class ModelCheckpoint(KeptFiles):
    """Keeps the `save_top_k` best checkpoints by `monitor`; without a monitor, the newest.

    A state is only ever judged by a metric of that very state. Where `monitor` has no value for
    it yet (a step between two validations), the next validation's state is taken instead.
    Files of other runs in the same folder are neither overwritten nor deleted.
    """

    CHECKPOINT_NAME_LAST = names.LAST
    FILE_EXTENSION = names.SUFFIX

    def __init__(  # noqa: PLR0913, PLR0917 (the arguments are those that scripts already use)
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | str | None = None,
        save_top_k: int = 1,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        every_n_val_epochs: int | None = None,
        enable_version_counter: bool = True,
        period: int | None = None,
        prefix: str = "",
        filepath: str | os.PathLike[str] | None = None,
    ) -> None:
        if filepath is not None:
            folder, template = names.of_filepath(filepath)
            dirpath, filename = dirpath or folder, filename or template
        mode = mode_of(mode, monitor)
        spellings = (every_n_epochs, every_n_val_epochs, period)
        every_n_epochs = next((given for given in spellings if given is not None), None)
        triggers = (every_n_train_steps, train_time_interval, every_n_epochs)
        if sum(bool(trigger) for trigger in triggers) > 1:
            raise ArgumentError(
                "give only one of every_n_train_steps, train_time_interval and every_n_epochs"
            )
        if save_top_k < -1:
            raise ArgumentError(f"save_top_k={save_top_k}: give a number, or -1 for all")
        if monitor is None and save_top_k not in (-1, 0, 1):
            raise ArgumentError(f"save_top_k={save_top_k} needs a monitor that says which are best")
        self.dirpath = None if dirpath is None else os.path.abspath(os.path.expanduser(dirpath))
        self.filename = filename or names.DEFAULT_TEMPLATE
        self.monitor = monitor
        self.verbose = verbose
        self.save_last = bool(save_last)
        self.save_top_k = save_top_k
        self.save_weights_only = save_weights_only
        self.mode = mode
        self.auto_insert_metric_name = auto_insert_metric_name
        self.prefix = prefix
        self.current_score: torch.Tensor | None = None
        self.last_model_path = ""
        self._every_n_steps = every_n_train_steps or 0
        self._every_n_epochs = 1 if triggers == (None, None, None) else every_n_epochs or 0
        self._save_on_train_epoch_end = save_on_train_epoch_end
        self._counts_versions = enable_version_counter
        self._dirpath_was_given = dirpath is not None
        self._top = TopK(save_top_k, mode)
        shown = {*names.fields_of(self.filename), *names.fields_of(self.CHECKPOINT_NAME_LAST)}
        self._said: dict[str, Any] = {}
        self._freshness = Freshness({*shown, monitor or "step"} - {"epoch", "step"})
        self._newest = ""  # stands in for the best where there is no monitor
        self._fitting = False
        self._waits_since = -1  # the step that waited in an earlier process
        self._waiting = False  # a step asked for a save that its metric was not there for
        self._validated = False
        self._seen_step = self._epoch = 0
        self._saved_step = -1
        self._timer = Every(train_time_interval.total_seconds()) if train_time_interval else None
        if self._every_n_steps or self._timer:
            attach(self, "on_train_batch_end", self._after_batch)

    # ------------------------------------------------------------------ what there is

    @property
    def every_n_epochs(self) -> int:
        """In which epochs it looks; 0 where it looks at steps or the time."""
        return self._every_n_epochs

    period = every_n_epochs

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write the best k checkpoints with their scores as YAML, by default beside them."""
        import yaml

        scores = {path: float(score) for path, score in self.best_k_models.items()}
        path = filepath or os.path.join(self.dirpath or "", "best_k_models.yaml")
        write_whole(path, yaml.safe_dump(scores))

    def save_checkpoint(self, trainer: Any, *_: Any) -> None:
        """Save the present state, if it is new and good enough; call it on all ranks."""
        self._consider(trainer)

    @property
    def state_key(self) -> str:
        """Several of them with different settings keep their states apart."""
        return (
            f"ModelCheckpoint(monitor={self.monitor!r}, mode={self.mode!r}, "
            f"every_n_train_steps={self._every_n_steps}, every_n_epochs={self._every_n_epochs}, "
            f"train_time_interval={self._timer and self._timer.interval_s})"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {
            "dirpath": self.dirpath,
            "best_model_path": self.best_model_path,
            "best_k_models": dict(self._top.scores),
            "last_model_path": self.last_model_path,
            "newest": self._newest,
            "saved_step": self._saved_step,
            "waits_since": self._seen_step if self._waiting else -1,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier run: its best count, but only files in our folder are deleted."""
        self._top.load(state_dict["best_k_models"])
        self._newest = state_dict["newest"]
        self.last_model_path = state_dict["last_model_path"]
        self._saved_step = state_dict["saved_step"]
        self._waits_since = state_dict.get("waits_since", -1)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """With other settings than before the state is not ours, but the newest file still is."""
        states = checkpoint.get("callbacks", {})
        taken = {callback.state_key for callback in trainer.checkpoint_callbacks}
        others = [state for key, state in states.items() if key not in taken]
        if self.state_key not in states:
            for state in others:
                path = state.get("last_model_path") if isinstance(state, Mapping) else None
                if path and os.path.dirname(path) == self.dirpath:
                    self.last_model_path = path

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        """Find the folder: the one that was given, or `checkpoints` in the run's folder."""
        self._fitting = stage in (None, "fit")
        if not self._fitting:
            return
        if not self._dirpath_was_given:
            self.dirpath = os.path.join(trainer.checkpoint_root, "checkpoints")
        self.dirpath = trainer.strategy.broadcast(self.dirpath)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Look where the run stands, and start the clock."""
        self._seen_step = trainer.global_step
        if self._saved_step != trainer.global_step:  # begun anew, not resumed from there
            self._saved_step = -1
        self._validated = False
        # A step that an earlier process trained waits for its metric still.
        self._waiting = self._waits_since == trainer.global_step
        self._waits_since = -1
        self._freshness.forget()
        self._freshness.look(trainer.callback_metrics, -1)  # of an earlier process: not of now
        if self._timer:
            self._timer.start()

    def _after_batch(self, trainer: Any, *_: Any) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # still accumulating: not a state to resume from
            return
        self._seen_step = step
        if self._timer:
            due = self._timer.is_due(trainer.strategy.broadcast, trainer.is_global_zero)
        else:
            due = step % self._every_n_steps == 0
        if due:
            self._consider(trainer, can_wait=True)
        elif self._freshness.names and (self._timer or (step + 1) % self._every_n_steps == 0):
            # Whatever there is before the step that saves is no value of that step.
            self._freshness.look(trainer.callback_metrics, step)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Save, where validation is the time for it or a step waits for its metric."""
        if trainer.sanity_checking or not self._fitting:
            return
        self._validated = True
        self._freshness.look(trainer.callback_metrics, trainer.global_step)
        if self._waiting or (self._epoch_counts(trainer) and not self._saves_at_epoch_end(trainer)):
            self._consider(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any, unused: Any = None) -> None:
        """Save, where the end of an epoch is the time for it."""
        self._epoch, metrics = trainer.current_epoch, trainer.callback_metrics
        complete = self._validated or not sum(trainer.num_val_batches)
        is_there = self.monitor in metrics or self.monitor in (None, "epoch", "step")
        if complete and not is_there and not trainer.fast_dev_run:
            raise MisconfigurationException(
                missing_metric("ModelCheckpoint", str(self.monitor), metrics)
            )
        self._freshness.look(metrics, trainer.global_step)
        if self._waiting or (self._epoch_counts(trainer) and self._saves_at_epoch_end(trainer)):
            self._consider(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep what was trained, if the validation that was to be the time for it never came."""
        self._tell_unknown_names(trainer)
        if (
            trainer.global_step == self._seen_step
            or self._validated
            or self._every_n_epochs != 1
            or self._saves_at_epoch_end(trainer)
        ):
            return
        self._consider(trainer, epoch=self._epoch)
        if self.monitor is not None and self.save_top_k and not trainer.fast_dev_run:
            rank_zero_warn(
                f"ModelCheckpoint: none is the best by {self.monitor!r}, since this training ended "
                f"before its first validation (val_check_interval={trainer.val_check_interval}, "
                f"check_val_every_n_epoch={trainer.check_val_every_n_epoch})"
            )

    def _tell_unknown_names(self, trainer: Any) -> None:
        """A typo in the file's name would otherwise be known by its nan only."""
        unknown = sorted(self._freshness.never_seen - {self.monitor})
        if unknown and self._saved_step >= 0:
            metrics = trainer.callback_metrics
            said = missing_metric("ModelCheckpoint: a file's name", unknown[0], metrics, "shows")
            rank_zero_warn(f"{said} It stands there as nan.")

    def _epoch_counts(self, trainer: Any) -> bool:
        every = self._every_n_epochs
        return every > 0 and (trainer.current_epoch + 1) % every == 0

    def _saves_at_epoch_end(self, trainer: Any) -> bool:
        if self._save_on_train_epoch_end is not None:
            return self._save_on_train_epoch_end
        return validates_once_an_epoch_or_never(trainer)

    # ------------------------------------------------------------------ what

    def _consider(self, trainer: Any, can_wait: bool = False, epoch: int | None = None) -> None:
        """Save the present state, if it is new and good enough: rank zero decides for all."""
        if trainer.fast_dev_run or (trainer.global_step == self._saved_step and not self._waiting):
            return
        self._freshness.look(trainer.callback_metrics, trainer.global_step)
        epoch = trainer.current_epoch if epoch is None else epoch
        mine = self._plan(trainer, epoch) if trainer.is_global_zero else None
        plan = Plan(*trainer.strategy.broadcast(mine))
        self._waiting = can_wait and self.monitor is not None and plan.score is None
        self._carry_out(trainer, plan)

    def _plan(self, trainer: Any, epoch: int) -> Plan:
        values = self._freshness.values(trainer.global_step)
        values.update(epoch=epoch, step=trainer.global_step)
        score = None if self.monitor is None else values.get(self.monitor)
        gone = [path for path in self._top.scores if not os.path.exists(path)]
        self._top.forget(gone)
        if self.monitor is None:
            is_kept = self.save_top_k != 0
        else:
            is_kept = score is not None and (self.save_top_k < 0 or self._top.accepts(score))
        path = last = None
        if is_kept:
            # With one file only, the one that goes makes room for the same name.
            ours = self._top.worst or self._newest if self.save_top_k == 1 else ""
            path = self._free_path(self.format_checkpoint_name(values), (ours,))
        if self.save_last:
            name = names.checkpoint_name(
                self.CHECKPOINT_NAME_LAST, values, self.auto_insert_metric_name
            )
            lasts = (self.last_model_path, *self._shared_lasts(trainer))
            last = self._free_path(os.path.join(self.dirpath or "", name), lasts)
        return Plan(score, path, last, gone)

    def _shared_lasts(self, trainer: Any) -> list[str]:
        """The newest files of others like this one: with the same name they are one file."""
        return [
            other.last_model_path
            for other in trainer.checkpoint_callbacks
            if isinstance(other, ModelCheckpoint)
            and other is not self
            and other.save_weights_only == self.save_weights_only
        ]

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, float],
        filename: str | int | None = None,
        ver: int | None = None,
    ) -> str:
        """The file for these metrics, `epoch` and `step` among them; `ver` numbers one more."""
        if isinstance(filename, int):  # where 1.x had `ver`
            filename, ver = None, filename
        template = filename or self.filename
        name = names.checkpoint_name(template, metrics, self.auto_insert_metric_name, self.prefix)
        path = os.path.join(self.dirpath or "", names.numbered(name, ver or 0))
        return path + self.FILE_EXTENSION

    def _free_path(self, path: str, ours: Collection[str]) -> str:
        path = path.removesuffix(self.FILE_EXTENSION)
        if not self._counts_versions:
            return path + self.FILE_EXTENSION
        return names.free_path(path, ours, self.FILE_EXTENSION)

    def _carry_out(self, trainer: Any, plan: Plan) -> None:
        self._top.forget(plan.gone)
        if plan.score is not None:
            self.current_score = as_score(plan.score)
        if plan.path is None and plan.last is None:
            return
        # The state goes first: what is saved must know of the file that it is saved in.
        outdated = self._take_in(plan)
        self._saved_step = trainer.global_step
        # The last one first: killed in between, it is still the newest that there is.
        for path in (plan.last, plan.path):
            if path is not None:
                self._save_checkpoint(trainer, path)
        if trainer.is_global_zero:
            for path in set(outdated) - set(self._shared_lasts(trainer)):
                names.remove_within(self.dirpath or "", path)
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)
        if self.verbose:
            kept = plan.path or "not among the best"
            rank_zero_info(f"ModelCheckpoint: step {trainer.global_step}: {kept}")

    def _take_in(self, plan: Plan) -> list[str]:
        """Remember the files of a plan; returns those that they take the place of."""
        outdated = []
        self._said.clear()
        if plan.path is not None:
            if self.monitor is None and self.save_top_k == 1:
                outdated.append(self._newest)
            elif plan.score is not None and not math.isnan(plan.score):
                outdated += self._top.add(plan.path, plan.score)
            self._newest = plan.path
        if plan.last is not None:
            outdated.append(self.last_model_path)
            self.last_model_path = plan.last
        return [path for path in outdated if path not in ("", plan.path, plan.last)]
