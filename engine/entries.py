"""Logged values of one epoch: kept, added up on their device, reduced over ranks once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine import distributed
from engine.errors import MisconfigurationException

_REDUCTIONS = {torch.mean: "mean", torch.sum: "sum", torch.max: "max", torch.min: "min"}
_REDUCTIONS.update({torch.amax: "max", torch.amin: "min", max: "max", min: "min", sum: "sum"})
_NAMES = {"mean": "mean", "avg": "mean", "sum": "sum", "max": "max", "min": "min"}


def reduction_name(reduce: str | Callable[..., Any]) -> str | None:
    """The name of a reduction, None for a function of the user's own."""
    if isinstance(reduce, str):
        if reduce.lower() not in _NAMES:
            raise MisconfigurationException(
                f"self.log(reduce_fx={reduce!r}): give mean, sum, max, min or a function"
            )
        return _NAMES[reduce.lower()]
    return _REDUCTIONS.get(reduce)


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
            return torch.as_tensor(self.metric.compute())
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
        self.results: dict[str, torch.Tensor] = {}  # by the bare names and by those of epochs
        self.entries: dict[tuple[str | None, str], Entry] = {}

    def epoch_metrics(self) -> list[tuple[Entry, torch.Tensor]]:
        """The epoch's values over all ranks, in one collective; call it on every rank."""
        mine = {
            key: entry
            for key, entry in self.entries.items()
            if entry.on_epoch and entry.has_epoch_value()
        }
        if not distributed.is_connected():
            values = [(entry, entry.epoch_value()) for entry in mine.values()]
            return [(entry, value) for entry, value in values if value is not None]
        flags = {
            key: (e.name, e.on_step, e.on_epoch, e.prog_bar, e.logger)
            for key, e in mine.items()
            if e.metric is None
        }
        parts = {key: mine[key].part() for key in flags}
        everywhere = distributed.gather_all((flags, parts))
        result = [(e, torch.as_tensor(e.metric.compute())) for e in mine.values() if e.metric]
        names = {key: flag for rank_flags, _ in everywhere for key, flag in rank_flags.items()}
        for key, flag in names.items():
            entry = mine.get(key) or Entry(*flag)
            shares = [parts[key] for _, parts in everywhere if key in parts]
            result.append((entry, joined(entry, shares)))
        return result

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


def joined(entry: Entry, shares: list[Any]) -> torch.Tensor:
    """The value of an entry from the parts of all ranks that have one."""
    reduction, sync_op, *_ = shares[0]
    dtype = torch.float64 if any(is_wide for _, _, is_wide, *_ in shares) else torch.float32
    totals = [total for *_, total, _, _ in shares]
    if reduction is None:
        values = [value for *_, values in shares for value in values]
        return torch.as_tensor(entry.reduce(torch.tensor(values, dtype=dtype)))
    if reduction == "mean":
        mean = sum(totals) / sum(weight for *_, weight, _ in shares)
        return torch.tensor(mean * len(shares) if sync_op == "sum" else mean, dtype=dtype)
    if reduction == "sum":
        return torch.tensor(sum(totals), dtype=dtype)
    return torch.tensor(max(totals) if reduction == "max" else min(totals), dtype=dtype)
