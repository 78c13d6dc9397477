"""`self.log`: from a step to loggers, bar and callbacks, without waiting for the device.

Values stay tensors. A step's value is only kept; an epoch's is added up on its device. Ranks agree
once an epoch, in one collective; a logger's numbers leave the device in one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from engine.module.logging.allowed_hooks import (
    DEFAULTS,
    ONCE_AN_EPOCH,
    not_allowed,
    step_and_epoch,
)
from engine.module.logging.collection import Collection
from engine.module.logging.entry import (
    LOADER_MARK,
    Entry,
    number_of,
    reduction_name,
    sync_name,
    two_metrics,
)
from engine.module.logging.values import as_scalar, as_tensor, is_metric
from engine.runtime.distributed import world
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch


class Flags(NamedTuple):
    """The arguments of `self.log` beside name and value."""

    prog_bar: bool = False
    logger: bool = True
    on_step: bool | None = None
    on_epoch: bool | None = None
    reduce_fx: str | Callable[..., Any] = "mean"
    sync_dist: bool = False
    sync_dist_op: str | Callable[..., Any] | None = None
    add_dataloader_idx: bool = True


class LoggedValues:
    """All that was logged in a run: the present hook, the open collection, the last values."""

    def __init__(self, to_cpu: bool = False) -> None:
        self._to_cpu = to_cpu  # values wait there, not on the device
        self.flushes = 0  # how often loggers have written to disk because it was time
        self.hook: str | None = None
        self.module: Any = None  # the one that logs
        self.collection: Collection | None = None
        self.batch: Batch = None  # of the step that runs, for its size
        self.repeated: Any = None  # while a batch runs that some ranks only repeat a sample for
        self.dataloader_suffix = ""
        self.epoch_callback: dict[str, torch.Tensor] = {}
        self.epoch_bar: dict[str, torch.Tensor] = {}
        self.sent: dict[str, torch.Tensor] = {}
        self.has_new_step_value = False
        self._train: Collection | None = None
        self._waits = False  # whether training has a step value that no logger has seen
        self._warned: set[str] = set()  # what a run warns of once

    @contextmanager
    def within(self, hook: str) -> Iterator[None]:
        """Within, `hook` is what runs, wherever it was called from."""
        outer, self.hook = self.hook, hook
        try:
            yield
        finally:
            self.hook = outer

    @property
    def training(self) -> Collection | None:
        """The collection of the training epoch, also while an evaluation has its own."""
        return self._train

    # ------------------------------------------------------------------ taking in

    def entry(self, name: str, of_loader: bool = True) -> Entry | None:
        """The entry of `name` in the present hook, None if it is new.

        Each of several loaders has its own, or all have one.
        """
        if self.collection is None:
            return None
        key = name + self.dataloader_suffix if of_loader else name
        return self.collection.entries.get((self.hook, key))

    def enter(self, name: str, value: object, flags: Flags) -> Entry:
        """Make the entry of a name that is logged for the first time in this epoch and hook.

        An entry that several loaders share is looked at each time: it must stay as it was made.
        """
        collection, hook = self.collection, self.hook
        if collection is None or hook is None or hook not in DEFAULTS:
            raise not_allowed(name, hook)
        on_step, on_epoch = step_and_epoch(name, hook, flags.on_step, flags.on_epoch)
        reduction = reduction_name(flags.reduce_fx)
        shown = name + (self.dataloader_suffix if flags.add_dataloader_idx else "")
        before = collection.entries.get((hook, shown))
        if before is not None:  # of another loader, most likely
            if (before.reduction, before.on_step, before.on_epoch) != (
                reduction,
                on_step,
                on_epoch,
            ):
                raise MisconfigurationException(
                    f"self.log({name!r}) comes with another reduce_fx, on_step or on_epoch than "
                    "before in this epoch: that gives no one value. Use the same, or leave out "
                    "add_dataloader_idx=False, so that each loader has a value of its own"
                )
            return before
        entry = Entry(
            shown,
            on_step,
            on_epoch,
            flags.prog_bar,
            flags.logger,
            reduction,
            reduce=flags.reduce_fx if reduction is None else None,
            # In evaluation ranks may have different numbers of steps: none waits for another there.
            sync_step=flags.sync_dist and collection.training,
            sync_op=sync_name(flags.sync_dist_op if flags.sync_dist else None, reduction),
            metric=value if is_metric(value) else None,
            metric_name=self._name_of(value) if is_metric(value) else "",
            counts_samples=reduction == "mean" and hook not in ONCE_AN_EPOCH,
        )
        if entry.metric is not None:
            self._warn_of_mixtures(entry, collection)
        collection.entries[(hook, shown)] = entry
        return entry

    def _warn_of_mixtures(self, new: Entry, collection: Collection) -> None:
        """A metric object adds up one kind of data: another loader, or stage, needs its own."""
        there = list(collection.entries.values())
        others = [e for e in there if e.name != new.name and LOADER_MARK in e.name + new.name]
        if self._train is not None and not (self._train is collection or self._train.is_finished):
            others += self._train.entries.values()
        other = next((e for e in others if e.metric is new.metric), None)
        if other is not None:
            self._warn_once(
                "mixture",
                f"self.log({new.name!r}) has the {type(new.metric).__name__} object of "
                f"{other.name!r}{' in training' if other not in there else ''}: both are added up "
                "in it, and neither value is right. Keep one metric object for each loader and "
                "stage",
            )

    def _metric_named(self, name: str) -> Any:
        return self.module.get_submodule(name)

    def _name_of(self, metric: Any) -> str:
        return next((name for name, one in self.module.named_modules() if one is metric), "")

    def note_no_effect(self, *names: str) -> None:
        """Say once that some arguments of `self.log` are accepted and change nothing."""
        self._warn_once(
            "no effect",
            f"self.log: {' and '.join(names)} have no effect: with truncated back-propagation "
            "each split's value counts in the epoch's as any other",
        )

    def take(self, entry: Entry, value: object, size: int | None, keep_graph: bool) -> None:
        """Take in one value; `size` is the number of samples behind it, None to look."""
        if entry.metric is not None:
            if value is not entry.metric:
                raise MisconfigurationException(two_metrics(entry, value))
            entry.metric_is_new = True
            value = value._forward_cache
            if value is None or not entry.on_step:
                return
            value = number_of(entry, value)
        elif not isinstance(value, torch.Tensor):
            value = as_tensor(entry.name, value)
        elif value.dim():
            value = as_scalar(entry.name, value)
        if entry.on_step:
            ranks = self.repeated or world
            latest = ranks.all_reduce(value, entry.sync_op) if entry.sync_step else value
            latest = latest.cpu() if self._to_cpu else latest
            entry.latest = latest if keep_graph else latest.detach()
            entry.is_new = self.has_new_step_value = True
        is_counted = self.repeated is None or not self.repeated.is_mine
        if entry.on_epoch and entry.metric is None and is_counted:
            weight = 1.0
            if entry.counts_samples:
                weight = float(self._samples(entry) if size is None else size)
            entry.add(value.cpu() if self._to_cpu else value, weight)

    def _samples(self, entry: Entry) -> int:
        assert self.collection is not None
        count, doubt = self.collection.samples.of(self.batch, self.dataloader_suffix)
        if doubt:
            self._warn_once(
                "doubt",
                f"self.log({entry.name!r}): the epoch's mean is over samples, and how many a batch "
                f"has can't be told: {doubt}. {count} is assumed; give it as "
                f"self.log({entry.name!r}, value, batch_size=...)",
            )
        return count

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            world.rank_zero_warn(f"{text} (said once)")

    # ------------------------------------------------------------------ epochs

    def open_training(self) -> Collection:
        """The collection of a training epoch: a new one, once the last has been reduced."""
        if self._train is None or self._train.is_finished:
            self._keep_steps()
            self._train = Collection(training=True)
        self.collection = self._train
        return self._train

    def open_evaluation(self) -> Collection:
        """Begin the collection of an evaluation; training's waits meanwhile."""
        self._waits, self.has_new_step_value = self.has_new_step_value, False
        self.collection = Collection(training=False)
        return self.collection

    def close_evaluation(self) -> None:
        """Go back to the training epoch, if there is one."""
        self.has_new_step_value = self._waits
        self.collection = self._train

    def close_training(self) -> None:
        """No step may log any more."""
        self._keep_steps()
        self._train = self.collection = None

    # ------------------------------------------------------------------ giving out

    def new_step_values(self) -> dict[str, torch.Tensor]:
        """The step values that loggers have not seen, by the names they go by."""
        values: dict[str, torch.Tensor] = {}
        self.has_new_step_value = False
        if self.collection is not None:
            for entry in self.collection.entries.values():
                if entry.is_new:
                    entry.is_new = False
                    if entry.logger:
                        values[entry.step_name] = entry.latest
        self.sent.update(values)
        return values

    def finish_epoch(self, collection: Collection) -> dict[str, torch.Tensor]:
        """Reduce a collection's epoch values and keep them; returns those for the loggers."""
        values: dict[str, torch.Tensor] = {}
        collection.is_finished = True
        for entry, value in collection.epoch_metrics(self._metric_named):
            self.epoch_callback[entry.name] = value
            self.epoch_callback[entry.epoch_name] = value
            if entry.prog_bar:
                self.epoch_bar[entry.epoch_name] = value
            if entry.logger:
                values[entry.epoch_name] = value
            collection.results.update({entry.name: value, entry.epoch_name: value})
            entry.clear()
            entry.metric_is_new = False
            if entry.metric is not None:  # hooks of the epoch's end may still ask it
                collection.computed.append(entry.metric)
        self.sent.update(values)
        return values

    def callback_metrics(self) -> dict[str, torch.Tensor]:
        """What callbacks monitor: every value by its bare name, and by `_step` and `_epoch`."""
        if self._train is not None:
            for entry in self._train.entries.values():
                # What the end of the epoch has logged anew under a step's name counts.
                is_new = entry.step_name not in self._train.results
                if entry.on_step and entry.latest is not None and is_new:
                    self.epoch_callback[entry.step_name] = entry.latest
                    if not entry.on_epoch or entry.epoch_name not in self.epoch_callback:
                        self.epoch_callback[entry.name] = entry.latest
        return self.epoch_callback

    def progress_bar_metrics(self) -> dict[str, torch.Tensor]:
        """What the bar shows."""
        return {
            **self.epoch_bar,
            **{entry.step_name: entry.latest for entry in self._steps() if entry.prog_bar},
        }

    def logged_metrics(self) -> dict[str, torch.Tensor]:
        """What loggers got last, and what they may get of the step that runs."""
        fresh = (entry for entry in self._steps() if entry.logger and entry.is_new)
        return {**self.sent, **{entry.step_name: entry.latest for entry in fresh}}

    def _steps(self) -> Iterator[Entry]:
        """What has the value of a step, in training and in an evaluation that runs."""
        open_now = (
            [self._train] if self.collection is self._train else [self._train, self.collection]
        )
        for collection in open_now:
            if collection is not None:
                for entry in collection.entries.values():
                    has_value = entry.on_step and entry.latest is not None
                    if has_value and entry.step_name not in collection.results:
                        yield entry

    def _keep_steps(self) -> None:
        """Keep the last step values of an epoch of training, which ends."""
        self.callback_metrics()
        if self._train is not None:
            self.collection = self._train
            self.epoch_bar, self.sent = self.progress_bar_metrics(), self.logged_metrics()

    def clear(self) -> None:
        """Forget the values of earlier runs."""
        self._train = self.hook = None
        self.epoch_callback, self.epoch_bar, self.sent = {}, {}, {}
        self.close_training()
