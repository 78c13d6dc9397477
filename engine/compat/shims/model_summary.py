"""The table of a model as an object, by the names of 1.x."""

from __future__ import annotations

from typing import Any

import torch

from engine.callbacks.monitors.summary import DEPTHS, Row, Summary, short_count
from engine.callbacks.monitors.summary import summarize as make_summary


class ModelSummary:
    """The table of a model: print it, or read its numbers."""

    def __init__(
        self, model: torch.nn.Module, mode: str | None = None, max_depth: int | None = None
    ) -> None:
        depth = DEPTHS[mode] if max_depth is None and mode else max_depth
        self._model = model
        self._summary: Summary = make_summary(model, 1 if depth is None else depth)

    def summarize(self) -> Summary:
        """The table itself."""
        return self._summary

    @property
    def layer_names(self) -> list[str]:
        """The modules' names."""
        return [row.name for row in self._summary.rows]

    @property
    def layer_types(self) -> list[str]:
        """The modules' classes."""
        return [row.kind for row in self._summary.rows]

    @property
    def param_nums(self) -> list[int]:
        """Parameters of each module."""
        return [row.num_params for row in self._summary.rows]

    @property
    def in_sizes(self) -> list[str]:
        """What goes into each module."""
        return [row.in_size for row in self._summary.rows]

    @property
    def out_sizes(self) -> list[str]:
        """What comes out of each module."""
        return [row.out_size for row in self._summary.rows]

    @property
    def total_parameters(self) -> int:
        """All parameters, each counted once."""
        return self._summary.num_params

    @property
    def trainable_parameters(self) -> int:
        """Those that are trained."""
        return self._summary.num_trainable

    @property
    def model_size(self) -> float:
        """What they take, in MB."""
        return self._summary.num_bytes / 1e6

    def __str__(self) -> str:
        return str(self._summary)

    __repr__ = __str__


LayerSummary = Row


def summarize(
    lightning_module: torch.nn.Module, mode: str | None = None, max_depth: int | None = None
) -> ModelSummary:
    """The table of a model."""
    return ModelSummary(lightning_module, mode, max_depth)


def get_human_readable_count(number: int) -> str:
    """`1234567` as `1.2 M`."""
    return short_count(number)


def get_formatted_model_size(total_model_size: float) -> str:
    """A number of MB with its commas."""
    return f"{total_model_size:,.3f}"


def parse_batch_shape(batch: Any) -> Any:
    """The sizes of the tensors in a batch."""
    if hasattr(batch, "shape"):
        return list(batch.shape)
    if isinstance(batch, (list, tuple)):
        return [parse_batch_shape(item) for item in batch]
    return "?"
