"""Writing predictions: a base for writers of one's own, and one ordered file of all ranks."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler

from engine.callbacks.base import Callback
from engine.runtime.distributed import world
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.files import open_new, replacing

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch, StepOutput
    from engine.trainer.trainer import Trainer

INTERVALS = ("batch", "epoch", "batch_and_epoch")


class BasePredictionWriter(Callback):
    """Base of callbacks that write predictions, to be subclassed.

    Override `write_on_batch_end` or `write_on_epoch_end`; `write_interval` says which is called.

    Args:
        write_interval: which of the two methods is called: `"batch"`, `"epoch"` or
            `"batch_and_epoch"`. By default `"batch"`.

    Raises:
        MisconfigurationException: the interval is none of these.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        if write_interval not in INTERVALS:
            raise MisconfigurationException(
                f"write_interval is one of {', '.join(INTERVALS)}, not {write_interval!r}"
            )
        self.interval = write_interval
        self._indices: list[list[Any]] = []  # of this rank's batches, a list a loader

    @property
    def _wants_predictions(self) -> bool:
        """Whether they are kept to the end, also where `predict` returns none."""
        return "epoch" in self.interval

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: list[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch; `batch_indices` are its samples' places in the data, where known."""
        raise NotImplementedError(f"{type(self).__name__} needs `write_on_batch_end`")

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, batch_indices: Any
    ) -> None:
        """Write all predictions of this rank, one list a loader."""
        raise NotImplementedError(f"{type(self).__name__} needs `write_on_epoch_end`")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._indices = [[] for _ in trainer.predict_dataloaders]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand on one batch."""
        loader = trainer.predict_dataloaders[dataloader_idx]
        indices = indices_of(loader, batch_idx, trainer.global_rank, trainer.world_size)
        if "epoch" in self.interval:
            self._indices[dataloader_idx].append(indices)
        if "batch" in self.interval:
            self.write_on_batch_end(
                trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx
            )

    def on_predict_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput = None
    ) -> None:
        """Hand on everything."""
        if "epoch" in self.interval:
            self.write_on_epoch_end(trainer, pl_module, outputs, self._indices)


class PredictionWriter(BasePredictionWriter):
    """Writes what `predict_step` says as one line of JSON a sample, in the order of the data.

    Each rank writes its batches to a part beside `path`, and rank zero joins the parts: nothing is
    kept in memory, so call `trainer.predict(..., return_predictions=False)`. A sample is an item of
    a list or tensor, or of all the lists and tensors of a dict; anything else is one line a batch.
    """

    def __init__(self, path: str | os.PathLike[str], write_interval: str = "batch") -> None:
        if write_interval != "batch":
            raise MisconfigurationException("PredictionWriter writes batch by batch")
        super().__init__(write_interval)
        self.path = Path(path)
        self._part: TextIO | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open this rank's part."""
        super().on_predict_start(trainer, pl_module)
        samplers = [getattr(loader, "sampler", None) for loader in trainer.predict_dataloaders]
        if trainer.world_size > 1 and any(isinstance(s, DistributedSampler) for s in samplers):
            rank_zero_warn(
                "PredictionWriter: a loader has a DistributedSampler of its own, which repeats "
                "samples and has another order: leave it out, each rank gets its share without"
            )
        self._part = open_new(self._part_of(trainer.global_rank))

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: list[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the lines of one batch, with a line before that says how many."""
        assert self._part is not None
        lines = [json.dumps(plain(sample), ensure_ascii=False) for sample in samples(prediction)]
        self._part.write("\n".join([f"{dataloader_idx} {len(lines)}", *lines]) + "\n")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Join the parts of all ranks, on rank zero."""
        error: BaseException | None = None
        self._close()
        world.barrier()
        if trainer.is_global_zero:
            try:
                self._join(trainer.world_size)
            except OSError as failure:
                error = failure
        world.raise_together(error)

    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None
    ) -> None:
        """Leave no part behind, whatever happened."""
        if stage == "predict":
            self._close()
            with suppress(FileNotFoundError):
                self._part_of(trainer.global_rank).unlink()

    def _part_of(self, rank: int) -> Path:
        return self.path.with_name(f".{self.path.name}.rank-{rank}")

    def _close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def _join(self, ranks: int) -> None:
        missing = [rank for rank in range(ranks) if not self._part_of(rank).exists()]
        if missing:
            raise OSError(
                f"{self.path}: rank 0 does not see the predictions of ranks {missing}: give a "
                "folder that all nodes share"
            )
        with ExitStack() as stack, replacing(self.path) as file:
            opened = (self._part_of(rank).open(encoding="utf-8") for rank in range(ranks))
            for line in joined([stack.enter_context(part) for part in opened]):
                file.write(line.encode())


def joined(parts: list[TextIO]) -> Iterator[str]:
    """The lines of all parts in the order of the data: ranks took the batches in turn."""
    heads = [part.readline().split() for part in parts]
    while any(heads):
        loader = min(int(head[0]) for head in heads if head)
        for place, part in enumerate(parts):
            head = heads[place]
            if head and int(head[0]) == loader:
                for _ in range(int(head[1])):
                    yield part.readline()
                heads[place] = part.readline().split()


def samples(prediction: Any) -> Iterator[Any]:
    """The samples in what was predicted for a batch."""
    if isinstance(prediction, Mapping) and prediction:
        columns = {key: list(samples(value)) for key, value in prediction.items()}
        sized = all(_is_sequence(value) for value in prediction.values())
        if sized and len({len(column) for column in columns.values()}) == 1:
            for row in zip(*columns.values(), strict=True):
                yield dict(zip(columns, row, strict=True))
            return
    elif _is_sequence(prediction):
        yield from prediction
        return
    if prediction is not None:
        yield prediction


def _is_sequence(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return True
    return hasattr(value, "tolist") and bool(getattr(value, "shape", ()))


def plain(value: object) -> Any:
    """Data that JSON has words for; numbers that it has none for become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, torch.Tensor) or hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def indices_of(loader: Any, batch_idx: int, rank: int, world_size: int) -> list[int] | None:
    """The places of a batch's samples in the data; None where the loader's order is not plain."""
    sampler = getattr(loader, "batch_sampler", None)
    inner = getattr(sampler, "sampler", None)
    if type(sampler) is not BatchSampler or not isinstance(inner, SequentialSampler):
        return None
    first = (batch_idx * world_size + rank) * sampler.batch_size
    return list(range(first, min(first + sampler.batch_size, len(inner))))
