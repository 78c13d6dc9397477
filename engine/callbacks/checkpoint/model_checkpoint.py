"""Save checkpoints while training: the best by a metric, the newest, or all of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from engine.callbacks.attach import attach
from engine.callbacks.checkpoint import file_names
from engine.callbacks.checkpoint.keeper import CheckpointKeeper
from engine.callbacks.checkpoint.kept_files import (
    SavePlan,
    as_score,
    inherited_last,
    is_among_best,
)
from engine.callbacks.checkpoint.schedule import schedule_of
from engine.callbacks.checkpoint.settings import (
    CheckpointSettings,
    SaveTriggers,
    absolute_folder,
    check_settings,
)
from engine.callbacks.checkpoint.top_k import mode_of
from engine.callbacks.checks import (
    Freshness,
    missing_metric,
    validates_once_an_epoch_or_never,
    warn_of_unknown_fields,
)
from engine.runtime.coordination.timer import SharedTimer
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import State
    from engine.trainer.trainer import Trainer


class ModelCheckpoint(CheckpointKeeper):
    """Saves checkpoints during a fit: the `save_top_k` best by `monitor`, or the newest.

    A state is only ever judged by a metric of that very state. Where `monitor` has no value for
    it yet (a step between two validations), the state of the next validation is saved instead.
    Files of other runs in the same folder are neither overwritten nor deleted.

    By default a checkpoint is saved once an epoch: after the validation, or, where none runs,
    after the training epoch. At most one of `every_n_train_steps`, `train_time_interval` and
    `every_n_epochs` says otherwise.

    Args:
        dirpath: the folder of the files; a leading `~` is the home directory. By default
            `checkpoints` in the folder of the run.
        filename: a template of the files' names, without the suffix `.ckpt`. Fields in braces
            are filled with metrics, `epoch` and `step`: `"{epoch:02d}-{val_loss:.2f}"` gives
            `epoch=02-val_loss=0.32.ckpt`. A metric without a value shows as nan. By default
            `"{epoch}-{step}"`.
        monitor: the name of the logged metric that says which checkpoints are best; `"epoch"`
            and `"step"` are known, too. By default None: the newest counts as the best.
        verbose: whether to print a line for each checkpoint. By default False.
        save_last: whether to keep a file `last.ckpt` of the newest state beside the best ones
            (any true value; `"link"` saves a file of its own, too). By default None: no.
        save_top_k: how many of the best checkpoints to keep; a better one replaces the worst.
            -1 keeps all, 0 none. Without a `monitor` only -1, 0 and 1 have a meaning. By
            default 1.
        save_weights_only: whether to leave out what only a resumed fit needs, such as the
            states of optimizers and callbacks. By default False.
        mode: `"min"` if smaller values of `monitor` are better, `"max"` if greater ones are,
            `"auto"` to tell by the metric's name (accuracies: max). By default `"min"`.
        auto_insert_metric_name: whether a field shows as `name=value` (True) or as the value
            alone. By default True.
        every_n_train_steps: save after every so many optimizer steps; 0 for never.
        train_time_interval: save whenever this much time has passed, by rank zero's clock, at
            the end of the step that runs then.
        every_n_epochs: save in every so many epochs; 0 for never. By default 1 unless another
            of the three is given.
        save_on_train_epoch_end: whether the epochs' checkpoints are saved at the end of the
            training epoch (True) or of the validation (False). By default None: the end of
            the training epoch if it is validated exactly once, or never.
        every_n_val_epochs: an older name of `every_n_epochs`.
        enable_version_counter: whether a name that another file has already gets `-v1`, `-v2`
            and so on; without, that file is overwritten. By default True.
        period: an older name of `every_n_epochs`.
        prefix: text before each file's name, with a hyphen in between. By default none.
        filepath: `dirpath` and `filename` as one path, as in version 1.0.

    Raises:
        ArgumentError: arguments contradict each other, or `save_top_k` or `mode` has no meaning.
        MisconfigurationException: in the fit, if `monitor` is not logged by the end of an epoch.

    Example:
        Keep the three checkpoints with the lowest validation loss, and the newest::

            keeper = ModelCheckpoint(monitor="val_loss", save_top_k=3, save_last=True)
            Trainer(callbacks=[keeper]).fit(module, train_loader, val_loader)
            best = MyModule.load_from_checkpoint(keeper.best_model_path)
    """

    CHECKPOINT_NAME_LAST = file_names.LAST
    FILE_EXTENSION = file_names.SUFFIX

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
            folder, template = file_names.of_filepath(filepath)
            dirpath, filename = dirpath or folder, filename or template
        spellings = (every_n_epochs, every_n_val_epochs, period)
        every_n_epochs = next((given for given in spellings if given is not None), None)
        settings = CheckpointSettings(
            dirpath=absolute_folder(dirpath),
            filename=filename or file_names.DEFAULT_TEMPLATE,
            monitor=monitor,
            verbose=verbose,
            save_last=bool(save_last),
            save_top_k=save_top_k,
            save_weights_only=save_weights_only,
            mode=mode_of(mode, monitor),
            auto_insert_metric_name=auto_insert_metric_name,
            prefix=prefix,
            enable_version_counter=enable_version_counter,
            save_on_train_epoch_end=save_on_train_epoch_end,
            triggers=SaveTriggers(every_n_train_steps, train_time_interval, every_n_epochs),
        )
        super().__init__(check_settings(settings))
        self.current_score: torch.Tensor | None = None
        self._schedule = schedule_of(settings.triggers, settings.save_on_train_epoch_end)
        interval_s = self._schedule.interval_s
        self._timer = None if interval_s is None else SharedTimer(interval_s)
        templates = (self.filename, self.CHECKPOINT_NAME_LAST)
        shown = {field for template in templates for field in file_names.fields_of(template)}
        self._freshness = Freshness({*shown, self.monitor or "step"} - {"epoch", "step"})
        self._fitting = False
        self._waits_since = -1  # the step that waited in an earlier process
        self._waiting = False  # a step asked for a save that its metric was not there for
        self._validated = False
        self._seen_step = self._epoch = 0
        self._saved_step = -1
        if self._schedule.follows_batches:
            attach(self, "on_train_batch_end", self._after_batch)

    # ------------------------------------------------------------------ what there is

    @property
    def every_n_epochs(self) -> int:
        """In which epochs it saves; 0 where it saves after steps or an interval of time."""
        return self._schedule.every_n_epochs

    period = every_n_epochs

    def save_checkpoint(self, trainer: Trainer, *_: object) -> None:
        """Save the present state, if it is new and good enough; call it on all ranks."""
        self._consider(trainer)

    @property
    def state_key(self) -> str:
        """Several of them with different settings keep their states apart."""
        return (
            f"ModelCheckpoint(monitor={self.monitor!r}, mode={self.mode!r}, "
            f"every_n_train_steps={self._schedule.every_n_steps}, "
            f"every_n_epochs={self._schedule.every_n_epochs}, "
            f"train_time_interval={self._schedule.interval_s})"
        )

    def state_dict(self) -> State:
        """What a resumed run goes on from."""
        return {
            "dirpath": self.dirpath,
            "best_model_path": self.best_model_path,
            "best_k_models": dict(self._files.top.scores),
            "last_model_path": self.last_model_path,
            "newest": self._files.newest,
            "saved_step": self._saved_step,
            "waits_since": self._seen_step if self._waiting else -1,
        }

    def load_state_dict(self, state_dict: State) -> None:
        """Go on from an earlier run: its best count, but only files in our folder are deleted."""
        self._files.top.load(state_dict["best_k_models"])
        self._files.newest = state_dict["newest"]
        self.last_model_path = state_dict["last_model_path"]
        self._saved_step = state_dict["saved_step"]
        self._waits_since = state_dict.get("waits_since", -1)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: State
    ) -> None:
        """With other settings than before the state is not ours, but the newest file still is."""
        states = checkpoint.get("callbacks", {})
        if self.state_key not in states:
            taken = {callback.state_key for callback in trainer.checkpoint_callbacks}
            others = [state for key, state in states.items() if key not in taken]
            self.last_model_path = inherited_last(others, self.dirpath) or self.last_model_path

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Find the folder: the one that was given, or `checkpoints` in the run's folder."""
        self._fitting = stage in (None, "fit")
        if not self._fitting:
            return
        if self._settings.dirpath is None:
            self.dirpath = os.path.join(trainer.checkpoint_root, "checkpoints")
        self.dirpath = trainer.strategy.broadcast(self.dirpath)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look where the run stands, and start the clock."""
        self._seen_step = trainer.global_step
        if self._saved_step != trainer.global_step:  # begun anew, not resumed from there
            self._saved_step = -1
        self._validated = False
        # A step that an earlier process trained waits for its metric still.
        self._waiting = self._waits_since == trainer.global_step
        self._waits_since = -1
        self._freshness.forget()
        self._freshness.update(trainer.callback_metrics, -1)  # of an earlier process: not of now
        if self._timer:
            self._timer.start()

    def _after_batch(self, trainer: Trainer, *_: object) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # still accumulating: not a state to resume from
            return
        self._seen_step = step
        if self._timer:
            due = self._timer.is_due(trainer.strategy.broadcast, trainer.is_global_zero)
        else:
            due = self._schedule.is_due_after_step(step)
        if due:
            self._consider(trainer, can_wait=True)
        elif self._freshness.names and self._schedule.may_be_due_next(step):
            # Whatever there is before the step that saves is no value of that step.
            self._freshness.update(trainer.callback_metrics, step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, where validation is the time for it or a step waits for its metric."""
        if trainer.sanity_checking or not self._fitting:
            return
        self._validated = True
        self._freshness.update(trainer.callback_metrics, trainer.global_step)
        due = self._is_due_in_epoch(trainer) and not self._saves_at_epoch_end(trainer)
        if self._waiting or due:
            self._consider(trainer)

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Save, where the end of an epoch is the time for it."""
        self._epoch, metrics = trainer.current_epoch, trainer.callback_metrics
        complete = self._validated or not sum(trainer.num_val_batches)
        is_there = self.monitor in metrics or self.monitor in (None, "epoch", "step")
        if complete and not is_there and not trainer.fast_dev_run:
            raise MisconfigurationException(
                missing_metric("ModelCheckpoint", str(self.monitor), metrics)
            )
        self._freshness.update(metrics, trainer.global_step)
        due = self._is_due_in_epoch(trainer) and self._saves_at_epoch_end(trainer)
        if self._waiting or due:
            self._consider(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was trained, if the validation that was to be the time for it never came."""
        if self._saved_step >= 0:
            unknown = self._freshness.never_seen - {self.monitor}
            warn_of_unknown_fields(sorted(unknown), trainer.callback_metrics)
        if (
            trainer.global_step == self._seen_step
            or self._validated
            or self._schedule.every_n_epochs != 1
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

    def _is_due_in_epoch(self, trainer: Trainer) -> bool:
        return self._schedule.is_due_in_epoch(trainer.current_epoch)

    def _saves_at_epoch_end(self, trainer: Trainer) -> bool:
        at_epoch_end = self._schedule.on_train_epoch_end
        if at_epoch_end is not None:
            return at_epoch_end
        return validates_once_an_epoch_or_never(trainer)

    # ------------------------------------------------------------------ what

    def _consider(self, trainer: Trainer, can_wait: bool = False, epoch: int | None = None) -> None:
        """Save the present state, if it is new and good enough: rank zero decides for all."""
        if trainer.fast_dev_run or (trainer.global_step == self._saved_step and not self._waiting):
            return
        self._freshness.update(trainer.callback_metrics, trainer.global_step)
        epoch = trainer.current_epoch if epoch is None else epoch
        mine = self._plan(trainer, epoch) if trainer.is_global_zero else None
        decided = trainer.strategy.broadcast(mine)
        assert decided is not None
        plan = SavePlan(*decided)  # other ranks get a plain tuple
        self._waiting = can_wait and self.monitor is not None and plan.score is None
        self._carry_out(trainer, plan)

    def _plan(self, trainer: Trainer, epoch: int) -> SavePlan:
        """What to save of the present state, without saving it."""
        values = self._freshness.values(trainer.global_step)
        values.update(epoch=epoch, step=trainer.global_step)
        score = None if self.monitor is None else values.get(self.monitor)
        missing = self._files.missing()
        top = self._files.top.without(missing)
        path = last = None
        if is_among_best(top, self.save_top_k, self.monitor is not None, score):
            # With one file only, the one that goes makes room for the same name.
            ours = top.worst or self._files.newest if self.save_top_k == 1 else ""
            path = self._free_path(self.format_checkpoint_name(values), (ours,))
        if self.save_last:
            name = file_names.checkpoint_name(
                self.CHECKPOINT_NAME_LAST, values, self.auto_insert_metric_name
            )
            lasts = (self.last_model_path, *self._shared_lasts(trainer))
            last = self._free_path(os.path.join(self.dirpath or "", name), lasts)
        return SavePlan(score, path, last, missing)

    def _shared_lasts(self, trainer: Trainer) -> list[str]:
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
        name = file_names.checkpoint_name(
            template, metrics, self.auto_insert_metric_name, self.prefix
        )
        path = os.path.join(self.dirpath or "", file_names.numbered(name, ver or 0))
        return path + self.FILE_EXTENSION

    def _free_path(self, path: str, ours: Collection[str]) -> str:
        stem, counts = path.removesuffix(self.FILE_EXTENSION), self._settings.enable_version_counter
        return file_names.free_path(stem, ours, self.FILE_EXTENSION, counts)

    def _carry_out(self, trainer: Trainer, plan: SavePlan) -> None:
        self._files.top.forget(plan.missing)
        if plan.score is not None:
            self.current_score = as_score(plan.score)
        if plan.path is None and plan.last is None:
            return
        # The state goes first: what is saved must know of the file that it is saved in.
        keeps_only_newest = self.monitor is None and self.save_top_k == 1
        replaced = self._files.record(plan, keeps_only_newest)
        self._saved_step = trainer.global_step
        # The last one first: killed in between, it is still the newest that there is.
        for path in (plan.last, plan.path):
            if path is not None:
                self._save_checkpoint(trainer, path)
        if trainer.is_global_zero:
            for path in set(replaced) - set(self._shared_lasts(trainer)):
                file_names.remove_within(self.dirpath or "", path)
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)
        if self.verbose:
            kept = plan.path or "not among the best"
            rank_zero_info(f"ModelCheckpoint: step {trainer.global_step}: {kept}")
