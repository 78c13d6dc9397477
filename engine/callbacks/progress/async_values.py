"""Numbers of tensors for a person to look at, without making the device wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from engine.runtime.data.types import Metrics


class AsyncValues:
    """Turns metrics into numbers; those on a GPU show as they were at an earlier call.

    Asking a GPU for a number stops the program until all queued work is done. So a call only
    starts a copy, and a later call, which finds the copy finished, returns its values.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._buffer: torch.Tensor | None = None
        self._copied: Any = None
        self._known: dict[str, float] = {}

    def read(self, metrics: Metrics) -> dict[str, Any]:
        """The values that are known by now, in the order of `metrics`."""
        on_device = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, torch.Tensor) and value.is_cuda
        }
        if on_device:
            self._collect()
            if self._buffer is None:
                self._start_copy(on_device)
        values = {}
        for name, value in metrics.items():
            if name not in on_device:
                values[name] = value.item() if isinstance(value, torch.Tensor) else value
            elif name in self._known:
                values[name] = self._known[name]
        return values

    def _collect(self) -> None:
        if self._buffer is not None and self._copied.query():
            self._known.update(zip(self._names, self._buffer.tolist(), strict=True))
            self._buffer = None

    def _start_copy(self, metrics: Mapping[str, torch.Tensor]) -> None:
        stacked = torch.stack([value.detach().double().reshape(()) for value in metrics.values()])
        self._names = list(metrics)
        self._buffer = torch.empty(len(metrics), dtype=torch.float64, pin_memory=True)
        self._buffer.copy_(stacked, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's stub
        self._copied.record()
