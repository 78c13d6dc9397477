"""Names for annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch.nn.parallel import DistributedDataParallel as DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau as ReduceLROnPlateau
from torch.utils.data import DataLoader

from engine.loops.optimizers import SchedulerConfig

try:
    from torch.distributed import ReduceOp as ReduceOp
except ImportError:  # a torch without distributed

    class ReduceOp:  # type: ignore[no-redef]  # only its name is needed there
        """Stands for the ways to reduce."""


# Old programs evaluate these at run time, so they are objects, not aliases for type checkers.
STEP_OUTPUT: Any = torch.Tensor | dict[str, Any]
EPOCH_OUTPUT: Any = list[STEP_OUTPUT]
TRAIN_DATALOADERS: Any = DataLoader | Sequence[DataLoader[Any]] | Mapping[str, Any]
EVAL_DATALOADERS: Any = DataLoader | Sequence[DataLoader[Any]]
LRSchedulerType = LRScheduler
LRSchedulerConfig = SchedulerConfig
LRSchedulerTypeUnion: Any = LRScheduler | ReduceLROnPlateau
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerPLType = LRSchedulerTypeUnion
_LRScheduler = LRScheduler
_DictKey: Any = str | int | float | complex
_NUMBER: Any = int | float
_METRIC: Any = torch.Tensor | int | float
_METRIC_COLLECTION: Any = _METRIC | Mapping[str, _METRIC]
_EVALUATE_OUTPUT: Any = list[dict[str, float]]
_PREDICT_OUTPUT: Any = list[Any] | list[list[Any]]
_PARAMETERS: Any = Iterator[torch.nn.Parameter]
_PATH: Any = str | Path
_DEVICE: Any = torch.device | str | int


class LRSchedulerConfigType(TypedDict, total=False):
    """A scheduler, and when it is stepped, as a dict."""

    scheduler: Any
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict, total=False):
    """An optimizer in a dict."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict, total=False):
    """An optimizer and its scheduler in a dict."""

    optimizer: Optimizer
    lr_scheduler: Any
    monitor: str


OptimizerLRScheduler: Any = (
    Optimizer | Sequence[Optimizer] | tuple[Any, Any] | Mapping[str, Any] | None
)

# Of the command line.
ArgsType: Any = list[str] | dict[str, Any] | None
OptimizerCallable: Any = Callable[..., Any]
LRSchedulerCallable: Any = Callable[..., Any]
