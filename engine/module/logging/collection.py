"""The logged values of one epoch or evaluation, reduced over the ranks in one collective."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from engine.module.logging.entry import Entry, Key, number_of
from engine.runtime.data.batch_size import Samples
from engine.runtime.distributed import world
from engine.runtime.errors import MisconfigurationException


class Collection:
    """The entries of one epoch of training, or of one evaluation."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.is_finished = False  # its values have been reduced
        self.computed: list[Any] = []  # metrics whose value of the epoch is known
        self.results: dict[str, torch.Tensor] = {}  # by the bare names and by those of epochs
        self.entries: dict[Key, Entry] = {}
        self.samples = Samples()  # of its batches

    def epoch_metrics(self, metric_named: Callable[[str], Any]) -> list[tuple[Entry, torch.Tensor]]:
        """The epoch's values over all ranks, in one collective; call it on every rank.

        `metric_named` finds a metric of the module by its name there.
        """
        mine = {
            key: entry
            for key, entry in self.entries.items()
            if entry.on_epoch and entry.has_epoch_value()
        }
        if world.is_connected():
            return _agreed(mine, metric_named)
        values = [(entry, entry.epoch_value()) for entry in mine.values()]
        return [(entry, value) for entry, value in values if value is not None]

    def reset_metrics(self) -> None:
        """Metrics begin anew, also those of which only values of steps were wanted."""
        logged = [entry.metric for entry in self.entries.values() if entry.metric is not None]
        for metric in {id(metric): metric for metric in [*logged, *self.computed]}.values():
            metric.reset()
        self.computed = []

    def state_dict(self) -> list[dict[str, Any]]:
        """Plain data: the sums of an epoch that is not over."""
        kept = []
        for (hook, key), e in self.entries.items():
            if e.on_epoch and e.metric is None and e.reduction is not None and e.total is not None:
                flags = [e.name, e.on_step, e.on_epoch, e.prog_bar, e.logger, e.reduction]
                total, weight = e.total.cpu(), e.weight
                kept.append(
                    {"hook": hook, "key": key, "flags": flags, "total": total, "weight": weight}
                )
        return kept

    def load_state_dict(self, kept: list[dict[str, Any]], device: torch.device) -> None:
        """Go on with sums of an earlier process."""
        for item in kept:
            entry = Entry(*item["flags"])
            entry.total, entry.weight = item["total"].to(device), item["weight"]
            self.entries[(item["hook"], item["key"])] = entry


def _agreed(
    mine: dict[Key, Entry], metric_named: Callable[[str], Any]
) -> list[tuple[Entry, torch.Tensor]]:
    """What all ranks together have, in the same order on each.

    A rank without a batch has logged nothing: it takes part in what a metric does with its own of
    that name, and gets what only a function that the others have could tell it.
    """
    flags = {key: (e.name, e.on_step, e.on_epoch, e.prog_bar, e.logger) for key, e in mine.items()}
    parts = {key: e.metric_name if e.metric is not None else e.part() for key, e in mine.items()}
    everywhere = world.gather_all((flags, parts))
    names = {key: flag for rank_flags, _ in everywhere for key, flag in rank_flags.items()}
    entries = {key: mine.get(key) or Entry(*flag) for key, flag in names.items()}
    values: dict[Key, torch.Tensor] = {}
    is_asked = False  # whether a rank lacks a function
    for key, entry in entries.items():
        shares = [parts[key] for _, parts in everywhere if key in parts]
        lacks = len(shares) < len(everywhere)
        if isinstance(shares[0], str):
            if lacks and not shares[0]:
                raise MisconfigurationException(_not_found(entry.name))
            entry.metric = metric_named(shares[0]) if entry.metric is None else entry.metric
            values[key] = number_of(entry, entry.metric.compute())
        elif shares[0][0] is not None or entry.reduce is not None:
            values[key] = joined(entry, shares)
        is_asked = is_asked or (lacks and shares[0][0] is None)
    if is_asked:
        cpu = {key: value.cpu() for key, value in values.items() if entries[key].metric is None}
        for given in world.gather_all(cpu):
            values = {**given, **values}
    return [(entry, values[key]) for key, entry in entries.items()]


def _not_found(name: str) -> str:
    return (
        f"self.log({name!r}): some ranks had no batch, and the metric is no attribute of the "
        "module, by which they could find theirs; keep it as `self.name = ...` or in a ModuleDict"
    )


def joined(entry: Entry, shares: list[Any]) -> torch.Tensor:
    """The value of an entry from the parts of all ranks that have one."""
    reduction, op, *_ = shares[0]
    dtype = torch.float64 if any(is_wide for _, _, is_wide, *_ in shares) else torch.float32
    if reduction == "mean":  # batches without a sample weigh nothing
        shares = [share for share in shares if share[4]]
        if not shares:
            return torch.tensor(math.nan, dtype=dtype)
    if reduction is None:
        values = [value for *_, values in shares for value in values]
        return torch.as_tensor(entry.reduce(torch.tensor(values, dtype=dtype)))
    totals = [total for *_, total, _, _ in shares]
    weights = [weight for *_, weight, _ in shares] if reduction == "mean" else [1.0] * len(shares)
    mean = sum(totals) / sum(weights)
    if op in ("max", "min"):
        each = [total / weight for total, weight in zip(totals, weights, strict=True)]
        return torch.tensor(max(each) if op == "max" else min(each), dtype=dtype)
    if op == "sum":
        return torch.tensor(sum(totals) if reduction == "sum" else mean * len(shares), dtype=dtype)
    return torch.tensor(mean, dtype=dtype)
