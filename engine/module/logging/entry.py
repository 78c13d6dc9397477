"""One name that is logged: its values of an epoch, added up on their device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

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
    reduction = reduction_name(name)
    if reduction is None:
        raise MisconfigurationException(
            f"self.log(sync_dist_op={op!r}): give mean, sum, max, min or torch's ReduceOp of these"
        )
    return reduction


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


def number_of(entry: Entry, computed: Any) -> torch.Tensor:
    """What a metric computed, which a logger can take if it is one number."""
    is_one = not isinstance(computed, torch.Tensor) or computed.numel() == 1
    if is_one and not isinstance(computed, (Mapping, list, tuple)):
        return torch.as_tensor(computed).reshape(())
    kind = type(entry.metric).__name__
    shape = f"numbers of shape {tuple(computed.shape)}" if hasattr(computed, "shape") else "several"
    raise MisconfigurationException(
        f"self.log({entry.name!r}): it takes one number, and {kind} computes {shape}. Keep the "
        "metric and log what it computes by its parts where the epoch ends: "
        "self.log_dict({...}), then metric.reset()"
    )


def two_metrics(entry: Entry, value: object) -> str:
    """What to say where a name that was a metric object gets something else."""
    other = f"another {type(value).__name__}"
    return (
        f"self.log({entry.name!r}): in this epoch it was a {type(entry.metric).__name__} object, "
        f"and now {other} comes, which can't be put together with it. Log one object under a name; "
        "of several loaders leave out add_dataloader_idx=False, so that each has its own"
    )
