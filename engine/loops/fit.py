"""Training: epochs of batches, with validation in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from engine.loops.due import epoch_validates, is_done, may_stop, validation_is_due, where
from engine.loops.ends.batches import note_length, numbered
from engine.loops.ends.padding import begin_last, end_last
from engine.loops.evaluate import Plan, end_epoch, evaluate
from engine.loops.run import Run, batches_of, send_to_loggers
from engine.loops.state import accumulation_of, window_at
from engine.loops.steps.choose import step_of
from engine.loops.steps.manual import ManualStep
from engine.loops.steps.missing import say_skipped
from engine.loops.steps.returned import was_logged
from engine.loops.steps.schedulers import Schedules
from engine.module.off_device import warn_of_off_device_tensors
from engine.runtime.coordination.epoch_end import EpochEndBarrier
from engine.runtime.coordination.signals import preemption
from engine.runtime.coordination.timer import SharedTimer
from engine.runtime.data.combined import begin_epoch
from engine.runtime.distributed.agent_client import line
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.seed import random_state, set_random_state


@dataclass(frozen=True)
class Reloaded:
    """Loaders that were made anew between two epochs."""

    loader: Any
    count: int | float
    validation: Plan | None


@dataclass(frozen=True)
class FitPlan:
    """What a fit runs: the training batches, and the evaluation in between, if there is one."""

    loader: Any
    count: int | float
    to_device: Callable[[Any, int], Any] | None
    forward: Callable[..., Any]
    validation: Plan | None
    sanity: Plan | None
    look: Callable[[], None]  # at a boundary: does the process make room for others here?
    reload: Callable[[], Reloaded] | None = None  # asks module and data for loaders once more


def fit(run: Run, plan: FitPlan) -> None:
    """Train until it is time to stop.

    sanity check: a few validation batches
    for each epoch:
        for each batch: forward, backward; at the end of a window a step
            validate, when it is time
        epoch end, metrics of all ranks
    after a step, or the end of an epoch: make room, if the process was told to
    """
    state, call = run.state, run.hooks.call
    if run.device.type != "cpu" and not state.tuning:
        warn_of_off_device_tensors(run.module, run.device)
    if plan.sanity is not None and state.progress.step == 0:
        sanity_check(run, plan.sanity)
    if not run.module.training:
        run.module.train()
    state.training, state.skipped = True, 0
    run.logged.open_training()
    call("on_train_start")
    epoch = TrainingEpoch(run, plan)
    if state.progress.step and is_done(run) and not epoch.is_open():
        rank_zero_info(f"engine: nothing is left to train: {where(run)}")
    while not is_done(run) or epoch.is_open():
        if epoch.begin() and not is_done(run):
            epoch.batches()
        epoch.end()
        if preemption.signal is not None and not is_done(run):
            plan.look()
    state.progress.leave()
    call("on_train_end")
    state.training = False
    run.logged.close_training()
    if not state.tuning:
        say_skipped(state.skipped)


def sanity_check(run: Run, plan: Plan) -> None:
    """Run a few validation batches, so that a mistake there does not wait for an epoch."""
    state = run.state
    state.sanity_checking = state.validating = True
    run.hooks.call("on_sanity_check_start")
    evaluate(run, plan)
    run.logged.clear()
    run.hooks.call("on_sanity_check_end")
    state.sanity_checking = state.validating = False


class TrainingEpoch:
    """One epoch after the other; what no epoch changes is looked up once, here."""

    def __init__(self, run: Run, plan: FitPlan) -> None:
        self._run_parts = run
        self._plan = plan
        self._epoch_end = run.hooks.own("training_epoch_end")
        self._batch_start = run.hooks.find("on_train_batch_start", 3)
        self._batch_end = run.hooks.find("on_train_batch_end", 4)
        self._keeps = self._epoch_end is not None or run.hooks.wants_outputs("on_train_epoch_end")
        self._wants = self._keeps or self._batch_end is not None
        self._step = step_of(run, plan.forward, self._wants)
        self._schedules = Schedules(run)
        run.optimization.changed = self._take_optimizers
        self._outputs: list[Any] = []
        self._collection = run.logged.open_training()
        self._is_ours = True  # the order of samples
        self._log_every = run.settings.fit.log_every_n_steps if run.loggers else 0
        is_shown = line().is_open and not run.state.tuning
        self._line = line() if is_shown else None
        many = run.strategy.world.world_size > 1 and not run.state.tuning
        self._epoch_end_barrier = EpochEndBarrier(run.strategy.world) if many else None
        self._loaded_at = run.state.progress.epoch
        interval = run.settings.fit.val_check_interval
        self._every: SharedTimer | None = None
        if isinstance(interval, timedelta):
            self._every = SharedTimer(interval.total_seconds())

    def _take_optimizers(self) -> None:
        """Step others than before, which a hook has assigned, from the next batch on."""
        before, run = self._step, self._run_parts
        if isinstance(before, ManualStep):
            before.take(run.optimization.optimizers)
        else:
            self._step = step_of(run, self._plan.forward, self._wants)
            self._step.begin_epoch(before.window)
            self._step.pending = getattr(before, "pending", False)  # gradients wait for a step
        self._schedules = Schedules(run)

    def is_open(self) -> bool:
        """Whether batches were trained by an earlier process whose epoch has had no end."""
        progress = self._run_parts.state.progress
        return progress.batch > 0 and progress.ended_at != progress.total_batches

    def begin(self) -> bool:
        """Begin an epoch, or what is left of it; returns whether batches are left."""
        run = self._run_parts
        self._reload_when_due()
        plan = self._plan
        state, progress, call = run.state, run.state.progress, run.hooks.call
        self._collection = run.logged.open_training()
        if state.restored_metrics is not None:
            self._collection.load_state_dict(state.restored_metrics, run.device)
            state.restored_metrics = None
        starts_anew = progress.batch == 0
        self._is_ours = begin_epoch(
            plan.loader,
            progress.data_seed,
            progress.epoch,
            run.strategy.world.rank,
            progress.batch,
        )
        if starts_anew:
            call("on_train_epoch_start")
        elif self._keeps:
            rank_zero_warn(
                f"the epoch's end gets the outputs of batch {progress.batch} and on: those "
                "before were of an earlier process"
            )
        self._outputs = []
        windows = accumulation_of(run.settings.fit, state)  # hooks may have said something
        self._step.begin_epoch(window_at(windows, progress.epoch))
        if not starts_anew:
            progress.is_last = progress.is_last or progress.batch >= plan.count
            self._catch_up()
        return not progress.is_last

    def _catch_up(self) -> None:
        """Do what was due after the batch that an earlier process saved at, and not done there."""
        run, validation = self._run_parts, self._plan.validation
        progress = run.state.progress
        run.state.is_last_batch = progress.is_last
        count = self._plan.count
        if validation is not None and validation_is_due(run.settings.fit, progress, count):
            self.validate()
        if progress.asks:
            self._schedules.ask()

    def _reload_when_due(self) -> None:
        """By the number of the epoch, so that a resumed run reloads when the whole one would."""
        every = self._run_parts.settings.data.reload_dataloaders_every_n_epochs
        epoch = self._run_parts.state.progress.epoch
        reload = self._plan.reload
        is_due = bool(every) and epoch % every == 0 and epoch != self._loaded_at
        if reload is not None and (is_due or self._run_parts.state.reloads):
            self._loaded_at, self._run_parts.state.reloads = epoch, False
            new = reload()
            self._plan = replace(
                self._plan, loader=new.loader, count=new.count, validation=new.validation
            )

    def batches(self) -> None:
        """Run the batches that are left of the epoch; a loader in an order of ours begins there."""
        run, count = self._run_parts, self._plan.count
        state, progress, logged = run.state, run.state.progress, run.logged
        start, is_ours = progress.batch, self._is_ours
        to_device = self._plan.to_device
        window_batches = 0
        batch_start, batch_end = self._batch_start, self._batch_end
        has_schedules = self._schedules.any
        skip, settle = (0, None) if is_ours else (start, self._replay_draws(start))
        with batches_of(self._plan.loader) as iterator:
            batches = run.hooks.fetching("train_dataloader_next", iterator)
            numbers = (start, skip, count, settle)
            for batch_idx, batch, is_last in numbered(batches, self._plan.loader, *numbers):
                state.is_last_batch = is_last and begin_last(run, self._plan.loader, batch_idx)
                if batch is not None:  # else the step skips it, together with other ranks
                    if to_device is not None:
                        batch = to_device(batch, 0)
                    logged.batch = batch
                    if batch_start is not None and batch_start(batch, batch_idx, 0) == -1:
                        progress.is_last, state.is_last_batch = True, False
                        break
                window_batches += 1
                ends_window = is_last or (batch_idx + 1) % self._step.window == 0
                before = progress.step
                output = self._step(batch, batch_idx, ends_window, window_batches)
                if ends_window:
                    window_batches = 0
                progress.batch = batch_idx + 1
                progress.total_batches += 1
                stepped = progress.stepped = progress.step != before
                progress.is_last = is_last
                if has_schedules:
                    self._schedules.after_batch(stepped, is_last)
                if batch_end is not None:
                    batch_end(output, batch, batch_idx, 0)
                if self._keeps and output is not None:
                    self._outputs.append(output)
                self._after_batch(stepped, is_last)
                if self._stops_here():
                    break
            else:
                self._end_of_data()
        logged.batch = logged.repeated = None

    def _end_of_data(self) -> None:
        """The loader has no more: where that is a surprise, do what was due after its last."""
        progress = self._run_parts.state.progress
        if not progress.is_last:
            progress.is_last = self._run_parts.state.is_last_batch = True
            self._end_with_others(is_last=True)
            if progress.batch:
                self._schedules.after_batch(stepped=False, is_last=True)
                self._catch_up()

    def _replay_draws(self, start: int) -> Callable[[], None] | None:
        """Make a loader that draws its order from the random state draw the epoch's again.

        Returns what puts the present state back, once the loader is at batch `start`.
        """
        state = self._run_parts.state
        if start == 0:
            state.epoch_random = random_state()
        elif state.epoch_random is not None:
            present = random_state()
            set_random_state(state.epoch_random)
            return lambda: set_random_state(present)
        return None

    def _after_batch(self, stepped: bool, is_last: bool) -> None:
        run = self._run_parts
        progress, logged = run.state.progress, run.logged
        if is_last:
            end_last(run)
        self._end_with_others(is_last)
        if (
            self._log_every
            and stepped
            and logged.has_new_step_value
            and progress.step % self._log_every == 0
        ):
            send_to_loggers(run, logged.new_step_values())
        if self._line is not None:
            self._line.progress(progress.step, progress.epoch)
        if self._plan.validation is not None and self._validates_now():
            self.validate()
            self._end_with_others(is_last)
        if progress.asks:
            self._schedules.ask()
        if preemption.signal is not None and stepped and not is_last and not self._stops_here():
            self._plan.look()

    def _end_with_others(self, is_last: bool) -> None:
        if self._epoch_end_barrier is not None:
            state = self._run_parts.state
            has_no_more = is_last and not self._is_ours  # an order of ours is even
            stops = not is_last and state.should_stop and may_stop(self._run_parts)
            progress = state.progress
            self._epoch_end_barrier.wait_for_all(progress.epoch, progress.step, has_no_more, stops)

    def _validates_now(self) -> bool:
        """Whether it is time to validate: the end of an epoch, or of an interval in it."""
        run = self._run_parts
        fit, progress = run.settings.fit, run.state.progress
        if run.state.should_stop and may_stop(run):
            return True
        if self._every is not None:
            is_due = partial(self._every.is_due, run.strategy.broadcast, run.is_global_zero)
            return epoch_validates(fit, progress) and is_due()
        return validation_is_due(fit, progress, self._plan.count)

    def validate(self) -> None:
        """Validate, once for each state."""
        run, state = self._run_parts, self._run_parts.state
        if state.progress.validated_at == state.progress.total_batches:
            return
        assert self._plan.validation is not None
        run.strategy.broadcast_buffers(run.module)
        state.training, state.validating = False, True
        state.validation_random = random_state()  # what is saved before its end goes on from here
        evaluate(run, self._plan.validation, self._validated)
        state.training, state.validating = True, False
        if self._every is not None:
            self._every.start()

    def _validated(self) -> None:
        """The metrics of a validation are there: hooks that save after this need not redo it."""
        state = self._run_parts.state
        state.progress.validated_at, state.validation_random = state.progress.total_batches, None
        if state.progress.asks:
            self._schedules.ask()

    def _stops_here(self) -> bool:
        run = self._run_parts
        if 0 <= run.settings.fit.max_steps <= run.state.progress.step:
            return True
        return run.state.should_stop and may_stop(run)

    def end(self) -> None:
        """The end of an epoch: its metrics, the schedulers that look at them, its hooks."""
        run, progress = self._run_parts, self._run_parts.state.progress
        is_whole = progress.is_last  # else the training was stopped within it, and may be taken up
        if not is_whole:
            run.state.restored_metrics = self._collection.state_dict()
        elif run.state.is_last_batch:
            plan = self._plan
            note_length(run.state, "training", plan.loader, plan.count, progress.batch)
        outputs, self._outputs = self._step.arranged(self._outputs), []
        if self._epoch_end is not None:
            with run.logged.within("training_epoch_end"):
                returned = self._epoch_end(outputs)
            if returned is not None and not was_logged(run, "training_epoch_end", returned):
                raise MisconfigurationException(
                    "training_epoch_end returned something; use self.log to keep a value"
                )
        progress.epoch_ended, progress.ended_at = is_whole, progress.total_batches
        ended = (self._collection, "on_train_epoch_end", outputs, self._schedules)
        values = end_epoch(run, *ended)
        send_to_loggers(run, values)
        self._collection.reset_metrics()
        if self._epoch_end_barrier is not None:  # a hook may have set it on one rank
            stops = run.state.should_stop
            run.state.should_stop = run.strategy.reduce_boolean_decision(stops, all=False)
        if is_whole:
            progress.next_epoch()
