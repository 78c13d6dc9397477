"""Logged values of one epoch: kept, added up on their device, reduced over ranks once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.runtime.data.batch_size import Samples
from engine.runtime.distributed import world as distributed
from engine.runtime.errors import MisconfigurationException

_REDUCTIONS = {torch.mean: "mean", torch.sum: "sum", torch.max: "max", torch.min: "min"}
_REDUCTIONS.update({torch.amax: "max", torch.amin: "min", max: "max", min: "min", sum: "sum"})
_NAMES = {"mean": "mean", "avg": "mean", "sum": "sum", "max": "max", "min": "min"}

Key = tuple[str | None, str]  # the hook that logs, and under which name


def reduction_name(reduce: str | Callable[..., Any]) -> str | None:
    """The name of a reduction, None for a function of the user's own."""
    if isinstance(reduce, str):
        if reduce.lower() not in _NAMES:
            raise MisconfigurationException(
                f"self.log(reduce_fx={reduce!r}): give mean, sum, max, min or a function"
            )
        return _NAMES[reduce.lower()]
    return _REDUCTIONS.get(reduce)


def sync_name(op: Any, reduction: str | None) -> str:
    """How ranks agree on a value: `sync_dist_op`, also torch's ReduceOp, else as it is reduced."""
    if op is None:
        return reduction or "mean"
    name = op if isinstance(op, str) else getattr(op, "name", op)  # ReduceOp.SUM has a name
    found = reduction_name(name)
    if found is None:
        raise MisconfigurationException(
            f"self.log(sync_dist_op={op!r}): give mean, sum, max, min or torch's ReduceOp of these"
        )
    return found


LOADER_MARK = "/dataloader_idx_"  # stands last in the names of values of several loaders


@dataclass
class Entry:
    """One name that is logged: how, and what has come in so far."""

    name: str
    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool
    reduction: str | None = "mean"
    reduce: Any = None  # a function of the user's own, where `reduction` is None
    sync_step: bool = False
    sync_op: str = "mean"
    counts_samples: bool = True  # a mean is weighted by batch sizes
    metric: Any = None  # a torchmetrics object, which adds up by itself
    metric_name: str = ""  # by which the module has it
    metric_is_new: bool = False
    latest: Any = None
    is_new: bool = False  # a step value that no logger has seen
    total: torch.Tensor | None = None
    weight: float = 0.0
    is_wide: bool = False  # numbers of 64 bits came in: python's, or those of a model in 64 bits
    values: list[torch.Tensor] = field(default_factory=list)

    @property
    def step_name(self) -> str:
        """The name of a step's value."""
        return self._with("_step") if self.on_epoch else self.name

    @property
    def epoch_name(self) -> str:
        """The name of an epoch's value."""
        return self._with("_epoch") if self.on_step else self.name

    def _with(self, ending: str) -> str:
        name, mark, index = self.name.partition(LOADER_MARK)
        return f"{name}{ending}{mark}{index}"

    def add(self, value: torch.Tensor, weight: float) -> None:
        """Take in one value of the epoch.

        Never in place: in a step that is compiled, tracing loses what is done to tensors of
        before.
        """
        if value.dtype is torch.float64:
            self.is_wide = True
        if self.reduction is None:
            self.values.append(value.detach().clone())
        elif self.total is None:
            self._begin(value.detach(), weight)
        elif self.reduction == "mean":
            self.total = torch.add(self.total, value.detach(), alpha=weight)
            self.weight += weight
        elif self.reduction == "sum":
            self.total = self.total + value.detach()
        else:
            pick = torch.maximum if self.reduction == "max" else torch.minimum
            self.total = pick(self.total, value.detach().to(self.total.dtype))

    def _begin(self, value: torch.Tensor, weight: float) -> None:
        # 64 bits: adding many small values loses nothing, and the order hardly matters.
        wide = torch.float64 if value.device.type != "mps" else torch.float32
        self.total = value.to(wide, copy=True)
        if self.reduction == "mean":
            self.total.mul_(weight)
            self.weight = weight

    def has_epoch_value(self) -> bool:
        """Whether anything came in."""
        return self.total is not None or bool(self.values) or self.metric_is_new

    def clear(self) -> None:
        """Forget what came in."""
        self.total, self.weight, self.values = None, 0.0, []

    def epoch_value(self) -> torch.Tensor | None:
        """The value of the epoch on this rank alone."""
        if self.metric is not None:
            return number_of(self, self.metric.compute())
        if self.reduction is None:
            return torch.as_tensor(self.reduce(torch.stack(self.values))) if self.values else None
        if self.total is None:
            return None
        value = self.total / self.weight if self.reduction == "mean" else self.total
        return value.to(torch.float64 if self.is_wide else torch.float32)

    def part(self) -> tuple[str | None, str, bool, float, float, list[float]]:
        """What this rank has to give: reduction, sync_op, is_wide, total, weight, values."""
        total = 0.0 if self.total is None else float(self.total)
        values = torch.stack(self.values).tolist() if self.values else []
        return self.reduction, self.sync_op, self.is_wide, total, self.weight, values


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
        if distributed.is_connected():
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
    everywhere = distributed.gather_all((flags, parts))
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
        for given in distributed.gather_all(cpu):
            values = {**given, **values}
    return [(entry, values[key]) for key, entry in entries.items()]


def number_of(entry: Entry, computed: Any) -> torch.Tensor:
    """What a metric computed, which a logger can take if it is one number."""
    is_one = not isinstance(computed, torch.Tensor) or computed.numel() == 1
    if is_one and not isinstance(computed, (Mapping, list, tuple)):
        return torch.as_tensor(computed).reshape(())
    kind = type(entry.metric).__name__
    shape = f"numbers of shape {tuple(computed.shape)}" if hasattr(computed, "shape") else "several"
    raise MisconfigurationException(
        f"self.log({entry.name!r}): one number is wanted, and {kind} computes {shape}. Keep the "
        "metric and log what it computes by its parts where the epoch ends: "
        "self.log_dict({...}), then metric.reset()"
    )


def two_metrics(entry: Entry, value: Any) -> str:
    """What to say where a name that was a metric object gets something else."""
    other = f"another {type(value).__name__}"
    return (
        f"self.log({entry.name!r}): in this epoch it was a {type(entry.metric).__name__} object, "
        f"and now {other} comes, which can't be put together with it. Log one object under a name; "
        "of several loaders leave out add_dataloader_idx=False, so that each has its own"
    )


def as_tensor(name: str, value: Any) -> torch.Tensor:
    """A number that was logged under a name."""
    if hasattr(value, "items"):  # a dict, or a collection of metrics
        raise MisconfigurationException(
            f"self.log({name!r}): one number is wanted, not a {type(value).__name__}; "
            "self.log_dict takes all that is in it"
        )
    try:
        return torch.tensor(float(value), dtype=torch.float64)  # as exact as it came
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(
            f"self.log({name!r}): one number is wanted, not {type(value).__name__}"
        ) from error


def as_scalar(name: str, value: torch.Tensor) -> torch.Tensor:
    """The one number of a tensor that was logged under a name."""
    if value.numel() != 1:
        raise MisconfigurationException(
            f"self.log({name!r}): one number is wanted, not a tensor of {tuple(value.shape)}"
        )
    return value.reshape(())


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
